"""`SqliteDatabase`: a file as the stores' database (see `sql.py`).

Write-ahead log, so that readers in other processes never wait for a writer; synchronous NORMAL, so
that a power loss may take the last transactions and never the consistency. Writers wait for each
other up to `PATIENCE_SECONDS`. Rule of the file: one connection, one call at a time.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import RLock
from typing import Any, TypeVar

from fleetsync.errors import DuplicateRecord, StorageFailed
from fleetsync.stores.sql import BrokenReference, Execute, Row

T = TypeVar("T")

PATIENCE_SECONDS = 5.0
_CACHE_KIB = 4096
_PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = NORMAL",
    "PRAGMA foreign_keys = ON",
    f"PRAGMA cache_size = -{_CACHE_KIB}",
    f"PRAGMA journal_size_limit = {_CACHE_KIB * 1024}",
)
_DUPLICATE = (sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_UNIQUE)
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def is_damage(error: BaseException | None) -> bool:
    """Whether SQLite says by this that the file is no database, or none any more."""
    return isinstance(error, sqlite3.DatabaseError) and error.sqlite_errorcode & 0xFF in _DAMAGE


class SqliteDatabase:
    """The database in this file, made (0600) when it is first used."""

    for_update = ""  # a transaction that writes is the only one

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = RLock()
        self._opened: sqlite3.Connection | None = None

    def read(self, statement: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """See `Database.read`."""
        with self._lock, self._errors_converted():
            return self._connection().execute(statement, parameters).fetchall()

    def write(self, work: Callable[[Execute], T]) -> T:
        """See `Database.write`; nothing is ever undone by SQLite, so work runs once."""
        with self._lock, self._errors_converted():
            connection = self._connection()
            connection.execute("BEGIN IMMEDIATE")
            try:
                result = work(lambda sql, values: connection.execute(sql, values).fetchall())
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            return result

    def migrating(self, work: Callable[[Execute], T]) -> T:
        """See `Database.migrating`; there is one writer at a time anyway."""
        return self.write(work)

    def close(self) -> None:
        """See `Database.close`."""
        with self._lock:
            if self._opened is not None:
                self._opened.close()
                self._opened = None

    def _connection(self) -> sqlite3.Connection:
        if self._opened is None:
            self._opened = _connect(self._path)
        return self._opened

    @contextmanager
    def _errors_converted(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.IntegrityError as error:
            if error.sqlite_errorcode in _DUPLICATE:
                raise DuplicateRecord(f"{self._path.name}: {error}") from error
            raise BrokenReference(f"{self._path.name}: {error}") from error
        except (sqlite3.Error, OSError) as error:
            step = "move it away and start the daemon anew" if is_damage(error) else None
            raise StorageFailed(f"{self._path}: {error}", next_step=step) from error


def _connect(path: Path) -> sqlite3.Connection:
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))  # companions inherit the mode
    connection = sqlite3.connect(
        path, timeout=PATIENCE_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=64
    )
    try:
        for pragma in _PRAGMAS:
            connection.execute(pragma)
    except BaseException:
        connection.close()
        raise
    return connection
