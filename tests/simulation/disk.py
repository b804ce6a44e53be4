"""The disk of one laptop: real files, faults at the n-th call, and the power that may fail.

All calls of the program and of the simulated mur come through `Drives`, the gate of
`tests/faults/disk_calls.py`. A kill is `Killed`, raised in place of a call; from then on the disk
answers the dead process with nothing else. What a power loss leaves is decided by `durable.py`; the
databases keep every transaction that was committed with synchronous=FULL, and perhaps later ones.
Time stamps of files are virtual. Rule of the file: a disk does what it was armed to do and decides
nothing by itself but the details.
"""

from __future__ import annotations

import errno
import fcntl
import functools
import os
import random
import shutil
import sqlite3
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any, NoReturn, cast

from fleetsync.errors import LockBusy
from tests.faults import disk_calls
from tests.simulation.durable import Names, Node, Place, surviving

_STAT, _FSTAT, _LINK, _RENAME, _UNLINK = os.stat, os.fstat, os.link, os.rename, os.unlink
_OPEN, _PREAD, _FLOCK = os.open, os.pread, fcntl.flock
FULL = 2
"""What `PRAGMA synchronous` answers where a committed transaction survives a power loss."""


class Killed(BaseException):
    """The process is gone: what follows is not done by anybody."""


class Fault(StrEnum):
    """What may happen at a call."""

    KILL = "kill"  # instead of the call
    KILL_AFTER = "kill-after"
    TORN = "torn"  # a write: some of it, then a kill
    EIO = "eio"
    EIO_READ = "eio-read"
    SHORT = "short"  # a write: some of it, then ENOSPC
    INTRUDE = "intrude"  # another program acts right before the call


