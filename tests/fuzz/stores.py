"""Checks of what stands on this device's disk, and of a whole replica that a peer's batch is applied to."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

from fleetsync import config
from fleetsync.devices.identity import Identity
from fleetsync.devices.trust import FLEET_FILE, Fleet
from fleetsync.errors import BrokenConfig, FleetDamaged, LocalError, MalformedMessage, TooLarge
from fleetsync.ports import END, START, Group
from fleetsync.records.names import DeviceId
from fleetsync.replica.index import Index
from fleetsync.replica.journal import Journal
from fleetsync.replica.replica import Replica
from fleetsync.replica.surroundings import Surroundings
from fleetsync.stores.memory import MemoryHome, MemoryStorage
from fleetsync.wire import codec

ME, PEER = DeviceId("b" * 52), DeviceId("a" * 52)
NOW = 1_750_000_000_000_000
PATHS = (
    "skills/deploy/events.jsonl",
    "skills/deploy/skill.yaml",
    "channels/general/events.jsonl",
    "channels/general/channel.yaml",
    "agents/coder/profile.yaml",
    "agents/coder/sys_prompt.md",
    "open-items.jsonl",
    "experience/main/events.jsonl",
    "../../outside",
)


@cache
def _directory() -> Path:
    """A place for the files of this process."""
    made = Path(tempfile.mkdtemp(prefix="fleetsync-fuzz-"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


# --- files of our own -----------------------------------------------------------------------------------


def config_file(data: bytes) -> None:
    """A config is read, or refused with a line that says where."""
    path = _directory() / "config.toml"
    path.write_bytes(data)
    with suppress(BrokenConfig):
        assert isinstance(config.read(path), config.Config)


def fleet_file(data: bytes) -> None:
    """`fleet.json` is read, or the daemon stops and names it."""
    (_directory() / FLEET_FILE).write_bytes(data)
    identity = Identity(ME, b"certificate", Path("key"), Path("crt"))
    with suppress(FleetDamaged):
        fleet = Fleet.load(_directory(), identity, entropy=bytes, place="here")
        fleet.peers()
        fleet.offer()
        assert ME not in fleet.trusted()


@cache
def _databases() -> tuple[bytes, bytes]:
    """A journal and an index with something in them."""
    replica = _replica(_directory() / "sample")
    replica.apply(
        [Group("open-items.jsonl", [b'{"kind":"resolve","id":"x","at":"2025-01-01T00:00:00Z"}'])], PEER
    )
    replica.close()
    journal, index = (_directory() / "sample/state" / name for name in ("journal.db", "index.db"))
    return journal.read_bytes(), index.read_bytes()


def database_file(data: bytes) -> None:
    """A journal or index with other bytes in it opens, or is called damaged; it is never half believed.

    Each two bytes of the input replace one byte of the file, in strides.
    """
    for name, sound in zip(("journal.db", "index.db"), _databases(), strict=True):
        path, broken = _directory() / name, bytearray(sound)
        for other in (path.with_name(f"{name}-wal"), path.with_name(f"{name}-shm")):
            other.unlink(missing_ok=True)
        at = 0
        for step, value in zip(data[::2], data[1::2], strict=False):
            at = (at + 1 + step * 37) % len(broken)
            broken[at] = value
        path.write_bytes(broken)
        with suppress(LocalError):
            if name == "journal.db":
                journal = Journal.open(path)
                try:
                    journal.versions()
                    journal.parked_members()
                    journal.swaps()
                finally:
                    journal.close()
            else:
                index = Index.open(path, bytes)
                try:
                    index.head()
                finally:
                    index.close()


# --- a whole replica ------------------------------------------------------------------------------------


def _replica(root: Path) -> Replica:
    return Replica(root / "home", root / "state", ME, Surroundings(lambda: NOW, _Tokens().take), 600_000_000)


class _Tokens:
    def __init__(self) -> None:
        self._next = 0

    def take(self, count: int) -> bytes:
        self._next += 1
        return self._next.to_bytes(count, "big")


def _groups(data: bytes) -> list[Group]:
    """A batch as a peer sends it, or one of our own shape: path number, body, NUL NUL, and so on."""
    with suppress(MalformedMessage, TooLarge):
        return codec.decode_batch(data).groups
    chosen = [piece for piece in data.split(b"\0\0") if piece]
    return [Group(PATHS[piece[0] % len(PATHS)], [piece[1:]]) for piece in chosen]


def memory_apply(data: bytes) -> None:
    """Every body gets a verdict, twice the same set, and what is in it can be read back."""
    groups = _groups(data)
    storage = MemoryStorage(ME, MemoryHome(), clock=lambda: NOW / 1e6, epoch=b"epoch--1")
    _apply(storage, groups)


def replica_apply(data: bytes) -> None:
    """The same with files, and nothing is written outside of home."""
    root = _directory() / "replica"
    shutil.rmtree(root, ignore_errors=True)
    replica = _replica(root)
    try:
        _apply(replica, _groups(data))
        replica.scan(None)
        replica.condition()
    finally:
        replica.close()
    assert {path.name for path in root.iterdir()} == {"home", "state"}


def _apply(storage: MemoryStorage | Replica, groups: list[Group]) -> None:
    verdicts = storage.apply(groups, PEER)
    assert len(verdicts) == sum(len(group.bodies) for group in groups)
    head = storage.head()
    storage.apply(groups, PEER)
    assert storage.head().fingerprint == head.fingerprint
    held = [item for page in storage.between(START, END) for item in page]
    assert len(held) == head.count
