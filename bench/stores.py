"""What the run audit costs at a million runs, SQLite and PostgreSQL side by side.

`python -m bench.stores [RUNS]` fills both with one made-up year, then measures every question of the
port, at the beginning and at the end of its answer, and how fast runs are recorded one by one (a start,
three entries and an end, each in a transaction of its own). The index beside a question is what the
database says it used. PostgreSQL runs without fsync, as in the tests.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from msgspec import structs

from bench.budgets import Figure
from bench.questions import MATCHES, Question, Tables, Watched, compare, databases, say
from fleetsync.records.audits import (
    EventType,
    Run,
    RunFilter,
    RunLog,
    RunStart,
    RunStats,
    RunStatus,
    begun,
    encode_json,
)
from fleetsync.stores import run_counts
from fleetsync.stores.run_sql import SqlRunStore
from fleetsync.stores.sql import Database, Execute, marks

YEAR = 365 * 86_400 * 1_000_000  # µs
BEGIN = 1_748_000_000_000_000
SKILLS, CALLERS, CHANNELS = 200, 100, 100
STATUSES = (("ok", 950), ("error", 30), ("dry_run", 9), ("timeout", 9), ("budget_exceeded", 2))
BATCH, ROWS = 20_000, 500
TABLES = Tables("audit_", r"\w+?_(?:by_\w+|at_top|pkey)")

# --- a year of runs ----------------------------------------------------------------------------------


def start_of(number: int, runs: int) -> RunStart:
    """Run `number` of so many; every third is the child of the one before."""
    dice = random.Random(number)
    return RunStart(
        id=run_id(number),
        skill_id=f"skill-{dice.randrange(SKILLS)}",
        caller_id=f"caller-{dice.randrange(CALLERS)}".ljust(52, "x"),
        channel_id=f"channel-{dice.randrange(CHANNELS)}".ljust(52, "x"),
        inputs={"number": number, "environment": "production"},
        started_at=BEGIN + number * (YEAR // runs),
        parent_run_id=run_id(number - 1) if number % 3 == 2 else None,
    )


def run_id(number: int) -> str:
    """As long and as ordered as a real one."""
    return f"{number:012x}{random.Random(-number).getrandbits(80):020x}"


def stats_of(number: int, started_at: int) -> RunStats:
    """How it ended."""
    dice = random.Random(number + 0.5)
    (status,) = dice.choices([name for name, _ in STATUSES], [weight for _, weight in STATUSES])
    took = dice.randrange(1, 60_000_000)
    return RunStats(
        status=RunStatus(status),
        finished_at=started_at + took,
        output={"lines": took % 1000},
        error=None if status == "ok" else "something went wrong",
        runtime_seconds=took / 1e6,
    )


def fill(database: Database, runs: int) -> float:
    """All of them, many in a statement, as no recorder would; seconds."""
    began = time.perf_counter()
    for first in range(0, runs, BATCH):
        rows = [as_row(number, runs) for number in range(first, min(first + BATCH, runs))]
        database.write(lambda execute, rows=rows: insert(execute, rows))  # type: ignore[misc]
    return time.perf_counter() - began


def as_row(number: int, runs: int) -> tuple[Any, ...]:
    """A finished run as `audit_runs` holds it."""
    start = start_of(number, runs)
    stats = stats_of(number, start.started_at)
    run = structs.replace(begun(start), **structs.asdict(stats))
    texts = {"inputs": encode_json(run.inputs), "output": encode_json(run.output), "status": str(run.status)}
    return *{**structs.asdict(run), **texts}.values(), int(run.parent_run_id is None)


def insert(execute: Execute, rows: list[tuple[Any, ...]]) -> None:
    """Rows and their summary, in one transaction."""
    for first in range(0, len(rows), ROWS):
        part = rows[first : first + ROWS]
        columns = ", ".join([*Run.__struct_fields__, "top_level"])
        values = ", ".join([f"({marks(part[0])})"] * len(part))
        execute(
            f"INSERT INTO audit_runs ({columns}) VALUES {values}", [value for row in part for value in row]
        )
    kinds = Counter((row[1], row[2], row[3], row[7], row[-1]) for row in rows)
    run_counts.change(execute, kinds)


# --- the questions -----------------------------------------------------------------------------------


def questions(store: SqlRunStore, runs: int) -> Iterator[Question]:
    """Everything that can be asked of so many runs."""
    middle = runs // 2
    one = start_of(middle, runs)
    yield Question("get_run", 1, lambda s: s.get_run(one.id))
    yield Question("list_logs_by_run", 1, lambda s: s.list_logs_by_run(one.id))
    yield Question("list_children_by_parent", 1, lambda s: s.list_children_by_parent(one.id))
    yield Question("walk_parent_chain", 2, lambda s: s.walk_parent_chain(run_id(middle // 3 * 3 + 2)))
    yield Question("list_runs_by_skill", 0, lambda s: s.list_runs_by_skill("skill-7", 50))
    yield Question("list_runs_by_caller", 0, lambda s: s.list_runs_by_caller(one.caller_id, 500))
    yield Question("list_finished_runs_before", 0, lambda s: s.list_finished_runs_before(one.started_at, 500))
    names = [f"skill-{n}" for n in range(SKILLS)]
    yield Question("last_run_by_skills ok", SKILLS, lambda s: s.last_run_by_skills(names, False))
    yield Question("last_run_by_skills any", SKILLS, lambda s: s.last_run_by_skills(names, True))
    yield from skill_questions(store)
    for name, wanted in filters(one):
        yield from filter_questions(store, name, wanted)


def skill_questions(store: SqlRunStore) -> Iterator[Question]:
    """A skill's pages and count."""
    for dry, name in ((False, "by_skill"), (True, "by_skill with dry")):
        total = store.count_runs_by_skill("skill-7", dry)
        last = partial(
            SqlRunStore.list_runs_by_skill_paginated,
            skill_id="skill-7",
            offset=max(total - 50, 0),
            limit=50,
            include_dry_run=dry,
        )
        yield Question(f"{name}: last page", total, last)
        count = partial(SqlRunStore.count_runs_by_skill, skill_id="skill-7", include_dry_run=dry)
        yield Question(f"{name}: count", total, count)


