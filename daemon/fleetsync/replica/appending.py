"""Appending to logs what peers have (SEMANTICS §4.1–4.3).

Writing is paranoid: under the lock that mur takes, journalled before the first byte, one write, fsynced,
and undone by blanking only our own bytes when the disk took part of it. A log is never renamed, sorted,
shortened or rewritten. What a crash leaves: before J1 nothing; after J1 `recover` finds our bytes again
and completes or blanks them; after the fsync the lines are members and only the count is outstanding
(`counting.py`). Knows lines, not why they may be written.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from fleetsync import datasets, files
from fleetsync.datasets import Dataset, LogLock
from fleetsync.errors import FileChanged, IllegalName
from fleetsync.files import Folder, ShortWrite, flocked
from fleetsync.records import loglines
from fleetsync.replica import jsonl
from fleetsync.replica.index import IN_JOURNAL, Index
from fleetsync.replica.journal import Journal
from fleetsync.replica.layout import Look, look_of
from fleetsync.replica.ledger import Append
from fleetsync.replica.logs import Logs, NewLine, can_be_keyed

HOLD = 1 << 20
"""Bytes written at most while the log's lock is held."""


class _Open(NamedTuple):
    """A log held open: its folder, name, and a descriptor that appends."""

    folder: Folder
    name: str
    fd: int

    def look(self) -> Look:
        return look_of(os.fstat(self.fd))

    def in_place(self) -> bool:
        """Whether the path still names the file we hold."""
        status = self.folder.status(self.name)
        return status is not None and status.st_ino == os.fstat(self.fd).st_ino


class Appending:
    """The one that writes the logs of one home; single-threaded."""

    def __init__(self, journal: Journal, index: Index, logs: Logs) -> None:
        self.wrote: Callable[[str], None] = lambda _path: None
        """Told of logs to which lines from peers have been appended."""
        self._ledger = journal.ledger
        self._journal = journal
        self._index = index
        self._logs = logs

    def append(
        self, root: Folder, path: str, row: Dataset, lines: Sequence[NewLine], origin: str, *, parked: bool
    ) -> None:
        """Append a peer's lines to their file, in this order, and make them members that stand there.

        `parked` says that they are members already, with their bodies in the journal; otherwise they
        are none. Raises `LockBusy`, `FileChanged`, `StorageFailed`; then the file holds none of the
        lines of the write that failed, or the journal knows how to settle them.
        """
        folder, name = root.parent_of(path, create=not row.manifest)
        with folder:
            for batch in _holds(lines):
                with _opened(folder, name, row) as log:
                    self._append_held(log, path, row, batch, origin, parked=parked)
        if parked:
            self._journal.unpark([line.key.id for line in lines])
        self.wrote(path)

    def _append_held(
        self, log: _Open, path: str, row: Dataset, lines: Sequence[NewLine], origin: str, *, parked: bool
    ) -> None:
        if not log.in_place():
            raise FileChanged(f"{log.folder.at(log.name)} was replaced while it was being opened")
        self._settle_outstanding(log, path, row)
        changed = self._logs.changed(path, log.look())
        if changed:
            self._logs.read_open(log.fd, path, row)
        offset = log.look().size
        # parked lines of another origin may have been found in the file while those before were written
        missing = self._not_in_file(lines) if offset and (changed or parked) else lines
        if not missing:
            return
        missing = self._logs.number(log.fd, path, row, missing)
        batch = jsonl.batch_of([line.body for line in missing], empty=offset == 0)
        append = Append(path, log.look().inode, offset, batch, [line.key.id for line in missing])
        self._ledger.begin_append(append, origin)
        self._write(log, append)
        if not self._logs.take_over(log.fd, append, missing, origin, parked=parked):
            self._logs.read_open(log.fd, path, row)

    def _not_in_file(self, lines: Sequence[NewLine]) -> list[NewLine]:
        standing = {
            e.key.id for e in self._index.find([line.key.id for line in lines]) if e.offset != IN_JOURNAL
        }
        return [line for line in lines if line.key.id not in standing]

    def _write(self, log: _Open, append: Append) -> None:
        label = log.folder.at(log.name)
        try:
            files.write_fully(log.fd, append.batch, label)
        except ShortWrite as error:
            self._undo(log, append, error)
            raise
        with files.storage_errors(label):
            os.fsync(log.fd)
        if not log.in_place():
            self._ledger.finish_append(append.path, append.ids)
            raise FileChanged(f"{label} was replaced while it was being written")

    def _undo(self, log: _Open, append: Append, error: ShortWrite) -> None:
        """The disk took part of the batch: blank our bytes; if even that fails, recovery settles it."""
        end = os.lseek(log.fd, 0, os.SEEK_CUR)
        if error.written:
            _blank(log, end - error.written, error.written)
        self._ledger.finish_append(append.path, append.ids)

    # --- settling -------------------------------------------------------------------------------

    def recover(self, root: Folder) -> None:
        """Settle every append that was under way when the process died."""
        for append in self._ledger.appends():
            try:
                path, row = datasets.require(append.path)
                folder, name = root.parent_of(path)
            except (FileNotFoundError, IllegalName):
                self._ledger.finish_append(append.path, append.ids)
                continue
            with folder, _opened(folder, name, row) as log:
                self._settle(log, append, row)

    def _settle_outstanding(self, log: _Open, path: str, row: Dataset) -> None:
        for append in self._ledger.appends():
            if append.path == path:
                self._settle(log, append, row)

    def _settle(self, log: _Open, append: Append, row: Dataset) -> None:
        absent: Sequence[bytes] = append.ids
        if log.look().inode == append.inode:
            data = files.read_span(log.fd, append.offset, max(0, log.look().size - append.offset))
            todo = jsonl.settle(
                data, append.offset, append.batch, lambda line: can_be_keyed(row, append.path, line)
            )
            if todo.missing:
                files.write_fully(log.fd, todo.missing, log.folder.at(log.name))
                os.fsync(log.fd)
            if todo.blank:
                _blank(log, *todo.blank)
            absent = _absent(append, todo.whole, row)
        self._ledger.finish_append(append.path, absent)


