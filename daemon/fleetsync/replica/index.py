"""The index: which members there are, where their lines lie, and in which order all this is.

A cache that one scan of home and the journal can make again (DESIGN §5, rule 9): with
synchronous NORMAL a power loss may take the last transactions, never the consistency. Members stand
in arrival order in the database and in key order in `blocks.py`, whose blocks are written in the
same transaction. It knows paths as text and lines by offset; it never opens a file of home, and leaves
its own to `index_file.py`. Single-threaded. Every call may raise `StorageFailed`, and `IndexDamaged` when
what it finds is no index: `renew` or the next start builds another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

from fleetsync.errors import IndexDamaged
from fleetsync.merge.fingerprint import MODULUS, fingerprint, id_number
from fleetsync.merge.ranges import Without
from fleetsync.ports import Bound, Head, Key, Ranges
from fleetsync.records.names import DeviceId
from fleetsync.replica.blocks import MEMBER, Blocks, Member, Summary
from fleetsync.replica.index_file import IndexFile, Row
from fleetsync.selection import EVERYTHING, Selection

IN_JOURNAL = -1
"""The offset of an entry whose body is kept in the journal."""

PAGE = 1024
"""Entries per page of `between` and `pages_of_path`."""

WAITING = 20_000
"""New members that a long transaction keeps outside their blocks at most: about 4 MB."""

VIEWS = 16
"""Parts of the set that are remembered in key order: a peer may name another part with each hello."""

_SHORT = "substr(id, 1, 8)"  # as in items_by_id: whole ids would double the index and its cost
_ITEM = "arrival, id, ts, path, offset, length, origin"
_FILE = "path, device, inode, size, mtime_ns, ctime_ns, tail, lines, malformed, collisions"


class Entry(NamedTuple):
    """A member and where its body lies: a line of `path`, or in the journal (offset -1).

    `origin` is the peer it came from, None for local lines; `arrival` is given by `Index.add`.
    """

    key: Key
    path: str
    offset: int
    length: int
    origin: DeviceId | None
    arrival: int = 0


class FileState(NamedTuple):
    """A file as far as it is indexed: identity, look and what its first `size` bytes held.

    `tail` is a hash of the last bytes before `size`, computed by the caller.
    """

    path: str
    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int
    tail: bytes
    lines: int
    malformed: int
    collisions: int


def _signed(number: int) -> int:
    """A 64-bit number as SQLite keeps it."""
    return number - (1 << 64) if number >> 63 else number


def _unsigned(number: int) -> int:
    return number % (1 << 64)


class Index:
    """The members of the set, on disk and in order."""

    def __init__(self, file: IndexFile) -> None:
        self.carries: Callable[[str], bool] = EVERYTHING.carries
        """Whether members of a path may be taken in; others are passed over."""
        self._file = file
        self._depth = 0
        self._waiting: list[Member] = []
        self._sums: dict[str, tuple[int, int]] | None = None
        self._views: dict[Selection, Ranges] = {}
        self._views_of = (0, 0, 0)
        self._load()

    @classmethod
    def open(cls, path: Path, random: Callable[[int], bytes]) -> Index:
        """The index at `path`, made if there is none; `random` gives the epoch of a new one.

        Raises `IndexDamaged` if there was something else or another version's index.
        """
        file = IndexFile(path, random)
        try:
            with file.reading():
                return cls._of(file)
        except BaseException:
            file.close()
            raise

    @classmethod
    def _of(cls, file: IndexFile) -> Index:
        try:
            return cls(file)
        except (TypeError, ValueError, LookupError) as error:  # values of other types than were written
            raise IndexDamaged(f"index.db: {error}") from error

    def close(self) -> None:
        """Release the database; idempotent."""
        self._file.close()

    @property
    def damaged(self) -> bool:
        """Whether what was found is no index: only `renew` is of use then."""
        return self._file.damaged

    def renew(self) -> None:
        """Begin again with nothing, in another epoch."""
        self._file.renew()
        self._load()

    def check(self) -> None:
        """Raise `IndexDamaged` unless the database is sound and its parts agree; reads all of it."""
        self._file.check()
        counts = self._file.rows(
            "SELECT (SELECT count(*) FROM items), (SELECT total(size) FROM blocks),"
            " (SELECT total(length(members)) FROM leaves) / ?",
            (MEMBER,),
        )[0]
        if set(counts) != {self._blocks.size()}:
            raise IndexDamaged(f"index.db: its parts hold {counts} members")

    # the state of the set

    @property
    def epoch(self) -> bytes:
        """8 random bytes, made with the database."""
        return self._epoch

    def head(self, carried: Selection = EVERYTHING) -> Head:
        """The state of the set now, or of the part of it in these paths."""
        self._take_in()
        size, total = self._blocks.size(), self._blocks.total()
        if not carried.is_everything:
            left_out = [each for path, each in self._by_path().items() if not carried.carries(path)]
            size -= sum(count for count, _ in left_out)
            total = (total - sum(ids for _, ids in left_out)) % MODULUS
        return Head(self._epoch, self._arrival, size, fingerprint(total, size))

    def ranges(self, carried: Selection = EVERYTHING) -> Ranges:
        """The set, or the part of it in these paths, in key order, until it changes."""
        self._take_in()
        if carried.is_everything:
            return self._blocks
        state = self._arrival, self._blocks.size(), self._blocks.total()
        if self._views_of != state:
            self._views, self._views_of = {}, state
        if carried not in self._views:
            if len(self._views) >= VIEWS:
                self._views.clear()
            # Reconciliation takes keys for the pairs that they are.
            self._views[carried] = cast(Ranges, Without(self._blocks, self._left_out(carried)))
        return self._views[carried]

    def _left_out(self, carried: Selection) -> list[Key]:
        numbers = [self._numbers[path] for path in self._by_path() if not carried.carries(path)]
        rows = self._file.rows_in("SELECT ts, id FROM items WHERE path", numbers)
        return sorted(Key(_unsigned(ts), identity) for ts, identity in rows)

    def _by_path(self) -> dict[str, tuple[int, int]]:
        """How many members each path has and the sum of their ids; read once somebody asks for parts."""
        if self._sums is None:
            self._sums = {}
            for number, identity in self._file.rows("SELECT path, id FROM items"):
                self._note_sum(self._texts[number], identity, 1)
        return self._sums

    def _note_sum(self, path: str, identity: bytes, sign: int) -> None:
        if self._sums is not None:
            count, total = self._sums.get(path, (0, 0))
            self._sums[path] = count + sign, (total + sign * id_number(identity)) % MODULUS

    # members

    def add(self, entries: Iterable[Entry]) -> list[Entry]:
        """Take in what is not yet known and give it arrival numbers: the new entries, in order given.

        An id that is known keeps its entry; that it comes with the same timestamp is asserted.
        """
        distinct: dict[bytes, Entry] = {}
        for entry in entries:
            distinct.setdefault(entry.key.id, entry)
        for key in [known.key for known in self.find(list(distinct))]:
            assert distinct.pop(key.id).key.ts == key.ts, "one id, two timestamps"
        return self.add_new(distinct.values()) if distinct else []

    def add_new(self, entries: Iterable[Entry]) -> list[Entry]:
        """As `add`, of members that the caller has just found to be unknown and distinct."""
        with self.transaction():
            carried = (entry for entry in entries if self.carries(entry.path))
            fresh = [Entry(*entry[:5], n) for n, entry in enumerate(carried, self._arrival + 1)]
            self._arrival += len(fresh)
            rows = [self._item_row(entry) for entry in fresh]
            self._file.run(f"INSERT INTO items ({_ITEM}) VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
            self._waiting += [(*entry.key, entry.arrival) for entry in fresh]
            for entry in fresh if self._sums is not None else ():
                self._note_sum(entry.path, entry.key.id, 1)
            if len(self._waiting) > WAITING:
                self._take_in()
        return fresh

    def _take_in(self) -> None:
        """Put what was added into its blocks: all at once and in order, so that each is touched once."""
        if self._waiting:
            members = sorted(self._waiting)
            self._waiting = []
            self._blocks.add(members)

    def remove(self, ids: Sequence[bytes]) -> None:
        """Forget these members; ids that are none are ignored. Arrival numbers are not given again."""
        entries = self.find(ids)
        if not entries:
            return
        with self.transaction():
            self._take_in()
            self._blocks.remove(entry.key for entry in entries)
            self._file.run("DELETE FROM items WHERE arrival = ?", ((entry.arrival,) for entry in entries))
            for entry in entries:
                self._note_sum(entry.path, entry.key.id, -1)

    def relocate(self, places: Iterable[tuple[bytes, int, int]]) -> None:
        """Say where bodies lie now: (id, offset, length) each; ids that are no members are ignored."""
        statement = f"UPDATE items SET offset = ?2, length = ?3 WHERE {_SHORT} = substr(?1, 1, 8) AND id = ?1"
        with self.transaction():
            self._file.run(statement, places)

    def find(self, ids: Sequence[bytes]) -> list[Entry]:
        """The entries of these ids, in the order asked; ids that are no members are left out."""
        found: dict[bytes, Row] = {}
        short = [identity[:8] for identity in ids]
        for row in self._file.rows_in(f"SELECT {_ITEM} FROM items WHERE {_SHORT}", short):
            found[row[1]] = row
        return [self._entry(found[identity]) for identity in dict.fromkeys(ids) if identity in found]

    def has(self, ids: Sequence[bytes]) -> set[bytes]:
        """Those of the ids that are members."""
        short = [identity[:8] for identity in ids]
        found = self._file.rows_in(f"SELECT id FROM items WHERE {_SHORT}", short)
        return {row[0] for row in found}.intersection(ids)

    def between(self, lower: Bound, upper: Bound) -> Iterator[list[Entry]]:
        """The members with lower ≤ key < upper in key order, in pages of up to 1024.

        The set may change between pages: what is removed is left out, what appears may be missed.
        """
        while True:
            self._take_in()
            start = self._blocks.lower_bound(lower)
            stop = min(self._blocks.lower_bound(upper, start), start + PAGE)
            if start >= stop:
                return
            last = self._blocks.key(stop - 1)
            lower = Bound(last.ts, last.id + b"\0")  # the least above it
            rows = self._file.rows_in(
                f"SELECT {_ITEM} FROM items WHERE arrival", self._blocks.arrivals(start, stop)
            )
            yield sorted(self._entry(row) for row in rows)

    def arrivals(self, after: int, limit: int) -> list[Entry]:
        """At most `limit` members with a higher arrival number, oldest first."""
        query = f"SELECT {_ITEM} FROM items WHERE arrival > ? ORDER BY arrival LIMIT ?"
        return [self._entry(row) for row in self._file.rows(query, (after, limit))]

    def in_journal(self) -> set[bytes]:
        """The ids of all members whose bodies are in the journal."""
        return {row[0] for row in self._file.rows("SELECT id FROM items WHERE offset = -1")}

    # files

    def of_path(self, path: str) -> list[Entry]:
        """The members of a path, by offset."""
        query = f"SELECT {_ITEM} FROM items WHERE path = ? ORDER BY offset, arrival"
        return [self._entry(row) for row in self._file.rows(query, (self._numbers.get(path),))]

    def pages_of_path(self, path: str) -> Iterator[list[Entry]]:
        """The members of a path in the order in which they arrived, in pages of up to 1024."""
        query = f"SELECT {_ITEM} FROM items WHERE path = ? AND arrival > ? ORDER BY arrival LIMIT {PAGE}"
        after = 0
        while rows := self._file.rows(query, (self._numbers.get(path), after)):
            after = rows[-1][0]
            yield [self._entry(row) for row in rows]

    def has_path(self, path: str) -> bool:
        """Whether any member is of that path; ids are hashes of path and line, so else none is known."""
        number = self._numbers.get(path)
        return number is not None and bool(
            self._file.rows("SELECT 1 FROM items WHERE path = ? LIMIT 1", (number,))
        )

    def counts_by_path(self) -> dict[str, int]:
        """How many members each path has, paths without any left out."""
        rows = self._file.rows("SELECT path, count(*) FROM items GROUP BY path")
        return {self._texts[number]: count for number, count in rows}

    def file(self, path: str) -> FileState | None:
        """The file as far as it is indexed."""
        rows = self._file.rows(f"SELECT {_FILE} FROM files WHERE path = ?", (self._numbers.get(path),))
        return self._file_state(rows[0]) if rows else None

    def files(self) -> list[FileState]:
        """All files that are indexed, by path."""
        return sorted(self._file_state(row) for row in self._file.rows(f"SELECT {_FILE} FROM files"))

    def set_file(self, state: FileState) -> None:
        """Note how far a file is indexed."""
        with self.transaction():
            row = (self._number(state.path), _signed(state.device), _signed(state.inode), *state[3:])
            self._file.run(
                f"INSERT OR REPLACE INTO files ({_FILE}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", [row]
            )

    def drop_file(self, path: str) -> None:
        """Forget a file; its members stay."""
        with self.transaction():
            self._file.run("DELETE FROM files WHERE path = ?", [(self._numbers.get(path),)])

    # transactions

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All changes inside happen together or not at all, in memory too; may be nested."""
        if self._depth:
            yield
            return
        self._depth = 1
        try:
            self._file.begin()
            yield
            self._take_in()
            self._blocks.flush()
            self._file.run(
                "UPDATE meta SET value = ? WHERE name = 'arrival' AND value != ?1", [(self._arrival,)]
            )
            self._file.commit()
        except BaseException:
            self._undo()
            raise
        finally:
            self._depth = 0

    def _undo(self) -> None:
        self._file.undo()
        self._load()

    # what blocks.py asks of a store

    def read_leaf(self, number: int) -> bytes:
        """The packed members of a block; raises `IndexDamaged` if they are gone."""
        with self._file.reading():
            rows = self._file.rows("SELECT members FROM leaves WHERE number = ?", (number,))
            if not rows:
                raise IndexDamaged(f"index.db: block {number} has no members")
            return bytes(rows[0][0])

    def write_block(self, summary: Summary, leaf: bytes) -> None:
        """Keep a block."""
        number, size, total, first, last = summary
        ends = (_signed(first.ts), first.id, _signed(last.ts), last.id)
        row = (number, size, total.to_bytes(32, "little"), *ends)
        self._file.run("INSERT OR REPLACE INTO blocks VALUES (?, ?, ?, ?, ?, ?, ?)", [row])
        self._file.run("INSERT OR REPLACE INTO leaves VALUES (?, ?)", [(number, leaf)])

    def drop_block(self, number: int) -> None:
        """Forget a block."""
        self._file.run("DELETE FROM blocks WHERE number = ?", [(number,)])
        self._file.run("DELETE FROM leaves WHERE number = ?", [(number,)])

    # rows and values

    def _load(self) -> None:
        """Bring memory to what the database says."""
        meta: dict[str, Any] = dict(self._file.rows("SELECT name, value FROM meta"))
        if meta.keys() != {"epoch", "arrival"}:
            raise IndexDamaged("index.db has lost its epoch")
        self._epoch: bytes = meta["epoch"]
        self._arrival: int = meta["arrival"]
        self._texts: dict[int, str] = dict(self._file.rows("SELECT number, text FROM names"))
        self._numbers = {text: number for number, text in self._texts.items()}
        rows = self._file.rows("SELECT number, size, sum, first_ts, first_id, last_ts, last_id FROM blocks")
        self._blocks = Blocks(self, map(_summary, rows))
        self._waiting.clear()
        self._sums = None
        self._views.clear()

    def _number(self, text: str) -> int:
        """The number that stands for a path or device id."""
        if text not in self._numbers:
            number = len(self._numbers) + 1
            with self.transaction():
                self._file.run("INSERT INTO names VALUES (?, ?)", [(number, text)])
            self._numbers[text], self._texts[number] = number, text
        return self._numbers[text]

    def _item_row(self, entry: Entry) -> Row:
        (ts, identity), path, offset, length, origin, arrival = entry
        device = None if origin is None else self._number(origin)
        return arrival, identity, _signed(ts), self._number(path), offset, length, device

    def _entry(self, row: Row) -> Entry:
        arrival, identity, ts, path, offset, length, device = row
        origin = None if device is None else DeviceId(self._texts[device])
        return Entry(Key(_unsigned(ts), identity), self._texts[path], offset, length, origin, arrival)

    def _file_state(self, row: Row) -> FileState:
        path, device, inode, *rest = row
        return FileState(self._texts[path], _unsigned(device), _unsigned(inode), *rest)


def _summary(row: Row) -> Summary:
    number, size, total, first_ts, first_id, last_ts, last_id = row
    first, last = Key(_unsigned(first_ts), first_id), Key(_unsigned(last_ts), last_id)
    return Summary(number, size, int.from_bytes(total, "little"), first, last)
