"""Nobody unpaired gets a byte, a removed device is out at once, and a code is good for one guess."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
from contextlib import suppress
from pathlib import Path

from fleetsync.devices.words import WORDS
from tests.fakes.devices import make_device
from tests.system.fleet import (
    MANIFEST,
    Document,
    Fleet,
    Laptop,
    address_of,
    all_hold,
    connected,
    events,
    pair,
    until,
)

REQUEST = b"GET /v1/hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def context(certificate: Path | None = None, key: Path | None = None) -> ssl.SSLContext:
    """A caller that believes everybody, and shows this certificate, if any."""
    found = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    found.check_hostname, found.verify_mode = False, ssl.CERT_NONE
    if certificate is not None:
        found.load_cert_chain(certificate, key)
    return found


def heard(laptop: Laptop, caller: ssl.SSLContext) -> bytes:
    """All that the daemon answers to a request over such a connection."""
    host, _, port = laptop.listen.rpartition(":")
    data = b""
    try:
        with (
            socket.create_connection((host, int(port)), timeout=10) as raw,
            caller.wrap_socket(raw) as stream,
        ):
            stream.sendall(REQUEST)
            while chunk := stream.recv(65536):
                data += chunk
    except (ssl.SSLError, ConnectionError):
        pass
    return data


# --- at the door ---------------------------------------------------------------------------------------


def test_strangers_hear_nothing(fleet: Fleet, tmp_path: Path) -> None:
    """Without a certificate, with one of their own, or with a peer's name on it: not a byte; a peer hears."""
    desk, travel = fleet.pair()
    own = make_device(tmp_path, "travel")
    assert heard(desk, context()) == b""
    assert heard(desk, context(own.certificate_path, own.key_path)) == b""
    known = context(travel.state / "identity.crt", travel.state / "identity.key")
    assert heard(desk, known).startswith(b"HTTP/1.1 200")
    host, _, port = desk.listen.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as plain:
        plain.sendall(REQUEST)
        with suppress(ConnectionError):
            assert b"HTTP" not in plain.recv(65536)
    connected((desk, travel))


def test_a_removed_peer_is_out(fleet: Fleet) -> None:
    """Its live connection is cut at once, it gets nothing any more, and is told so; exit codes say it too."""
    desk, travel = fleet.pair()
    lines = desk.append(events("desk", 10))
    all_hold((desk, travel), lines)
    known = context(travel.state / "identity.crt", travel.state / "identity.key")
    host, _, port = desk.listen.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as raw, known.wrap_socket(raw) as live:
        live.sendall(b"GET /v1/changes HTTP/1.1\r\nHost: x\r\n\r\n")
        assert live.recv(100).startswith(b"HTTP/1.1 200")
        removed = desk.ask("peers", "remove", travel.device[:9])["peer"]
        assert removed["name"] == "travel"
        with suppress(ssl.SSLError, ConnectionError):  # cut, not closed; a TimeoutError would fail the test
            while live.recv(65536):
                pass
    assert heard(desk, known) == b""
    assert desk.ask("peers")["peers"] == []
    desk.append(events("desk", 10, start=10))
    desk.ask("sync")
    until(lambda: travel.peer(desk)["state"] == "refused", "travel knows that it is refused")
    assert travel.lines() == lines
    assert "not trusted" in travel.peer(desk)["error"]
    travel.append(events("travel", 1))
    until(lambda: not travel.peer(desk)["converged"], "what travel has written has not arrived anywhere")
    travel.ask("status", code=3)
    failed = travel.ask("sync", code=3)["peers"][0]
    assert failed["outcome"] in ("failed", "unreachable")
    assert "not trusted" in failed["error"]


def test_a_removed_peer_can_be_paired_again(fleet: Fleet) -> None:
    """Only a new pairing by a person brings a removed device back, and then it has everything."""
    desk, travel = fleet.pair()
    desk.ask("peers", "remove", "travel")
    until(lambda: travel.peer(desk).get("state") == "refused", "travel is out")
    lines = desk.append(events("desk", 10)) + travel.append(events("travel", 10))
    pair(desk, travel)
    all_hold((desk, travel), lines)
    connected((desk, travel))


def test_a_removal_outlives_a_restart(fleet: Fleet) -> None:
    """Removed is removed after both have restarted too."""
    desk, travel = fleet.pair()
    desk.ask("peers", "remove", "travel")
    assert (desk.stop(), travel.stop()) == (0, 0)
    desk.start()
    travel.start()
    assert desk.ask("peers", "list")["peers"] == []
    until(lambda: travel.peer(desk)["state"] == "refused", "travel is still out")