def _absent(append: Append, whole: int, row: Dataset) -> list[bytes]:
    """The ids whose lines lie behind the first `whole` bytes of the batch."""
    standing = {
        datasets.identify_in(row, append.path, line.body).id for line in loglines.lines(append.batch[:whole])
    }
    return [identity for identity in append.ids if identity not in standing]


def _holds(lines: Sequence[NewLine]) -> Iterator[list[NewLine]]:
    """The lines in portions of at most `HOLD` bytes, at least one line each."""
    portion: list[NewLine] = []
    size = 0
    for line in lines:
        if portion and size + len(line.body) > HOLD:
            yield portion
            portion, size = [], 0
        portion.append(line)
        size += len(line.body) + 1
    if portion:
        yield portion


@contextmanager
def _opened(folder: Folder, name: str, row: Dataset) -> Iterator[_Open]:
    """The log open for appending, under the lock that mur's writer takes."""
    fd = folder.open_file(name, os.O_RDWR | os.O_CREAT | os.O_APPEND)
    lock = fd
    try:
        if row.lock is LogLock.SIDECAR:
            lock = folder.open_file("events.lock", os.O_RDWR | os.O_CREAT)
        with flocked(lock, folder.at(name)), files.storage_errors(folder.at(name)):
            yield _Open(folder, name, fd)
    finally:
        os.close(fd)
        if lock != fd:
            os.close(lock)


def _blank(log: _Open, offset: int, length: int) -> None:
    """Blank through a second descriptor: on Linux pwrite(2) ignores the offset where O_APPEND is set."""
    fd = log.folder.open_file(log.name, os.O_RDWR)
    try:
        if os.fstat(fd).st_ino != os.fstat(log.fd).st_ino:
            raise FileChanged(f"{log.folder.at(log.name)} was replaced while it was being mended")
        with files.storage_errors(log.folder.at(log.name)):
            files.blank(fd, offset, length)
    finally:
        os.close(fd)
