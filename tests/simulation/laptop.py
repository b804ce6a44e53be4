"""One laptop: a disk, a clock that may be wrong, mur, and a daemon that lives, dies and lives again.

The daemon is the real thing from the engine down to the files: only the socket, the watcher and the
thread are left out. It can be killed at any call to the disk; the next one begins with what is there.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TypeVar

import anyio
from anyio.abc import TaskGroup

from fleetsync.errors import ClonedDevice, FleetsyncError
from fleetsync.records.names import DeviceId
from fleetsync.replica.replica import Replica
from fleetsync.replica.surroundings import Surroundings
from fleetsync.sync.engine import Engine
from fleetsync.sync.link import PeerSettings
from fleetsync.sync.local import Card, LocalDevice
from fleetsync.sync.milestones import Remembered
from fleetsync.sync.offload import Desk
from fleetsync.sync.schedule import Due
from fleetsync.sync.tempo import Tempo
from fleetsync.wire.messages import RosterOffer
from tests.simulation.clock import START
from tests.simulation.disk import Disk, Drives, Killed
from tests.simulation.mur import Mur
from tests.simulation.network import Dialect, Host, Network, Wire

T = TypeVar("T")

SKEW = 600_000_000
"""How far clocks may differ, µs."""
BUSY_SECONDS = 0.001
"""How long a call to the disk takes, about."""
RESTART_SECONDS = 2.0
"""After which the service manager starts a daemon that could not begin."""


class Roster:
    """Everybody here trusts everybody."""

    def digest(self) -> bytes:
        """The same everywhere."""
        return b"everyone"

    def offer(self) -> RosterOffer:
        """Nothing."""
        return RosterOffer([], {}, "", 0)

    async def take(self, offer: RosterOffer, sender: DeviceId) -> bool:
        """Nothing new."""
        return False

    def trusts(self, device: DeviceId) -> bool:
        """Yes."""
        return True


class Rota:
    """The regular work by the virtual clock (`schedule.Timetable`)."""

    def __init__(
        self, tasks: TaskGroup, dice: random.Random, post: Callable[[Due], None], tempo: Tempo
    ) -> None:
        self._tasks = tasks
        self._dice = dice
        self._post = post
        self._intervals = {Due.SWEEP: tempo.sweep, Due.EXCHANGE: tempo.exchange}
        self._scope = anyio.CancelScope()

    def start(self) -> None:
        """See `Timetable.start`."""
        for due, seconds in self._intervals.items():
            self._tasks.start_soon(self._repeat, due, seconds)

    async def _repeat(self, due: Due, seconds: float) -> None:
        while True:
            await anyio.sleep(seconds * (0.9 + 0.2 * self._dice.random()))
            self._post(due)

    def stop(self) -> None:
        """See `Timetable.stop`; it ends with the process."""

    def clock_changed(self) -> None:
        """See `Timetable.clock_changed`; this clock is never set."""


class Daemon:
    """One life of the daemon."""

    def __init__(self, laptop: Laptop, tasks: TaskGroup) -> None:
        self.replica: Replica | None = None
        self._laptop = laptop
        self._tasks = tasks

    async def carry_out(self, work: Callable[[], T], turn: anyio.CapacityLimiter) -> T:
        """The desk's `Worker`: in place, after a moment."""
        async with turn:
            await anyio.sleep(BUSY_SECONDS * self._laptop.dice.random())
            return await self.on_disk(work)

    async def on_disk(self, work: Callable[[], T]) -> T:
        """What `work` returns; if the process is killed meanwhile nobody ever learns it."""
        try:
            with self._laptop.drives.used(self._laptop.disk, faulty=True):
                return work()
        except Killed:
            self.end()
            await anyio.sleep_forever()
            raise AssertionError("a dead process went on") from None

    def end(self) -> None:
        """Stop whatever it is doing, wherever it is."""
        self._tasks.cancel_scope.cancel()

    async def begin(self) -> Engine:
        """As `app/house.py` does: read home, then run the engine, then begin with every peer."""
        laptop = self._laptop
        around = Surroundings(laptop.now, laptop.dice.randbytes)
        self.replica = await self.on_disk(
            lambda: Replica(laptop.disk.home, laptop.disk.state, laptop.device, around, SKEW)
        )
        engine = self._engine(Desk(self.replica, self.carry_out))
        await engine.sweep()
        await self._tasks.start(engine.run)
        for other in laptop.others:
            engine.add_peer(other, PeerSettings(f"laptop-{other[0]}"))
        laptop.network.hosts[laptop.device] = Host(self._tasks, engine.responder, laptop.dialect)
        return engine

    def _engine(self, desk: Desk) -> Engine:
        laptop = self._laptop
        local = LocalDevice(
            card=Card(laptop.device, f"laptop-{laptop.letter}", laptop.device[:8].encode()),
            desk=desk,
            roster=Roster(),
            wall=lambda: laptop.now() / 1e6,
            monotonic=anyio.current_time,
            random=laptop.dice.random,
            meet=laptop.meet,
            tempo=laptop.tempo,
        )

        def connect(device: DeviceId) -> Wire:
            return Wire(laptop.network, laptop.device, device, laptop.dialect)

        return Engine(
            local,
            connect,
            Remembered({}),
            schedule=lambda post, tempo: Rota(self._tasks, laptop.dice, post, tempo),
        )


