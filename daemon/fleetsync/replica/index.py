"""The index: which members there are, where their lines lie, and in which order all this is.

A cache in SQLite that one scan of home and the journal can make again (DESIGN §5, rule 9): with
synchronous NORMAL a power loss may take the last transactions, never the consistency. Members stand
in arrival order in the database and in key order in `blocks.py`, whose blocks are written in the
same transaction. It knows paths as text and lines by offset; it never opens a file of home.

One connection, one thread. Every call may raise `StorageFailed`, and `IndexDamaged` when what it
finds is no index: the file is deleted at once, and `renew` or the next start builds another.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

from fleetsync.errors import IndexDamaged, StorageFailed
from fleetsync.merge.fingerprint import MODULUS, fingerprint, id_number
from fleetsync.merge.ranges import Without
from fleetsync.ports import Bound, Head, Key, Ranges
from fleetsync.records.names import DeviceId
from fleetsync.replica.blocks import MEMBER, Blocks, Member, Summary
from fleetsync.selection import EVERYTHING, Selection

SCHEMA_VERSION = 2

IN_JOURNAL = -1
"""The offset of an entry whose body is kept in the journal."""

PAGE = 1024
"""Entries per page of `between` and `pages_of_path`."""

EPOCH_SIZE = 8

WAITING = 20_000
"""New members that a long transaction keeps outside their blocks at most: about 4 MB."""

_BATCH = 512  # parameters per SELECT; SQLite takes at least 999
_CACHE_KIB = 4096

_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE names (number INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE);
CREATE TABLE items (arrival INTEGER PRIMARY KEY, id BLOB NOT NULL, ts INTEGER NOT NULL, path INTEGER NOT NULL,
    offset INTEGER NOT NULL, length INTEGER NOT NULL, origin INTEGER);
CREATE INDEX items_by_id ON items (substr(id, 1, 8));
CREATE INDEX items_by_path ON items (path);
CREATE INDEX items_in_journal ON items (id) WHERE offset = -1;
CREATE TABLE blocks (number INTEGER PRIMARY KEY, size INTEGER NOT NULL, sum BLOB NOT NULL,
    first_ts INTEGER NOT NULL, first_id BLOB NOT NULL, last_ts INTEGER NOT NULL, last_id BLOB NOT NULL);
CREATE TABLE leaves (number INTEGER PRIMARY KEY, members BLOB NOT NULL);
CREATE TABLE files (path INTEGER PRIMARY KEY, device INTEGER NOT NULL, inode INTEGER NOT NULL,
    size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, ctime_ns INTEGER NOT NULL, tail BLOB NOT NULL,
    lines INTEGER NOT NULL, malformed INTEGER NOT NULL, collisions INTEGER NOT NULL);
"""

_SHORT = "substr(id, 1, 8)"  # as in items_by_id: whole ids would double the index and its cost
_ITEM = "arrival, id, ts, path, offset, length, origin"
_FILE = "path, device, inode, size, mtime_ns, ctime_ns, tail, lines, malformed, collisions"

_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR}  # the last: no such table

Row = tuple[Any, ...]


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


