"""What the experience ledger costs at a million events, SQLite and PostgreSQL side by side.

`python -m bench.experience [EVENTS]` writes a made-up year into the logs of a throw-away home, lets both
indexes read them, and asks every question of the port: its first page of 100 in both directions and, up to
the budget's matches, the whole answer. The index beside a question is what the database says it used. Budget:
a question that matches at most 10,000 events takes under 50 ms at p95. PostgreSQL runs with fsync off.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from bench.budgets import Figure
from bench.questions import MATCHES, Question, Tables, Watched, compare, databases, say, seconds
from fleetsync.records.experience_queries import ArtifactQuery, EventQuery, TimeRange
from fleetsync.records.experience_times import stamp
from fleetsync.records.experience_words import ArtifactState
from fleetsync.records.experiences import read
from fleetsync.stores.experience_ledger import ExperienceLedger
from fleetsync.stores.experience_log import ExperienceLog
from fleetsync.stores.experience_sql import SqlExperienceStore

YEAR = 365 * 86_400 * 1_000_000_000  # ns
BEGIN = 1_748_000_000_000_000_000
STREAMS, TENANTS, PAGE = 5, 100, 100
TABLES = Tables("experience_", r"by_\w+|disputed|\w+?_pkey", aside=("experience_sources", "experience_marks"))
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


def append_rates(ledger: ExperienceLedger, events: int, stream: str) -> tuple[float, float]:
    """Events a second, each durable by itself, and a thousand at a time."""
    fresh = [read(line_of(number, events)) for number in range(events, events + 5_500)]
    single = seconds(lambda: [ledger.append_event(event, stream=stream) for event in fresh[:500]])
    batches = [fresh[start : start + 1_000] for start in range(500, 5_500, 1_000)]
    bulk = seconds(lambda: [ledger.append_events(batch, stream=stream) for batch in batches])
    return 500 / single, 5_000 / bulk


def measure(events: int = 1_000_000) -> list[Figure]:
    """The slowest question that matches at most 10,000 events, for each index."""
    figures = []
    with tempfile.TemporaryDirectory() as folder, databases(Path(folder), "experience.db") as opened:
        home = Path(folder) / "home"
        say(f"{write_logs(home, events):,.0f} MB of logs")
        watched = {name: Watched(database, TABLES) for name, database in opened.items()}
        stores = {name: SqlExperienceStore(database) for name, database in watched.items()}
        ledgers = {name: ExperienceLedger(ExperienceLog(home), store) for name, store in stores.items()}
        for name, ledger in ledgers.items():
            ledger.initialize()
            took = seconds(ledger.catch_up)
            say(f"{name}: {events:,} events read in {took:.0f} s ({events / took:,.0f}/s)")
        opened["PostgreSQL"].read("VACUUM ANALYZE")  # as its own daemon does a minute later
        slowest = compare(watched, stores, questions(stores["SQLite"], events))
        for name, ledger in ledgers.items():
            single, bulk = append_rates(ledger, events, name.lower())
            took, question = slowest[name]
            beside = f"{question}; appended {single:,.0f}/s one by one, {bulk:,.0f}/s by the thousand"
            figures.append(
                Figure(f"experience of {events:,} events, {name}: slowest question, p95", took, beside)
            )
    return figures


if __name__ == "__main__":
    for figure in measure(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000):
        print(f"{figure.name}: {figure.value:.1f} ms ({figure.beside})")