class Disk:
    """One laptop's disk below `root`: `home`, `state`, and the pit where removed files wait."""

    def __init__(self, root: Path, dice: random.Random, now: Callable[[], int]) -> None:
        """`now` gives µs since 1970."""
        self.root, self.home, self.state = root, root / "home", root / "state"
        self._pit = root / "pit"
        for each in (self.home, self.state, self._pit):
            each.mkdir(parents=True)
        self.dead = False
        self.full = False
        self.lies = False
        self.lied = False
        self.intruder: Callable[[], None] = lambda: None
        self.calls = 0
        self.injected: Counter[str] = Counter()
        self._dice = dice
        self._now = now
        self._stamps = 0
        self._fault: Fault | None = None
        self._left = 0
        self._names = Names()
        self._tops = {_STAT(top).st_ino: top for top in (self.home, self.state)}
        for number in self._tops:
            self._names.nodes[number] = Node(number, is_directory=True)
        self._databases: list[tuple[sqlite3.Connection, Path]] = []
        self._safe: dict[Path, int] = {}  # bytes of its write-ahead log that survive a power loss

    def arm(self, fault: Fault | None, calls: int = 0) -> None:
        """Let it happen after so many more calls; None disarms."""
        self._fault, self._left = fault, calls

    # --- faults -----------------------------------------------------------------------------------

    def _due(self, *kinds: Fault) -> Fault | None:
        """The armed fault if its time has come and it is one of these kinds."""
        if self.dead:
            raise Killed
        self.calls += 1
        if self._fault is None:
            return None
        self._left -= 1
        if self._left > 0 or self._fault not in kinds:
            return None
        fault, self._fault = self._fault, None
        self.injected[fault] += 1
        return fault

    def _meet(self, *more: Fault) -> Fault | None:
        """What happens at a call: kills and errors are raised here, the rest is told."""
        fault = self._due(Fault.KILL, Fault.KILL_AFTER, Fault.EIO, Fault.INTRUDE, *more)
        if fault is Fault.KILL:
            self.die()
        if fault is Fault.EIO:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        if fault is Fault.INTRUDE:
            self.intruder()
        return fault

    def _after(self, fault: Fault | None) -> None:
        if fault is Fault.KILL_AFTER:
            self.die()

    def die(self) -> NoReturn:
        """The process that uses this disk is killed."""
        self.dead = True
        raise Killed

    def _no_space(self) -> NoReturn:
        self.injected["enospc"] += 1
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    # --- calls ------------------------------------------------------------------------------------

    def write(self, call: Callable[..., int], fd: int, data: Any, *rest: Any, faulty: bool) -> int:
        """See `Gate`. A full disk takes some of the first write and nothing of the next."""
        fault = self._meet(Fault.TORN, Fault.SHORT) if faulty else None
        part = bytes(data[: self._dice.randrange(len(data))]) if len(data) else b""
        if fault is Fault.TORN:
            self._put(call, fd, part, *rest)
            self.die()
        if fault is Fault.SHORT or (faulty and self.full):
            if fault is Fault.SHORT:
                self._fault, self._left = Fault.SHORT, 0  # what follows fails as a whole
            if not part or fault is None:
                self._fault = None
                self._no_space()
            return self._put(call, fd, part, *rest)
        done = self._put(call, fd, data, *rest)
        self._after(fault)
        return done

    def _put(self, call: Callable[..., int], fd: int, data: Any, *rest: Any) -> int:
        done = call(fd, data, *rest) if len(data) else 0
        self.stamp(fd)
        return done

    def stamp(self, fd: int) -> None:
        """The file was changed now, by the virtual clock; no two changes have the same time."""
        self._stamps += 1
        moment = self._now() * 1000 + self._stamps % 1000
        os.utime(fd, ns=(moment, moment))

    def change(self, name: str, call: Callable[..., Any], *arguments: Any, faulty: bool, **named: Any) -> Any:
        """See `Gate`."""
        perform = functools.partial(call, *arguments, **named)
        if name == "open" and (not arguments[1] & os.O_CREAT or self._exists(arguments[0], named)):
            return perform()
        fault = self._meet() if faulty else None
        if faulty and self.full and name in ("open", "mkdir") and self._dice.random() < 0.3:
            self._no_space()
        result = getattr(self, f"_{name}", self._plainly)(perform, *arguments, **named)
        self._after(fault)
        return result

    def read(self, fd: int, length: int, offset: int, *, faulty: bool) -> bytes:
        """`os.pread`."""
        if faulty and self._due(Fault.EIO_READ) is not None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return _PREAD(fd, length, offset)

    def _plainly(self, perform: Callable[[], Any], *_arguments: Any, **_named: Any) -> Any:
        return perform()

    def _ftruncate(self, perform: Callable[[], Any], fd: int, _length: int) -> None:
        perform()
        self.stamp(fd)

    def _open(self, perform: Callable[[], int], path: Any, _flags: int, *_mode: int, **named: Any) -> int:
        fd = perform()
        if not str(path).endswith(".db"):
            self.stamp(fd)
            self._appear(self._place(path, named.get("dir_fd")), _FSTAT(fd), is_directory=False)
        return fd

    def _mkdir(self, perform: Callable[[], None], path: Any, *_mode: int, **named: Any) -> None:
        perform()
        place = self._place(path, named.get("dir_fd"))
        found = _STAT(path, dir_fd=named.get("dir_fd"), follow_symlinks=False)
        self._appear(place, found, is_directory=True)

    def _appear(self, place: Place, found: os.stat_result, *, is_directory: bool) -> None:
        node = self._names.nodes[found.st_ino] = Node(found.st_ino, is_directory)
        self._names.change([(place, node)])

    def _fsync(self, _perform: Callable[[], None], fd: int) -> None:
        if self.lies:
            self.lied = True
            self.injected["lying fsync"] += 1
            return
        found = _FSTAT(fd)
        if stat.S_ISDIR(found.st_mode):
            self._names.synced(found.st_ino)
        elif found.st_ino in self._names.nodes:
            self._sync_file(self._names.nodes[found.st_ino])

    def _sync_file(self, node: Node) -> None:
        try:
            node.durable = self._content(node)
        except KeyError:
            return  # it has no name any more: nobody will miss it

    def _rename(self, perform: Callable[[], None], source: Any, target: Any, **named: Any) -> None:
        old = self._place(source, named.get("src_dir_fd"))
        new = self._place(target, named.get("dst_dir_fd"))
        self._keep(new)
        perform()
        self._names.change([(old, None), (new, self._names.now[old])])

    def _rename_with(
        self, perform: Callable[[], None], flags: int, fd: int, name: str, target_fd: int, target: str
    ) -> None:
        perform()
        old, new = self._place(name, fd), self._place(target, target_fd)
        swapped = self._names.now[new] if flags == 2 else None
        self._names.change([(old, swapped), (new, self._names.now[old])])

    def _link(self, perform: Callable[[], None], source: Any, target: Any, **named: Any) -> None:
        old = self._place(source, named.get("src_dir_fd"))
        perform()
        self._names.change([(self._place(target, named.get("dst_dir_fd")), self._names.now[old])])

    def _unlink(self, perform: Callable[[], None], path: Any, **named: Any) -> None:
        place = self._place(path, named.get("dir_fd"))
        self._keep(place)
        perform()
        if place in self._names.now:
            self._names.change([(place, None)])

    def _rmdir(self, _perform: Callable[[], None], path: Any, **named: Any) -> None:
        """The directory goes into the pit, so that it is the same one if it comes back."""
        place = self._place(path, named.get("dir_fd"))
        where = self._path(place)
        if any(where.iterdir()):
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY))
        _RENAME(where, self._pit / str(self._names.now[place].number))
        self._names.change([(place, None)])

    # --- names ------------------------------------------------------------------------------------

    def _place(self, path: Any, dir_fd: int | None) -> Place:
        if dir_fd is not None:
            return _FSTAT(dir_fd).st_ino, os.fspath(path)
        above, name = os.path.split(os.fspath(path))
        return _STAT(above).st_ino, name

    def _exists(self, path: Any, named: dict[str, Any]) -> bool:
        try:
            _STAT(path, dir_fd=named.get("dir_fd"), follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def _path(self, place: Place) -> Path:
        number, name = place
        if number in self._tops:
            return self._tops[number] / name
        return self._path(self._names.place_of(self._names.nodes[number])) / name

    def _keep(self, place: Place) -> None:
        """The file that is about to lose this name can still come back: hold it by another name."""
        node = self._names.now.get(place)
        if node is None or node.is_directory:
            return
        kept = self._pit / str(node.number)
        if not kept.exists():
            _LINK(self._path(place), kept)

    def settle(self) -> None:
        """All that is there is durable: the laptop has been standing still for a while."""
        for node in self._names.now.values():
            if not node.is_directory:
                node.durable = self._content(node)
        self._names.durable = dict(self._names.now)
        self._names.pending.clear()

    def _content(self, node: Node) -> bytes:
        return self._path(self._names.place_of(node)).read_bytes()

    # --- databases --------------------------------------------------------------------------------

    def opened(self, connection: sqlite3.Connection, path: Path) -> None:
        """A database of this disk is open from now on."""
        sqlite3.Connection.execute(connection, "PRAGMA wal_autocheckpoint = 0")
        self._databases.append((connection, path))
        self._safe[path] = _size(_wal(path))

    def commit(
        self, connection: sqlite3.Connection, call: Callable[[], sqlite3.Cursor], *, faulty: bool
    ) -> sqlite3.Cursor:
        """See `Gate`."""
        try:
            fault = self._meet() if faulty else None
        except OSError as error:
            raise _database_error("disk I/O error", sqlite3.SQLITE_IOERR) from error
        if faulty and self.full and self._dice.random() < 0.5:
            self.injected["enospc"] += 1
            raise _database_error("database or disk is full", sqlite3.SQLITE_FULL)
        level = sqlite3.Connection.execute(connection, "PRAGMA synchronous").fetchone()[0]
        cursor = call()
        if level == FULL:
            path = next(path for each, path in self._databases if each is connection)
            self._safe[path] = _size(_wal(path))
        self._after(fault)
        return cursor

    # --- the end of a process, and of the power -------------------------------------------------------

    def release(self, *, power: bool) -> int:
        """The process is gone, with `power` the whole machine; returns how many names were lost."""
        aside = [self._put_aside(path) for _, path in self._databases] if power else []
        for connection, _ in self._databases:
            connection.close()
        for path, copy in zip([path for _, path in self._databases], aside, strict=False):
            for suffix in ("", "-wal", "-shm"):
                Path(f"{path}{suffix}").unlink(missing_ok=True)
            for suffix in ("", "-wal"):
                if Path(f"{copy}{suffix}").exists():
                    _RENAME(f"{copy}{suffix}", f"{path}{suffix}")
        self._databases.clear()
        self._fault, self.dead = None, False
        return self._lose() if power else 0

    def _put_aside(self, path: Path) -> Path:
        """A database as the disk would give it back: its log cut anywhere behind what is safe."""
        copy, wal = self._pit / path.name, _wal(path)
        shutil.copyfile(path, copy)
        if wal.exists():
            shutil.copyfile(wal, f"{copy}-wal")
            os.truncate(f"{copy}-wal", self._dice.randint(self._safe[path], _size(wal)))
        return copy

    def _lose(self) -> int:
        before = [(self._path(place), node) for top in self._tops for place, node in self._names.below(top)]
        lost = self._names.lose(self._dice)
        if lost:
            self._rebuild(before)
        for node in dict.fromkeys(self._names.now.values()):
            if not node.is_directory:
                self._lose_content(node)
        return lost

    def _rebuild(self, before: list[tuple[Path, Node]]) -> None:
        """Everything into the pit, deepest first, and out again by the names that survived."""
        for path, node in reversed(before):
            kept = self._pit / str(node.number)
            if kept.exists():
                _UNLINK(path)
            else:
                _RENAME(path, kept)
        for top in self._tops:
            for place, node in self._names.below(top):
                kept = self._pit / str(node.number)
                (_RENAME if node.is_directory else _LINK)(kept, self._path(place))

    def _lose_content(self, node: Node) -> None:
        content = self._content(node)
        node.durable = surviving(node, content, self._dice)
        if node.durable != content:
            with self._path(self._names.place_of(node)).open("r+b") as file:
                file.truncate(0)
                file.write(node.durable)
                file.flush()
                self.stamp(file.fileno())


def _database_error(text: str, code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(text)
    error.sqlite_errorcode = code
    return error


def _wal(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


class Drives:
    """The gate: whose disk a call goes to, and whether faults may happen at it."""

    def __init__(self) -> None:
        self._disk: Disk | None = None
        self._faulty = False

    @contextmanager
    def used(self, disk: Disk, *, faulty: bool) -> Iterator[None]:
        """Calls in this block are made by a program on that laptop; `faulty`: it is the daemon."""
        before = self._disk, self._faulty
        self._disk, self._faulty = disk, faulty
        try:
            yield
        finally:
            self._disk, self._faulty = before

    @contextmanager
    def installed(self) -> Iterator[None]:
        """All calls of this Python process come through here."""
        restore = disk_calls.install(self)
        os.stat, os.fstat, os.pread, fcntl.flock = self._stat, self._fstat, self._pread, self._flock  # type: ignore[assignment]
        try:
            yield
        finally:
            os.stat, os.fstat, os.pread, fcntl.flock = _STAT, _FSTAT, _PREAD, _FLOCK
            restore()

    def write(self, call: Callable[..., int], fd: int, data: Any, *rest: Any) -> int:
        """See `Gate`."""
        if self._disk is None:
            return call(fd, data, *rest)
        return self._disk.write(call, fd, data, *rest, faulty=self._faulty)

    def change(self, name: str, call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """See `Gate`."""
        if self._disk is None:
            return call(*arguments, **named)
        return self._disk.change(name, call, *arguments, faulty=self._faulty, **named)

    def opened(self, connection: sqlite3.Connection, path: str) -> None:
        """See `Gate`."""
        if self._disk is not None:
            self._disk.opened(connection, Path(path))

    def commit(self, connection: sqlite3.Connection, call: Callable[[], sqlite3.Cursor]) -> sqlite3.Cursor:
        """See `Gate`."""
        if self._disk is None:
            return call()
        return self._disk.commit(connection, call, faulty=self._faulty)

    def _pread(self, fd: int, length: int, offset: int) -> bytes:
        if self._disk is None:
            return _PREAD(fd, length, offset)
        return self._disk.read(fd, length, offset, faulty=self._faulty)

    def _stat(self, *arguments: Any, **named: Any) -> os.stat_result:
        return self._virtual(_STAT(*arguments, **named))

    def _fstat(self, fd: int) -> os.stat_result:
        return self._virtual(_FSTAT(fd))

    def _virtual(self, found: os.stat_result) -> os.stat_result:
        """The time at which a file's name or mode changed is the machine's own: it is not shown."""
        if self._disk is None:
            return found
        _, parts = cast("tuple[object, tuple[tuple[int, ...], dict[str, int]]]", found.__reduce__())
        return os.stat_result(parts[0], {**parts[1], "st_ctime_ns": found.st_mtime_ns})

    def _flock(self, fd: int, operation: int) -> None:
        """Nobody else runs while the program waits for a lock: it would wait for all its patience."""
        try:
            _FLOCK(fd, operation)
        except BlockingIOError:
            if self._disk is None:
                raise
            raise LockBusy("another program holds the lock") from None
