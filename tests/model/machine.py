"""One device's disk, journal and index as values: what the product's own code runs on in the model.

The modelled disk holds one skill's directory. Every change of disk or journal is a step, and a machine
may stop before any of them: killed, with what was written so far, or by a power loss, with what was
fsynced. A log write may also stop inside. The index is a cache that is committed at the end or not at all.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest import mock

from fleetsync import files
from fleetsync.replica import appending, counting, logs
from fleetsync.replica.index import IN_JOURNAL, Entry, FileState
from fleetsync.replica.journal import ParkedLine
from fleetsync.replica.ledger import Append, Count

LOG = "skills/deploy/events.jsonl"
LOG_NAME = "events.jsonl"


class Stopped(Exception):
    """The machine stops here."""


class Fate(NamedTuple):
    """When the machine stops: before this step (-1: never), `cut` bytes into the write that it is."""

    step: int = -1
    cut: int = 0
    power: bool = False


NEVER = Fate()


@dataclass
class Steps:
    """Counts what changes disk or journal, and stops the machine when its time has come."""

    fate: Fate = NEVER
    taken: list[int] = field(default_factory=list)
    """Of each step, how many bytes it writes to the log."""

    def take(self, size: int = 0) -> None:
        """One step; raises `Stopped` instead of it."""
        if len(self.taken) == self.fate.step:
            raise Stopped
        self.taken.append(size)

    def cut(self, data: bytes) -> bytes:
        """What of a write to the log comes to pass if the machine stops in it, else all."""
        return data[: self.fate.cut] if len(self.taken) == self.fate.step else data


# --- the disk -------------------------------------------------------------------------------------------


@dataclass
class Disk:
    """Names and files of one directory, now and as a power loss would leave them."""

    names: dict[str, int]
    inodes: dict[int, bytes]
    steps: Steps
    synced_names: dict[str, int] = field(default_factory=dict)
    synced: dict[int, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """What is there at the beginning is there for good."""
        self.synced_names, self.synced = dict(self.names), dict(self.inodes)

    def lose_power(self) -> None:
        """Back to what was fsynced."""
        self.names, self.inodes = dict(self.synced_names), dict(self.synced)

    def make(self, name: str, data: bytes = b"") -> int:
        inode = max([*self.inodes, 0]) + 1
        self.inodes[inode] = data
        self.names[name] = inode
        return inode


@dataclass
class Handle:
    """An open file, in place of a descriptor."""

    disk: Disk
    inode: int


@dataclass
class Folder:
    """The directory, in place of `files.Folder`; also its own root."""

    disk: Disk
    label: str = "deploy"

    def __enter__(self) -> Folder:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def at(self, name: str) -> str:
        return name

    def enter(self, _path: str, *, create: bool = False) -> Folder:
        return self

    def parent_of(self, path: str, *, create: bool = False) -> tuple[Folder, str]:
        return self, path.rpartition("/")[2]

    def identity(self) -> tuple[int, int]:
        return 0, 0

    def status(self, name: str) -> SimpleNamespace | None:
        inode = self.disk.names.get(name)
        return None if inode is None else status_of(Handle(self.disk, inode))

    def open_file(self, name: str, _flags: int) -> Handle:
        if name.endswith(".lock"):
            return Handle(self.disk, 0)
        if name not in self.disk.names:
            raise FileNotFoundError(name)
        return Handle(self.disk, self.disk.names[name])

    def read(self, name: str, _limit: int) -> bytes:
        if name not in self.disk.names:
            raise FileNotFoundError(name)
        return self.disk.inodes[self.disk.names[name]]

    def names(self) -> list[str]:
        return sorted(self.disk.names)

    def create(self, name: str, data: bytes) -> None:
        self.disk.steps.take()
        self.disk.synced[self.disk.make(name, data)] = data

    def remove(self, name: str) -> None:
        self.disk.steps.take()
        self.disk.names.pop(name, None)

    def rename_to(self, name: str, _target: Folder, target_name: str) -> None:
        self.disk.steps.take()
        self.disk.names[target_name] = self.disk.names.pop(name)

    def sync(self) -> None:
        self.disk.steps.take()
        self.disk.synced_names = dict(self.disk.names)


def status_of(handle: Handle) -> SimpleNamespace:
    """A look that changes when the content does."""
    data = handle.disk.inodes[handle.inode]
    change = zlib.crc32(data)
    return SimpleNamespace(
        st_dev=0, st_ino=handle.inode, st_size=len(data), st_mtime_ns=change, st_ctime_ns=change
    )


def _read_span(handle: Handle, offset: int, length: int) -> bytes:
    return handle.disk.inodes[handle.inode][offset : offset + length]


def _write_fully(handle: Handle, data: bytes, _label: str) -> None:
    handle.disk.inodes[handle.inode] += handle.disk.steps.cut(data)
    handle.disk.steps.take(len(data))


def _blank(handle: Handle, offset: int, length: int) -> None:
    handle.disk.steps.take()
    data = handle.disk.inodes[handle.inode]
    handle.disk.inodes[handle.inode] = data[:offset] + b"\n" * length + data[offset + length :]
    _fsync(handle)


def _fsync(handle: Handle) -> None:
    handle.disk.steps.take()
    handle.disk.synced[handle.inode] = handle.disk.inodes[handle.inode]


OS = SimpleNamespace(
    O_RDONLY=0, O_RDWR=2, O_CREAT=64, O_APPEND=1024, fstat=status_of, close=lambda _handle: None, fsync=_fsync
)
_FILES = SimpleNamespace(
    read_span=_read_span,
    write_fully=_write_fully,
    blank=_blank,
    storage_errors=lambda _what: nullcontext(),
    ShortWrite=files.ShortWrite,
)


@contextmanager
def modelled_disk() -> Iterator[None]:
    """Inside, the product's code for logs and counters works on handles and folders of the model."""
    unlocked = lambda _handle, _label: nullcontext()  # noqa: E731
    with (
        mock.patch.object(logs, "os", OS),
        mock.patch.object(logs, "files", _FILES),
        mock.patch.object(appending, "os", OS),
        mock.patch.object(appending, "files", _FILES),
        mock.patch.object(appending, "flocked", unlocked),
        mock.patch.object(counting, "os", OS),
        mock.patch.object(counting, "flocked", unlocked),
    ):
        yield


