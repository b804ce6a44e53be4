"""Engines over laptops in memory, joined by their responders, with a network that can be cut.

Given dice, a world is simulated: storage works in place, no clock of the machine says what is due, and
calls and answers are under way for a while. Such a world can be told on virtual time.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import TypeVar

import anyio

from fleetsync.errors import Unreachable
from fleetsync.records.names import DeviceId
from fleetsync.stores.recorder import RunRecorder
from fleetsync.sync.engine import Engine
from fleetsync.sync.exchange import Exchange
from fleetsync.sync.link import Link, PeerSettings
from fleetsync.sync.milestones import Remembered
from fleetsync.sync.offload import Desk
from fleetsync.sync.rounds import Conclude, Rounds
from fleetsync.sync.schedule import Due, Schedule
from fleetsync.sync.tempo import Tempo
from fleetsync.sync.views import PeerView
from fleetsync.wire.messages import NO_TERMS, Batch, Frame, Hello, Receipt, RosterOffer, Terms, Want
from fleetsync.wire.peer import Peer
from tests.fakes.fleet import Laptop, device_id

T = TypeVar("T")

BUSY_SECONDS = 0.002
"""How long a call to simulated storage takes at most."""
TRAVEL_SECONDS = 0.02
"""How long a call or an answer is under way at most in a simulated network."""


class Never:
    """A timetable on which nothing is ever due: whatever happens, happens without it."""

    def __init__(self, post: Callable[[Due], None], tempo: Tempo) -> None:
        """See `engine.Schedules`."""

    def start(self) -> None:
        """See `Timetable`."""

    def stop(self) -> None:
        """See `Timetable`."""

    def clock_changed(self) -> None:
        """See `Timetable`."""


class Network:
    """Who can call whom; everybody can, until a line is cut. With dice, everything takes its time."""

    def __init__(self, dice: random.Random | None = None) -> None:
        self._dice = dice
        self._cut: set[tuple[DeviceId, DeviceId]] = set()
        self._cut_now = anyio.Event()

    def cut(self, caller: DeviceId, callee: DeviceId) -> None:
        """From now on `caller` cannot call `callee`, and what was open between them breaks."""
        self._cut.add((caller, callee))
        self._cut_now.set()
        self._cut_now = anyio.Event()

    def mend(self, caller: DeviceId, callee: DeviceId) -> None:
        """It can again."""
        self._cut.discard((caller, callee))

    def require(self, caller: DeviceId, callee: DeviceId) -> None:
        """Raises `Unreachable` across a cut."""
        if (caller, callee) in self._cut:
            raise Unreachable(f"{callee} cannot be reached")

    async def travel(self) -> None:
        """The way of one message."""
        if self._dice is not None:
            await anyio.sleep(TRAVEL_SECONDS * self._dice.random())

    async def until_cut(self, caller: DeviceId, callee: DeviceId) -> None:
        """Wait until that line is cut."""
        while (caller, callee) not in self._cut:
            await self._cut_now.wait()


class Noting(Rounds):
    """The record of exchanges as a list of them."""

    def __init__(self, recorder: RunRecorder, exchanges: list[Exchange]) -> None:
        super().__init__(recorder)
        self._exchanges = exchanges

    @contextmanager
    def exchange(self, peer: DeviceId) -> Iterator[Conclude]:
        """See `Rounds.exchange`."""
        with super().exchange(peer) as conclude:

            def both(exchange: Exchange) -> None:
                self._exchanges.append(exchange)
                conclude(exchange)

            yield both


class Wire:
    """A peer as called over that network; counts what is called and what travels."""

    def __init__(self, world: World, caller: DeviceId, callee: DeviceId) -> None:
        self.device = callee
        self.calls: Counter[str] = Counter()
        self.items_moved = 0
        self._world = world
        self._caller = caller

    async def hello(self, terms: Terms = NO_TERMS) -> Hello:
        """See `Peer`."""
        return await self._answer(lambda: self._there("hello").hello(terms))

    async def reconcile(self, message: bytes) -> bytes:
        """See `Peer`."""
        return await self._answer(lambda: self._there("reconcile").reconcile(message))

    @asynccontextmanager
    async def items(self, want: Want) -> AsyncIterator[AsyncIterator[Batch]]:
        """See `Peer`."""
        await self._world.network.travel()
        async with self._there("items").items(want) as batches, aclosing(self._counted(batches)) as counted:
            yield counted

    async def _counted(self, batches: AsyncIterator[Batch]):
        async for batch in batches:
            await self._world.network.travel()
            self._there("batch")
            self.items_moved += sum(len(group.bodies) for group in batch.groups)
            yield batch

    async def offer(self, batch: Batch) -> Receipt:
        """See `Peer`."""

        def offered() -> Awaitable[Receipt]:
            there = self._there("offer")
            self.items_moved += sum(len(group.bodies) for group in batch.groups)
            return there.offer(batch)

        return await self._answer(offered)

    @asynccontextmanager
    async def changes(self) -> AsyncIterator[AsyncIterator[Frame]]:
        """See `Peer`."""
        await self._world.network.travel()
        async with self._there("changes").changes() as frames, aclosing(self._until_cut(frames)) as cuttable:
            yield cuttable

    async def _until_cut(self, frames: AsyncIterator[Frame]):
        while (frame := await self._next(frames)) is not None:
            await self._world.network.travel()
            yield frame

    async def _next(self, frames: AsyncIterator[Frame]) -> Frame | None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._cancel_when_cut, tasks.cancel_scope)
            frame = await anext(frames, None)
            tasks.cancel_scope.cancel()
            return frame
        raise Unreachable("the line was cut")

    async def _cancel_when_cut(self, scope: anyio.CancelScope) -> None:
        await self._world.network.until_cut(self._caller, self.device)
        scope.cancel()

    async def roster(self, offer: RosterOffer) -> RosterOffer:
        """See `Peer`."""
        return await self._answer(lambda: self._there("roster").roster(offer))

    async def aclose(self) -> None:
        """See `Peer`."""
        self.calls["aclose"] += 1

    async def _answer(self, ask: Callable[[], Awaitable[T]]) -> T:
        await self._world.network.travel()
        answer = await ask()
        await self._world.network.travel()
        self._world.network.require(self._caller, self.device)
        return answer

    def _there(self, call: str) -> Peer:
        self.calls[call] += 1
        self._world.network.require(self._caller, self.device)
        return self._world.engines[self.device].responder(self._caller)


class World:
    """Laptops named by letters, all paired with each other; `running` runs their engines.

    With dice it is simulated. Create it inside the event loop.
    """

    def __init__(self, letters: str, dice: random.Random | None = None) -> None:
        self._dice = dice
        self.laptops = {letter: Laptop(letter, monotonic=anyio.current_time) for letter in letters}
        self.network = Network(dice)
        self.engines: dict[DeviceId, Engine] = {}
        self.wires: dict[tuple[str, str], Wire] = {}
        self.exchanges: list[Exchange] = []
        for laptop in self.laptops.values():
            self.engines[laptop.device] = self._engine(laptop)

    def __getitem__(self, letter: str) -> Laptop:
        return self.laptops[letter]

    def engine(self, letter: str) -> Engine:
        """The engine of a laptop."""
        return self.engines[device_id(letter)]

    def write(self, letter: str, path: str, lines: list[bytes]) -> None:
        """A program appends on that laptop and the watcher sees it."""
        self[letter].write(path, lines)
        self.engine(letter).touched([path])

    def views(self) -> list[PeerView]:
        """How every engine sees every peer."""
        return [view for engine in self.engines.values() for view in engine.peers()]

    def connected(self) -> bool:
        """Whether everybody is connected with everybody."""
        return all(view.state == "connected" for view in self.views())

    def links(self) -> list[Link]:
        """What every engine keeps of every peer."""
        return [link for engine in self.engines.values() for link in engine._links.values()]

    def settled(self) -> bool:
        """Whether everybody reads everybody's change stream and all are converged: no visit is beginning."""
        return all(link._following for link in self.links()) and all(view.converged for view in self.views())

    def equal(self, path: str, count: int) -> bool:
        """Whether all files hold the same lines, and that many."""
        files = [laptop.lines(path) for laptop in self.laptops.values()]
        return all(file == files[0] for file in files) and len(files[0]) == count

    def part(self, one: str, other: str) -> None:
        """Cut both ways."""
        self.network.cut(device_id(one), device_id(other))
        self.network.cut(device_id(other), device_id(one))

    def join(self, one: str, other: str) -> None:
        """Mend both ways."""
        self.network.mend(device_id(one), device_id(other))
        self.network.mend(device_id(other), device_id(one))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """All engines run."""
        for here, there in self.pairs():
            self.engine(here).add_peer(device_id(there), PeerSettings(f"laptop-{there}"))
        async with anyio.create_task_group() as tasks:
            for engine in self.engines.values():
                await tasks.start(engine.run)
            yield
            tasks.cancel_scope.cancel()

    def pairs(self) -> list[tuple[str, str]]:
        """Everybody with everybody else."""
        return [(here, there) for here in self.laptops for there in self.laptops if here != there]

    def _engine(self, laptop: Laptop) -> Engine:
        def connect(device: DeviceId) -> Wire:
            wire = Wire(self, laptop.device, device)
            self.wires[laptop.device[0], device[0]] = wire
            return wire

        if self._dice is not None:
            laptop.local.desk = Desk(laptop.storage, self._in_place)
            laptop.local.random = self._dice.random
        rounds = Noting(RunRecorder(lambda _: None, laptop.device), self.exchanges)
        schedule = Schedule if self._dice is None else Never
        return Engine(laptop.local, connect, Remembered({}), rounds=rounds, schedule=schedule)

    async def _in_place(self, work: Callable[[], T], turn: anyio.CapacityLimiter) -> T:
        assert self._dice is not None
        async with turn:
            await anyio.sleep(BUSY_SECONDS * self._dice.random())
            return work()
