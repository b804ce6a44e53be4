"""DESIGN §12 row by row, on real daemons: what is wrong is left alone, said, and never in anybody's way."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.system.fleet import (
    LOG,
    MANIFEST,
    STATS,
    Document,
    Fleet,
    Laptop,
    all_counted,
    all_equal,
    all_hold,
    event,
    events,
    manifest,
    pair,
    until,
)


def finding(laptop: Laptop, name: str) -> Document:
    """What `doctor` says under one name."""
    done = laptop.run("doctor", "--json")
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert done.returncode == (0 if all(check["ok"] for check in checks.values()) else 1)
    found: Document = checks[name]
    return found


# --- lines ---------------------------------------------------------------------------------------------


def test_malformed_glued_and_torn_lines(fleet: Fleet) -> None:
    """They stay where they are, what is good on them is read, they are counted, and doctor names them."""
    desk, travel = fleet.pair()
    good = events("desk", 6)
    raw = b"%s\n{not json}\n%s%s\n\n%s\n[1]\n%s\n" % tuple(good[:5])
    torn = good[5][:40]
    (desk.home / LOG).write_bytes(raw + torn)
    all_hold((travel,), good[:5])
    assert desk.read(LOG) == raw + torn
    until(lambda: desk.status()["malformed"] == 3, "two lines and a torn end are counted")
    check = finding(desk, "logs")
    assert not check["ok"]
    for line in (2, 6, 8):
        assert f"{LOG}:{line} " in check["detail"]
    with (desk.home / LOG).open("ab") as log:
        log.write(good[5][40:] + b"\n")
    all_hold((travel,), good)
    all_counted(travel, good)
    assert desk.status()["malformed"] == 2


def test_an_unknown_kind_is_carried_and_parked(fleet: Fleet) -> None:
    """A line that mur here may not know is passed on unread and kept out of the log until mur writes one."""
    desk, travel = fleet.pair()
    far = fleet.laptop("far").start()
    pair(travel, far)
    strange = [
        b'{"kind":"foretold","ts":"2025-01-01T00:00:0%d.5Z","device_id":"desk","by":{"x":[1.10,2e5]}}'
        % number
        for number in range(2)
    ]
    plain = desk.append(events("desk", 1))
    desk.append(strange)
    until(lambda: travel.status()["parked"] == far.status()["parked"] == 2, "both hold them back")
    all_hold((travel, far), plain)
    told = [document for document in travel.documents("log", "deploy") if document["kind"] == "foretold"]
    assert [document["state"] for document in told] == ["parked", "parked"]
    assert [document["line"] for document in told] == [json.loads(line) for line in strange]
    assert strange[0].decode() in travel.run("log", "deploy", "--json").stdout  # not re-made: 1.10 is 1.10
    own = far.append([b'{"kind":"foretold","ts":"2025-01-01T00:00:09Z","device_id":"far"}'])
    all_hold((far,), plain + strange + own)
    assert far.status()["parked"] == 0
    all_equal(desk, travel, far)


def test_unknown_fields_and_spellings_survive(fleet: Fleet) -> None:
    """A line is carried byte for byte: order, spaces, escapes, nanoseconds, fields of a later mur."""
    desk, travel = fleet.pair()
    strange = (
        b'{"ts":"2025-01-01T00:00:00.123456789+02:00","kind":"execution","device_id":"d\\u00e9sk",'
        b'"outcome":"success","later":{"deep":[null,-0.0,1E+2]}}'
    )
    lines = [
        strange,
        b'{ "kind" : "retrieval" , "ts" : "2025-01-01T00:00:01Z" , "device_id" : "desk" }',
    ]
    desk.append(lines)
    all_hold((travel,), lines)


def test_a_line_over_one_mebibyte(fleet: Fleet) -> None:
    """It is no item: it stays, it is told, and its neighbours travel."""
    desk, travel = fleet.pair()
    good = events("desk", 2)
    huge = event("huge", 1)[:-1] + b',"output":"' + b"x" * (1 << 20) + b'"}'
    desk.append([good[0], huge, good[1]])
    all_hold((travel,), good)
    until(lambda: desk.status()["malformed"] == 1, "the huge line is counted")
    check = finding(desk, "logs")
    assert not check["ok"]
    assert f"{LOG}:2 " in check["detail"]
    all_equal(desk, travel)


def test_a_manifest_over_one_mebibyte(fleet: Fleet) -> None:
    """It is refused at its author and said; the smaller one that follows travels."""
    desk, travel = fleet.pair()
    first = travel.read(MANIFEST)
    desk.write(MANIFEST, manifest("x" * (1 << 20)))
    until(lambda: desk.status()["refused"] == 1, "it is counted as refused")
    assert travel.read(MANIFEST) == first
    small = desk.write(MANIFEST, manifest("small again"))
    until(lambda: travel.read(MANIFEST) == small, "the small one has arrived")
    assert desk.status()["refused"] == 0


# --- names ---------------------------------------------------------------------------------------------


def test_what_has_no_legal_name_is_not_touched(fleet: Fleet) -> None:
    """Illegal names, symlinks out of home and denied files are not read, sent or changed."""
    desk, travel = fleet.pair()
    outside = desk.root / "outside"
    outside.mkdir()
    (outside / "events.jsonl").write_bytes(event("outside", 1) + b"\n")
    (outside / "skill.yaml").write_bytes(manifest("outside"))
    (desk.home / "skills/linked").symlink_to(outside)
    desk.write("skills/half/skill.yaml", manifest("half"))
    (desk.home / "skills/half/events.jsonl").symlink_to(outside / "events.jsonl")
    for name in ("Bad Name", "-dash", "x" * 65, "dot.dot"):
        desk.append(events("bad", 2), f"skills/{name}/events.jsonl")
        desk.write(f"skills/{name}/skill.yaml", manifest("bad"))
    for denied in (
        "keys/private.key",
        "auth.json",
        "secrets/token",
        "skills/deploy/identity.key",
        "index/x.db",
    ):
        desk.write(denied, b"secret")
    lines = desk.append(events("desk", 3))
    all_hold((travel,), lines)
    until(lambda: travel.read("skills/half/skill.yaml"), "the legal half has arrived")
    desk.ask("sync")
    found = {path.relative_to(travel.home).as_posix() for path in travel.home.rglob("*") if path.is_file()}
    assert {path for path in found if not path.startswith(".fleetsync/")} == {
        LOG, MANIFEST, STATS, "skills/deploy/stats.lock", "skills/half/skill.yaml"
    }  # fmt: skip
    assert (outside / "events.jsonl").read_bytes() == event("outside", 1) + b"\n"
    back = travel.append([event("back", 1)], "skills/half/events.jsonl")
    desk.ask("sync", code=3)  # refused: it cannot be written through a symlink
    assert (outside / "events.jsonl").read_bytes() == event("outside", 1) + b"\n"
    assert travel.lines("skills/half/events.jsonl") == back


# --- the disk ------------------------------------------------------------------------------------------


class Disk:
    """A small filesystem of its own, mounted as a laptop's home."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self._run("-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place))

    def remount(self, options: str) -> None:
        """Change its size, or make it read-only."""
        self._run("-o", f"remount,{options}", str(self.place))

    def _run(self, *arguments: str) -> None:
        subprocess.run(["mount", *arguments], check=True, capture_output=True)