@contextmanager
def _errors_converted(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        # An error without a code is Python's own: a text that is not UTF-8.
        if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF in _DAMAGE:
            raise IndexDamaged(f"{path}: {error}") from error
        raise StorageFailed(f"{path}: {error}") from error
    except UnicodeDecodeError as error:  # SQLite quotes a damaged file in its messages
        raise IndexDamaged(f"{path}: {error}") from error


def _connect(path: Path) -> sqlite3.Connection:
    """The database, made with mode 0600 if it is new; its companions inherit the mode."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise StorageFailed(f"{path}: {error.strerror}") from error
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        connection.execute(f"PRAGMA journal_size_limit = {_CACHE_KIB * 1024}")
    except BaseException:
        connection.close()
        raise
    return connection


def _create(connection: sqlite3.Connection, epoch: bytes) -> None:
    connection.execute("BEGIN IMMEDIATE")
    for statement in _SCHEMA.split(";"):
        connection.execute(statement)
    connection.execute("INSERT INTO meta VALUES ('epoch', ?), ('arrival', 0)", (epoch,))
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    connection.execute("COMMIT")


def _check_version(connection: sqlite3.Connection) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version != SCHEMA_VERSION:
        raise IndexDamaged(f"index.db has version {version}, not {SCHEMA_VERSION}")


def discard(path: Path) -> None:
    """Delete an index, open or not: it costs a scan."""
    for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
        path.with_name(name).unlink(missing_ok=True)


class Index:
    """The members of the set, on disk and in order."""

    def __init__(self, connection: sqlite3.Connection, path: Path, random: Callable[[int], bytes]) -> None:
        self.carries: Callable[[str], bool] = EVERYTHING.carries
        """Whether members of a path may be taken in; others are passed over."""
        self.damaged = False
        """Whether what was found is no index: only `renew` is of use then."""
        self._db = connection
        self._path = path
        self._random = random
        self._depth = 0
        self._waiting: list[Member] = []
        self._sums: dict[str, tuple[int, int]] | None = None
        self._views: dict[Selection, Ranges] = {}
        self._views_of = (0, 0, 0)
        self._load()

    @classmethod
    def open(cls, path: Path, random: Callable[[int], bytes]) -> Index:
        """The index at `path`, made if there is none; `random` gives the epoch of a new one.

        Raises `IndexDamaged` if there is something else or another version's index.
        """
        with _errors_converted(path):
            connection = _connect(path)
            try:
                if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                    _create(connection, random(EPOCH_SIZE))
                _check_version(connection)
                return cls(connection, path, random)
            except BaseException as error:
                connection.close()
                # Values of other types than were written.
                if isinstance(error, TypeError | ValueError | LookupError):
                    raise IndexDamaged(f"{path}: {error}") from error
                raise

    def close(self) -> None:
        """Release the database; idempotent."""
        self._db.close()

    def renew(self) -> None:
        """Begin again with nothing, in another epoch."""
        self._db.close()
        discard(self._path)
        with _errors_converted(self._path):
            self._db = _connect(self._path)
            _create(self._db, self._random(EPOCH_SIZE))
        self.damaged = False
        self._load()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            with _errors_converted(self._path):
                yield
        except IndexDamaged:
            self.damaged = True
            discard(self._path)
            raise

    def check(self) -> None:
        """Raise `IndexDamaged` unless the database is sound and its parts agree; reads all of it."""
        problem = self._rows("PRAGMA quick_check(1)")[0][0]
        if problem != "ok":
            raise IndexDamaged(f"index.db: {problem}")
        counts = self._rows(
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
            # Reconciliation takes keys for the pairs that they are.
            self._views[carried] = cast(Ranges, Without(self._blocks, self._left_out(carried)))
        return self._views[carried]

    def _left_out(self, carried: Selection) -> list[Key]:
        numbers = [self._numbers[path] for path in self._by_path() if not carried.carries(path)]
        rows = self._rows_in("SELECT ts, id FROM items WHERE path", numbers)
        return sorted(Key(_unsigned(ts), identity) for ts, identity in rows)

    def _by_path(self) -> dict[str, tuple[int, int]]:
        """How many members each path has and the sum of their ids; read once somebody asks for parts."""
        if self._sums is None:
            self._sums = {}
            for number, identity in self._rows("SELECT path, id FROM items"):
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
            self._run(f"INSERT INTO items ({_ITEM}) VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
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
            self._run("DELETE FROM items WHERE arrival = ?", ((entry.arrival,) for entry in entries))
            for entry in entries:
                self._note_sum(entry.path, entry.key.id, -1)

    def relocate(self, places: Iterable[tuple[bytes, int, int]]) -> None:
        """Say where bodies lie now: (id, offset, length) each; ids that are no members are ignored."""
        statement = f"UPDATE items SET offset = ?2, length = ?3 WHERE {_SHORT} = substr(?1, 1, 8) AND id = ?1"
        with self.transaction():
            self._run(statement, places)

    def find(self, ids: Sequence[bytes]) -> list[Entry]:
        """The entries of these ids, in the order asked; ids that are no members are left out."""
        found: dict[bytes, Row] = {}
        short = [identity[:8] for identity in ids]
        for row in self._rows_in(f"SELECT {_ITEM} FROM items WHERE {_SHORT}", short):
            found[row[1]] = row
        return [self._entry(found[identity]) for identity in dict.fromkeys(ids) if identity in found]

    def has(self, ids: Sequence[bytes]) -> set[bytes]:
        """Those of the ids that are members."""
        short = [identity[:8] for identity in ids]
        found = self._rows_in(f"SELECT id FROM items WHERE {_SHORT}", short)
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
            rows = self._rows_in(
                f"SELECT {_ITEM} FROM items WHERE arrival", self._blocks.arrivals(start, stop)
            )
            yield sorted(self._entry(row) for row in rows)

    def arrivals(self, after: int, limit: int) -> list[Entry]:
        """At most `limit` members with a higher arrival number, oldest first."""
        query = f"SELECT {_ITEM} FROM items WHERE arrival > ? ORDER BY arrival LIMIT ?"
        return [self._entry(row) for row in self._rows(query, (after, limit))]

    def in_journal(self) -> set[bytes]:
        """The ids of all members whose bodies are in the journal."""
        return {row[0] for row in self._rows("SELECT id FROM items WHERE offset = -1")}

    # files

    def of_path(self, path: str) -> list[Entry]:
        """The members of a path, by offset."""
        query = f"SELECT {_ITEM} FROM items WHERE path = ? ORDER BY offset, arrival"
        return [self._entry(row) for row in self._rows(query, (self._numbers.get(path),))]

    def pages_of_path(self, path: str) -> Iterator[list[Entry]]:
        """The members of a path in the order in which they arrived, in pages of up to 1024."""
        query = f"SELECT {_ITEM} FROM items WHERE path = ? AND arrival > ? ORDER BY arrival LIMIT {PAGE}"
        after = 0
        while rows := self._rows(query, (self._numbers.get(path), after)):
            after = rows[-1][0]
            yield [self._entry(row) for row in rows]

    def has_path(self, path: str) -> bool:
        """Whether any member is of that path; ids are hashes of path and line, so else none is known."""
        number = self._numbers.get(path)
        return number is not None and bool(
            self._rows("SELECT 1 FROM items WHERE path = ? LIMIT 1", (number,))
        )

    def counts_by_path(self) -> dict[str, int]:
        """How many members each path has, paths without any left out."""
        rows = self._rows("SELECT path, count(*) FROM items GROUP BY path")
        return {self._texts[number]: count for number, count in rows}

    def file(self, path: str) -> FileState | None:
        """The file as far as it is indexed."""
        rows = self._rows(f"SELECT {_FILE} FROM files WHERE path = ?", (self._numbers.get(path),))
        return self._file_state(rows[0]) if rows else None

    def files(self) -> list[FileState]:
        """All files that are indexed, by path."""
        return sorted(self._file_state(row) for row in self._rows(f"SELECT {_FILE} FROM files"))

    def set_file(self, state: FileState) -> None:
        """Note how far a file is indexed."""
        with self.transaction():
            row = (self._number(state.path), _signed(state.device), _signed(state.inode), *state[3:])
            self._run(f"INSERT OR REPLACE INTO files ({_FILE}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", [row])

    def drop_file(self, path: str) -> None:
        """Forget a file; its members stay."""
        with self.transaction():
            self._run("DELETE FROM files WHERE path = ?", [(self._numbers.get(path),)])

    # transactions

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All changes inside happen together or not at all, in memory too; may be nested."""
        if self._depth:
            yield
            return
        self._depth = 1
        try:
            with self._errors():
                self._db.execute("BEGIN IMMEDIATE")
            yield
            self._take_in()
            self._blocks.flush()
            self._run("UPDATE meta SET value = ? WHERE name = 'arrival' AND value != ?1", [(self._arrival,)])
            with self._errors():
                self._db.execute("COMMIT")
        except BaseException:
            self._undo()
            raise
        finally:
            self._depth = 0

    def _undo(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")
        self._load()

    # what blocks.py asks of a store

    def read_leaf(self, number: int) -> bytes:
        """The packed members of a block; raises `IndexDamaged` if they are gone."""
        with self._errors():
            rows = self._rows("SELECT members FROM leaves WHERE number = ?", (number,))
            if not rows:
                raise IndexDamaged(f"index.db: block {number} has no members")
            return bytes(rows[0][0])

    def write_block(self, summary: Summary, leaf: bytes) -> None:
        """Keep a block."""
        number, size, total, first, last = summary
        ends = (_signed(first.ts), first.id, _signed(last.ts), last.id)
        row = (number, size, total.to_bytes(32, "little"), *ends)
        self._run("INSERT OR REPLACE INTO blocks VALUES (?, ?, ?, ?, ?, ?, ?)", [row])
        self._run("INSERT OR REPLACE INTO leaves VALUES (?, ?)", [(number, leaf)])

    def drop_block(self, number: int) -> None:
        """Forget a block."""
        self._run("DELETE FROM blocks WHERE number = ?", [(number,)])
        self._run("DELETE FROM leaves WHERE number = ?", [(number,)])

    # rows and values

    def _load(self) -> None:
        """Bring memory to what the database says."""
        meta: dict[str, Any] = dict(self._rows("SELECT name, value FROM meta"))
        if meta.keys() != {"epoch", "arrival"}:
            raise IndexDamaged("index.db has lost its epoch")
        self._epoch: bytes = meta["epoch"]
        self._arrival: int = meta["arrival"]
        self._texts: dict[int, str] = dict(self._rows("SELECT number, text FROM names"))
        self._numbers = {text: number for number, text in self._texts.items()}
        rows = self._rows("SELECT number, size, sum, first_ts, first_id, last_ts, last_id FROM blocks")
        self._blocks = Blocks(self, map(_summary, rows))
        self._waiting.clear()
        self._sums = None
        self._views.clear()

    def _number(self, text: str) -> int:
        """The number that stands for a path or device id."""
        if text not in self._numbers:
            number = len(self._numbers) + 1
            with self.transaction():
                self._run("INSERT INTO names VALUES (?, ?)", [(number, text)])
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

    def _rows_in(self, query: str, values: Sequence[Any]) -> Iterator[Row]:
        """The rows of `query … IN (values)`, asked for in batches whose sizes are powers of two: every
        other size would be a statement of its own, to be prepared and kept.
        """
        for at in range(0, len(values), _BATCH):
            batch = list(values[at : at + _BATCH])
            size = 1 << (len(batch) - 1).bit_length()
            batch += batch[-1:] * (size - len(batch))
            yield from self._rows(f"{query} IN ({', '.join('?' * size)})", batch)

    def _rows(self, query: str, values: Sequence[Any] = ()) -> list[Row]:
        with self._errors():
            return self._db.execute(query, values).fetchall()

    def _run(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        with self._errors():
            self._db.executemany(statement, rows)


def _summary(row: Row) -> Summary:
    number, size, total, first_ts, first_id, last_ts, last_id = row
    first, last = Key(_unsigned(first_ts), first_id), Key(_unsigned(last_ts), last_id)
    return Summary(number, size, int.from_bytes(total, "little"), first, last)