class Laptop:
    """A device of the fleet."""

    def __init__(
        self,
        letter: str,
        root: Path,
        drives: Drives,
        network: Network,
        dice: random.Random,
        tell: Callable[[str], None],
    ) -> None:
        self.letter, self.device = letter, DeviceId(letter * 52)
        self.drives, self.network, self.dice = drives, network, dice
        self.dialect = Dialect.SAME
        self.tempo = Tempo(sweep=20.0, exchange=60.0)
        self.skew = 0.0  # seconds by which the clock is wrong
        self.others: list[DeviceId] = []
        self.disk = Disk(root / letter, random.Random(dice.random()), self.now)
        self.mur = Mur(self.disk.home, letter, self.now, careful=True)
        self.daemon: Daemon | None = None
        self.engine: Engine | None = None
        self.lives = 0
        self.wanted = True  # whether the daemon should run
        self.cut_off = False  # the next end is that of the whole machine
        self.on_loss: Callable[[], None] = lambda: None
        self.on_power_loss: Callable[[Laptop], None] = lambda _: None
        self._tell = tell
        self._instances: dict[DeviceId, bytes] = {}

    def __repr__(self) -> str:
        return f"laptop {self.letter}"

    def now(self) -> int:
        """µs since 1970 by this laptop's clock."""
        return int((START + anyio.current_time() + self.skew) * 1e6)

    def tell(self, text: str) -> None:
        """One line of the story."""
        self._tell(f"{self.letter}  {text}")

    def meet(self, device: DeviceId, instance: bytes, earlier: Collection[bytes]) -> None:
        """See `LocalDevice.meet`."""
        if self._instances.setdefault(device, instance) != instance:
            raise ClonedDevice(device)

    # --- mur --------------------------------------------------------------------------------------

    def by_mur(self, act: Callable[[Mur], T]) -> T:
        """Let mur do something on this laptop."""
        with self.drives.used(self.disk, faulty=False):
            result = act(self.mur)
            self.mur.count()
        return result

    # --- the daemon -------------------------------------------------------------------------------

    async def live(self) -> None:
        """Run daemons, one after the other, for ever."""
        while True:
            while not self.wanted:  # noqa: ASYNC110 - anybody may change it at any time
                await anyio.sleep(0.5)
            self.lives += 1
            await self._one_life()
            self.network.hosts[self.device] = None
            self.engine = self.daemon = None
            power, self.cut_off = self.cut_off, False
            names = self.disk.release(power=power)
            self.tell(f"the power fails: {names} names lost" if power else "the daemon is gone")
            if power:
                self.on_power_loss(self)
            await anyio.sleep(RESTART_SECONDS * (0.5 + self.dice.random()))

    async def _one_life(self) -> None:
        try:
            async with anyio.create_task_group() as tasks:
                self.daemon = Daemon(self, tasks)
                self.tell(f"daemon {self.lives} begins")
                self.engine = await self.daemon.begin()
                self.tell(f"daemon {self.lives} is ready")
        except* FleetsyncError as errors:
            if self.engine is not None:
                raise  # nothing may end an engine that runs
            self.tell(f"the daemon cannot begin: {errors.exceptions[0]}")

    def kill(self, *, power: bool = False) -> None:
        """Now, between two calls to the disk; with `power` the machine goes down with it."""
        self.cut_off = power
        self.disk.dead = True
        if self.daemon is not None:
            self.daemon.end()

    def touched(self, path: str) -> None:
        """The watcher tells."""
        if self.engine is not None:
            self.engine.touched([path])

    @property
    def running(self) -> Replica | None:
        """The replica of the daemon that runs, if one does."""
        return self.daemon.replica if self.daemon is not None and self.engine is not None else None
