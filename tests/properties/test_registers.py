"""Any story of edits, deletions, wrong clocks and absent daemons ends with equal homes and nothing lost.

The machine of `test_convergence.py` on real homes, with all kinds of registers, with clocks that are
hours wrong (their versions are held), with daemons that are down while people work, and with a
person's words. What it checks at the end are the rules of DESIGN §5 that speak of registers.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from fleetsync import datasets
from fleetsync.errors import MalformedRecord, NotFound
from fleetsync.merge import register
from fleetsync.replica.replica import Replica
from tests.contracts.storage import members
from tests.contracts.test_replica import DiskSite
from tests.fakes.samples import PROFILE, manifest
from tests.properties.test_convergence import ConvergenceOnDisk, sites

SKILL = "skills/deploy/skill.yaml"
CHANNEL = "channels/fleet-dev/channel.yaml"
AGENT = "agents/qa/profile.yaml"
PROMPT = "agents/qa/sys_prompt.md"
LEGACY = "skills/old/skill.md"
paths = st.sampled_from((SKILL, CHANNEL, AGENT, PROMPT, LEGACY))
clocks = st.sampled_from((-7200, -300, 0, 300, 5400))
MOST_DELETIONS = 4
"""In one story; more might be too many at once, and the guard would wait for a person."""


def value_of(path: str, number: int, day: int) -> bytes:
    """The number-th value that somebody writes, dated on some day if its kind has dates."""
    if path == SKILL:
        return b"name: deploy\nedition: %d\nupdated_at: 2026-09-%02dT00:00:00Z\n" % (number, day)
    if path == CHANNEL:
        return manifest(f"agent-{number}", updated=f"2026-09-{day:02}T00:00:00Z")
    if path == AGENT:
        return PROFILE % (b"%d" % number, b"%d" % number)
    return b"edition %d\n" % number


class Registers(ConvergenceOnDisk):
    """The stories."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.deletions = 0
        self.seen: dict[str, set[bytes]] = {}

    # --- the rules -----------------------------------------------------------------------------------

    @rule(at=sites, path=paths, day=st.integers(1, 28), seen=st.booleans())
    def write(self, at: int, path: str, day: int, seen: bool) -> None:
        """A person writes or rewrites a register, perhaps where it was deleted before."""
        site, value = self._disk(at), self._next(path, day)
        self._overwrite(site, path, value)
        if seen:
            site.storage.scan([path])
            self._note(site, path, value)

    @rule(at=sites, path=paths, day=st.integers(1, 28), gone=st.booleans())
    def work_while_down(self, at: int, path: str, day: int, gone: bool) -> None:
        """The daemon is down while a person writes, or deletes."""
        site, value = self._disk(at), self._next(path, day)
        if gone and not self._may_delete(site, path):
            return
        site.storage.scan(None)
        site.storage.close()
        if gone:
            self._delete(site, path)
        else:
            self._overwrite(site, path, value)
        site.storage = site._opened()
        site.storage.scan(None)
        if gone:
            self._wait_for_deletion(site)
        else:
            self._note(site, path, value)

    @rule(at=sites, path=paths, seen=st.booleans())
    def delete(self, at: int, path: str, seen: bool) -> None:
        """A person deletes a skill, a channel or an agent."""
        site = self._disk(at)
        if self._may_delete(site, path):
            site.storage.scan(None)
            self._delete(site, path)
            if seen:
                self._wait_for_deletion(site)

    @rule(at=sites, path=paths)
    def insist(self, at: int, path: str) -> None:
        """A person says that the local value is the right one."""
        site = self._disk(at)
        site.storage.scan(None)
        if site.read(path):
            _replica(site).keep_local(path)

    @rule(at=sites, path=paths)
    def bring_back(self, at: int, path: str) -> None:
        """A person restores what history has."""
        site = self._disk(at)
        try:
            _replica(site).restore(path, None)
        except (NotFound, MalformedRecord):
            return

    @rule(at=sites, skew=clocks)
    def set_clock(self, at: int, skew: int) -> None:
        """A clock is set, rightly or wrongly, by hours."""
        self._disk(at).time.skew = skew

    @precondition(lambda self: self.sites)
    @rule(at=sites)
    def settle(self, at: int) -> None:
        """What has become due on one device is done."""
        self._disk(at).storage.settle()

    # --- the end -------------------------------------------------------------------------------------

    def _settle_down(self) -> None:
        """All clocks agree and are past every stamp; then all look, wait and meet."""
        latest = max(site.time.elapsed for site in self.sites) + 4 * 3600
        for site in self.sites:
            site.time.skew, site.time.elapsed = 0, latest
        for _ in range(3):
            for site in self.sites:
                self._wait_for_deletion(self._as_disk(site))
            super()._settle_down()
        for site in self.sites:
            self._wait_for_deletion(self._as_disk(site))

    def _check(self) -> None:
        super()._check()
        for path in (SKILL, CHANNEL, AGENT, PROMPT, LEGACY):
            row = datasets.require(path)[1]
            found = [site.read(path) for site in self.sites]
            assert len({row.digest(row.value_of(each)) if each else b"" for each in found}) == 1, path
            for value in self.seen.get(path, ()):
                assert value in self._kept(path), f"{path}: a value is lost"
        for site in self.sites:
            condition = site.storage.condition()
            told = [alert for alert in condition.alerts if alert.code != "needs-key"]  # no agent has one here
            assert (condition.held, told) == (0, [])

    def _kept(self, path: str) -> set[bytes]:
        """Every value of a path that stands somewhere, is known, or is in a history."""
        row = datasets.require(path)[1]
        kept: set[bytes] = set()
        for site in map(self._as_disk, self.sites):
            raw = [site.read(path)]
            history = _replica(site).history
            raw += [history.value(path, entry.version)[1] for entry in history.entries(path)]
            kept |= {row.value_of(each) for each in raw if each}
            for item in members(site.storage):
                if item.path == path:
                    version = register.decode(item.body)
                    kept |= {value for value in (version.value, version.before) if value is not None}
        return kept

    # --- how it is done ------------------------------------------------------------------------------

    def _disk(self, at: int) -> DiskSite:
        return self._as_disk(self._site(at))

    @staticmethod
    def _as_disk(site: object) -> DiskSite:
        assert isinstance(site, DiskSite)
        return site

    def _next(self, path: str, day: int) -> bytes:
        self.count += 1
        return value_of(path, self.count, day)

    def _note(self, site: DiskSite, path: str, value: bytes) -> None:
        """Fleetsync has seen this value: from now on it must not vanish."""
        self.seen.setdefault(path, set()).add(datasets.require(path)[1].value_of(value))

    def _overwrite(self, site: DiskSite, path: str, value: bytes) -> None:
        """What the person replaces with their own hands need not be kept."""
        if standing := site.read(path):
            self.seen.get(path, set()).discard(datasets.require(path)[1].value_of(standing))
        site.put(path, value)

    def _may_delete(self, site: DiskSite, path: str) -> bool:
        return self.deletions < MOST_DELETIONS and self._unit(site, path).exists()

    @staticmethod
    def _unit(site: DiskSite, path: str) -> Path:
        return (site._home / path).parent

    def _delete(self, site: DiskSite, path: str) -> None:
        """Remove the directory; lines that nobody else has are gone with it, as the person wanted."""
        self.deletions += 1
        shutil.rmtree(self._unit(site, path))
        elsewhere = {i.body for other in self.sites if other is not site for i in members(other.storage)}
        log = datasets.sibling(path, "events.jsonl")
        here = self.sites.index(site)
        self.unfinished.pop((here, log), None)
        if log in self.written:
            self.written[log] &= elsewhere

    @staticmethod
    def _wait_for_deletion(site: DiskSite) -> None:
        """It looks, and looks again after the seconds that a deletion takes."""
        act: Callable[[], object]
        for act in (lambda: site.storage.scan(None), site.storage.settle):
            act()
            site.time.elapsed += 6
        site.storage.scan(None)
        site.storage.settle()


def _replica(site: DiskSite) -> Replica:
    assert isinstance(site.storage, Replica)
    return site.storage


TestRegisters = Registers.TestCase
TestRegisters.settings = settings(max_examples=25, stateful_step_count=20)
