"""The file of the index: one SQLite database that may be deleted at any time.

It knows the tables, how they are opened, and what SQLite's errors mean; not what a member is. Rule of the
file: what is found to be no index is deleted at once, so that at the latest the next start begins anew,
and no error of SQLite leaves it but as `IndexDamaged` or `StorageFailed`.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fleetsync.errors import IndexDamaged, StorageFailed

SCHEMA_VERSION = 2

EPOCH_SIZE = 8

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

_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR}  # the last: no such table

Row = tuple[Any, ...]


class IndexFile:
    """One connection, one thread. Every call may raise `StorageFailed` and `IndexDamaged`."""

    def __init__(self, path: Path, random: Callable[[int], bytes]) -> None:
        """Opens the database at `path`, or makes it; `random` gives the epoch of a new one."""
        self.damaged = False
        """Whether what was found is no index: only `renew` is of use then."""
        self._path = path
        self._random = random
        with self.reading():
            self._db = _opened(path, random)

    def close(self) -> None:
        """Release the database; idempotent."""
        self._db.close()

    def renew(self) -> None:
        """Begin again with nothing, in another epoch."""
        self._db.close()
        self._discard()
        with self.reading():
            self._db = _opened(self._path, self._random)
        self.damaged = False

    def check(self) -> None:
        """Raise `IndexDamaged` unless the database is sound; reads all of it."""
        problem = self.rows("PRAGMA quick_check(1)")[0][0]
        if problem != "ok":
            raise IndexDamaged(f"index.db: {problem}")

    # --- rows -------------------------------------------------------------------------------------

    def rows(self, query: str, values: Sequence[Any] = ()) -> list[Row]:
        """The answer to a question."""
        with self.reading():
            return self._db.execute(query, values).fetchall()

    def rows_in(self, query: str, values: Sequence[Any]) -> Iterator[Row]:
        """The rows of `query … IN (values)`, asked for in batches whose sizes are powers of two: every
        other size would be a statement of its own, to be prepared and kept.
        """
        for at in range(0, len(values), _BATCH):
            batch = list(values[at : at + _BATCH])
            size = 1 << (len(batch) - 1).bit_length()
            batch += batch[-1:] * (size - len(batch))
            yield from self.rows(f"{query} IN ({', '.join('?' * size)})", batch)

    def run(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        """One statement for each row."""
        with self.reading():
            self._db.executemany(statement, rows)

    def begin(self) -> None:
        """A transaction."""
        with self.reading():
            self._db.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Its end."""
        with self.reading():
            self._db.execute("COMMIT")

    def undo(self) -> None:
        """The other end of it, if there is one."""
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    @contextmanager
    def reading(self) -> Iterator[None]:
        """What is done here may find that this is no index."""
        try:
            with _errors_converted(self._path):
                yield
        except IndexDamaged:
            self.damaged = True
            self._discard()
            raise

    def _discard(self) -> None:
        """The file may be open: then it is gone when it is closed."""
        for name in (self._path.name, f"{self._path.name}-wal", f"{self._path.name}-shm"):
            self._path.with_name(name).unlink(missing_ok=True)


def _opened(path: Path, random: Callable[[int], bytes]) -> sqlite3.Connection:
    connection = _connect(path)
    try:
        if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            _create(connection, random(EPOCH_SIZE))
        _check_version(connection)
    except BaseException:
        connection.close()
        raise
    return connection


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
