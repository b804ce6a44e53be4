"""Questions to an experience ledger: which events, which artifacts, and whose.

All conditions that are given must hold. Whose events are asked for must be said: one tenant, or all
of them on purpose. `admits` is the meaning of a question, spelled out for one event; stores may find
the same faster. Two semantics: ours, and the reference's (`upstream`), which compares times as bytes
and knows no duty to name a tenant. Implements docs/experience.md, "Questions".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from fleetsync.errors import InvalidQuery
from fleetsync.records.artifacts import Artifact
from fleetsync.records.experience_shapes import shape_of
from fleetsync.records.experience_times import Instant, end_of, instant
from fleetsync.records.experience_values import ArtifactKind
from fleetsync.records.experience_words import ArtifactState
from fleetsync.records.experiences import Experience

UPSTREAM_CHAINED = frozenset({"ProposalCreated", "ProposalValidated", "OutcomeRecorded", "BudgetExceeded"})
"""The kinds whose chain the reference looks at."""


class TimeRange(msgspec.Struct, frozen=True):
    """From one time to another, both included; a bare date as end includes its whole day."""

    start: str | None = None
    end: str | None = None


class EventQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which events; the first six conditions are the reference's, the others ours.

    `kinds` empty means any kind. `after` is the cursor of an event, or an event id: what follows it in
    the direction asked for. `related` adds to a chain the events that share a correlation, proposal or
    trace id with an event of the chain, for those kinds that carry no chain id.
    """

    tenant_id: str | None = None
    time_range: TimeRange | None = None
    kinds: tuple[str, ...] = ()
    correlation_id: str | None = None
    chain_id: str | None = None
    limit: int | None = None
    all_tenants: bool = False
    trace_link_id: str | None = None
    proposal_id: str | None = None
    related: bool = False
    after: str | None = None
    newest_first: bool = False


class ArtifactQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which artifacts; without a tenant those of all tenants and of none."""

    tenant_id: str | None = None
    artifact_id: str | None = None
    kind: ArtifactKind | None = None
    state: ArtifactState | None = None
    limit: int | None = None

    def admits(self, artifact: Artifact) -> bool:
        """Whether this artifact is one of those."""
        return (
            self.tenant_id in (None, artifact.tenant_id)
            and self.artifact_id in (None, artifact.artifact_id)
            and self.kind_text in (None, artifact.kind)
            and self.state in (None, artifact.state)
        )

    @property
    def kind_text(self) -> str | None:
        """The kind as JSON text."""
        return None if self.kind is None else shape_of(ArtifactKind).write(self.kind)


class Span(NamedTuple):
    """A time range as points in time; None is open."""

    first: Instant | None
    last: Instant | None

    def holds(self, point: Instant | None) -> bool:
        """Whether the point lies in it; a time that is not known lies in no span."""
        return (
            point is not None
            and (self.first is None or self.first <= point)
            and (self.last is None or point <= self.last)
        )


RELATING = ("correlation_id", "proposal_id", "trace_link_id")
"""What an event without a chain id shares with the chain that it belongs to."""


def cursor_text(epoch: str, position: int) -> str:
    """A place in a ledger as text; an epoch begins when a ledger is built anew."""
    return f"{epoch}:{position}"


def read_cursor(text: str, epoch: str) -> int:
    """The position in a cursor; raises `InvalidQuery` for one of another epoch."""
    given, _, position = text.partition(":")
    if given != epoch or not position.isdecimal() or len(position) > 18:
        raise InvalidQuery(
            f"{text[:80]!r} is no cursor of this ledger, or of one that was built anew since",
            next_step="ask from the beginning, or go on from an event id",
        )
    return int(position)


def query_document(query: EventQuery) -> dict[str, Any]:
    """The question as the reference reads it: its six conditions, `kinds` also when it is empty."""
    asked = query.time_range
    return {
        "tenant_id": query.tenant_id,
        "time_range": None if asked is None else {"start": asked.start, "end": asked.end},
        "kinds": list(query.kinds),
        "correlation_id": query.correlation_id,
        "chain_id": query.chain_id,
        "limit": query.limit,
    }


def require_query(query: EventQuery, *, upstream: bool = False) -> None:
    """Raises `InvalidQuery` for what cannot be asked."""
    if query.limit is not None and query.limit < 0:
        raise InvalidQuery("limit must not be negative")
    if query.related and query.chain_id is None:
        raise InvalidQuery("related events are those of a chain: chain_id must be given")
    if query.tenant_id is not None and query.all_tenants:
        raise InvalidQuery("one tenant and all tenants cannot both be asked for")
    if query.tenant_id is None and not (query.all_tenants or upstream):
        raise InvalidQuery("whose events must be said: tenant_id or all_tenants")
    if not upstream:
        span_of(query)


def span_of(query: EventQuery) -> Span | None:
    """The time range in points; raises `InvalidQuery` for an end that is no time."""
    asked = query.time_range
    if asked is None or (asked.start is None and asked.end is None):
        return None
    return Span(_point("start", asked.start, instant), _point("end", asked.end, end_of))


def _point(name: str, text: str | None, read: Callable[[str], Instant | None]) -> Instant | None:
    if text is None:
        return None
    found = read(text)
    if found is None:
        raise InvalidQuery(f"{name} of the time range is no time: {text[:80]!r}")
    return found


def admits(query: EventQuery, event: Experience, *, upstream: bool = False) -> bool:
    """Whether the event is asked for; `limit`, `after` and `related` are not looked at."""
    return (
        query.tenant_id in (None, event.tenant_id)
        and (not query.kinds or event.kind in query.kinds)
        and query.correlation_id in (None, event.correlation_id)
        and query.trace_link_id in (None, event.trace_link_id)
        and query.proposal_id in (None, event.proposal_id)
        and _in_chain(query, event, upstream=upstream)
        and _in_time(query, event, upstream=upstream)
    )


def _in_chain(query: EventQuery, event: Experience, *, upstream: bool) -> bool:
    if query.chain_id is None or query.related:
        return True
    return query.chain_id == event.chain_id and (not upstream or event.kind in UPSTREAM_CHAINED)


def _in_time(query: EventQuery, event: Experience, *, upstream: bool) -> bool:
    asked = query.time_range
    if asked is None:
        return True
    if upstream:
        return (asked.start is None or asked.start <= event.occurred_at) and (
            asked.end is None or event.occurred_at <= asked.end
        )
    span = span_of(query)
    return span is None or span.holds(event.instant)
