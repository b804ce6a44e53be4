"""Deletion against edit against append, with the daemon up or down: every case, judged by one oracle.

Two or three devices know a skill. Apart from each other each does one thing, one minute after the
other; then they meet, in one order or the other. What must come out is computed from the rules of
docs/decisions.md alone (`Outcome`), and nothing that anybody wrote may be lost on the way.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

import pytest

from fleetsync.merge import register
from tests.fakes.laptops import SECOND, SKILL, Laptop, meet
from tests.faults.scenarios import LOCAL, LOG, MANIFEST, NOW, YAML

MINUTE = 60 * SECOND
SEEN_GONE = 6 * SECOND
"""A deletion is made when the directory has been seen missing so long."""
BASE_TIME = int(datetime(2026, 5, 30, tzinfo=UTC).timestamp() * 1e6)
"""`updated_at` of the manifest that all of them know."""


@dataclass(frozen=True)
class Deed:
    """What one device does at `minute`, and whether its daemon watches."""

    what: str
    up: bool
    minute: int

    @property
    def time(self) -> int:
        """µs since 1970."""
        return NOW + self.minute * MINUTE

    @property
    def text(self) -> str:
        """The time as mur writes it."""
        return datetime.fromtimestamp(self.time / 1e6, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    @property
    def manifest(self) -> bytes:
        """What an edit leaves."""
        return f"name: deploy\nversion: 1.0.{self.minute}\nupdated_at: {self.text}\n".encode()

    @property
    def line(self) -> bytes:
        """What an append adds."""
        fields = f'"ts":"{self.text}","device_id":"{self.minute}","outcome":"success"'
        return f'{{"kind":"execution",{fields}}}'.encode()

    @property
    def stamp(self) -> tuple[int, int]:
        """Effective and hybrid time of the version that it makes; a deletion that nobody watched is only
        just later than what it deleted.
        """
        if self.what == "edit":
            return self.time, self.time
        return (self.time + SEEN_GONE,) * 2 if self.up else (BASE_TIME, NOW + 1)


class Outcome:
    """What must stand in every home once all have met."""

    def __init__(self, deeds: Sequence[Deed]) -> None:
        added = [deed for deed in deeds if deed.what == "append"]
        versions = [deed for deed in deeds if deed.what != "append"]
        winner = max(versions, key=lambda deed: deed.stamp)
        self.manifest: bytes | None = winner.manifest
        self.lines = {*LOCAL, *(deed.line for deed in added)}
        self.covered: set[bytes] = set()
        if winner.what == "delete":
            outlive = {deed.line for deed in added if deed.time > winner.stamp[1]}
            self.lines, self.covered = outlive, self.lines - outlive
            self.manifest = MANIFEST if self.lines else None

    def fits(self, deed: Deed, lines: Sequence[bytes]) -> bool:
        """Whether a log may hold these lines on the device that did this. A log is never rewritten: where
        the directory stood all the time, lines that the deletion covers stay if others outlive it.
        """
        stood = self.covered if deed.what != "delete" and self.lines else set()
        return len(set(lines)) == len(lines) and self.lines <= set(lines) <= self.lines | stood


def do(laptop: Laptop, deed: Deed) -> None:
    """Do it; a daemon that is down comes up when all is done."""
    if not deed.up:
        laptop.replica.close()
    laptop.now = deed.time
    if deed.what == "delete":
        shutil.rmtree(laptop.path(SKILL))
    elif deed.what == "edit":
        laptop.path(YAML).write_bytes(deed.manifest)
        os.utime(laptop.path(YAML), ns=(deed.time * 1000, deed.time * 1000))
    else:
        with laptop.path(LOG).open("ab") as log:
            log.write(deed.line + b"\n")
    if deed.up:
        laptop.pass_time(0)


def settle(laptops: Sequence[Laptop]) -> None:
    """They meet, and look at their homes as often as it takes."""
    for _ in range(2):
        meet(*laptops)
        for laptop in laptops:
            laptop.pass_time(0)
    meet(*laptops)


def matrix(devices: int) -> Iterator[tuple[Deed, ...]]:
    """Every combination with a deletion in it; who acts first is who stands first."""
    daemons = list(product((True, False), repeat=devices))
    if devices > 2:
        one_down = [tuple(n != down for n in range(devices)) for down in (0, devices - 1)]
        daemons = [daemons[0], daemons[-1], *one_down]
    for whats in product(("delete", "edit", "append"), repeat=devices):
        if "delete" in whats:
            for ups in daemons:
                yield tuple(Deed(*each) for each in zip(whats, ups, range(1, devices + 1), strict=True))


def spoken(deeds: tuple[Deed, ...]) -> str:
    """The name of a case."""
    return "-then-".join(f"{deed.what}{'' if deed.up else '-unseen'}" for deed in deeds)


@pytest.fixture
def laptops(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[Laptop]]:
    """As many laptops as there are deeds, which agree about one skill."""
    count = len(request.getfixturevalue("deeds"))
    made = [Laptop(tmp_path, "abc"[n]) for n in range(count)]
    made[0].make("deploy", *LOCAL)
    meet(*made)
    yield made
    for laptop in made:
        laptop.replica.close()


@pytest.mark.parametrize("backwards", [False, True], ids=["", "backwards"])
@pytest.mark.parametrize("deeds", [*matrix(2), *matrix(3)], ids=spoken)
def test_apart_then_together(deeds: tuple[Deed, ...], backwards: bool, laptops: list[Laptop]) -> None:
    """All end with what the rules say, whoever is heard first; nothing that was written is gone."""
    for laptop, deed in zip(laptops, deeds, strict=True):
        do(laptop, deed)
    for laptop, deed in zip(laptops, deeds, strict=True):
        laptop.now = NOW + 10 * MINUTE
        if not deed.up:
            laptop.replica = laptop._open()
            laptop.pass_time(0)
    settle(laptops[::-1] if backwards else laptops)
    expected = Outcome(deeds)
    for laptop, deed in zip(laptops, deeds, strict=True):
        assert (laptop.path(YAML).read_bytes() if laptop.path(YAML).exists() else None) == expected.manifest
        assert expected.fits(deed, laptop.lines())
        assert laptop.path(SKILL).exists() == (expected.manifest is not None)
        assert laptop.replica.condition().alerts == []
        assert_nothing_is_lost(laptop, laptops, deeds)
    before = [laptop.ids() for laptop in laptops]
    for laptop in laptops:
        laptop.pass_time(61)
        laptop.reopen()
        laptop.pass_time(0)
    assert [laptop.ids() for laptop in laptops] == before


def assert_nothing_is_lost(laptop: Laptop, everybody: Sequence[Laptop], deeds: Sequence[Deed]) -> None:
    """Every line that anybody still had is a member with its body; every manifest is a member, stands, or
    is in a history.
    """
    bodies: dict[str, set[bytes]] = {YAML: set(), LOG: set()}
    for group in laptop.groups():
        bodies[group.path] |= set(group.bodies)
    assert {deed.line for deed in deeds if deed.what == "append"} <= bodies[LOG]
    assert set(LOCAL) <= bodies[LOG] or all(deed.what == "delete" for deed in deeds)
    versions = [register.decode(body) for body in bodies[YAML]]
    kept = {value for version in versions for value in (version.value, version.before)}
    for each in everybody:
        kept |= {each.replica.history.value(e.path, e.version)[1] for e in each.replica.history.entries(YAML)}
    assert {MANIFEST, *(deed.manifest for deed in deeds if deed.what == "edit")} <= kept