# --- the journal -----------------------------------------------------------------------------------------


class Kept(NamedTuple):
    """The journal as a value. The ledger holds (id, is local, is counted)."""

    ledger: tuple[tuple[bytes, bool, bool], ...] = ()
    append: Append | None = None
    counting: Count | None = None
    epoch: tuple[str | None] | None = None
    parked: tuple[ParkedLine, ...] = ()


class Journal:
    """In place of `replica.journal.Journal` and its ledger, for one log. Each call that changes it is
    durable when it returns, but for `finish_count`.
    """

    def __init__(self, kept: Kept, steps: Steps) -> None:
        self._now = self._durable = kept
        self._steps = steps
        self.ledger = self

    def kept(self, *, power: bool) -> Kept:
        """What the machine leaves."""
        return self._durable if power else self._now

    def _set(self, *, durable: bool = True, **changes: Any) -> None:
        self._steps.take()
        self._now = self._now._replace(**changes)
        if durable:
            self._durable = self._now

    def _rows(self) -> dict[bytes, tuple[bool, bool]]:
        return {identity: (local, counted) for identity, local, counted in self._now.ledger}

    @staticmethod
    def _ledger(rows: Mapping[bytes, tuple[bool, bool]]) -> tuple[tuple[bytes, bool, bool], ...]:
        return tuple((identity, *rows[identity]) for identity in sorted(rows))

    def get(self, _name: str) -> bytes | None:
        return None

    # parked lines

    def parked(self, _path: str) -> list[ParkedLine]:
        return list(self._now.parked)

    def parked_reasons(self) -> list[tuple[str, str, int]]:
        return [(LOG, reason, 1) for reason in {line.reason for line in self._now.parked}]

    def parked_bodies(self, ids: Sequence[bytes]) -> dict[bytes, bytes]:
        return {line.id: line.body for line in self._now.parked if line.id in ids}

    def park(self, lines: Iterable[ParkedLine]) -> None:
        self._set(parked=tuple(sorted({*self._now.parked, *lines})))

    def unpark(self, ids: Iterable[bytes]) -> None:
        gone = set(ids)
        self._set(parked=tuple(line for line in self._now.parked if line.id not in gone))

    def set_reason(self, ids: Iterable[bytes], reason: str) -> None:
        pass

    # the ledger

    def origins(self, _path: str, ids: Sequence[bytes]) -> dict[bytes, str | None]:
        rows = self._rows()
        return {identity: None if rows[identity][0] else "peer" for identity in ids if identity in rows}

    def has_ledger(self, _path: str) -> bool:
        return bool(self._now.ledger)

    def note_local(self, _path: str, ids: Iterable[bytes]) -> None:
        rows = dict.fromkeys(ids, (True, True))
        self._set(ledger=self._ledger({**rows, **self._rows()}))

    def pending(self, _path: str) -> list[bytes]:
        return [identity for identity, _, counted in self._now.ledger if not counted]

    def pending_paths(self) -> dict[str, int]:
        waiting = len(self.pending(LOG))
        return {LOG: waiting} if waiting else {}

    def counted_paths(self) -> list[str]:
        return [] if self._now.epoch is None else [LOG]

    def foreign(self, _path: str) -> list[bytes]:
        return [identity for identity, local, _ in self._now.ledger if not local]

    def epoch(self, _path: str) -> tuple[str | None] | None:
        return self._now.epoch

    # intents

    def begin_append(self, append: Append, _origin: str) -> None:
        rows = dict.fromkeys(append.ids, (False, False))
        frozen = append._replace(ids=tuple(append.ids))  # type: ignore[arg-type]
        self._set(append=frozen, ledger=self._ledger({**rows, **self._rows()}))

    def finish_append(self, _path: str, absent: Sequence[bytes] = ()) -> None:
        rows = {i: row for i, row in self._rows().items() if row[1] or i not in absent}
        self._set(append=None, ledger=self._ledger(rows))

    def appends(self) -> list[Append]:
        return [] if self._now.append is None else [self._now.append]

    def begin_count(self, count: Count) -> None:
        self._set(append=None, counting=count._replace(ids=tuple(count.ids)))  # type: ignore[arg-type]

    def finish_count(self, count: Count) -> None:
        rows = {i: (local, counted or i in count.ids) for i, (local, counted) in self._rows().items()}
        self._set(durable=False, counting=None, epoch=(count.epoch,), ledger=self._ledger(rows))

    def drop_count(self, _path: str) -> None:
        self._set(counting=None)

    def counts(self) -> list[Count]:
        return [] if self._now.counting is None else [self._now.counting]


