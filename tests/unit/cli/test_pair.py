"""`pair`: two commands, two daemons, one code."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from fleetsync.cli.pair import shown_host
from fleetsync.devices import seal
from fleetsync.devices.identity import Identity, ensure_identity
from fleetsync.devices.roster import read_record
from fleetsync.devices.trust import Fleet
from tests.fakes.daemon import FakeDaemon, serving
from tests.unit.cli.conftest import Person

DEADLINE = 30


class Laptop:
    """A fake daemon with a real identity, and a terminal."""

    def __init__(self, state_dir: Path, stack: ExitStack) -> None:
        self.state_dir = state_dir
        self.identity: Identity = ensure_identity(state_dir, seal.new_credentials)
        self.daemon = stack.enter_context(serving(FakeDaemon(), state_dir))
        self.fleet = Fleet.load(state_dir, self.identity)
        self._stack = stack

    def types(self, *arguments: str) -> subprocess.Popen[str]:
        """A command in a process of its own; its stdout and stderr are pipes."""
        command = [sys.executable, "-m", "fleetsync", *arguments]
        typed = subprocess.Popen(
            command,
            env={**os.environ, "FLEETSYNC_STATE_DIR": str(self.state_dir)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._stack.callback(typed.communicate)
        self._stack.callback(typed.kill)
        return typed


@pytest.fixture
def laptops(tmp_path: Path) -> Iterator[tuple[Laptop, Laptop]]:
    """Two that do not know each other."""
    with ExitStack() as stack:
        yield Laptop(tmp_path / "a", stack), Laptop(tmp_path / "b", stack)


def offered(offering: subprocess.Popen[str]) -> dict[str, object]:
    """The first document: a code, and where to take it."""
    assert offering.stdout is not None
    document: dict[str, object] = json.loads(offering.stdout.readline())
    return document


def test_a_code_makes_each_daemon_adopt_the_other(laptops: tuple[Laptop, Laptop]) -> None:
    """Both print the same words, and each daemon is handed what makes a peer of the other."""
    a, b = laptops
    offering = a.types("pair", "--json")
    offer = offered(offering)
    assert set(offer) == {"code", "expires_at", "host", "port"}
    assert offer["host"] == "127.0.0.1"
    joining = b.types("pair", str(offer["code"]), "--at", f"127.0.0.1:{offer['port']}", "--yes", "--json")
    joined = json.loads(joining.communicate(timeout=DEADLINE)[0])["paired"]
    welcomed = json.loads(offering.communicate(timeout=DEADLINE)[0])["paired"]
    assert (offering.returncode, joining.returncode) == (0, 0)
    assert joined["words"] == welcomed["words"]
    assert len(joined["words"]) == 4
    assert (joined["id"], welcomed["id"]) == (a.identity.device, b.identity.device)
    for laptop, other in ((a, b), (b, a)):
        ((_, paired),) = laptop.daemon.orders
        assert paired.certificate == other.identity.certificate
        assert paired.addresses == ["127.0.0.1:8473"]
        assert {read_record(raw).statement.by for raw in paired.records} == {
            a.identity.device,
            b.identity.device,
        }
        note = laptop.fleet.pair(paired.certificate, paired.name, paired.addresses, paired.records)
        assert note.device == other.identity.device


def test_a_wrong_code_burns_the_offer_and_nobody_is_adopted(laptops: tuple[Laptop, Laptop]) -> None:
    """One guess: both commands end with exit code 1 and a document that says so."""
    a, b = laptops
    offering = a.types("pair", "--json")
    offer = offered(offering)
    wrong = "1-acorn-acorn" if offer["code"] != "1-acorn-acorn" else "1-acorn-actor"
    joining = b.types("pair", wrong, "--at", f"127.0.0.1:{offer['port']}", "--yes", "--json")
    refused = json.loads(joining.communicate(timeout=DEADLINE)[0])
    burnt = json.loads(offering.communicate(timeout=DEADLINE)[0])
    assert refused["error"]["code"] == burnt["error"]["code"] == "pairing-failed"
    assert (offering.returncode, joining.returncode) == (1, 1)
    assert a.daemon.orders == b.daemon.orders == []


def test_without_json_the_other_devices_command_is_printed(laptops: tuple[Laptop, Laptop]) -> None:
    """What a person reads is what the other person types."""
    offering = laptops[0].types("pair")
    assert offering.stdout is not None
    lines = [offering.stdout.readline() for _ in range(3)]
    assert lines[2].strip().startswith("fleetsync pair ")
    assert " --at 127.0.0.1:" in lines[2]


def test_nobody_there_is_told_apart_from_a_wrong_code(laptops: tuple[Laptop, Laptop]) -> None:
    """Unreachable: the code is still good."""
    joining = laptops[1].types("pair", "1-acorn-acorn", "--at", "127.0.0.1:1", "--yes", "--json")
    refused = json.loads(joining.communicate(timeout=DEADLINE)[0])
    assert (joining.returncode, refused["error"]["code"]) == (1, "unreachable")


@pytest.mark.parametrize(
    "line",
    [["nonsense", "--at", "h:1"], ["1-acorn-acorm", "--at", "h:1"], ["1-acorn-acorn"], ["--at", "h:1"]],
)
def test_a_slip_costs_no_attempt(line: list[str], person: Person, daemon: FakeDaemon) -> None:
    """What cannot be a code, or says not where it is offered, is a usage error at once."""
    said = person.types("pair", *line, "--json")
    assert (said.code, said.document["error"]["code"]) == (2, "usage")
    assert daemon.orders == []


def test_the_host_that_is_shown_is_one_that_others_can_call() -> None:
    """Never the address of all interfaces."""
    assert shown_host("192.0.2.7") == "192.0.2.7"
    assert shown_host("::") not in ("::", "0.0.0.0")


def test_a_system_without_ipv6_that_is_offline_offers_a_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no address to show but the loopback one; that is no reason to offer nothing."""

    def no_network(*_: object) -> None:
        raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))

    monkeypatch.setattr(socket, "socket", no_network)
    assert shown_host("::") == "127.0.0.1"
