"""What the experience ledger costs at a million events, SQLite and PostgreSQL side by side.

`python -m bench.experience [EVENTS]` writes a made-up year into the logs of a throw-away home, lets both
indexes read them, and asks every question of the port: its first page of 100 in both directions and, up to
the budget's matches, the whole answer. The index beside a question is what the database says it used. Budget:
a question that matches at most 10,000 events takes under 50 ms at p95. PostgreSQL runs with fsync off.
"""

from __future__ import annotations

import json
import random
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from msgspec.structs import replace

from bench.budgets import Figure
from fleetsync.records.experience_queries import ArtifactQuery, EventQuery, TimeRange
from fleetsync.records.experience_times import stamp
from fleetsync.records.experience_words import ArtifactState
from fleetsync.records.experiences import read
from fleetsync.stores.experience_ledger import ExperienceLedger
from fleetsync.stores.experience_log import ExperienceLog
from fleetsync.stores.experience_sql import SqlExperienceStore
from fleetsync.stores.opening import open_database
from fleetsync.stores.sql import Database, Row
from tests.fakes.postgres import running_server

YEAR = 365 * 86_400 * 1_000_000_000  # ns
BEGIN = 1_748_000_000_000_000_000
STREAMS, TENANTS, PAGE = 5, 100, 100
REPEATS = 40
MATCHES = 10_000  # what the budget speaks of
SERVER = ("listen_addresses=''", "fsync=off", "shared_buffers=128MB", "max_wal_size=4GB")
KINDS = (
    ("OutcomeRecorded", 500),
    ("FactPromoted", 250),
    ("BackendInvoked", 200),
    ("BudgetExceeded", 35),
    ("ReplayTraceRecorded", 10),
    ("ArtifactStateTransitioned", 5),
)
TRACE = {
    "type": "Remote",
    "provider_name": "acme",
    "provider_model_id": "m-1",
    "request_fingerprint": "rq",
    "response_fingerprint": "rs",
    "temperature": 0.7,
    "top_p": 1.0,
    "max_tokens": 512,
    "provider_metadata": {},
    "retried": False,
    "retry_reasons": [],
    "replayability": "BestEffort",
}


