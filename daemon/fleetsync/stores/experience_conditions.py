"""Questions to the experience index as SQL: conditions with their values, and texts as columns.

Pure. What a question means is `records/experience_queries.admits`; here stands the same as SQL that an
index of `experience_schema.py` answers.
"""

from __future__ import annotations

from enum import Enum, auto
from hashlib import sha256
from typing import Any, NamedTuple, overload

from fleetsync.records.experience_queries import UPSTREAM_CHAINED, EventQuery, Span, span_of
from fleetsync.stores.sql import marks

WHOLE = 256
"""Bytes of a text that stands in a column as it is; PostgreSQL indexes at most 2,704 a row."""


class Condition(NamedTuple):
    """What must hold, and the values of its parameters."""

    terms: tuple[str, ...]
    values: tuple[Any, ...]

    @classmethod
    def of(cls, term: str, *values: Any) -> Condition:
        """One term."""
        return cls((term,), values)

    def also(self, term: str, *values: Any) -> Condition:
        """This, and another term."""
        return Condition((*self.terms, term), (*self.values, *values))

    @property
    def where(self) -> str:
        """The WHERE clause."""
        return f"WHERE {' AND '.join(self.terms)}"


@overload
def column(text: str) -> str: ...
@overload
def column(text: str | None) -> str | None: ...
def column(text: str | None) -> str | None:
    """A text as it stands in a column: itself, or a digest if no index or database could hold it.

    No short text begins as a digest does: one that holds a NUL is digested too.
    """
    if text is None or (len(text) <= WHOLE // 4 and "\0" not in text and not text.startswith("\1")):
        return text
    raw = text.encode()
    if len(raw) <= WHOLE and b"\0" not in raw and not text.startswith("\1"):
        return text
    return f"\1{sha256(raw).hexdigest()}"


def tenant_of(tenant: str | None) -> str:
    """A tenant as part of a primary key: empty for none."""
    return column(tenant) or ""


class Way(Enum):
    """How the rows of an answer are found; what is not the way is kept from the planner's choice."""

    IN_ORDER = auto()  # by ids, tenant, kind or position, in the order of appending, until there are enough
    BY_TIME = auto()  # all within the span of time, sorted afterwards


def ways_of(query: EventQuery, source: int, way: Way, *, upstream: bool) -> list[Condition]:
    """Conditions that between them admit what is asked for; an event may fulfil several.

    One for each kind if rows come in order, so that each is a walk along an index. `after`, `limit` and
    `related` are not looked at.
    """
    asked = _owned(query, source, way)
    for name in ("correlation_id", "trace_link_id", "proposal_id"):
        value = getattr(query, name)
        if value is not None:
            asked = asked.also(f"{name} = ?", column(value))
    if query.chain_id is not None and not query.related:
        asked = asked.also("chain_id = ?", column(query.chain_id))
        if upstream:
            asked = asked.also(f"kind IN ({marks(list(UPSTREAM_CHAINED))})", *sorted(UPSTREAM_CHAINED))
    asked = _timed(asked, query, way, upstream=upstream)
    kinds = sorted({column(kind) for kind in query.kinds})
    if not kinds:
        return [asked]
    if way is Way.BY_TIME or query.related:
        return [asked.also(f"kind || '' IN ({marks(kinds)})", *kinds)]
    return [asked.also("kind = ?", kind) for kind in kinds]


def by_ids(query: EventQuery) -> bool:
    """Whether an id is asked for that few events share."""
    given = (query.correlation_id, query.chain_id, query.trace_link_id, query.proposal_id)
    return any(value is not None for value in given)


def in_span(span: Span, source: int) -> Condition:
    """All events within a span of time."""
    return _within(Condition.of("source = ?", source), span, "micros")


def of_tenant_and_kinds(query: EventQuery, source: int) -> list[Condition]:
    """All events of the tenant and kinds that are asked for."""
    asked = Condition.of("source = ?", source)
    if query.tenant_id is not None:
        asked = asked.also("tenant_id = ?", column(query.tenant_id))
    return [asked.also("kind = ?", column(kind)) for kind in set(query.kinds)] or [asked]


def in_chain(query: EventQuery, source: int) -> Condition:
    """The events of the chain."""
    asked = Condition.of("source = ?", source).also("chain_id = ?", column(query.chain_id))
    if query.tenant_id is not None:
        asked = asked.also("tenant_id || '' = ?", column(query.tenant_id))
    return asked


def _owned(query: EventQuery, source: int, way: Way) -> Condition:
    asked = Condition.of("source = ?", source).also("hidden = 0")
    if query.tenant_id is None:
        return asked
    tenant = "tenant_id" if way is Way.IN_ORDER and not query.related else "tenant_id || ''"
    return asked.also(f"{tenant} = ?", column(query.tenant_id))


def _timed(asked: Condition, query: EventQuery, way: Way, *, upstream: bool) -> Condition:
    if upstream:
        return _timed_as_text(asked, query)
    span = span_of(query)
    return asked if span is None else _within(asked, span, "micros" if way is Way.BY_TIME else "micros + 0")


def _within(asked: Condition, span: Span, micros: str) -> Condition:
    """The bounds of µs alone are for the index; SQLite does not see them in the pairs."""
    if span.first is not None:
        asked = asked.also(f"{micros} >= ?", span.first.micros).also(
            f"({micros}, rest) >= (?, ?)", *span.first
        )
    if span.last is not None:
        asked = asked.also(f"{micros} <= ?", span.last.micros).also(f"({micros}, rest) <= (?, ?)", *span.last)
    return asked


def _timed_as_text(asked: Condition, query: EventQuery) -> Condition:
    time = query.time_range
    if time is not None and time.start is not None:
        asked = asked.also("occurred_at >= ?", column(time.start))
    if time is not None and time.end is not None:
        asked = asked.also("occurred_at <= ?", column(time.end))
    return asked
