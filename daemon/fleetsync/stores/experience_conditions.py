"""Questions to the experience index as SQL: conditions with their values, and texts as columns.

Pure. What a question means is `records/experience_queries.admits`; here stands the same as SQL that an
index of `experience_schema.py` answers.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any, NamedTuple, overload

from fleetsync.records.experience_queries import RELATING, UPSTREAM_CHAINED, EventQuery, span_of
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


def condition_of(query: EventQuery, source: int, *, upstream: bool) -> Condition:
    """Everything but `after` and `limit`."""
    asked = Condition.of("source = ?", source).also("hidden = 0")
    for name in ("tenant_id", "correlation_id", "trace_link_id", "proposal_id"):
        value = getattr(query, name)
        if value is not None:
            asked = asked.also(f"{name} = ?", column(value))
    if query.kinds:
        kinds = sorted({column(kind) for kind in query.kinds})
        asked = asked.also(f"kind IN ({marks(kinds)})", *kinds)
    if query.chain_id is not None:
        asked = _chained(asked, query, source, upstream=upstream)
    return _timed(asked, query, upstream=upstream)


def _chained(asked: Condition, query: EventQuery, source: int, *, upstream: bool) -> Condition:
    if query.related:
        return _related(asked, query, source)
    asked = asked.also("chain_id = ?", column(query.chain_id))
    if upstream:
        asked = asked.also(f"kind IN ({marks(list(UPSTREAM_CHAINED))})", *sorted(UPSTREAM_CHAINED))
    return asked


def _related(asked: Condition, query: EventQuery, source: int) -> Condition:
    """The events of the chain, and those that share one of the relating ids with one of them."""
    chain = Condition.of("source = ?", source).also("chain_id = ?", column(query.chain_id))
    if query.tenant_id is not None:
        chain = chain.also("tenant_id = ?", column(query.tenant_id))
    terms, values = ["chain_id = ?"], [column(query.chain_id)]
    for name in RELATING:
        found = f"SELECT {name} FROM experience_events {chain.also(f'{name} IS NOT NULL').where}"
        terms.append(f"{name} IN ({found})")
        values += chain.values
    return asked.also(f"({' OR '.join(terms)})", *values)


def _timed(asked: Condition, query: EventQuery, *, upstream: bool) -> Condition:
    if upstream:
        return _timed_as_text(asked, query)
    span = span_of(query)
    if span is None:
        return asked
    if span.first is not None:
        asked = asked.also("(micros, rest) >= (?, ?)", *span.first)
    if span.last is not None:
        asked = asked.also("(micros, rest) <= (?, ?)", *span.last)
    return asked


def _timed_as_text(asked: Condition, query: EventQuery) -> Condition:
    time = query.time_range
    if time is not None and time.start is not None:
        asked = asked.also("occurred_at >= ?", column(time.start))
    if time is not None and time.end is not None:
        asked = asked.also("occurred_at <= ?", column(time.end))
    return asked