class Watched:
    """A database that remembers its last question about events, to ask afterwards how it was answered."""

    def __init__(self, database: Database) -> None:
        self.for_update = database.for_update
        self.write, self.migrating, self.close = database.write, database.migrating, database.close
        self._database = database
        self._last: tuple[str, Sequence[Any]] = "", ()
        self._explain = "EXPLAIN " if database.for_update else "EXPLAIN QUERY PLAN "

    def read(self, statement: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """The rows, as ever; what is asked about the index itself is not remembered."""
        if "experience_sources" not in statement and "experience_marks" not in statement:
            self._last = statement, list(parameters)
        return self._database.read(statement, parameters)

    def indexes(self) -> str:
        """Which indexes it used."""
        plan = " ".join(
            str(row[-1]) for row in self._database.read(self._explain + self._last[0], self._last[1])
        )
        plan = re.sub(r"sqlite_autoindex_(experience_\w+?)_1", r"\1_pkey", plan)
        found = re.findall(r"experience_(?:by_\w+|disputed|\w+?_pkey)", plan)
        return ", ".join(dict.fromkeys(name.removeprefix("experience_") for name in found)) or "none"


class Question(NamedTuple):
    """One question: how many events it matches, and how it is asked."""

    name: str
    matches: int
    ask: Callable[[SqlExperienceStore], object]


# --- a year of events --------------------------------------------------------------------------------


def line_of(number: int, events: int) -> bytes:
    """Event `number` of so many: ten share a correlation, five a chain, half of those a proposal."""
    dice = random.Random(number)
    (kind,) = dice.choices([name for name, _ in KINDS], [weight for _, weight in KINDS])
    at = stamp(BEGIN + number * (YEAR // events))
    envelope = {
        "event_id": f"evt-{number:012x}",
        "occurred_at": at,
        "tenant_id": f"tenant-{random.Random(-(number // 10)).randrange(TENANTS)}",
        "correlation_id": f"run-{number // 10:09}",
        "event": {"type": kind, "data": data_of(kind, number, at, dice)},
    }
    return json.dumps(envelope, separators=(",", ":")).encode()


def data_of(kind: str, number: int, at: str, dice: random.Random) -> dict[str, Any]:
    """What an event of this kind says."""
    chain, proposal, trace = f"chain-{number // 5:09}", f"p-{number // 4:09}", f"tl-{number // 100:09}"
    if kind == "OutcomeRecorded":
        took = {
            "stop_reason": "converged",
            "latency_ms": dice.randrange(9000),
            "tokens": dice.randrange(9000),
        }
        return {
            "chain_id": chain,
            "step": "Planning",
            "passed": True,
            **took,
            "cost_microdollars": None,
            "backend": "x",
        }
    if kind == "FactPromoted":
        fact = {"proposal_id": proposal, "fact_id": f"f-{number}", "promoted_by": "agent-0"}
        return {**fact, "reason": "all contracts passed", "requires_human": False}
    if kind == "BackendInvoked":
        backend = {"backend_name": "local", "adapter_id": None, "trace_link_id": trace}
        return {**backend, "step": "Reasoning", "policy_snapshot_hash": None}
    if kind == "BudgetExceeded":
        return {"chain_id": chain, "resource": "tokens", "limit": "1024", "observed": "2048"}
    if kind == "ReplayTraceRecorded":
        return {"trace_link_id": trace, "trace_link": TRACE}
    states = {"from_state": "Draft", "to_state": "Approved", "timestamp": at}
    event = {**states, "actor": "rev", "reason": "ok", "ticket_ref": None, "tenant_id": None}
    return {"artifact_id": f"a-{number}", "artifact_kind": "Pack", "event": event}


def write_logs(home: Path, events: int) -> float:
    """All of them, as the logs would hold them; megabytes."""
    logs = []
    for stream in range(STREAMS):
        path = home / "experience" / f"stream-{stream}" / "events.jsonl"
        path.parent.mkdir(parents=True)
        logs.append(path.open("wb"))
    for number in range(events):
        logs[number % STREAMS].write(line_of(number, events) + b"\n")
    size = sum(log.tell() for log in logs)
    for log in logs:
        log.close()
    return size / 1e6


# --- the questions -----------------------------------------------------------------------------------


def queries(events: int) -> Iterator[tuple[str, EventQuery]]:
    """Every condition alone, and those that people combine."""
    one = read(line_of(events // 2, events))
    tenant = one.tenant_id
    day, week = span(events, 1), span(events, 7)
    yield "nothing", EventQuery(all_tenants=True)
    yield "tenant", EventQuery(tenant_id=tenant)
    yield "tenant, kind", EventQuery(tenant_id=tenant, kinds=("OutcomeRecorded",))
    yield "tenant, rare kind", EventQuery(tenant_id=tenant, kinds=("ArtifactStateTransitioned",))
    yield "tenant, two kinds", EventQuery(tenant_id=tenant, kinds=("BudgetExceeded", "BackendInvoked"))
    yield "kind", EventQuery(all_tenants=True, kinds=("OutcomeRecorded",))
    yield "rare kind", EventQuery(all_tenants=True, kinds=("ArtifactStateTransitioned",))
    yield (
        "two kinds",
        EventQuery(all_tenants=True, kinds=("ArtifactStateTransitioned", "ReplayTraceRecorded")),
    )
    yield "correlation", EventQuery(all_tenants=True, correlation_id=one.correlation_id)
    yield "correlation, tenant", EventQuery(tenant_id=tenant, correlation_id=one.correlation_id)
    yield "chain", EventQuery(all_tenants=True, chain_id=f"chain-{events // 10:09}")
    yield "chain, related", EventQuery(all_tenants=True, chain_id=f"chain-{events // 10:09}", related=True)
    yield "trace", EventQuery(all_tenants=True, trace_link_id=f"tl-{events // 200:09}")
    yield "proposal", EventQuery(all_tenants=True, proposal_id=f"p-{events // 8:09}")
    yield "day", EventQuery(all_tenants=True, time_range=day)
    yield "week", EventQuery(all_tenants=True, time_range=week)
    yield "day, tenant", EventQuery(tenant_id=tenant, time_range=day)
    yield "week, tenant", EventQuery(tenant_id=tenant, time_range=week)
    yield "half a year, tenant", EventQuery(tenant_id=tenant, time_range=span(events, 182))
    yield "week, tenant, kind", EventQuery(tenant_id=tenant, time_range=week, kinds=("OutcomeRecorded",))
    yield "day, kind", EventQuery(all_tenants=True, time_range=day, kinds=("OutcomeRecorded",))
    yield (
        "half a year, rare kind",
        EventQuery(all_tenants=True, time_range=span(events, 182), kinds=("ArtifactStateTransitioned",)),
    )


def span(events: int, days: int) -> TimeRange:
    """So many days from the middle of the year on."""
    middle = BEGIN + events // 2 * (YEAR // events)
    return TimeRange(stamp(middle), stamp(middle + days * YEAR // 365))


def questions(store: SqlExperienceStore, events: int) -> Iterator[Question]:
    """Everything that can be asked of so many events."""
    for name, query in queries(events):
        matches = len(store.query_events(query)) if name != "nothing" else events
        first = replace(query, limit=PAGE)
        yield Question(
            f"{name}: oldest {PAGE}", matches, partial(SqlExperienceStore.query_events, query=first)
        )
        newest = replace(first, newest_first=True)
        yield Question(
            f"{name}: newest {PAGE}", matches, partial(SqlExperienceStore.query_events, query=newest)
        )
        if matches > PAGE:
            some = replace(query, limit=MATCHES)
            after = store.query_events(some)[min(matches, MATCHES) - PAGE - 1].cursor
            yield Question(f"{name}: after {min(matches, MATCHES):,}", matches, later(first, after))
        if PAGE < matches <= MATCHES:
            yield Question(f"{name}: all", matches, partial(SqlExperienceStore.query_events, query=query))
    one = f"a-{events // 2}"
    yield Question("artifact", 1, lambda s: s.query_artifacts(ArtifactQuery(artifact_id=one)))
    approved = ArtifactQuery(state=ArtifactState.APPROVED)
    yield Question(
        "artifacts by state: all", len(store.query_artifacts(approved)), lambda s: s.query_artifacts(approved)
    )
    yield Question("trace link", 1, lambda s: s.get_trace_link(f"tl-{events // 200:09}"))
    yield Question("conflicts", 0, lambda s: s.conflicts())


def later(query: EventQuery, after: str) -> Callable[[SqlExperienceStore], object]:
    """The page behind a place; each database counts its own epochs."""
    position = after.partition(":")[2]
    return lambda store: store.query_events(replace(query, after=f"{store.epoch()}:{position}"))


# --- measuring ---------------------------------------------------------------------------------------


def p95(store: SqlExperienceStore, question: Question) -> float:
    """Milliseconds."""
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        question.ask(store)
        times.append((time.perf_counter() - began) * 1000)
    return statistics.quantiles(times, n=20)[18]


def append_rates(ledger: ExperienceLedger, events: int, stream: str) -> tuple[float, float]:
    """Events a second, each durable by itself, and a thousand at a time."""
    fresh = [read(line_of(number, events)) for number in range(events, events + 5_500)]
    single = seconds(lambda: [ledger.append_event(event, stream=stream) for event in fresh[:500]])
    batches = [fresh[start : start + 1_000] for start in range(500, 5_500, 1_000)]
    bulk = seconds(lambda: [ledger.append_events(batch, stream=stream) for batch in batches])
    return 500 / single, 5_000 / bulk


@contextmanager
def databases(directory: Path) -> Iterator[dict[str, Database]]:
    """Both."""
    with running_server(SERVER) as server, ExitStack() as stack:
        opened = {
            "SQLite": open_database("", directory / "experience.db"),
            "PostgreSQL": open_database(server.url, directory),
        }
        for database in opened.values():
            stack.callback(database.close)
        yield opened


def measure(events: int = 1_000_000) -> list[Figure]:
    """The slowest question that matches at most 10,000 events, for each index."""
    figures = []
    with tempfile.TemporaryDirectory() as folder, databases(Path(folder)) as opened:
        home = Path(folder) / "home"
        say(f"{write_logs(home, events):,.0f} MB of logs")
        watched = {name: Watched(database) for name, database in opened.items()}
        stores = {name: SqlExperienceStore(database) for name, database in watched.items()}
        ledgers = {name: ExperienceLedger(ExperienceLog(home), store) for name, store in stores.items()}
        for name, ledger in ledgers.items():
            ledger.initialize()
            took = seconds(ledger.catch_up)
            say(f"{name}: {events:,} events read in {took:.0f} s ({events / took:,.0f}/s)")
        opened["PostgreSQL"].read("VACUUM ANALYZE")  # as its own daemon does a minute later
        slowest = compare(watched, stores, events)
        for name, ledger in ledgers.items():
            single, bulk = append_rates(ledger, events, name.lower())
            took, question = slowest[name]
            beside = f"{question}; appended {single:,.0f}/s one by one, {bulk:,.0f}/s by the thousand"
            figures.append(
                Figure(f"experience of {events:,} events, {name}: slowest question, p95", took, beside)
            )
    return figures


def compare(
    watched: dict[str, Watched], stores: dict[str, SqlExperienceStore], events: int
) -> dict[str, tuple[float, str]]:
    """Say a row per question; the slowest within the budget's matches, for each index."""
    slowest = dict.fromkeys(stores, (0.0, ""))
    say(f"{'p95 ms':38}{'matches':>9}" + "".join(f"{name:>11}  {'index':28}" for name in stores))
    for question in questions(stores["SQLite"], events):
        row = f"{question.name:38}{question.matches:9,}"
        for name, store in stores.items():
            took = p95(store, question)
            row += f"{took:11.1f}  {watched[name].indexes():28}"
            if question.matches <= MATCHES:
                slowest[name] = max(slowest[name], (took, question.name))
        say(row.rstrip())
    return slowest


def seconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def say(line: str) -> None:
    """A line for whoever waits."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    for figure in measure(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000):
        print(f"{figure.name}: {figure.value:.1f} ms ({figure.beside})")
