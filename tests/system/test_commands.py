"""The documents and exit codes of docs/cli.md, asked of real daemons through the installed command."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.system.fleet import (
    LOG,
    MANIFEST,
    STATS,
    Document,
    Fleet,
    Laptop,
    a_fleet,
    all_counted,
    all_equal,
    all_hold,
    connected,
    events,
    fold,
    manifest,
    until,
)

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
PEER = {
    "id", "name", "addresses", "state", "direction", "converged", "last_converged_at", "items_local",
    "items_remote", "fingerprint_local", "fingerprint_remote", "lag_seconds", "clock_offset_seconds",
    "stale", "error", "error_code", "error_next",
}  # fmt: skip
STATUS = {"device", "home", "peers", "parked", "held", "refused", "malformed", "collisions", "alerts"}


class Settled(NamedTuple):
    """Two laptops that are equal, and what either wrote."""

    desk: Laptop
    travel: Laptop
    mine: list[bytes]
    theirs: list[bytes]


@pytest.fixture(scope="module")
def settled() -> Iterator[Settled]:
    """For tests that look and change nothing."""
    with a_fleet() as fleet:
        desk, travel = fleet.pair()
        mine, theirs = desk.append(events("desk", 12)), travel.append(events("travel", 7))
        all_hold((desk, travel), mine + theirs)
        all_counted(desk, theirs)
        all_equal(desk, travel)
        yield Settled(desk, travel, mine, theirs)


# --- looking -------------------------------------------------------------------------------------------


def test_status(settled: Settled) -> None:
    """Every key of the contract, with values that are what they say."""
    document = settled.desk.ask("status")
    assert set(document) >= STATUS
    assert set(document["device"]) >= {"id", "name", "version", "listen"}
    assert document["device"]["id"] == settled.desk.device
    assert document["device"]["listen"] == settled.desk.listen
    home = document["home"]
    assert (home["path"], home["state"], home["items"]) == (str(settled.desk.home), "ok", 20)
    assert home["fingerprint"] == settled.travel.ask("status")["home"]["fingerprint"]
    assert [document[name] for name in ("parked", "held", "refused", "malformed", "collisions")] == [0] * 5
    assert document["alerts"] == []
    check_peer(document["peers"][0], settled.travel)


def check_peer(peer: Document, other: Laptop) -> None:
    """A peer document of a connected, converged peer."""
    assert set(peer) >= PEER
    assert (peer["id"], peer["name"], peer["state"]) == (other.device, other.name, "connected")
    assert (peer["direction"], peer["converged"], peer["stale"], peer["error"]) == ("both", True, False, None)
    assert peer["addresses"] == [other.listen]
    assert TIME.fullmatch(peer["last_converged_at"])
    assert abs(peer["clock_offset_seconds"]) < 1
    assert peer["lag_seconds"] == 0
    assert peer["items_local"] == 20


def test_peers_list(settled: Settled) -> None:
    """`peers` is `peers list`."""
    for arguments in (["peers"], ["peers", "list"]):
        [peer] = settled.desk.ask(*arguments)["peers"]
        check_peer(peer, settled.travel)


def test_log(settled: Settled) -> None:
    """All lines of both in time order, each with where it came from; filters by age, device and number."""
    documents = settled.desk.documents("log", "deploy")
    assert len(documents) == 19
    assert all(set(document) >= {"ts", "device", "kind", "line", "state"} for document in documents)
    times = [document["ts"].rstrip("Z") for document in documents]
    assert times == sorted(times)
    origins = {document["line"]["device_id"]: document["device"] for document in documents}
    assert origins == {"desk": settled.desk.device, "travel": settled.travel.device}
    assert {document["state"] for document in documents} == {"applied"}
    assert len(settled.desk.documents("log", "deploy", "--device", "travel")) == 7
    assert settled.desk.documents("log", "deploy", "--tail", "3") == documents[-3:]
    assert settled.desk.documents("log", "deploy", "--since", "1h") == []
    assert settled.desk.documents("log", "deploy", "--since", "2024-12-31") == documents
    assert settled.desk.ask("log", "none", code=1)["error"]["code"] == "not-found"


def test_stats(settled: Settled) -> None:
    """What is stored counts the peer's lines, what is folded counts all."""
    document = settled.desk.ask("stats", "deploy")
    assert set(document) == {"skill", "stored", "folded", "pending"}
    assert set(document["folded"]) == {
        "usage_count", "success_count", "failure_count", "last_used_at", "last_success_at",
        "first_successful_use_at",
    }  # fmt: skip
    assert {key: document["folded"][key] for key in fold([])} == fold(settled.mine + settled.theirs)
    assert {key: document["stored"][key] for key in fold([])} == fold(settled.theirs)
    assert (document["skill"], document["pending"]) == ("deploy", 0)


def test_history_is_empty_and_says_so(settled: Settled) -> None:
    """Nothing was ever replaced here."""
    assert settled.desk.ask("history") == {"entries": []}


