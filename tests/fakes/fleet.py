"""Devices in one process: storage, trust and time as plain values, no disk and no socket."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable
from datetime import UTC, datetime

from fleetsync.devices.notes import Direction
from fleetsync.errors import ClonedDevice, Paused
from fleetsync.ports import Head, Storage
from fleetsync.records.names import DeviceId
from fleetsync.stores.memory import MemoryHome, MemoryStorage
from fleetsync.sync.local import Card, LocalDevice
from fleetsync.sync.offload import Desk
from fleetsync.sync.push import Outbox
from fleetsync.sync.responder import Responder
from fleetsync.sync.rival import Rival
from fleetsync.wire.messages import RosterOffer

START = 1_790_000_000.0  # 2026-09-21


def device_id(letter: str) -> DeviceId:
    """A device id made of one letter (a-z, 2-7), so that tests can be read."""
    return DeviceId(letter * 52)


def log_path(skill: str) -> str:
    """Where the events of a skill are."""
    return f"skills/{skill}/events.jsonl"


def manifest_path(skill: str) -> str:
    """Where the manifest of a skill is."""
    return f"skills/{skill}/skill.yaml"


def event(number: int, device: str = "cli", at: float = START) -> bytes:
    """A skill event as mur writes it; different numbers are different events."""
    moment = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    record = {"kind": "retrieval", "ts": f"{moment}.{number % 1_000_000:06d}Z", "device_id": device}
    return json.dumps(record, separators=(",", ":")).encode()


class FakeTime:
    """Both clocks of a device, set by hand; `skew` is how wrong its wall clock is, in seconds."""

    def __init__(self, skew: float = 0.0) -> None:
        self.elapsed = 0.0
        self.skew = skew

    def wall(self) -> float:
        """Seconds since 1970."""
        return START + self.elapsed + self.skew

    def monotonic(self) -> float:
        """Seconds since the test began."""
        return self.elapsed


class FakeRoster:
    """A roster that is a set of words."""

    def __init__(self, *records: bytes) -> None:
        self.records = set(records)
        self.removed: set[DeviceId] = set()

    def digest(self) -> bytes:
        """8 bytes of what it holds."""
        return b"".join(sorted(self.records))[:8].ljust(8, b"\0")

    def offer(self) -> RosterOffer:
        """All of it."""
        return RosterOffer(sorted(self.records), {}, "fake", 0)

    async def take(self, offer: RosterOffer, sender: DeviceId) -> bool:
        """Believe everything."""
        before = len(self.records)
        self.records |= set(offer.records)
        return len(self.records) != before

    def trusts(self, device: DeviceId) -> bool:
        """Whether it has not been removed."""
        return device not in self.removed


class Instances:
    """Remembers one instance per device."""

    def __init__(self) -> None:
        self._seen: dict[DeviceId, bytes] = {}

    def meet(self, device: DeviceId, instance: bytes, live: Collection[bytes]) -> None:
        """Refuse a second one."""
        if self._seen.setdefault(device, instance) != instance:
            raise ClonedDevice(f"{device} has two instances")


class FakeCaller:
    """What an engine would know of one calling device."""

    def __init__(self, device: DeviceId, outbox: Outbox, monotonic: Callable[[], float]) -> None:
        self.device = device
        self.direction = Direction.BOTH
        self.outbox = outbox
        self.accord = outbox.accord
        self.rival = Rival(monotonic)
        self.openings = 0
        self.equal: list[Head] = []
        self.misses = 0
        self.paused = False

    def require_open(self) -> None:
        """Refuse while paused."""
        if self.paused:
            raise Paused("paused")

    def heard(self, *, opening: bool) -> None:
        """Count the conversations."""
        self.openings += opening

    def told_equal(self, head: Head) -> None:
        """Remember what it said."""
        self.equal.append(head)

    def missed(self) -> None:
        """Count what could not be taken in."""
        self.misses += 1


def make_local(
    device: DeviceId,
    storage: Storage,
    time: FakeTime,
    *,
    roster: FakeRoster | None = None,
    monotonic: Callable[[], float] | None = None,
) -> LocalDevice:
    """A device over that storage."""
    return LocalDevice(
        card=Card(device, name=f"laptop-{device[0]}", instance=device[:8].encode()),
        desk=Desk(storage),
        roster=roster or FakeRoster(),
        wall=time.wall,
        monotonic=monotonic or time.monotonic,
        random=lambda: 0.5,
        meet=Instances().meet,
    )


class Laptop:
    """A device with a home in memory, as the sessions and engines of a test see it."""

    def __init__(
        self,
        letter: str,
        *,
        skew: float = 0.0,
        roster: FakeRoster | None = None,
        monotonic: Callable[[], float] | None = None,
    ) -> None:
        self.device = device_id(letter)
        self.time = FakeTime(skew)
        self.home = MemoryHome()
        self.storage = self._open(1)
        self.roster = roster or FakeRoster()
        self.local = make_local(self.device, self.storage, self.time, roster=self.roster, monotonic=monotonic)

    def write(self, path: str, lines: Iterable[bytes]) -> None:
        """What a program on that laptop appends, seen by the next scan."""
        self.home.append(path, list(lines))

    def learn(self, path: str, lines: Iterable[bytes]) -> None:
        """The same, and seen at once; only before anything else uses the storage."""
        self.write(path, lines)
        self.storage.scan([path])

    async def take_in(self, path: str, lines: Iterable[bytes]) -> None:
        """The same while the device is at work."""
        self.write(path, lines)
        await self.local.desk.scan([path])

    def lines(self, path: str) -> set[bytes]:
        """What the file holds."""
        return set(self.home.files.get(path, b"").split(b"\n")) - {b""}

    def caller(self, other: Laptop) -> FakeCaller:
        """What this laptop knows of another that calls; only inside an event loop."""
        outbox = Outbox(self.local.desk, other.device, self.time.monotonic)
        return FakeCaller(other.device, outbox, self.time.monotonic)

    def as_peer_of(self, other: Laptop) -> Responder:
        """This laptop as the other one calls it; only inside an event loop."""
        return Responder(self.local, self.caller(other))

    def _open(self, run: int) -> MemoryStorage:
        return MemoryStorage(self.device, self.home, clock=self.time.wall, epoch=bytes([run]) * 8)
