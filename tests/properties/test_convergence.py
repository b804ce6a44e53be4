"""Any story of writes, crashes, cuts and exchanges ends with equal devices and nothing lost.

A state machine over two to four devices in one process. `make_site` says what storage they have: a
subclass with the real replica runs the same stories.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import combinations
from pathlib import Path

import anyio
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from fleetsync import datasets
from fleetsync.errors import StorageFailed, Unreachable
from fleetsync.ports import Group, Storage, Verdict
from fleetsync.records.names import DeviceId
from fleetsync.sync.exchange import Ending, Exchange
from fleetsync.sync.local import LocalDevice
from fleetsync.sync.push import Outbox
from fleetsync.sync.responder import Responder
from fleetsync.sync.session import Session
from fleetsync.wire.messages import NO_TERMS, Batch, Hello, Receipt, Terms, Want
from tests.contracts.storage import Site, members
from tests.contracts.test_memory import MemorySite
from tests.contracts.test_replica import DiskSite
from tests.fakes.fleet import START, FakeCaller, event, log_path, make_local, manifest_path

SKILLS = ("build", "deploy")
sites = st.integers(0, 3)
skills = st.sampled_from(SKILLS)
numbers = st.integers(0, 40)


class Mangler:
    """A peer whose network repeats and reorders what it carries, and breaks after so many calls."""

    def __init__(self, peer: Responder, dice: random.Random, calls: int | None) -> None:
        self.device = peer.device
        self._peer = peer
        self._dice = dice
        self._left = calls

    async def hello(self, terms: Terms = NO_TERMS) -> Hello:
        self._pass()
        return await self._peer.hello(terms)

    async def reconcile(self, message: bytes) -> bytes:
        self._pass()
        return await self._peer.reconcile(message)

    @asynccontextmanager
    async def items(self, want: Want) -> AsyncIterator[AsyncIterator[Batch]]:
        async with self._peer.items(want) as batches:
            yield self._mangled([batch async for batch in batches])

    async def _mangled(self, batches: list[Batch]) -> AsyncIterator[Batch]:
        for batch in self._twice_and_shuffled(batches):
            self._pass()
            yield Batch(self._twice_and_shuffled(batch.groups))

    async def offer(self, batch: Batch) -> Receipt:
        self._pass()
        await self._peer.offer(Batch(self._twice_and_shuffled(batch.groups)))
        return await self._peer.offer(batch)

    def changes(self):
        raise NotImplementedError

    async def roster(self, offer):
        raise NotImplementedError

    async def aclose(self) -> None:
        pass

    def _pass(self) -> None:
        if self._left is not None:
            self._left -= 1
            if self._left < 0:
                raise Unreachable("the network broke")

    def _twice_and_shuffled(self, things: Sequence) -> list:
        mangled = [*things, *self._dice.choices(things, k=1)] if things else []
        self._dice.shuffle(mangled)
        return mangled


class Crashing:
    """A storage that dies in the middle of its next batch, with some of it written."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def __getattr__(self, name: str) -> object:
        return getattr(self._storage, name)

    def apply(self, groups: Sequence[Group], origin: DeviceId) -> list[Verdict]:
        self._storage.apply(groups[: len(groups) // 2], origin)
        raise StorageFailed("it crashed")


class Convergence(RuleBasedStateMachine):
    """The stories."""

    def __init__(self) -> None:
        super().__init__()
        self._directory = tempfile.TemporaryDirectory()
        self.sites: list[Site] = []
        self.cut: set[frozenset[int]] = set()
        self.written: dict[str, set[bytes]] = {}
        self.unfinished: dict[tuple[int, str], bytes] = {}

    def make_site(self, directory: Path, letter: str) -> Site:
        """A device; the one thing that another storage changes."""
        return MemorySite(letter)

    # --- the rules -----------------------------------------------------------------------------------

    @initialize(count=st.integers(2, 4), skews=st.lists(st.integers(-250, 250), min_size=4, max_size=4))
    def begin(self, count: int, skews: list[int]) -> None:
        """Some devices, with clocks that are wrong by minutes."""
        for index in range(count):
            directory = Path(self._directory.name) / "abcd"[index]
            site = self.make_site(directory, "abcd"[index])
            site.time.skew = skews[index]
            self.sites.append(site)

    @rule(at=sites, skill=skills, number=numbers, device=st.sampled_from("ab"), seen=st.booleans())
    def append(self, at: int, skill: str, number: int, device: str, seen: bool) -> None:
        """A program appends a line, perhaps one that another device has too; perhaps nobody looks yet."""
        site, path = self._site(at), log_path(skill)
        if (at % len(self.sites), path) in self.unfinished:
            return  # the writer of a torn line holds the lock
        line = event(number, device, at=START + 60 * (number % 7))
        site.append(path, line + b"\n")
        self.written.setdefault(path, set()).add(line)
        if seen:
            site.storage.scan([path])

    @rule(at=sites, skill=skills, number=numbers)
    def begin_line(self, at: int, skill: str, number: int) -> None:
        """A program writes the first half of a line."""
        place = (at % len(self.sites), log_path(skill))
        if place not in self.unfinished:
            line = event(number, "torn")
            self.unfinished[place] = line
            self._site(at).append(place[1], line[:25])
            self._site(at).storage.scan([place[1]])

    @precondition(lambda self: self.unfinished)
    @rule(data=st.data())
    def finish_line(self, data: st.DataObject) -> None:
        """It writes the second half; if a peer's lines came between, the line is torn for good."""
        place = data.draw(st.sampled_from(sorted(self.unfinished)))
        line = self.unfinished.pop(place)
        site, path = self.sites[place[0]], place[1]
        whole = site.read(path).endswith(line[:25])
        site.append(path, line[25:] + b"\n")
        if whole:
            self.written.setdefault(path, set()).add(line)

    @rule(at=sites, skill=skills, text=st.integers(0, 5), seen=st.booleans())
    def edit(self, at: int, skill: str, text: int, seen: bool) -> None:
        """A person edits a manifest."""
        path = manifest_path(skill)
        self._site(at).put(path, b"name: %s\nedition: %d\n" % (skill.encode(), text))
        if seen:
            self._site(at).storage.scan([path])

    @rule(here=sites, there=sites, seed=st.integers(0, 99), calls=st.none() | st.integers(0, 8))
    def exchange(self, here: int, there: int, seed: int, calls: int | None) -> None:
        """Two devices have an exchange, over a bad network that may break at any call."""
        if self._can_talk(here, there):
            self._run_session(here, there, lambda peer: Mangler(peer, random.Random(seed), calls))

    @rule(here=sites, there=sites, who=st.booleans())
    def crash(self, here: int, there: int, who: bool) -> None:
        """One of the two dies while it takes in a batch, and starts again."""
        if not self._can_talk(here, there):
            return
        victim = self._site(here if who else there)
        victim.storage, whole = Crashing(victim.storage), victim.storage  # type: ignore[assignment]
        self._run_session(here, there, lambda peer: peer)
        victim.storage = whole
        victim.restart()

    @rule(here=sites, there=sites, lost=st.integers(0, 3))
    def push(self, here: int, there: int, lost: int) -> None:
        """Live push carries what is new, and loses some of it without a word."""
        if not self._can_talk(here, there):
            return
        source, target = self._site(here), self._site(there)
        for arrival in source.storage.arrivals(0, 1 << 20)[lost:]:
            target.storage.apply([Group(arrival.item.path, [arrival.item.body])], source.device)

    @rule(at=sites)
    def restart(self, at: int) -> None:
        """A device restarts."""
        self._site(at).restart()

    @rule(here=sites, there=sites)
    def part(self, here: int, there: int) -> None:
        """Two devices cannot reach each other any more."""
        self.cut.add(frozenset((here % len(self.sites), there % len(self.sites))))

    @precondition(lambda self: self.cut)
    @rule()
    def join(self) -> None:
        """Everybody can reach everybody again."""
        self.cut.clear()

    @rule(at=sites, seconds=st.integers(1, 100))
    def wait(self, at: int, seconds: int) -> None:
        """Time passes on one device, more than on another: clocks drift."""
        if abs(self._site(at).time.elapsed + self._site(at).time.skew) < 250:
            self._site(at).time.elapsed += seconds

    # --- the end -------------------------------------------------------------------------------------

    def teardown(self) -> None:
        """After quiescence all are equal, nothing is lost, and a restart does not change that."""
        try:
            if self.sites:
                self._settle_down()
                self._check()
                for site in self.sites:
                    site.restart()
                self._check()
        finally:
            for site in self.sites:
                site.storage.close()
            self._directory.cleanup()

    def _settle_down(self) -> None:
        for site in self.sites:
            site.storage.scan(None)
        for _ in range(2 * len(self.sites)):
            endings = [
                self._run_session(here, there, lambda peer: peer).ending
                for here, there in combinations(range(len(self.sites)), 2)
            ]
            assert set(endings) == {Ending.CONVERGED}
            if len({self._state(site) for site in self.sites}) == 1:
                return
        raise AssertionError("they do not become equal")

    def _check(self) -> None:
        states = {self._state(site) for site in self.sites}
        assert len(states) == 1
        for site in self.sites:
            known = {item.key.id for item in members(site.storage)}
            for path, lines in self.written.items():
                assert {datasets.identify(path, line).id for line in lines} <= known
        for skill in SKILLS:
            assert len({site.read(manifest_path(skill)) for site in self.sites}) == 1

    @staticmethod
    def _state(site: Site) -> tuple[int, bytes]:
        head = site.storage.head()
        return head.count, head.fingerprint

    # --- how they meet -------------------------------------------------------------------------------

    def _site(self, index: int) -> Site:
        return self.sites[index % len(self.sites)]

    def _can_talk(self, here: int, there: int) -> bool:
        pair = frozenset((here % len(self.sites), there % len(self.sites)))
        return len(pair) == 2 and pair not in self.cut

    def _run_session(
        self, here: int, there: int, network: Callable[[Responder], Mangler | Responder]
    ) -> Exchange:
        one, other = self._site(here), self._site(there)

        async def meet() -> Exchange:
            callee = _local(other)
            outbox = Outbox(callee.desk, one.device, other.time.monotonic)
            responder = Responder(callee, FakeCaller(one.device, outbox, other.time.monotonic))
            return await Session(_local(one), network(responder)).run()

        return anyio.run(meet)


def _local(site: Site) -> LocalDevice:
    return make_local(site.device, site.storage, site.time)


class ConvergenceOnDisk(Convergence):
    """The same stories, told of real homes, indexes and journals."""

    def make_site(self, directory: Path, letter: str) -> Site:
        return DiskSite(directory, letter)


TestConvergence = Convergence.TestCase
TestConvergence.settings = settings(max_examples=60, stateful_step_count=30)
TestConvergenceOnDisk = ConvergenceOnDisk.TestCase
TestConvergenceOnDisk.settings = settings(max_examples=6, stateful_step_count=15)