def test_doctor(settled: Settled) -> None:
    """All checks pass on two healthy laptops; each has its four keys."""
    document = settled.desk.ask("doctor")
    assert all(set(check) == {"name", "ok", "detail", "next"} for check in document["checks"])
    assert {"config", "daemon", "home", "logs", "stats", "peers"} <= {c["name"] for c in document["checks"]}


def test_service_status(settled: Settled) -> None:
    """What is installed, without installing anything."""
    document = settled.desk.ask("service", "status")
    assert set(document) >= {"manager", "unit", "installed", "enabled", "active"}
    assert not document["installed"]


def test_sync_of_equals(settled: Settled) -> None:
    """One round trip proves it; the document has every key."""
    for arguments in (["sync"], ["sync", "travel"], ["sync", settled.travel.device[:8], "--wait", "5"]):
        [entry] = settled.desk.ask(*arguments)["peers"]
        assert set(entry) >= {
            "id", "outcome", "received", "sent", "bytes_in", "bytes_out", "round_trips", "seconds", "error"
        }  # fmt: skip
        assert (entry["outcome"], entry["received"], entry["sent"]) == ("converged", 0, 0)
        assert (entry["round_trips"], entry["error"]) == (1, None)
        assert 0 < entry["bytes_in"] < 4000
    assert settled.desk.ask("sync", "nobody", code=1)["error"]["code"] == "not-found"


def test_errors_are_documents(settled: Settled) -> None:
    """`code`, `message` and `next` on stdout with --json; text on stderr and nothing on stdout without."""
    for arguments, code in (
        (["peers", "pause", "nobody"], 1),
        (["stats", "Not A Skill"], 2),
        (["restore", "skills/deploy/skill.yaml"], 1),
        (["nonsense"], 2),
        (["pair", "not-a-code", "--at", "127.0.0.1:9"], 2),
    ):
        error = settled.desk.ask(*arguments, code=code)["error"]
        assert set(error) == {"code", "message", "next"}
        plain = settled.desk.run(*arguments)
        assert (plain.returncode, plain.stdout) == (code, "")
        assert error["message"].splitlines()[0][:40] in plain.stderr


# --- changing ------------------------------------------------------------------------------------------


def test_peers_pause_resume_rename_remove(fleet: Fleet) -> None:
    """Each answers with the peer as it is now; names and beginnings of ids are understood."""
    desk, travel = fleet.pair()
    assert desk.ask("peers", "rename", "travel", "laptop")["peer"]["name"] == "laptop"
    assert desk.ask("peers", "pause", "laptop")["peer"]["state"] == "paused"
    until(lambda: "paused" in (travel.peer(desk)["error"] or ""), "the other side is told")
    assert desk.ask("peers", "resume", travel.device[:6])["peer"]["id"] == travel.device
    connected((desk, travel))
    assert desk.ask("peers", "remove", "laptop")["peer"]["name"] == "laptop"
    assert desk.ask("peers") == {"peers": []}
    assert desk.ask("status")["peers"] == []


def test_sync_dry_run_moves_nothing(fleet: Fleet) -> None:
    """It says what would move, both ways, by path; nothing does, until it is asked for."""
    desk, travel = fleet.pair()
    assert travel.stop() == 0
    desk.append(events("desk", 6))
    travel.append(events("travel", 4))
    desk.write("skills/new/skill.yaml", manifest("new", name="new"))
    until(lambda: desk.status()["home"]["items"] == 8, "desk has seen it all")
    assert desk.ask("sync", code=3)["peers"][0]["outcome"] == "unreachable"
    assert desk.ask("sync", "--dry-run", code=3)["peers"][0]["error"]
    desk.ask("peers", "pause", "travel")
    travel.start()
    until(lambda: "paused" in (travel.peer(desk)["error"] or ""), "travel is told to wait")
    [plan] = travel.ask("sync", "--dry-run", code=3)["peers"]
    assert "paused" in plan["error"]
    [plan] = desk.ask("sync", "travel", "--dry-run")["peers"]
    assert plan["would_send"] == [
        {"path": LOG, "items": 6},
        {"path": "skills/new/skill.yaml", "items": 1},
    ]
    assert plan["would_receive"] == [{"path": LOG, "items": 4}]
    assert (len(desk.lines()), len(travel.lines())) == (6, 4)
    desk.ask("peers", "resume", "travel")
    [entry] = desk.ask("sync", "--wait", "20")["peers"]
    assert entry["outcome"] == "converged"
    all_equal(desk, travel)


