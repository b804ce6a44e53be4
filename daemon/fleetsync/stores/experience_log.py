"""`ExperienceLog`: the truth of the experience ledger, `experience/<stream>/events.jsonl` under home.

Appending is what any local program does: under flock on the log itself, in one write that begins with
a newline unless the file is empty, fsynced, and blanked again where a full disk took only part of it.
Reading goes on behind a mark; what is damaged is passed over, what is whole in it is read. It never
creates home, and never changes a byte that stands. Implements docs/experience.md, "The log".
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from fleetsync.errors import FileChanged, HomeMissing, MalformedRecord
from fleetsync.experience_port import Mark
from fleetsync.files import (
    LOCK_PATIENCE,
    Folder,
    ShortWrite,
    blank,
    flocked,
    read_span,
    storage_errors,
    write_fully,
)
from fleetsync.records import loglines
from fleetsync.records.experiences import Experience, read
from fleetsync.records.names import legal_name, require_name

DIRECTORY = "experience"
FILE = "events.jsonl"
PORTION = 4 << 20
"""Bytes read at a time."""
TAIL = 4096
"""Bytes before a mark that tell a log that grew from one that was replaced."""
ATTEMPTS = 5


class Portion(NamedTuple):
    """What stands behind a mark, and the mark behind that; `more` if that is not the end."""

    events: list[Experience]
    mark: Mark
    more: bool


class HeldLog:
    """The log of one stream, its lock held."""

    def __init__(self, folder: Folder, descriptor: int) -> None:
        self._folder = folder
        self._descriptor = descriptor

    def append(self, lines: Sequence[bytes]) -> None:
        """Append all of these lines, durably, or none. Raises `StorageFailed`, `FileChanged`."""
        if not lines:
            return
        label = self._folder.at(FILE)
        opening = b"\n" if os.fstat(self._descriptor).st_size else b""
        try:
            with storage_errors(label):
                write_fully(self._descriptor, opening + b"\n".join(lines) + b"\n", label)
                os.fsync(self._descriptor)
        except ShortWrite as error:
            self._take_back(error.written)
            raise
        if not self.in_place():
            raise FileChanged(f"{label} was replaced while it was being written")

    def in_place(self) -> bool:
        """Whether the path still names the file that is locked."""
        status = self._folder.status(FILE)
        return status is not None and status.st_ino == os.fstat(self._descriptor).st_ino

    def _take_back(self, written: int) -> None:
        """Blank what the disk took, through a descriptor that does not move writes to the end."""
        end = os.lseek(self._descriptor, 0, os.SEEK_CUR)
        log = self._folder.open_file(FILE, os.O_RDWR)
        try:
            with storage_errors(self._folder.at(FILE)):
                blank(log, end - written, written)
        finally:
            os.close(log)


class ExperienceLog:
    """All streams of one home."""

    def __init__(self, home: Path, *, patience: float = LOCK_PATIENCE) -> None:
        self.home = home
        self._patience = patience

    def streams(self) -> list[str]:
        """The streams that have a log, sorted. Raises `HomeMissing`."""
        with self._root() as root:
            try:
                inner = root.enter(DIRECTORY)
            except FileNotFoundError:
                return []
            with inner:
                return [
                    name for name in inner.names() if legal_name("stream", name) and _has_log(inner, name)
                ]

    def append(self, stream: str, lines: Sequence[bytes]) -> None:
        """Append all of these lines to a stream, durably, or none; raises as `HeldLog.append`."""
        with self.held(stream) as log:
            log.append(lines)

    @contextmanager
    def held(self, stream: str) -> Iterator[HeldLog]:
        """The log of a stream, made if it is not there, under its lock.

        Raises `IllegalName`, `HomeMissing`, `LockBusy`, and `FileChanged` if others keep replacing it.
        """
        path = f"{DIRECTORY}/{require_name('stream', stream)}"
        with self._root() as root, root.enter(path, create=True) as folder:
            for _ in range(ATTEMPTS):
                descriptor = folder.open_file(FILE, os.O_RDWR | os.O_CREAT | os.O_APPEND)
                try:
                    with flocked(descriptor, folder.at(FILE), patience=self._patience):
                        log = HeldLog(folder, descriptor)
                        if log.in_place():
                            yield log
                            return
                finally:
                    os.close(descriptor)
            raise FileChanged(f"{folder.at(FILE)} is being replaced by another program")

    def read(self, stream: str, mark: Mark | None) -> Portion | None:
        """What stands behind the mark (None: all), up to `PORTION` bytes of it.

        None if the log is not the one that was marked, is shorter now, or is gone. An unfinished last
        line is left for later, unless it is an event already.
        """
        try:
            with self._root() as root, root.enter(f"{DIRECTORY}/{stream}") as folder:
                descriptor = folder.open_file(FILE, os.O_RDONLY)
                try:
                    with storage_errors(folder.at(FILE)):
                        return _read(descriptor, mark)
                finally:
                    os.close(descriptor)
        except FileNotFoundError:
            return None

    def _root(self) -> Folder:
        try:
            return Folder.open(self.home)
        except FileNotFoundError:
            raise HomeMissing(f"{self.home} is not there") from None


def _has_log(folder: Folder, stream: str) -> bool:
    try:
        with folder.enter(stream) as inner:
            return inner.status(FILE) is not None
    except (OSError, MalformedRecord):
        return False


def _read(descriptor: int, mark: Mark | None) -> Portion | None:
    status = os.fstat(descriptor)
    file = f"{status.st_dev}:{status.st_ino}"
    begin = mark.size if mark else 0
    if mark and (mark.file != file or status.st_size < begin or mark.tail != _tail(descriptor, begin)):
        return None
    data = read_span(descriptor, begin, PORTION)
    last = begin + len(data) >= status.st_size
    whole = _whole(data, last=last)
    end = begin + len(whole)
    return Portion(list(_events(whole)), Mark(file, end, _tail(descriptor, end)), not last)


def _whole(data: bytes, *, last: bool) -> bytes:
    """The part that can be read now; a line longer than a portion is passed over piece by piece."""
    cut = data.rfind(b"\n") + 1
    if not last:
        return data[:cut] if cut else data
    rest = data[cut:]
    return data if rest and _event(rest) else data[:cut]


def _tail(descriptor: int, end: int) -> str:
    start = max(0, end - TAIL)
    return sha256(read_span(descriptor, start, end - start)).hexdigest()[:16]


def _events(data: bytes) -> Iterator[Experience]:
    for line in loglines.lines(data):
        event = _event(line.body)
        if event is not None:
            yield event
            continue
        pieces = [_event(piece.body) for piece in loglines.pieces(line.body) if piece.whole]
        yield from (piece for piece in pieces if piece is not None)


def _event(body: bytes) -> Experience | None:
    try:
        return read(body)
    except MalformedRecord:
        return None