# --- pairing -------------------------------------------------------------------------------------------


def wrong(code: str) -> str:
    """Another code that could be one."""
    digit, first, second = code.split("-")
    return f"{digit}-{first}-{next(word for word in WORDS if word != second)}"


def outcome(process: subprocess.Popen[str]) -> tuple[Document, int]:
    """What an offer came to: its last document and its exit code."""
    assert process.stdout is not None
    return json.loads(process.stdout.readline()), process.wait(20)


def offered(process: subprocess.Popen[str]) -> Document:
    """The code that is offered."""
    assert process.stdout is not None
    offer: Document = json.loads(process.stdout.readline())
    return offer


def test_a_wrong_guess_burns_the_code(fleet: Fleet) -> None:
    """After one wrong guess the right code is worth nothing, both sides say so, and nobody is paired."""
    desk, travel = fleet.laptop("desk").start(), fleet.laptop("travel").start()
    with desk.offering() as process:
        offer = offered(process)
        at = address_of(offer)
        guess = travel.ask("pair", wrong(offer["code"]), "--at", at, "--yes", code=1)
        assert guess["error"]["code"] == "pairing-failed"
        burnt, code = outcome(process)
        assert (burnt["error"]["code"], code) == ("pairing-failed", 1)
        late = travel.ask("pair", offer["code"], "--at", at, "--yes", code=1)
        assert late["error"]["code"] in ("unreachable", "pairing-failed")
    assert desk.ask("peers")["peers"] == travel.ask("peers")["peers"] == []


def test_a_slip_of_the_finger_burns_nothing(fleet: Fleet) -> None:
    """What cannot be a code is told before anybody is called; then the right one works."""
    desk, travel = fleet.laptop("desk").start(), fleet.laptop("travel").start()
    with desk.offering() as process:
        offer = offered(process)
        at = address_of(offer)
        digit, first, _ = offer["code"].split("-")
        for slip in (f"{digit}-{first}-wombat", first, "0-0-0"):
            assert travel.ask("pair", slip, "--at", at, "--yes", code=2)["error"]["code"] == "usage"
        travel.ask("pair", offer["code"].upper().replace("-", " "), "--at", at, "--yes")
        assert outcome(process)[1] == 0
    connected((desk, travel))


def test_a_code_expires(fleet: Fleet) -> None:
    """After its time (here two seconds) the offer ends with exit code 1 and says why."""
    desk = fleet.laptop("desk").start()
    shortened = "import fleetsync.wire.pairing as p; p.Limits.__init__.__defaults__ = (2.0, 30.0, 8)"
    with desk.offering(prelude=shortened) as process:
        assert set(offered(process)) == {"code", "expires_at", "host", "port"}
        expired, code = outcome(process)
    assert (expired["error"]["code"], code) == ("pairing-failed", 1)
    assert "expired" in expired["error"]["message"]
    assert "fleetsync pair" in expired["error"]["next"]


def test_a_second_joiner_is_refused(fleet: Fleet) -> None:
    """One code pairs one device: whoever comes second, in the middle or after, is refused."""
    desk, travel, third = (fleet.laptop(name).start() for name in ("desk", "travel", "third"))
    with desk.offering() as process:
        offer = offered(process)
        at = address_of(offer)
        arguments = ("pair", offer["code"], "--at", at, "--yes")
        joiners = [
            subprocess.Popen(
                [*laptop.command(*arguments), "--json"],
                env=laptop.environ,
                stdout=subprocess.PIPE,
                stdin=subprocess.DEVNULL,
                text=True,
            )
            for laptop in (travel, third)
        ]
        answers = [json.loads(joiner.communicate(timeout=30)[0]) for joiner in joiners]
        assert sorted(joiner.returncode for joiner in joiners) == [0, 1]
        assert {code for answer in answers for code in answer} == {"paired", "error"}
        assert outcome(process)[1] == 0
    assert len(desk.ask("peers")["peers"]) == 1


def test_without_a_daemon_nobody_is_paired(fleet: Fleet) -> None:
    """Offering or taking a code needs the running daemon: exit code 4."""
    desk = fleet.laptop("desk")
    assert desk.ask("pair", code=4)["error"]["code"] == "daemon-not-running"
    taken = desk.ask("pair", "7-orbit-falcon", "--at", "127.0.0.1:9", "--yes", code=4)
    assert taken["error"]["code"] == "daemon-not-running"
    assert desk.read(MANIFEST) == b""
