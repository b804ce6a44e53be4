"""Whatever is done to a run store, in whatever order, it answers as the reference does.

Random sequences of all operations, on few ids, names and times, so that they meet; after each the same
question is asked of the store and of `MemoryRunStore`. Errors are answers too.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleetsync.errors import FleetsyncError
from fleetsync.ports import RunStore
from fleetsync.records.audits import EventType, RunFilter, RunLog, RunStart, RunStats, RunStatus
from fleetsync.stores.opening import open_database, open_run_store
from fleetsync.stores.run_memory import MemoryRunStore
from fleetsync.stores.run_sql import SqlRunStore

Act = Callable[[RunStore], Any]

ids = st.sampled_from(["a", "B", "c", "é", "_"])
skills, callers, channels = (st.sampled_from(names) for names in (["s", "S"], ["me", "you"], ["", "room"]))
times = st.integers(0, 5)
limits = st.integers(-1, 4)
statuses = st.sampled_from(list(RunStatus))
ends = st.sampled_from([status for status in RunStatus if status is not RunStatus.RUNNING])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
errors = st.none() | st.text(
    st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=9
)
starts = st.builds(
    RunStart,
    id=ids,
    skill_id=skills,
    caller_id=callers,
    channel_id=channels,
    inputs=values,
    started_at=times,
    parent_run_id=st.none() | ids,
)
stats = st.builds(
    RunStats,
    status=ends,
    finished_at=times,
    output=values,
    error=errors,
    tool_calls_count=times,
    runtime_seconds=st.floats(0, 1e9),
    total_input_tokens=st.integers(0, 2**63 - 1),
)
entries = st.builds(
    RunLog,
    run_id=ids,
    sequence=st.integers(0, 3),
    event_type=st.sampled_from(list(EventType)),
    payload=values,
    created_at=times,
)
filters = st.builds(
    RunFilter,
    status=st.none() | statuses,
    skill_id=st.none() | skills,
    caller_id=st.none() | callers,
    channel_id=st.none() | channels,
    top_level_only=st.booleans(),
    include_dry_run=st.booleans(),
    since=st.none() | times,
    until=st.none() | times,
)


def act(name: str, *arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[str, tuple[Any, ...]]]:
    """An operation with drawn arguments."""
    return st.tuples(st.just(name), st.tuples(*arguments))


changes = st.one_of(
    act("start_run", starts),
    act("start_run", starts),
    act("finish_run", ids, stats),
    act("finish_run", ids, stats),
    act("append_log", entries),
    act("purge_older_than", times),
    act("purge_beyond", limits),
    act("initialize"),
)
questions = st.one_of(
    act("get_run", ids),
    act("list_logs_by_run", ids),
    act("list_runs_by_skill", skills, limits),
    act("list_runs_by_skill_paginated", skills, limits, limits, st.booleans()),
    act("count_runs_by_skill", skills, st.booleans()),
    act("list_runs_by_caller", callers, limits),
    act("list_runs_filtered", filters, limits, limits),
    act("count_runs_filtered", filters),
    act("list_children_by_parent", ids | st.just("")),
    act("walk_parent_chain", ids),
    act("list_finished_runs_before", times, limits),
    act("last_run_by_skills", st.lists(skills | callers), st.booleans()),
)
stories = st.lists(st.one_of(changes, questions), min_size=1, max_size=40)

EVERYTHING = [
    *(("list_logs_by_run", (run,)) for run in ("a", "B", "c", "é", "_")),
    ("list_runs_filtered", (RunFilter(include_dry_run=True), 0, 50)),
    *(("count_runs_filtered", (RunFilter(status=status),)) for status in RunStatus),
    *(("count_runs_by_skill", (skill, True)) for skill in ("s", "S")),
    *(("count_runs_filtered", (RunFilter(channel_id=channel),)) for channel in ("", "room")),
    *(
        ("count_runs_filtered", (RunFilter(caller_id=caller, top_level_only=True),))
        for caller in ("me", "you")
    ),
]
"""Asked at the end of every story."""


def answer(store: RunStore, name: str, arguments: tuple[Any, ...]) -> Any:
    """What the store says, or the kind of its refusal."""
    try:
        return getattr(store, name)(*arguments)
    except FleetsyncError as error:
        return type(error)


def check(store: RunStore, story: list[tuple[str, tuple[Any, ...]]]) -> None:
    """The store and the reference live through the story alike."""
    reference = MemoryRunStore()
    for name, arguments in [*story, *EVERYTHING]:
        expected = answer(reference, name, arguments)
        assert answer(store, name, arguments) == expected, (name, arguments)


@given(stories)
def test_sqlite_is_the_reference(story: list[tuple[str, tuple[Any, ...]]]) -> None:
    """A file does what the dict does."""
    with tempfile.TemporaryDirectory() as directory:
        store = open_run_store("", Path(directory))
        try:
            check(store, story)
        finally:
            store.close()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(story=stories)
def test_postgres_is_the_reference(
    postgres_store: SqlRunStore, story: list[tuple[str, tuple[Any, ...]]]
) -> None:
    """And so does a server."""
    postgres_store.purge_beyond(0)
    check(postgres_store, story)


@pytest.fixture
def postgres_store(postgres_url: str, tmp_path: Path) -> Any:
    """One store for all examples, emptied before each."""
    store = SqlRunStore(open_database(postgres_url, tmp_path))
    store.initialize()
    yield store
    store.close()
