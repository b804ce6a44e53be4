"""`SqlExperienceStore`: the experience index in a database; one SQL for SQLite and PostgreSQL (`sql.py`).

Passes `tests/contracts/experience.py` on both. Rule of the file: a batch, its marks, its artifacts and
the number of the last event change in one transaction, under a lock on the row of the source, so that
positions become visible in their order and nothing can be half there. Indexes are named in
`experience_schema.py`; what questions cost is measured by `bench/experience.py`.
"""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any, NamedTuple, TypeVar

from fleetsync.errors import InvalidQuery
from fleetsync.experience_port import DEFAULT_STREAM, Conflict, Mark, Recorded, TraceLink
from fleetsync.records.artifacts import Artifact
from fleetsync.records.experience_intake import (
    ArtifactKey,
    Intake,
    Rules,
    Standing,
    Taken,
    artifact_key,
    decide,
    require,
)
from fleetsync.records.experience_queries import (
    RELATING,
    ArtifactQuery,
    EventQuery,
    read_cursor,
    require_query,
    span_of,
)
from fleetsync.records.experiences import Experience, trace_content
from fleetsync.stores.experience_conditions import (
    Condition,
    Way,
    by_ids,
    column,
    in_chain,
    in_span,
    of_tenant_and_kinds,
    tenant_of,
    ways_of,
)
from fleetsync.stores.experience_rows import ARTIFACT, EVENT, artifact_of, artifact_row, event_row
from fleetsync.stores.experience_schema import SCHEMA, VERSIONS
from fleetsync.stores.experience_writing import ExperienceWriting
from fleetsync.stores.migrations import migrate
from fleetsync.stores.sql import Database, Execute, marks

T = TypeVar("T")

BATCH = 400
"""Values in one list of a statement; SQLite takes at least 999 parameters."""
FEW = 20_000
"""Rows that are looked at and sorted rather than walked in order."""

INSERTED = 42
"""Events in one statement, for the same reason."""

_SHOWN = "position, stream, line, disputed"
_KEEP_ARTIFACT = f"""
INSERT INTO experience_artifacts ({ARTIFACT}) VALUES ({marks(ARTIFACT.split(","))})
ON CONFLICT (source, tenant_id, artifact_id) DO UPDATE SET kind = excluded.kind, state = excluded.state,
    since = excluded.since, irregular = excluded.irregular
"""
_KEEP_MARK = """
INSERT INTO experience_marks (source, stream, file, size, tail) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (source, stream) DO UPDATE SET file = excluded.file, size = excluded.size, tail = excluded.tail
"""
_NEW_SOURCE = """
INSERT INTO experience_sources (name, id, epoch, last)
SELECT ?, coalesce(max(id), 0) + 1, ?, 0 FROM experience_sources WHERE 1 = 1
ON CONFLICT (name) DO NOTHING
"""
_DISPUTE = "UPDATE experience_events SET disputed = 1 WHERE source = ? AND stream = ? AND event_id = ?"


class _Order(NamedTuple):
    """In which order rows come, and how many of them."""

    position: str = "position"
    newest_first: bool = False
    limit: int | None = None

    @property
    def clause(self) -> str:
        """The end of the statement."""
        return f"ORDER BY {self.position} {'DESC' if self.newest_first else 'ASC'} {_limit(self.limit)}"


