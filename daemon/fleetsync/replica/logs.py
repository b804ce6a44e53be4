"""Log files in home as they are read: which lines stand where, and which of them are new.

Rule of the file: it believes what stands in a log, and a line that stands there is a member. It reads on
where it last stopped, and all of a log that was replaced or lost lines. What is written is the business
of `appending.py`, which is told here what it needs to know of a log, and tells what it has written.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from fleetsync import datasets, files
from fleetsync.datasets import Dataset, Numbering
from fleetsync.errors import FleetsyncError
from fleetsync.files import Folder
from fleetsync.ports import Key
from fleetsync.records import loglines
from fleetsync.records.names import DeviceId
from fleetsync.replica import jsonl
from fleetsync.replica.index import IN_JOURNAL, Entry, FileState, Index
from fleetsync.replica.journal import Journal
from fleetsync.replica.layout import Look, look_of
from fleetsync.replica.ledger import Append

CHUNK = 5 << 18
"""Bytes read at a time at most; a line is at most 1 MiB, so every chunk holds a line's end."""
PORTION = 1 << 18
"""Bytes read at a time where lines are short: what is known of each costs more memory than the line."""


class _Numbered(NamedTuple):
    """The highest number on the first `size` bytes of a log, which are whole lines; None without one."""

    size: int = 0
    highest: int | None = None


class NewLine(NamedTuple):
    """A peer's line that may be written."""

    key: Key
    body: bytes


