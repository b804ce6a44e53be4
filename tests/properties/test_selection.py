"""Whatever devices leave out and when, they agree on what they both carry, and nothing else crosses.

A state machine over two or three devices that change their minds between exchanges; a subclass tells the
same stories of real homes.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import combinations
from pathlib import Path

import anyio
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from fleetsync import datasets
from fleetsync.selection import EVERYTHING, Selection
from fleetsync.sync.accord import Accord
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

SKILLS = ("build", "diary")
CHOICES = (
    EVERYTHING,
    Selection(("skills/build",)),
    Selection(("**", "!skills/d*")),
    Selection(("skills/*/events.jsonl",)),
    Selection(private=("diary",)),
    Selection(("skills/build/skill.yaml",), ("d*",)),
)
sites = st.integers(0, 2)
skills = st.sampled_from(SKILLS)


class Device:
    """A site, what it carries, and what it knows of the others."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.local: LocalDevice = make_local(site.device, site.storage, site.time)
        self.accords: dict[str, Accord] = {}

    @property
    def selection(self) -> Selection:
        return self.local.selection

    def choose(self, selection: Selection) -> None:
        self.local.selection = selection
        self.site.storage.select(selection)

    def accord(self, other: Device) -> Accord:
        return self.accords.setdefault(other.site.device, Accord())

    def left_out(self) -> dict[str, bytes]:
        """The files that must not change here while others are spoken to."""
        paths = [path(skill) for skill in SKILLS for path in (log_path, manifest_path)]
        return {path: self.site.read(path) for path in paths if not self.selection.carries(path)}


class Watched:
    """A peer in between: what either side gives must be carried by the one who gives it, and is never what
    the other has said that it leaves out.
    """

    def __init__(self, caller: Device, callee: Device, peer: Responder) -> None:
        self.device = peer.device
        self._caller, self._callee, self._peer = caller, callee, peer

    async def hello(self, terms: Terms = NO_TERMS) -> Hello:
        return await self._peer.hello(terms)

    async def reconcile(self, message: bytes) -> bytes:
        return await self._peer.reconcile(message)

    @asynccontextmanager
    async def items(self, want: Want) -> AsyncIterator[AsyncIterator[Batch]]:
        async with self._peer.items(want) as batches:
            yield self._seen(batches)

    async def _seen(self, batches: AsyncIterator[Batch]) -> AsyncIterator[Batch]:
        async for batch in batches:
            self._check(batch, self._callee, self._caller)
            yield batch

    async def offer(self, batch: Batch) -> Receipt:
        self._check(batch, self._caller, self._callee)
        return await self._peer.offer(batch)

    def changes(self):
        raise NotImplementedError

    async def roster(self, offer):
        raise NotImplementedError

    async def aclose(self) -> None:
        pass

    @staticmethod
    def _check(batch: Batch, giver: Device, taker: Device) -> None:
        for group in batch.groups:
            assert giver.selection.carries(group.path), f"{group.path} is left out by who gives it"
            told = Selection(taker.selection.rules)
            assert told.carries(group.path), f"{group.path} is left out by who is given it, who has said so"


