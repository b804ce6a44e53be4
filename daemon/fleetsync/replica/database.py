"""One SQLite file that survives a power loss, as the journal and its ledger use it.

Knows transactions, what SQLite's errors mean, and the version of a schema; nothing of what the tables
hold. Rule of the file: no SQLite error leaves it; a disk that refuses is `StorageFailed`, a file that is no
journal is `JournalDamaged`.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fleetsync.errors import JournalDamaged, StorageFailed


class Rows(list[Any]):
    """What a question came to, row by row."""

    def fetchone(self) -> Any:
        """The first row, None if there is none."""
        return self[0] if self else None

    def fetchall(self) -> list[Any]:
        """All of them."""
        return self


class Database:
    """One connection; single-threaded."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self._path = connection.execute("PRAGMA database_list").fetchone()[2]  # for errors
        self._depth = 0

    @classmethod
    def open(cls, path: Path, schema: str, version: int) -> Database:
        """The database at `path`, made with this schema if there is none."""
        _make_private(path)
        with _told(path):
            db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            _require_schema(db, path, schema, version)
        return cls(db)

    @classmethod
    def reading(cls, path: Path) -> Database:
        """The database at `path` for reading, while another process writes it."""
        try:
            return cls(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=2.0))
        except sqlite3.Error as error:
            raise JournalDamaged(f"{path}: {error}") from error

    def close(self) -> None:
        """Idempotent."""
        self._db.close()

    @property
    def in_transaction(self) -> bool:
        """Whether what is done now may still be rolled back."""
        return self._depth > 0

    @contextmanager
    def transaction(self, *, durable: bool = True) -> Iterator[None]:
        """Everything inside is committed together or not at all; may be nested.

        With `durable` False a power loss may take it back until the next durable one: only for what
        recovery finds out again by itself.
        """
        try:
            if self._depth == 0:
                self._db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
                self._db.execute("BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
            if self._depth == 0:
                self._db.execute("COMMIT")
        except BaseException as error:
            if self._depth == 0 and self._db.in_transaction:
                self._db.execute("ROLLBACK")
            if isinstance(error, sqlite3.OperationalError):
                raise StorageFailed(f"{self._path}: {error}") from error
            if isinstance(error, sqlite3.DatabaseError):
                raise JournalDamaged(f"{self._path}: {error}") from error
            raise

    def query(self, sql: str, arguments: Sequence[object] = ()) -> Rows:
        """Ask; all of the answer is read here, for a damaged page may come at its end."""
        with _told(self._path):
            return Rows(self._db.execute(sql, arguments))

    def change(self, sql: str, arguments: Sequence[object] = ()) -> sqlite3.Cursor:
        """One statement; inside a transaction."""
        return self._db.execute(sql, arguments)

    def change_each(self, sql: str, rows: Iterable[Sequence[object]]) -> None:
        """One statement for each row; inside a transaction."""
        self._db.executemany(sql, rows)


@contextmanager
def _told(path: str | Path) -> Iterator[None]:
    """SQLite's errors as ours. It quotes a damaged file in its messages, which need not be UTF-8 then; of a
    text that is not, Python makes an operational error without a code.
    """
    try:
        yield
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        if isinstance(error, sqlite3.OperationalError) and hasattr(error, "sqlite_errorcode"):
            raise StorageFailed(f"{path}: {error}") from error
        raise JournalDamaged(f"{path}: {error}") from error


def _make_private(path: Path) -> None:
    """Before SQLite sees it: the files that it puts beside it inherit the mode."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        path.chmod(0o600)
    except OSError as error:
        raise StorageFailed(f"{path}: {error.strerror}") from error


def _require_schema(db: sqlite3.Connection, path: Path, schema: str, known: int) -> None:
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version == known:
        if db.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise JournalDamaged(f"{path}: its pages do not fit together")
        return
    if version != 0 or db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        raise JournalDamaged(f"{path}: schema version {version}, this program knows {known}")
    db.executescript(f"BEGIN; {schema} PRAGMA user_version = {known}; COMMIT;")
