"""Laptops with homes on a real disk, joined without a network: they meet until nothing moves any more.

The replica alone; the memory twin with an engine is `fleet.py`. Time is theirs to turn.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from fleetsync.ports import END, START, Group, Outcome
from fleetsync.records import ed25519
from fleetsync.records.names import DeviceId
from fleetsync.records.signatures import Check
from fleetsync.replica.replica import Replica
from fleetsync.replica.surroundings import Surroundings
from tests.faults.scenarios import LOG, MANIFEST, NOW, SKEW

SKILL = "skills/deploy"
SECOND = 1_000_000


class Laptop:
    """A device with a home; all laptops share one clock unless told otherwise."""

    def __init__(self, folder: Path, letter: str, check: Check = ed25519.check) -> None:
        self.check = check
        self.device = DeviceId(letter * 52)
        self.folder = folder / letter
        (self.folder / "home").mkdir(parents=True)
        self.now = NOW
        self.secrets = {"env:KEY"}
        self.replica = self._open()

    def _open(self) -> Replica:
        around = Surroundings(lambda: self.now, os.urandom, self.check, lambda name: name in self.secrets)
        replica = Replica(self.folder / "home", self.folder / "state", self.device, around, SKEW)
        replica.scan(None)
        return replica

    def reopen(self) -> None:
        self.replica.close()
        self.replica = self._open()

    def path(self, name: str) -> Path:
        return self.folder / "home" / name

    def make(self, skill: str, *lines: bytes) -> None:
        directory = self.path(f"skills/{skill}")
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "skill.yaml").write_bytes(MANIFEST)
        (directory / "events.jsonl").write_bytes(b"".join(each + b"\n" for each in lines))
        self.replica.scan(None)

    def delete(self, skill: str) -> None:
        shutil.rmtree(self.path(f"skills/{skill}"))
        self.pass_time(0)

    def pass_time(self, seconds: float) -> None:
        self.replica.scan(None)
        self.now += int(max(seconds, 6) * SECOND)
        self.replica.scan(None)
        self.replica.settle()

    def groups(self) -> list[Group]:
        return [Group(i.path, [i.body]) for page in self.replica.between(START, END) for i in page]

    def ids(self) -> set[bytes]:
        return {i.key.id for page in self.replica.between(START, END) for i in page}

    def lines(self) -> list[bytes]:
        path = self.path(LOG)
        return [each for each in path.read_bytes().split(b"\n") if each] if path.exists() else []


def meet(*laptops: Laptop) -> None:
    """Exchange until nothing moves any more; every laptop then has the same set."""
    latest = max(laptop.now for laptop in laptops)
    for laptop in laptops:
        laptop.now = latest
    for _ in range(6):
        for here in laptops:
            for there in laptops:
                if here is not there:
                    offered = there.groups()
                    verdicts = here.replica.apply(offered, there.device)
                    assert all(v.outcome is not Outcome.REFUSED for v in verdicts)
                    answers = [
                        Group(group.path, [verdict.covering])
                        for group, verdict in zip(offered, verdicts, strict=True)
                        if verdict.covering is not None
                    ]
                    there.replica.apply(answers, here.device)
    assert all(laptop.ids() == laptops[0].ids() for laptop in laptops)
    fingerprints = {laptop.replica.head().fingerprint for laptop in laptops}
    assert len(fingerprints) == 1