class Choosing(RuleBasedStateMachine):
    """The stories."""

    def __init__(self) -> None:
        super().__init__()
        self._directory = tempfile.TemporaryDirectory()
        self.devices: list[Device] = []
        self.written: dict[str, set[bytes]] = {}

    def make_site(self, directory: Path, letter: str) -> Site:
        """A device; the one thing that another storage changes."""
        return MemorySite(letter)

    @initialize(count=st.integers(2, 3))
    def begin(self, count: int) -> None:
        """Some devices that carry everything."""
        for letter in "abc"[:count]:
            self.devices.append(Device(self.make_site(Path(self._directory.name), letter)))
        for skill in SKILLS:
            self.edit(0, skill, 0, seen=True)
            self.append(1, skill, 0, seen=True)

    @rule(at=sites, skill=skills, number=st.integers(0, 30), seen=st.booleans())
    def append(self, at: int, skill: str, number: int, seen: bool) -> None:
        """A program appends a line, whether the log is carried or not."""
        device, path = self._device(at), log_path(skill)
        line = event(number, device.site.device[0], at=START + 60 * (number % 5))
        device.site.append(path, line + b"\n")
        self.written.setdefault(path, set()).add(line)
        if seen:
            device.site.storage.scan([path])

    @rule(at=sites, skill=skills, text=st.integers(0, 5), seen=st.booleans())
    def edit(self, at: int, skill: str, text: int, seen: bool) -> None:
        """A person edits a manifest, whether it is carried or not."""
        path, device = manifest_path(skill), self._device(at)
        device.site.put(path, b"name: %s\nedition: %d\n" % (skill.encode(), text))
        if seen:
            device.site.storage.scan([path])

    @rule(at=sites, choice=st.sampled_from(CHOICES))
    def choose(self, at: int, choice: Selection) -> None:
        """A person changes what a device carries; not one file changes by that alone."""
        device = self._device(at)
        before = device.left_out()
        device.choose(choice)
        after = device.left_out()
        assert all(after[path] == value for path, value in before.items() if path in after)

    @rule(here=sites, there=sites)
    def exchange(self, here: int, there: int) -> None:
        """Two devices meet, and are equal afterwards in what both carry."""
        one, other = self._device(here), self._device(there)
        if one is other:
            return
        before = one.left_out(), other.left_out()
        result = self._meet(one, other)
        assert result.ending is Ending.CONVERGED, result
        assert (one.left_out(), other.left_out()) == before

    def teardown(self) -> None:
        """At rest each two devices hold the same of what both carry, and nothing that was written is lost."""
        try:
            if self.devices:
                self._settle_down()
                self._check()
        finally:
            for device in self.devices:
                device.site.storage.close()
            self._directory.cleanup()

    def _settle_down(self) -> None:
        for device in self.devices:
            device.site.storage.scan(None)
        for _ in range(2 * len(self.devices)):
            for one, other in combinations(self.devices, 2):
                assert self._meet(one, other).ending is Ending.CONVERGED
        for one, other in combinations(self.devices, 2):
            assert self._meet(one, other).closing.equal

    def _check(self) -> None:
        for one, other in combinations(self.devices, 2):
            common = [path for path in self._paths() if _carry((one, other), path)]
            assert _known(one, common) == _known(other, common)
            for path in common:
                if path.endswith("yaml"):
                    assert one.site.read(path) == other.site.read(path)
        for device in self.devices:
            assert all(device.selection.carries(item.path) for item in members(device.site.storage))
        for path, lines in self.written.items():
            standing = {line for device in self.devices for line in device.site.read(path).split(b"\n")}
            parked = {i.body for device in self.devices for i in members(device.site.storage)}
            assert lines <= standing | parked
            if _carry(self.devices, path):
                wanted = {datasets.identify(path, line).id for line in lines}
                assert wanted <= _known(self.devices[0], [path])

    @staticmethod
    def _paths() -> list[str]:
        return [path(skill) for skill in SKILLS for path in (log_path, manifest_path)]

    def _device(self, index: int) -> Device:
        return self.devices[index % len(self.devices)]

    def _meet(self, one: Device, other: Device) -> Exchange:
        async def meet() -> Exchange:
            time = other.site.time
            outbox = Outbox(other.local.desk, one.site.device, time.monotonic, other.accord(one))
            responder = Responder(other.local, FakeCaller(one.site.device, outbox, time.monotonic))
            watched = Watched(one, other, responder)
            return await Session(one.local, watched, accord=one.accord(other)).run()

        return anyio.run(meet)


def _carry(devices, path: str) -> bool:
    return all(device.selection.carries(path) for device in devices)


def _known(device: Device, paths: list[str]) -> set[bytes]:
    return {item.key.id for item in members(device.site.storage) if item.path in paths}


class ChoosingOnDisk(Choosing):
    """The same stories, told of real homes, indexes and journals."""

    def make_site(self, directory: Path, letter: str) -> Site:
        return DiskSite(directory, letter)


TestChoosing = Choosing.TestCase
TestChoosing.settings = settings(max_examples=60, stateful_step_count=25)
TestChoosingOnDisk = ChoosingOnDisk.TestCase
TestChoosingOnDisk.settings = settings(max_examples=8, stateful_step_count=15)
