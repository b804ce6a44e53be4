"""Schemas: from every earlier version to the newest, on both databases, and never backwards."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fleetsync.errors import StorageFailed
from fleetsync.records.audits import RunFilter, RunStatus
from fleetsync.stores.migrations import current, migrate
from fleetsync.stores.opening import open_database
from fleetsync.stores.run_schema import SCHEMA, VERSIONS
from fleetsync.stores.run_sql import SqlRunStore
from fleetsync.stores.sql import Database
from tests.contracts.runs import ALL, begin, end, ids, note

OLD_RUN = """
INSERT INTO audit_runs (id, skill_id, caller_id, channel_id, inputs, started_at, finished_at, status, output,
    error, tool_calls_count, runtime_seconds, parent_run_id, total_input_tokens, total_output_tokens,
    total_thinking_tokens, top_level)
VALUES (?, 'deploy', 'cli', '', '{"a":1}', ?, ?, ?, 'null', NULL, 0, 1.5, ?, 0, 0, 0, ?)
"""


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty database of either kind."""
    url = "" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    opened = open_database(url, tmp_path / "audit.db")
    yield opened
    opened.close()


def version(database: Database) -> int:
    """That of the audit's tables."""
    return database.write(lambda execute: current(execute, SCHEMA))


@pytest.mark.parametrize("old", range(len(VERSIONS) + 1))
def test_every_earlier_version_becomes_the_newest(database: Database, old: int) -> None:
    """Runs that were there are there, counted and answered as if written today."""
    migrate(database, SCHEMA, VERSIONS, upto=old)
    assert version(database) == old
    if 0 < old < len(VERSIONS):
        for row in (
            ("a", 1, 2, "ok", None, 1),
            ("b", 2, 3, "dry_run", "a", 0),
            ("c", 3, None, "running", None, 1),
        ):
            database.write(lambda execute, row=row: execute(OLD_RUN, row))  # type: ignore[misc]
    store = SqlRunStore(database)
    store.initialize()
    assert version(database) == len(VERSIONS)
    if 0 < old < len(VERSIONS):
        assert ids(store.list_runs_filtered(ALL, 0, 50)) == ["c", "b", "a"]
        assert store.count_runs_filtered(ALL) == store.count_runs_by_skill("deploy", True) == 3
        assert store.count_runs_filtered(RunFilter(caller_id="cli", top_level_only=True)) == 2
        end(store, "c", "error")
        assert store.count_runs_filtered(RunFilter(status=RunStatus.ERROR)) == 1
    begin(store, "new")
    note(store, "new", 0)
    assert store.count_runs_filtered(RunFilter(status=RunStatus.RUNNING)) == 1


def test_a_newer_schema_is_left_alone(database: Database) -> None:
    """An older fleetsync says so and changes nothing."""
    migrate(database, SCHEMA, [*VERSIONS, ("CREATE TABLE from_tomorrow (id TEXT)",)])
    with pytest.raises(StorageFailed, match="version 3, this fleetsync knows 2") as caught:
        SqlRunStore(database).initialize()
    assert caught.value.next == "upgrade fleetsync"
    assert version(database) == len(VERSIONS) + 1


def test_a_migration_happens_whole_or_not_at_all(database: Database) -> None:
    """A version that breaks in its middle leaves the one before it."""
    broken = [VERSIONS[0], ("CREATE TABLE half (id TEXT)", "CREATE TABLE half (id TEXT)")]
    with pytest.raises(StorageFailed):
        migrate(database, SCHEMA, broken)
    assert migrate(database, SCHEMA, VERSIONS) == 0
    SqlRunStore(database).initialize()


def test_schemas_do_not_know_each_other(database: Database) -> None:
    """Several live in one database, each with its own version."""
    migrate(database, "other", [("CREATE TABLE other (id TEXT)",)] * 1)
    SqlRunStore(database).initialize()
    assert database.write(lambda execute: current(execute, "other")) == 1
    assert version(database) == len(VERSIONS)


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_daemons_that_start_at_once_migrate_once(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Each on a connection of its own; all of them find the newest version."""
    url = "" if kind == "sqlite" else request.getfixturevalue("postgres_url")
    opened = [open_database(url, tmp_path / "audit.db") for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda each: migrate(each, SCHEMA, VERSIONS), opened))
    assert sorted(found) == [0, 2, 2, 2]
    for each in opened:
        each.close()