class Logs:
    """All log files of one home; single-threaded. Knows lines, not why they may be written."""

    def __init__(self, journal: Journal, index: Index) -> None:
        self.wrote_here: Callable[[Dataset, Sequence[bytes]], None] = lambda _row, _bodies: None
        """Told of lines that another program on this device has written."""
        self._journal = journal
        self._index = index
        self.shrunk: set[str] = set()
        """Logs in which lines were missing when they were read; emptied by who acts on it."""
        self._states: dict[str, FileState] = {}
        self._torn: set[str] = set()
        self._numbered: dict[str, _Numbered] = {}
        self.reload()

    def reload(self) -> None:
        """Go by the index again, after a transaction of it was undone."""
        self._numbered.clear()
        self._states = {state.path: state for state in self._index.files()}

    # --- reading --------------------------------------------------------------------------------

    def changed(self, path: str, look: Look) -> bool:
        """Whether the file is not what it was when it was last read to its end."""
        state = self._states.get(path)
        return state is None or look != Look(
            state.device, state.inode, state.size, state.mtime_ns, state.ctime_ns
        )

    def read(self, root: Folder, path: str, row: Dataset) -> bool:
        """Take in what was appended, or all of it if the file was replaced; True if the set changed."""
        folder, name = root.parent_of(path)
        with folder:
            fd = folder.open_file(name, os.O_RDONLY)
            try:
                with files.storage_errors(folder.at(name)):
                    return self.read_open(fd, path, row)
            finally:
                os.close(fd)

    def gone(self, path: str) -> None:
        """The file alone is missing: its lines are not here any more; peers will refill it."""
        state = self._forget(path)
        if state is None:
            return
        with self._index.transaction():
            self._let_go(path, {e.key.id for e in self._index.of_path(path) if e.offset != IN_JOURNAL})
            self._index.drop_file(path)

    def _let_go(self, path: str, ids: set[bytes]) -> set[bytes]:
        """These lines do not stand in the file. They stay members if the journal has their bodies, as after
        a power loss that took more of the index than of the journal. Returns the others, which are none now.
        """
        kept = [line for line in self._journal.parked(path) if line.id in ids] if ids else []
        self._index.relocate([(line.id, IN_JOURNAL, len(line.body)) for line in kept])
        lost = ids - {line.id for line in kept}
        self._index.remove(list(lost))
        return lost

    def forget(self, path: str) -> None:
        """Nothing is known of the file any more; its members are taken care of by who says so."""
        self._forget(path)
        with self._index.transaction():
            self._index.drop_file(path)

    def _forget(self, path: str) -> FileState | None:
        self._torn.discard(path)
        self._numbered.pop(path, None)
        return self._states.pop(path, None)

    def read_open(self, fd: int, path: str, row: Dataset) -> bool:
        """As `read`, of a log that is open."""
        look = look_of(os.fstat(fd))
        state = self._states.get(path)
        if state is not None and self._has_grown(fd, state, look):
            return self._take(fd, path, row, state, look)
        try:
            return self._read_anew(fd, path, row, look)
        except BaseException:
            self._doubt(path)
            raise

    def _doubt(self, path: str) -> None:
        """What has not been read again may be anywhere: all of it is read the next time. Until then the index
        has a file without a single byte there, for if it goes away its members go with it.
        """
        self._forget(path)
        with self._index.transaction():
            self._set_state(FileState(path, 0, 0, 0, 0, 0, b"", 0, 0, 0))

    def _read_anew(self, fd: int, path: str, row: Dataset, look: Look) -> bool:
        self._numbered.pop(path, None)
        before = {e.key.id for e in self._index.of_path(path) if e.offset != IN_JOURNAL}
        blank = FileState(path, look.device, look.inode, 0, 0, 0, b"", 0, 0, 0)
        with self._index.transaction():
            present: set[bytes] = set()
            changed = self._take(fd, path, row, blank, look, present)
            lost = self._let_go(path, before - present)
        if lost:
            self.shrunk.add(path)
        return changed or bool(lost)

    def _has_grown(self, fd: int, state: FileState, look: Look) -> bool:
        same = (state.device, state.inode) == (look.device, look.inode) and look.size >= state.size
        return same and _tail(fd, state.size) == state.tail

    def _take(
        self,
        fd: int,
        path: str,
        row: Dataset,
        state: FileState,
        look: Look,
        present: set[bytes] | None = None,
    ) -> bool:
        """Read from `state.size` up to the size that was looked at, and no further, because no member may
        stand behind what the state says was read; commits both together, chunk by chunk.
        """
        changed, relocating = False, present is not None
        self._torn.discard(path)
        position, lines, malformed, collisions = state.size, state.lines, state.malformed, state.collisions
        while True:
            left = look.size - position
            data = files.read_span(fd, position, min(PORTION, left))
            if len(data) == PORTION and b"\n" not in data:
                data = files.read_span(fd, position, min(CHUNK, left))
            whole = self._whole_lines(data, path, row, last=position + len(data) >= look.size)
            if not whole:
                break
            found, bad = _keyed_lines(whole, position, path, row)
            position += len(whole)
            lines, malformed = lines + len(found) + bad, malformed + bad
            with self._index.transaction():
                new, clashes = self._insert(fd, path, row, found, relocating=relocating)
                collisions += clashes
                self._set_state(
                    FileState(
                        path,
                        look.device,
                        look.inode,
                        position,
                        look.mtime_ns,
                        look.ctime_ns,
                        _tail(fd, position),
                        lines,
                        malformed,
                        collisions,
                    )
                )
            changed = changed or new
            if present is not None:
                present.update(key.id for key, _ in found)
        if position == state.size:
            self._set_state(
                state._replace(mtime_ns=look.mtime_ns, ctime_ns=look.ctime_ns, tail=_tail(fd, state.size))
            )
        return changed

    def _whole_lines(self, data: bytes, path: str, row: Dataset, *, last: bool) -> bytes:
        """The part of a chunk that can be read now: up to the last newline, and a final line
        without one if it is a record already (an older mur writes the newline separately).
        """
        cut = data.rfind(b"\n") + 1
        rest = data[cut:]
        if not last:
            # A line longer than a chunk is over every limit: pass over it piece by piece.
            return data[:cut] if cut else data
        if not rest or can_be_keyed(row, path, rest):
            return data
        self._torn.add(path)
        return data[:cut]

    def _insert(
        self, fd: int, path: str, row: Dataset, found: list[tuple[Key, jsonl.Line]], *, relocating: bool
    ) -> tuple[bool, int]:
        """Make the lines members; returns whether any was new, and how many collide with another."""
        fresh: dict[bytes, tuple[Key, jsonl.Line]] = {}
        repeated: list[tuple[Key, jsonl.Line]] = []
        for key, line in found:
            if key.id in fresh:
                repeated.append((key, line))
            else:
                fresh[key.id] = key, line
        known = {entry.key.id: entry for entry in self._index.find(list(fresh))}
        parked = [i for i, entry in known.items() if entry.offset == IN_JOURNAL]
        moved = list(known) if relocating else parked
        self._index.relocate([(i, fresh[i][1].offset, len(fresh[i][1].body)) for i in moved])
        if parked:
            self._journal.unpark(parked)
        repeated += [] if relocating else [fresh[i] for i in known if i not in parked]
        self._add(path, row, [pair for i, pair in fresh.items() if i not in known])
        return len(known) < len(fresh), self._collisions(fd, row, repeated)

    def _add(self, path: str, row: Dataset, pairs: list[tuple[Key, jsonl.Line]]) -> None:
        if not pairs:
            return
        origins = (
            self._journal.ledger.origins(path, [key.id for key, _ in pairs])
            if self._journal.ledger.has_ledger(path)
            else {}
        )
        local = [(key, line) for key, line in pairs if key.id not in origins]
        self._journal.ledger.note_local(path, [key.id for key, _ in local])
        self.wrote_here(row, [line.body for _, line in local])
        self._index.add([_entry(path, key, line, origins.get(key.id)) for key, line in pairs])

    def _collisions(self, fd: int, row: Dataset, repeated: list[tuple[Key, jsonl.Line]]) -> int:
        """How many of these lines differ from the one that holds their key."""
        if not repeated:
            return 0
        entries = {entry.key.id: entry for entry in self._index.find([key.id for key, _ in repeated])}
        held = [entry for entry in entries.values() if entry.offset != IN_JOURNAL]
        standing = {e.key.id: datasets.carried(row, files.read_span(fd, e.offset, e.length)) for e in held}
        return sum(standing.get(key.id) != datasets.carried(row, line.body) for key, line in repeated)

    def _set_state(self, state: FileState) -> None:
        self._index.set_file(state)
        self._states[state.path] = state

    # --- what is known --------------------------------------------------------------------------

    def bodies(self, root: Folder, entries: Sequence[Entry]) -> dict[bytes, bytes]:
        """The bytes of members that stand in files, as they stand there. What cannot be read is left out, and
        all of a file that is not the one that was read.
        """
        found: dict[bytes, bytes] = {}
        by_path: dict[str, list[Entry]] = {}
        for entry in entries:
            by_path.setdefault(entry.path, []).append(entry)
        for path, wanted in by_path.items():
            found.update(self._bodies_of(root, path, wanted))
        return found

    def _bodies_of(self, root: Folder, path: str, wanted: list[Entry]) -> dict[bytes, bytes]:
        try:
            folder, name = root.parent_of(path)
        except (FileNotFoundError, FleetsyncError):
            return {}
        with folder:
            try:
                fd = folder.open_file(name, os.O_RDONLY)
            except (FileNotFoundError, FleetsyncError):
                return {}
            try:
                with files.storage_errors(folder.at(name)):
                    stands = self._stands(fd, path)
                    return _carried(path, _read_entries(fd, wanted)) if stands else {}
            finally:
                os.close(fd)

    def _stands(self, fd: int, path: str) -> bool:
        """Whether all that was read of the file stands in it still. If not, lines are anywhere by now, until
        it is read anew.
        """
        state, look = self._states.get(path), look_of(os.fstat(fd))
        return state is not None and (not self.changed(path, look) or self._has_grown(fd, state, look))

    def malformed(self) -> int:
        """Lines that could not be keyed, torn ends of files included."""
        return sum(state.malformed for state in self._states.values()) + len(self._torn)

    def collisions(self) -> int:
        """Lines whose key another, different line holds."""
        return sum(state.collisions for state in self._states.values())

    # --- what is written here -------------------------------------------------------------------

    def number(self, fd: int, path: str, row: Dataset, lines: Sequence[NewLine]) -> Sequence[NewLine]:
        """The lines as they are written here: numbered on from the highest in the file, if at all."""
        if row.numbering is None:
            return lines
        known = self._numbered.get(path, _Numbered())
        data = files.read_span(fd, known.size, os.fstat(fd).st_size - known.size)
        whole = data.rfind(b"\n") + 1
        highest = _highest(row.numbering, known.highest, data[:whole])
        self._numbered[path] = _Numbered(known.size + whole, highest)
        number = _highest(row.numbering, highest, data[whole:])
        numbered: list[NewLine] = []
        for line in lines:
            number = row.numbering.after(number)
            numbered.append(NewLine(line.key, row.numbering.given(line.body, number)))
        return numbered

    def take_over(
        self, fd: int, append: Append, lines: Sequence[NewLine], origin: str, *, parked: bool
    ) -> bool:
        """Make the lines just written members without reading them again; False if another writer's
        bytes got in between, so that they must be found where they really stand.
        """
        state, look = self._states.get(append.path), look_of(os.fstat(fd))
        end = append.offset + len(append.batch)
        if state is None or state.size != append.offset or look.size != end:
            return False
        position = append.offset + (append.batch[:1] == b"\n")
        entries: list[Entry] = []
        for line in lines:
            entries.append(_entry(append.path, line.key, jsonl.Line(position, line.body), origin))
            position += len(line.body) + 1
        with self._index.transaction():
            if parked:
                self._index.relocate([(e.key.id, e.offset, e.length) for e in entries])
            else:
                self._index.add_new(entries)
            self._set_state(
                state._replace(
                    size=end,
                    mtime_ns=look.mtime_ns,
                    ctime_ns=look.ctime_ns,
                    tail=_tail(fd, end),
                    lines=state.lines + len(lines),
                )
            )
        return True


