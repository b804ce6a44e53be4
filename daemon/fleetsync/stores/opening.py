"""Which run store the settings mean: a PostgreSQL by its URL, else a file.

Rule of the file: psycopg is imported only when a URL is given, for it is an extra and costs 8.5 MB.
"""

from __future__ import annotations

from pathlib import Path

from fleetsync.errors import BrokenConfig
from fleetsync.ports import RunStore
from fleetsync.stores.run_sql import SqlRunStore
from fleetsync.stores.sql import Database
from fleetsync.stores.sqlite import SqliteDatabase

AUDIT_FILE = "audit.db"
"""The embedded default, in the state directory."""


def open_database(url: str, file: Path) -> Database:
    """The database at `url`, or in `file` if that is empty; it is reached by the first call.

    Raises `BrokenConfig` if there is a URL and psycopg is not installed.
    """
    if not url:
        return SqliteDatabase(file)
    try:
        from fleetsync.stores.postgres import PostgresDatabase  # noqa: PLC0415 - see above
    except ImportError as error:
        raise BrokenConfig(
            f"[store] url needs psycopg, which cannot be used: {error}",
            next_step="install mur-fleetsync[postgres]",
        ) from error
    return PostgresDatabase(url)


def open_run_store(url: str, state_dir: Path) -> RunStore:
    """The run store of these settings, its schema made or migrated; raises as above, `StorageFailed`."""
    store = SqlRunStore(open_database(url, state_dir / AUDIT_FILE))
    try:
        store.initialize()
    except BaseException:
        store.close()
        raise
    return store
