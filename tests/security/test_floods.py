"""Floods by a paired device, taken in by a real replica: versions, deletions, future stamps, long floors.

What arrives is well formed, so it becomes a member; the question is what it costs, and what it does to
what is in force here. Costs are seconds of the processor; the bounds leave room for a busy machine.
"""

from __future__ import annotations

import os
import time
from base64 import b32encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleetsync.merge import register
from fleetsync.merge.register import Dot, Floor, Stamp, Version
from fleetsync.ports import Group, HomeState, Outcome
from fleetsync.records.names import DeviceId
from fleetsync.replica.replica import Replica
from fleetsync.replica.surroundings import Surroundings
from tests.fakes.fleet import event

ME, PEER = DeviceId("b" * 52), DeviceId("a" * 52)
NOW = 1_800_000_000_000_000
DAY = 86_400_000_000
LOG, MANIFEST = "skills/s0/events.jsonl", "skills/s0/skill.yaml"
MANY = 1500


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Ten skills with a few lines each."""
    for number in range(10):
        skill = tmp_path / f"home/skills/s{number}"
        skill.mkdir(parents=True)
        (skill / "skill.yaml").write_bytes(b"name: s%d\nversion: 1.0.0\n" % number)
        (skill / "events.jsonl").write_bytes(event(number, at=NOW / 1e6 - 999) + b"\n")
        os.utime(skill / "skill.yaml", ns=(NOW * 1000 - 10**12,) * 2)
    return tmp_path / "home"


@pytest.fixture
def replica(home: Path) -> Iterator[Replica]:
    """The replica of that home."""
    made = Replica(home, home.parent / "state", ME, Surroundings(lambda: NOW, os.urandom), 600_000_000)
    made.scan(None)
    yield made
    made.close()


def a_device(number: int) -> str:
    """One of many devices that nobody has ever seen."""
    return b32encode(number.to_bytes(32, "big")).decode().rstrip("=").lower()


def version(device: str, time_: int, value: bytes | None, floor: Floor | None = None) -> bytes:
    """A version that knows of no other; a deletion carries a manifest, as it must for lines to outlive it."""
    stamp = Stamp(time_, time_, device, register.digest_of(value))
    before = b"name: s0\nversion: 1.0.0\n" if value is None else None
    return register.encode(Version(Dot(device, time_), {}, stamp, value, floor, before))


def test_thousands_of_rival_versions(replica: Replica, home: Path) -> None:
    """Each in the name of another device: all are members, the latest counts, and looking again is cheap."""
    bodies = [version(a_device(n), NOW - 10**6 + n, b"name: s0\nn: %d\n" % n) for n in range(MANY)]
    began = time.process_time()
    verdicts = replica.apply([Group(MANIFEST, bodies)], PEER)
    assert {verdict.outcome for verdict in verdicts} == {Outcome.NEW}
    assert time.process_time() - began < 60
    assert (home / "skills/s0/skill.yaml").read_bytes() == b"name: s0\nn: %d\n" % (MANY - 1)
    began = time.process_time()
    replica.scan(None)
    replica.settle()
    replica.condition()
    assert time.process_time() - began < 20


def test_a_flood_from_the_future(replica: Replica, home: Path) -> None:
    """Stamps of next year are held, all of them; what stands here is in force; an edit of today counts."""
    before = (home / "skills/s0/skill.yaml").read_bytes()
    bodies = [version(a_device(n), NOW + 365 * DAY + n, b"name: s0\nf: %d\n" % n) for n in range(MANY)]
    began = time.process_time()
    verdicts = replica.apply([Group(MANIFEST, bodies)], PEER)
    assert all(verdict.reason for verdict in verdicts)
    condition = replica.condition()
    assert time.process_time() - began < 60
    assert condition.held == MANY
    assert (home / "skills/s0/skill.yaml").read_bytes() == before
    (home / "skills/s0/skill.yaml").write_bytes(b"name: s0\nmine: 1\n")
    replica.scan(None)
    assert (home / "skills/s0/skill.yaml").read_bytes() == b"name: s0\nmine: 1\n"


def test_a_flood_of_deletions(replica: Replica, home: Path) -> None:
    """Every skill deleted by a peer at once: nothing is taken away before a person has said so."""
    groups = [
        Group(f"skills/s{n}/skill.yaml", [version(a_device(n), NOW - 10**6, None, Floor(NOW, []))])
        for n in range(10)
    ]
    replica.apply(groups, PEER)
    replica.settle()
    replica.scan(None)
    assert replica.condition().state is HomeState.GUARDED
    assert len(list((home / "skills").glob("*/skill.yaml"))) == 10


def test_a_deletion_that_lists_all_it_can(replica: Replica, home: Path) -> None:
    """Thirty thousand ids in one floor, and thousands of lines to be held against it: they outlive it."""
    lines = [event(n, at=NOW / 1e6 - 500) for n in range(3000)]
    replica.apply([Group(LOG, lines)], PEER)
    listed = [number.to_bytes(32, "big") for number in range(30_000)]
    began = time.process_time()
    verdicts = replica.apply([Group(MANIFEST, [version(a_device(1), NOW - 5, None, Floor(5, listed))])], PEER)
    assert verdicts[0].outcome is Outcome.NEW
    replica.scan(None)
    replica.settle()
    assert time.process_time() - began < 20
    assert (home / LOG).read_bytes().count(b"\n") >= 3000


def test_numbers_that_no_clock_has_reached(replica: Replica, home: Path) -> None:
    """A peer that claims to know versions of ours from the year 2255 does not use up our numbers."""
    replica.learn_dot(register.MAX_NUMBER)
    replica.learn_dot(2**63)
    (home / "skills/s1/skill.yaml").write_bytes(b"name: s1\nedited: 1\n")
    replica.scan(None)
    assert replica.highest_dot(ME) <= NOW + 600_000_000