class SqlExperienceStore(ExperienceWriting):
    """The index of one source in a database. Closes the database with itself."""

    def __init__(
        self,
        database: Database,
        source: str = "local",
        *,
        new_epoch: Callable[[], str] = lambda: secrets.token_hex(4),
        **rest: Any,
    ) -> None:
        super().__init__(**rest)
        self._database = database
        self._name = source
        self._new_epoch = new_epoch
        self._source = 0

    def initialize(self) -> None:
        """See `ExperienceStore.initialize`. Raises `StorageFailed` if a newer fleetsync was here."""
        migrate(self._database, SCHEMA, VERSIONS)
        self._source = self._database.migrating(self._found)

    def close(self) -> None:
        """See `ExperienceStore.close`."""
        self._database.close()

    def _found(self, execute: Execute) -> int:
        query = "SELECT id FROM experience_sources WHERE name = ?"
        if not execute(query, (self._name,)):
            execute(_NEW_SOURCE, (self._name, self._new_epoch()))
        return int(execute(query, (self._name,))[0][0])

    # --- taking in ---------------------------------------------------------------------------------

    def append_events(
        self, events: Sequence[Experience], *, stream: str = DEFAULT_STREAM, rules: Rules = Rules.WRITTEN
    ) -> int:
        """See `ExperienceStore.append_events`; as upstream, those before one that is refused stay."""
        if self._upstream:
            return sum(self._append([event], stream, Rules.UPSTREAM) for event in events)
        return self._append(events, stream, rules)

    def absorb(
        self, events: Sequence[Experience], stream: str, before: Mark | None, after: Mark | None
    ) -> bool:
        """See `ExperienceIndex.absorb`."""

        def work(execute: Execute) -> bool:
            last = self._lock(execute)
            if _mark(execute, self._source, stream) != before:
                return False
            self._take(execute, events, stream, Rules.READ, last)
            if after is not None:
                execute(_KEEP_MARK, (self._source, stream, *after))
            return True

        return self._database.write(work)

    def fresh(self, events: Sequence[Experience], stream: str, rules: Rules) -> list[Experience]:
        """See `ExperienceIndex.fresh`."""
        require(events, rules)
        standing = self._standing(self._database.read, events, stream)
        return [taken.experience for taken in decide(events, stream, standing, rules).taken]

    def marks(self) -> dict[str, Mark]:
        """See `ExperienceIndex.marks`."""
        query = "SELECT stream, file, size, tail FROM experience_marks WHERE source = ?"
        return {row[0]: Mark(*row[1:]) for row in self._database.read(query, (self._source,))}

    def forget(self) -> None:
        """See `ExperienceIndex.forget`."""

        def work(execute: Execute) -> None:
            self._lock(execute)
            for table in ("experience_events", "experience_artifacts", "experience_marks"):
                execute(f"DELETE FROM {table} WHERE source = ?", (self._source,))
            execute(
                "UPDATE experience_sources SET epoch = ?, last = 0 WHERE id = ?",
                (self._new_epoch(), self._source),
            )

        self._database.write(work)

    def _append(self, events: Sequence[Experience], stream: str, rules: Rules) -> int:
        require(events, rules)
        return self._database.write(
            lambda execute: self._take(execute, events, stream, rules, self._lock(execute))
        )

    def _take(
        self, execute: Execute, events: Sequence[Experience], stream: str, rules: Rules, last: int
    ) -> int:
        standing = self._standing(execute, events, stream)
        intake = decide(events, stream, standing, rules)
        self._insert(execute, intake.taken, stream, last, repeats=rules is Rules.UPSTREAM)
        self._keep_artifacts(execute, intake, standing)
        return len(intake.taken)

    def _lock(self, execute: Execute) -> int:
        """The position of the last event; nobody else appends until the transaction ends."""
        query = f"SELECT last FROM experience_sources WHERE id = ?{self._database.for_update}"
        return int(execute(query, (self._source,))[0][0])

    def _insert(
        self, execute: Execute, taken: Sequence[Taken], stream: str, last: int, *, repeats: bool
    ) -> None:
        places = count(last + 1)
        rows = [event_row(self._source, each, stream, next(places), repeats=repeats) for each in taken]
        for part in _parts(rows, INSERTED):
            values = ", ".join([f"({marks(part[0])})"] * len(part))
            execute(
                f"INSERT INTO experience_events ({EVENT}) VALUES {values}", [v for row in part for v in row]
            )
        for event_id in {each.experience.event_id for each in taken if each.conflict}:
            execute(_DISPUTE, (self._source, stream, column(event_id)))
        execute("UPDATE experience_sources SET last = ? WHERE id = ?", (last + len(rows), self._source))

    def _keep_artifacts(self, execute: Execute, intake: Intake, standing: Standing) -> None:
        for key, artifact in intake.artifacts.items():
            if standing.artifacts.get(key) != artifact:
                execute(_KEEP_ARTIFACT, artifact_row(self._source, artifact))

    # --- what stands already -------------------------------------------------------------------------

    def _standing(self, execute: Execute, events: Sequence[Experience], stream: str) -> Standing:
        return Standing(
            frozenset(self._lines(execute, events, stream)),
            self._contents(execute, events),
            self._artifacts(execute, events),
        )

    def _lines(self, execute: Execute, events: Sequence[Experience], stream: str) -> Iterator[str]:
        for part in _parts([event.identity for event in events], BATCH):
            query = (
                "SELECT identity FROM experience_events"
                f" WHERE source = ? AND stream = ? AND identity IN ({marks(part)})"
            )
            yield from (row[0] for row in execute(query, (self._source, stream, *part)))

    def _contents(
        self, execute: Execute, events: Sequence[Experience]
    ) -> dict[str, frozenset[tuple[str, str]]]:
        by_column = {str(column(event.event_id)): event.event_id for event in events}
        found: defaultdict[str, set[tuple[str, str]]] = defaultdict(set)
        for part in _parts(list(by_column), BATCH):
            query = (
                "SELECT event_id, stream, content FROM experience_events"
                f" WHERE source = ? AND event_id IN ({marks(part)})"
            )
            for event_id, where, content in execute(query, (self._source, *part)):
                found[by_column[event_id]].add((where, content))
        return {event_id: frozenset(contents) for event_id, contents in found.items()}

    def _artifacts(self, execute: Execute, events: Sequence[Experience]) -> dict[ArtifactKey, Artifact]:
        wanted = {artifact_key(event.movement) for event in events if event.movement is not None}
        query = (
            f"SELECT {ARTIFACT} FROM experience_artifacts"
            " WHERE source = ? AND tenant_id = ? AND artifact_id = ?"
        )
        rows = [
            row
            for tenant, artifact_id in sorted(wanted, key=lambda key: (key[0] or "", key[1]))
            for row in execute(query, (self._source, tenant_of(tenant), column(artifact_id)))
        ]
        return {(artifact.tenant_id, artifact.artifact_id): artifact for artifact in map(artifact_of, rows)}

    # --- asking --------------------------------------------------------------------------------------

    def query_events(self, query: EventQuery) -> list[Recorded]:
        """See `ExperienceStore.query_events`."""
        require_query(query, upstream=self._upstream)
        way = self._way(query)
        ways = ways_of(query, self._source, way, upstream=self._upstream)
        if query.related:
            ways = [asked.also(*term) for asked in ways for term in self._relating(query)]
        position = "position + 0" if way is Way.BY_TIME else "position"
        if query.after is not None:
            last = self._position(query.after, query)
            ways = [asked.also(f"{position} {'<' if query.newest_first else '>'} ?", last) for asked in ways]
        order = _Order(position, newest_first=query.newest_first, limit=query.limit)
        found = {each.position: each for asked in ways for each in self._recorded(asked, order)}
        return [found[place] for place in sorted(found, reverse=query.newest_first)][: query.limit]

    def _way(self, query: EventQuery) -> Way:
        """By time, if fewer events lie in the span than are of the tenant and kinds."""
        span = None if self._upstream else span_of(query)
        if span is None or by_ids(query):
            return Way.IN_ORDER
        within = self._count(in_span(span, self._source), FEW)
        if within == FEW:
            return Way.IN_ORDER
        others = sum(self._count(asked, within + 1) for asked in of_tenant_and_kinds(query, self._source))
        return Way.BY_TIME if within < others else Way.IN_ORDER

    def _count(self, asked: Condition, most: int) -> int:
        """How many rows there are, if fewer than `most`."""
        query = (
            f"SELECT count(*) FROM (SELECT 1 FROM experience_events {asked.where} LIMIT {most:d}) AS found"
        )
        return int(self._database.read(query, asked.values)[0][0])

    def _relating(self, query: EventQuery) -> Iterator[tuple[Any, ...]]:
        """What an event of the chain, or one that shares an id with such an event, fulfils: term, values."""
        yield "chain_id = ?", column(query.chain_id)
        chain = in_chain(query, self._source)
        rows = self._database.read(
            f"SELECT {', '.join(RELATING)} FROM experience_events {chain.where}", chain.values
        )
        for name, found in zip(RELATING, zip(*rows, strict=True), strict=False):
            for part in _parts(sorted(set(found) - {None}), BATCH):
                yield f"{name} IN ({marks(part)})", *part

    def query_artifacts(self, query: ArtifactQuery) -> list[Artifact]:
        """See `ExperienceStore.query_artifacts`."""
        asked = Condition.of("source = ?", self._source)
        if query.tenant_id is not None:
            asked = asked.also("tenant_id = ?", tenant_of(query.tenant_id))
        if query.artifact_id is not None:
            asked = asked.also("artifact_id = ?", column(query.artifact_id))
        if query.kind_text is not None:
            asked = asked.also("kind = ?", query.kind_text)
        if query.state is not None:
            asked = asked.also("state = ?", str(query.state))
        rows = self._database.read(
            f"SELECT {ARTIFACT} FROM experience_artifacts {asked.where}"
            f" ORDER BY whole_tenant IS NOT NULL, whole_tenant, whole_id {_limit(query.limit)}",
            asked.values,
        )
        return [artifact_of(row) for row in rows]

    def get_trace_link(self, trace_link_id: str, tenant_id: str | None = None) -> TraceLink | None:
        """See `ExperienceStore.get_trace_link`; as upstream, the last one and no matter whose."""
        asked = Condition.of("source = ?", self._source)
        asked = asked.also("kind = 'ReplayTraceRecorded' AND trace_link_id = ?", column(trace_link_id))
        if tenant_id is not None and not self._upstream:
            asked = asked.also("tenant_id = ?", column(tenant_id))
        found = self._recorded(asked, _Order(newest_first=self._upstream))
        if not found:
            return None
        contents = [trace_content(recorded.line) for recorded in found]
        return TraceLink(found[0], sum(content != contents[0] for content in contents))

    def conflicts(self, limit: int | None = None) -> list[Conflict]:
        """See `ExperienceStore.conflicts`."""
        rows = self._database.read(
            "SELECT DISTINCT stream, event_id FROM experience_events WHERE source = ? AND disputed = 1"
            f" ORDER BY stream, event_id {_limit(limit)}",
            (self._source,),
        )
        found = []
        for stream, event_id in rows:
            asked = Condition.of("source = ?", self._source)
            events = self._recorded(asked.also("stream = ?", stream).also("event_id = ?", event_id), _Order())
            found.append(Conflict(stream, events[0].experience.event_id, events))
        return found

    def _recorded(self, asked: Condition, order: _Order) -> list[Recorded]:
        epoch = self.epoch()
        query = f"SELECT {_SHOWN} FROM experience_events {asked.where} {order.clause}"
        return [
            Recorded(epoch, position, stream, line.encode(), bool(disputed))
            for position, stream, line, disputed in self._database.read(query, asked.values)
        ]

    def epoch(self) -> str:
        """What cursors of this index begin with; new whenever it is built anew."""
        query = "SELECT epoch FROM experience_sources WHERE id = ?"
        return str(self._database.read(query, (self._source,))[0][0])

    def _position(self, after: str, query: EventQuery) -> int:
        """The position that a cursor or an event id names."""
        if ":" in after:
            return read_cursor(after, self.epoch())
        asked = Condition.of("source = ?", self._source).also("hidden = 0 AND event_id = ?", column(after))
        if query.tenant_id is not None:
            asked = asked.also("tenant_id = ?", column(query.tenant_id))
        found = self._database.read(
            f"SELECT position FROM experience_events {asked.where} ORDER BY position LIMIT 1", asked.values
        )
        if not found:
            raise InvalidQuery(f"there is no event {after[:80]!r} to go on from")
        return int(found[0][0])


def _mark(execute: Execute, source: int, stream: str) -> Mark | None:
    query = "SELECT file, size, tail FROM experience_marks WHERE source = ? AND stream = ?"
    rows = execute(query, (source, stream))
    return Mark(*rows[0]) if rows else None


def _limit(limit: int | None) -> str:
    return "" if limit is None else f"LIMIT {min(limit, 2**62):d}"


def _parts(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]