def cannot_mount() -> str | None:
    """Why no filesystem can be mounted here; None if it can."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        return "only root mounts filesystems"
    command = ["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"]
    unshared = subprocess.run(command, capture_output=True, check=False)
    return None if unshared.returncode == 0 else "this sandbox mounts nothing"


needs_mounts = pytest.mark.skipif(cannot_mount() is not None, reason=str(cannot_mount()))


@pytest.fixture
def disk(fleet: Fleet) -> Iterator[Callable[[Laptop], Disk]]:
    """Give a laptop without files a home on a disk of 256 KB."""
    made: list[Disk] = []

    def mount(laptop: Laptop) -> Disk:
        made.append(Disk(laptop.home))
        return made[-1]

    yield mount
    fleet.close()  # nothing may be open on what is unmounted
    for each in made:
        subprocess.run(["umount", "-l", str(each.place)], check=True)


@needs_mounts
def test_a_full_disk(fleet: Fleet, disk: Callable[[Laptop], Disk]) -> None:
    """Nothing is half applied, the path and the reason are told, and with room again it goes on by itself."""
    desk, travel = fleet.laptop("desk").skill(), fleet.laptop("travel")
    small = disk(travel)
    lines = desk.pour(events("desk", 4000))
    pair(desk.start(), travel.start())
    until(lambda: "No space left" in str(travel.peer(desk).get("error")), "the reason is told")
    assert "skills/deploy/" in travel.peer(desk)["error"]
    travel.ask("status", code=3)
    whole = set(lines)
    assert set(travel.lines()) < whole
    time.sleep(1)  # some more tries: each must leave the file as mur can read it
    assert set(travel.lines()) < whole
    small.remount("size=20m")
    all_hold((travel,), lines)
    all_counted(travel, lines)
    all_equal(desk, travel)
    until(lambda: travel.peer(desk)["error"] is None, "the error is gone")


@needs_mounts
def test_a_read_only_home(fleet: Fleet, disk: Callable[[Laptop], Disk]) -> None:
    """A home that cannot be written is told with path and reason; writable again, it catches up."""
    desk, travel = fleet.laptop("desk").skill(), fleet.laptop("travel", config="sync.sweep = 1.0\n")
    mounted = disk(travel)
    travel.skill("own")
    mounted.remount("ro")
    lines = desk.append(events("desk", 10))
    pair(desk.start(), travel.start())
    until(lambda: desk.read("skills/own/skill.yaml"), "what can be read is given")
    until(lambda: "Read-only" in desk.said() + travel.said(), "the exchange fails with the reason")
    until(lambda: any(MANIFEST in a["detail"] for a in travel.status()["alerts"]), "it is still told")
    assert not finding(travel, "home")["ok"]
    mounted.remount("rw")
    all_hold((travel,), lines)
    all_equal(desk, travel)
    assert travel.status()["alerts"] == []


def test_a_write_that_stops_half_way(fleet: Fleet) -> None:
    """The system takes part of a batch and no more: what is left of it is no line, and comes whole later."""
    desk, travel = fleet.pair()
    before = travel.append([line[:-1] + b',"output":"%s"}' % (b"x" * 900_000) for line in events("big", 4)])
    all_hold((desk, travel), before)
    assert travel.process is not None
    room = len(travel.read(LOG)) + 1000
    limits = resource.prlimit(travel.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(travel.process.pid, resource.RLIMIT_FSIZE, (room, limits[1]))
    lines = desk.append(events("desk", 40))
    until(lambda: "too large" in str(travel.peer(desk)["error"]).lower(), "the reason is told")
    assert all(json.loads(line) for line in travel.lines())
    assert not set(travel.lines()) & set(lines)
    own = travel.append(events("travel", 5))
    resource.prlimit(travel.process.pid, resource.RLIMIT_FSIZE, limits)
    all_hold((travel, desk), before + lines + own)
    all_counted(travel, lines)


# --- counters ------------------------------------------------------------------------------------------


def test_stats_that_do_not_parse(fleet: Fleet) -> None:
    """They are left alone and reported; what came meanwhile is counted once they are mended."""
    desk, travel = fleet.pair()
    first = desk.append(events("desk", 4))
    all_counted(travel, first)
    stats = travel.read(STATS)
    travel.write(STATS, b'{"usage_count": ')
    more = desk.append(events("desk", 6, start=4))
    all_hold((travel,), first + more)
    until(lambda: travel.ask("stats", "deploy")["pending"] == 6, "six events wait")
    assert travel.read(STATS) == b'{"usage_count": '
    assert [alert["code"] for alert in travel.status()["alerts"]] == ["stats-unreadable"]
    assert STATS in finding(travel, "stats")["detail"]
    travel.write(STATS, stats)
    all_counted(travel, first + more)
    assert travel.ask("stats", "deploy")["pending"] == 0
    until(lambda: travel.status()["alerts"] == [], "the alert is gone")


def test_a_skill_without_a_manifest(fleet: Fleet) -> None:
    """Its lines are known everywhere and written nowhere else until there is a manifest."""
    desk, travel = fleet.pair()
    log = "skills/bare/events.jsonl"
    lines = desk.append(events("desk", 8), log)
    until(lambda: travel.status()["parked"] == 8, "they are parked")
    assert not (travel.home / "skills/bare").exists()
    desk.write("skills/bare/skill.yaml", manifest("at last", name="bare"))
    all_hold((travel,), lines, log)
    all_counted(travel, lines, "skills/bare/stats.json")
    assert travel.status()["parked"] == 0


# --- clocks --------------------------------------------------------------------------------------------


def test_an_edit_from_the_future_is_an_edit_of_now(fleet: Fleet) -> None:
    """A file whose time lies a day ahead travels with today's stamp, so that a later edit wins."""
    desk, travel = fleet.pair()
    assert desk.stop() == 0
    bold = desk.write(MANIFEST, manifest("from tomorrow"))
    ahead = time.time() + 86_400
    os.utime(desk.home / MANIFEST, (ahead, ahead))
    desk.start()
    until(lambda: travel.read(MANIFEST) == bold, "it has arrived")
    assert desk.status()["held"] == travel.status()["held"] == 0
    newer = travel.write(MANIFEST, manifest("of today"))
    until(lambda: desk.read(MANIFEST) == newer, "what is written later wins")


def test_updated_at_from_the_future_does_not_win(fleet: Fleet) -> None:
    """A field that claims tomorrow is not believed: the later edit of today replaces it."""
    desk, travel = fleet.pair()
    bold = desk.write(MANIFEST, manifest("bold", updated_at="2099-01-01T00:00:00Z"))
    until(lambda: travel.read(MANIFEST) == bold, "it travels, as any edit does")
    modest = travel.write(MANIFEST, manifest("modest"))
    until(lambda: desk.read(MANIFEST) == modest, "and is replaced as any other")


def test_lines_from_the_future_are_accepted(fleet: Fleet) -> None:
    """A log line is a fact, whatever its clock said."""
    desk, travel = fleet.pair()
    lines = desk.append([event("desk", 1).replace(b"2025-", b"2099-"), event("desk", 2)])
    all_hold((travel,), lines)
    all_counted(travel, lines)
