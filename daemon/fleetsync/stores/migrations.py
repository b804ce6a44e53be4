"""Schemas and how an older one becomes the newest: versions, each a list of statements.

Several schemas may live in one database; the table `fleetsync_schema` holds the version of each. A
version that has been released is never edited: what changes is a new version at the end of its list.
Rule of the file: one transaction from whatever is found to the newest version, so that a database is
never seen in between, and one process at a time. Implements docs/stores.md, "Migrations".
"""

from __future__ import annotations

from collections.abc import Sequence

from fleetsync.errors import StorageFailed
from fleetsync.stores.sql import Database, Execute

Version = Sequence[str]

_VERSIONS = "CREATE TABLE IF NOT EXISTS fleetsync_schema (name TEXT PRIMARY KEY, version BIGINT NOT NULL)"


def migrate(database: Database, schema: str, versions: Sequence[Version], *, upto: int | None = None) -> int:
    """Bring a schema to the newest version (or `upto`, for tests); the version that was found.

    Raises `StorageFailed` if a newer fleetsync was here.
    """
    wanted = versions[:upto]

    def work(execute: Execute) -> int:
        execute(_VERSIONS, ())
        found = current(execute, schema)
        if found > len(versions):
            raise StorageFailed(
                f"the {schema} tables have version {found}, this fleetsync knows {len(versions)}",
                next_step="upgrade fleetsync",
            )
        for number, version in enumerate(wanted[found:], found + 1):
            for statement in version:
                execute(statement, ())
            _set(execute, schema, number)
        return found

    return database.migrating(work)


def current(execute: Execute, schema: str) -> int:
    """The version of a schema, 0 if it is not there."""
    rows = execute("SELECT version FROM fleetsync_schema WHERE name = ?", (schema,))
    return int(rows[0][0]) if rows else 0


def _set(execute: Execute, schema: str, version: int) -> None:
    execute(
        "INSERT INTO fleetsync_schema (name, version) VALUES (?, ?)"
        " ON CONFLICT (name) DO UPDATE SET version = excluded.version",
        (schema, version),
    )