def test_record_is_sent_on(fleet: Fleet) -> None:
    """One event as mur writes it, printed as it was appended, on the other laptop at once and counted."""
    desk, travel = fleet.pair()
    line = desk.ask(
        "record", "deploy", "--outcome", "failure", "--exit-code", "7", "--duration-ms", "12",
        "--step", "build", "--stderr-file", "-", input="ECONNREFUSED: connection refused",
    )  # fmt: skip
    assert (line["kind"], line["device_id"], line["env_class"]) == ("execution", "cli", "env")
    assert (line["exit_code"], line["duration_ms"], line["step"]) == (7, 12, "build")
    until(lambda: [json.loads(each) for each in travel.lines()] == [line], "it is on travel")
    until(lambda: travel.counted()["failure_count"] == 1, "and counted there")
    assert not desk.read(STATS)
    told = desk.ask("record", "deploy", "--outcome", "success", "--device-id", "me", "--trigger", "agent")
    assert (told["device_id"], told["trigger"]) == ("me", "agent")
    assert desk.ask("record", "none", "--outcome", "success", code=1)["error"]["code"] == "not-found"
    assert desk.ask("record", "deploy", "--outcome", "maybe", code=2)["error"]["code"] == "usage"


@pytest.mark.parametrize("running", [True, False])
def test_stats_rebuild(fleet: Fleet, running: bool) -> None:
    """With and without the daemon the counters become the fold of the log, and go on from there."""
    desk, travel = fleet.pair()
    lines = desk.append(events("desk", 9)) + travel.append(events("travel", 4))
    all_hold((desk, travel), lines)
    all_counted(travel, lines[:9])
    if not running:
        assert travel.stop() == 0
    rebuilt = travel.ask("stats", "deploy", "--rebuild")
    assert {key: rebuilt["stored"][key] for key in fold([])} == fold(lines)
    if not running:
        travel.start()
    more = desk.append(events("desk", 3, start=9))
    until(lambda: travel.counted() == fold(lines + more), "what comes later is counted on top")


def test_history_restore_and_keep_local_answer_with_an_entry(fleet: Fleet) -> None:
    """The documents of the three; history works without the daemon, deciding does not."""
    desk, travel = fleet.pair()
    second = desk.write(MANIFEST, manifest("second"))
    until(lambda: travel.read(MANIFEST) == second, "it has arrived")
    keys = {"path", "version", "kind", "at", "stamp", "from_device", "size", "sha256"}
    [entry] = travel.ask("history", "skills/deploy")["entries"]
    assert set(entry) == keys
    assert TIME.fullmatch(entry["at"])
    assert set(travel.ask("restore", "skills/deploy")) == keys
    assert set(travel.ask("keep-local", str(travel.home / MANIFEST))) == keys
    assert travel.stop() == 0
    assert travel.ask("history")["entries"]
    assert travel.ask("restore", MANIFEST, code=4)["error"]["code"] == "daemon-not-running"


# --- the daemon itself ---------------------------------------------------------------------------------


def test_without_a_daemon_it_is_said_within_a_second(fleet: Fleet) -> None:
    """Exit code 4, whether nothing was ever there or a crash has left its socket."""
    desk = fleet.laptop("desk")
    commands = (["status"], ["peers"], ["sync"], ["peers", "remove", "x"], ["keep-local", MANIFEST])
    for arguments in commands:
        assert desk.ask(*arguments, code=4)["error"]["code"] == "daemon-not-running"
    desk.start().kill()
    assert (desk.state / "control.sock").exists()
    began = time.monotonic()
    desk.ask("status", code=4)
    assert time.monotonic() - began < 1.5  # the interpreter's own start included


def test_it_starts_and_ends_as_promised(fleet: Fleet) -> None:
    """One ready line with device, address, home and number; SIGTERM ends it within two seconds with 0."""
    desk, travel = fleet.pair()
    desk.append(events("desk", 2000))
    for laptop in (desk, travel):
        began = time.monotonic()
        assert laptop.stop() == 0
        assert time.monotonic() - began < 2
    assert not (desk.state / "control.sock").exists()
    until(lambda: desk.start(), "it starts again")
    ready = [line for line in desk.said().splitlines() if line.startswith("fleetsync ready:")][-1]
    expected = f"fleetsync ready: device={desk.device} listen={desk.listen} home={desk.home} items=2001"
    assert ready == expected


def test_logs_are_one_line_an_event(fleet: Fleet) -> None:
    """As text or as JSON, and at the level that the settings say."""
    desk = fleet.laptop("desk", config='[log]\nformat = "json"\nlevel = "info"\n').start()
    assert desk.stop() == 0
    lines = [line for line in desk.said().splitlines() if not line.startswith("fleetsync ready:")]
    assert [json.loads(line)["message"] for line in lines] == ["stopped"]
    assert {"time", "level", "logger", "message"} <= set(json.loads(lines[0]))


def test_status_is_3_while_something_waits(fleet: Fleet) -> None:
    """With lines that no peer has, the exit code says so; without peers there is nothing to say."""
    desk, travel = fleet.pair()
    desk.ask("status")
    assert travel.stop() == 0
    desk.append(events("desk", 1))
    until(lambda: not desk.peer(travel)["converged"], "the line waits")
    assert desk.ask("status", code=3)["peers"][0]["lag_seconds"] > 0
    desk.ask("peers", "remove", "travel")
    desk.ask("status")
