"""`PostgresDatabase`: a PostgreSQL as the stores' database (see `sql.py`).

psycopg is an extra and 8.5 MB, so this module is imported only where a PostgreSQL is configured. A
lost connection is made again by the next call; work that was certainly undone (a deadlock, a
connection lost before its end) is run once more by itself. Rule of the file: one connection, one
call at a time, no state of the session that a connection pooler would lose.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from threading import RLock
from typing import Any, TypeVar

import psycopg
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from fleetsync.errors import DuplicateRecord, StorageFailed
from fleetsync.stores.sql import BrokenReference, Execute, Row

T = TypeVar("T")

ATTEMPTS = 3
DEFAULTS = {
    "application_name": "fleetsync",
    "connect_timeout": "3",  # seconds
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",  # ms: a server that vanished is noticed, whatever the kernel's patience
}
"""What the URL may say otherwise."""

MIGRATION_LOCK = 0x666C65657473796E
"""The advisory lock of migrations: the letters `fleetsyn`."""

_UNDONE = (errors.SerializationFailure, errors.DeadlockDetected)
_TEXT = re.compile(r"\bTEXT\b")


class PostgresDatabase:
    """The database at this URL (`postgresql://…`, or any other libpq connection string)."""

    for_update = " FOR UPDATE"

    def __init__(self, url: str) -> None:
        self._conninfo, self._name = _parse(url)
        self._lock = RLock()
        self._opened: psycopg.Connection[Row] | None = None

    def read(self, statement: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """See `Database.read`."""
        with self._lock, self._errors_converted():
            return self._repeating(lambda connection: _run(connection, statement, parameters))

    def write(self, work: Callable[[Execute], T]) -> T:
        """See `Database.write`."""
        with self._lock, self._errors_converted():
            connection, result = self._repeating(lambda connection: _begun(connection, work))
            connection.execute("COMMIT")
            return result

    def migrating(self, work: Callable[[Execute], T]) -> T:
        """See `Database.migrating`; texts are declared to compare byte by byte."""

        def alone(execute: Execute) -> T:
            execute("SELECT pg_advisory_xact_lock(?)", (MIGRATION_LOCK,))
            return work(lambda sql, values: execute(_TEXT.sub('TEXT COLLATE "C"', sql), values))

        return self.write(alone)

    def close(self) -> None:
        """See `Database.close`."""
        with self._lock:
            self._drop()

    def _repeating(self, act: Callable[[psycopg.Connection[Row]], T]) -> T:
        """What `act` returns, tried again after what certainly left no trace."""
        for _ in range(ATTEMPTS - 1):
            try:
                return act(self._connection())
            except _UNDONE:
                continue
            except psycopg.OperationalError:
                if self._opened is None or not self._opened.closed:
                    raise  # no connection could be made, or it is something else
                self._drop()
        return act(self._connection())

    def _connection(self) -> psycopg.Connection[Row]:
        if self._opened is None or self._opened.closed:
            self._drop()
            # No prepared statements: a pooler may give every transaction another server connection.
            self._opened = psycopg.connect(self._conninfo, autocommit=True, prepare_threshold=None)
        return self._opened

    def _drop(self) -> None:
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    @contextmanager
    def _errors_converted(self) -> Iterator[None]:
        try:
            yield
        except errors.UniqueViolation as error:
            raise DuplicateRecord(_words(error)) from error
        except errors.ForeignKeyViolation as error:
            raise BrokenReference(_words(error)) from error
        except psycopg.Error as error:
            if self._opened is not None and self._opened.info.transaction_status:
                self._drop()  # a transaction that could not be ended must not be found by the next call
            raise StorageFailed(
                f"PostgreSQL {self._name}: {_words(error)}",
                next_step="see that the database of [store] url runs and lets this device in",
            ) from error


def _begun(
    connection: psycopg.Connection[Row], work: Callable[[Execute], T]
) -> tuple[psycopg.Connection[Row], T]:
    """Do the work in a transaction that remains to be committed; undo it if it fails."""
    connection.execute("BEGIN")
    try:
        return connection, work(lambda sql, values: _run(connection, sql, values))
    except BaseException:
        with suppress(psycopg.Error):
            connection.execute("ROLLBACK")
        raise


def _run(connection: psycopg.Connection[Row], statement: str, parameters: Sequence[Any]) -> list[Row]:
    cursor = connection.execute(statement.replace("?", "%s"), parameters)
    return cursor.fetchall() if cursor.description else []


def _parse(url: str) -> tuple[str, str]:
    """The connection string with defaults, and the database as errors name it: never its password."""
    try:
        known = conninfo_to_dict(url)
    except psycopg.ProgrammingError as error:
        said = re.sub(r'".*"', '"…"', _words(error))  # what is quoted may be a part of the password, or all
        raise StorageFailed(f"[store] url cannot be read: {said}") from None
    database = str(known.get("dbname", ""))
    if "@" in database:  # a slash that was not escaped: it stood in the password
        database = "…"
    name = f"{database} on {known.get('host', 'this machine')}"
    return make_conninfo("", **{**DEFAULTS, **known}), name.strip()


def _words(error: psycopg.Error) -> str:
    return " ".join(str(error).split())