# --- the index -------------------------------------------------------------------------------------------


class Indexed(NamedTuple):
    """The index as a value."""

    entries: tuple[Entry, ...] = ()
    file: FileState | None = None


class Index:
    """In place of `replica.index.Index`, for one log. Arrival numbers mean nothing here."""

    def __init__(self, indexed: Indexed) -> None:
        self._entries = {entry.key.id: entry for entry in indexed.entries}
        self._file = indexed.file

    def indexed(self) -> Indexed:
        """What is committed in the end."""
        return Indexed(tuple(sorted(self._entries.values())), self._file)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        yield

    def files(self) -> list[FileState]:
        return [] if self._file is None else [self._file]

    def set_file(self, state: FileState) -> None:
        self._file = state

    def drop_file(self, _path: str) -> None:
        self._file = None

    def of_path(self, _path: str) -> list[Entry]:
        return sorted(self._entries.values(), key=lambda entry: entry.offset)

    def find(self, ids: Sequence[bytes]) -> list[Entry]:
        return [self._entries[identity] for identity in ids if identity in self._entries]

    def has(self, ids: Sequence[bytes]) -> set[bytes]:
        return self._entries.keys() & set(ids)

    def has_path(self, _path: str) -> bool:
        return bool(self._entries)

    def add(self, entries: Iterable[Entry]) -> list[Entry]:
        return self.add_new(entry for entry in entries if entry.key.id not in self._entries)

    def add_new(self, entries: Iterable[Entry]) -> list[Entry]:
        fresh = list(entries)
        assert not {entry.key.id for entry in fresh} & self._entries.keys()
        self._entries |= {entry.key.id: entry for entry in fresh}
        return fresh

    def remove(self, ids: Sequence[bytes]) -> None:
        for identity in ids:
            self._entries.pop(identity, None)

    def relocate(self, places: Iterable[tuple[bytes, int, int]]) -> None:
        for identity, offset, length in places:
            if identity in self._entries:
                entry = self._entries[identity]
                self._entries[identity] = entry._replace(offset=offset, length=length)

    def standing(self) -> set[bytes]:
        """The members whose body is in the file."""
        return {i for i, entry in self._entries.items() if entry.offset != IN_JOURNAL}