def filters(one: RunStart) -> Iterator[tuple[str, RunFilter]]:
    """Every condition alone, and those that people combine."""
    skill, caller, channel = one.skill_id, one.caller_id, one.channel_id
    week, day = 7 * YEAR // 365, YEAR // 365
    since = BEGIN + YEAR // 2
    timeout, error = RunStatus.TIMEOUT, RunStatus.ERROR
    yield "nothing", RunFilter()
    yield "top level", RunFilter(top_level_only=True)
    yield "status timeout", RunFilter(status=timeout)
    yield "status budget_exceeded", RunFilter(status=RunStatus.BUDGET_EXCEEDED)
    yield "status dry_run", RunFilter(status=RunStatus.DRY_RUN)
    yield "status running", RunFilter(status=RunStatus.RUNNING)
    yield "status error", RunFilter(status=error)
    yield "skill", RunFilter(skill_id=skill)
    yield "caller", RunFilter(caller_id=caller)
    yield "channel", RunFilter(channel_id=channel)
    yield "day", RunFilter(since=since, until=since + day)
    yield "week", RunFilter(since=since, until=since + week)
    yield "skill, top", RunFilter(skill_id=skill, top_level_only=True)
    yield "channel, top", RunFilter(channel_id=channel, top_level_only=True)
    yield "status timeout, top", RunFilter(status=timeout, top_level_only=True)
    yield "skill, error", RunFilter(skill_id=skill, status=error)
    yield "caller, error", RunFilter(caller_id=caller, status=error)
    yield "channel, timeout", RunFilter(channel_id=channel, status=timeout)
    yield "skill, channel", RunFilter(skill_id=skill, channel_id=channel)
    yield "caller, channel", RunFilter(caller_id=caller, channel_id=channel)
    yield "skill, caller, channel", RunFilter(skill_id=skill, caller_id=caller, channel_id=channel)
    yield "skill, week", RunFilter(skill_id=skill, since=since, until=since + week)
    yield "error, week", RunFilter(status=error, since=since, until=since + week)
    yield "error, half a year", RunFilter(status=error, since=since)
    yield "channel, error, week", RunFilter(channel_id=channel, status=error, since=since, until=since + week)
    yield "caller, ok, day", RunFilter(caller_id=caller, status=RunStatus.OK, since=since, until=since + day)
    yield "ok, day, top", RunFilter(status=RunStatus.OK, since=since, until=since + day, top_level_only=True)


def filter_questions(store: SqlRunStore, name: str, wanted: RunFilter) -> Iterator[Question]:
    """First page, last page, count."""
    total = store.count_runs_filtered(wanted)
    last = min(max(total - 50, 0), MATCHES)
    yield Question(f"{name}: first 50", total, lambda s: s.list_runs_filtered(wanted, 0, 50))
    if last:
        yield Question(f"{name}: from {last:,}", total, lambda s: s.list_runs_filtered(wanted, last, 50))
    yield Question(f"{name}: count", total, lambda s: s.count_runs_filtered(wanted))


# --- measuring ---------------------------------------------------------------------------------------


def record(store: SqlRunStore, runs: int, extra: int) -> tuple[float, float]:
    """Runs a second, each started, logged three times and finished, and purged runs a second."""
    began = time.perf_counter()
    for number in range(runs, runs + extra):
        start = start_of(number, runs)
        store.start_run(start)
        for sequence in range(3):
            store.append_log(
                RunLog(
                    run_id=start.id,
                    sequence=sequence,
                    event_type=EventType.STEP,
                    payload={"name": "fetch", "count": sequence, "seconds": 0.01},
                    created_at=start.started_at,
                )
            )
        store.finish_run(start.id, stats_of(number, start.started_at))
    recorded = time.perf_counter() - began
    began = time.perf_counter()
    purged = store.purge_older_than(BEGIN + YEAR // 100)
    return extra / recorded, purged / (time.perf_counter() - began)


def measure(runs: int = 1_000_000) -> list[Figure]:
    """The slowest question that matches at most 10,000 runs, for each store."""
    figures = []
    with tempfile.TemporaryDirectory() as folder, databases(Path(folder), "audit.db") as opened:
        watched = {name: Watched(database, TABLES) for name, database in opened.items()}
        stores = {name: SqlRunStore(database) for name, database in watched.items()}
        for name, store in stores.items():
            store.initialize()
            say(f"{name}: {runs:,} runs filled in {fill(opened[name], runs):.0f} s")
        opened["PostgreSQL"].read("VACUUM ANALYZE")  # as its own daemon does a minute later
        slowest = compare(watched, stores, questions(stores["SQLite"], runs))
        for name, store in stores.items():
            rate, purged = record(store, runs, min(5_000, runs))
            say(f"{name}: {rate:,.0f} runs/s recorded, {purged:,.0f}/s purged")
            took, question = slowest[name]
            beside = f"{question}; {rate:,.0f} runs a second recorded one by one"
            figures.append(Figure(f"audit of {runs:,} runs, {name}: slowest question, p95", took, beside))
    return figures


if __name__ == "__main__":
    for figure in measure(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000):
        print(f"{figure.name}: {figure.value:.1f} ms ({figure.beside})")