def _highest(numbering: Numbering, known: int | None, data: bytes) -> int | None:
    """The highest of the number known and those on these lines."""
    numbers = [known, *(numbering.of(line.body) for line in loglines.lines(data))]
    return max((number for number in numbers if number is not None), default=None)


def _carried(path: str, found: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Lines as they travel, by id."""
    row = datasets.find(path)
    if row is None or row.numbering is None:
        return dict(found)
    return {identity: datasets.carried(row, line) for identity, line in found}


def can_be_keyed(row: Dataset, path: str, body: bytes) -> bool:
    """Whether these bytes are a member of this log."""
    try:
        datasets.identify_in(row, path, body.removesuffix(b"\r"))
    except FleetsyncError:
        return False
    return True


def _keyed_lines(
    data: bytes, offset: int, path: str, row: Dataset
) -> tuple[list[tuple[Key, jsonl.Line]], int]:
    """The lines that are members, and how many cannot be."""
    key: Callable[[bytes], Key] = lambda body: datasets.identify_in(row, path, body)  # noqa: E731
    found: list[tuple[Key, jsonl.Line]] = []
    malformed = 0
    for line, identity in jsonl.keyed(data, offset, key):
        if identity is None:
            malformed += 1
        else:
            found.append((identity, line))
    return found, malformed


def _entry(path: str, key: Key, line: jsonl.Line, origin: str | None) -> Entry:
    return Entry(key, path, line.offset, len(line.body), DeviceId(origin) if origin else None, 0)


def _tail(fd: int, size: int) -> bytes:
    """A hash of the bytes before `size`: a log that only grew has the same."""
    start = max(0, size - jsonl.TAIL_BYTES)
    return hashlib.sha256(files.read_span(fd, start, size - start)).digest()[:8]


def _read_entries(fd: int, wanted: list[Entry]) -> Iterator[tuple[bytes, bytes]]:
    """Bodies by position; neighbouring lines are read with one call."""
    wanted = sorted(wanted, key=lambda entry: entry.offset)
    start = 0
    while start < len(wanted):
        stop = start + 1
        base = wanted[start].offset
        while stop < len(wanted) and wanted[stop].offset + wanted[stop].length - base <= CHUNK:
            stop += 1
        end = wanted[stop - 1].offset + wanted[stop - 1].length
        data = files.read_span(fd, base, end - base)
        for entry in wanted[start:stop]:
            body = data[entry.offset - base : entry.offset - base + entry.length]
            if len(body) == entry.length:
                yield entry.key.id, body
        start = stop
