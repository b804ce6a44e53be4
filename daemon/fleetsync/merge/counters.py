"""How events become counters.

A retrieval is a use; an execution is a use that succeeded or failed; nothing else counts. Two ways:
`apply_new_events_to_stats` adds events to counters that mur also adds to, exactly as mur would;
`fold` is what a whole log adds up to, a function of its set. Exactly once is not decided here: the
caller hands over each new event once. What times and stats are is not known here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Generic, NamedTuple, Protocol, Self, TypeVar

from fleetsync.merge.union import Member, union_events

_WRAP = 2**64  # mur's counters are u64 and wrap


class Instant(Protocol):
    """A point in time that can be compared with others of its kind."""

    def __lt__(self, other: Any, /) -> bool: ...


T = TypeVar("T", bound=Instant)
T_co = TypeVar("T_co", bound=Instant, covariant=True)


class Countable(Protocol[T_co]):
    """An event, as far as counting looks at it."""

    @property
    def kind(self) -> str:
        """`retrieval` and `execution` count."""

    @property
    def ts(self) -> T_co:
        """When it happened."""

    @property
    def outcome(self) -> str | None:
        """Of an execution: `success`, or anything else for a failure."""


class CountableMember(Countable[T_co], Member, Protocol[T_co]):
    """An event that can be counted and merged."""


class Counters(NamedTuple, Generic[T]):
    """What events add up to; counts are 0 … 2^64-1."""

    usage_count: int = 0
    success_count: int = 0
    failure_count: int = 0
    last_used_at: T | None = None
    last_success_at: T | None = None
    first_successful_use_at: T | None = None


class Counted(Protocol):
    """Stats that carry counters, in the order of `Counters`."""

    @property
    def counters(self) -> tuple[int, int, int, Any, Any, Any]:
        """The counters as they are."""

    def with_counters(self, counters: tuple[int, int, int, Any, Any, Any], /) -> Self:
        """The same stats with other counters."""
        ...


S = TypeVar("S", bound=Counted)


def apply_new_events_to_stats(stats: S, events: Iterable[Countable[Any]]) -> S:
    """The stats after these events, each counted once; all but the six counters stay.

    As in mur, a first success that is already known is never moved, and otherwise the first one in
    the given order is it: hand over events in the order of `union_events`, and it is the earliest.
    """
    return with_fold(stats, _add(Counters(*stats.counters), events))


def fold(events: Iterable[CountableMember[T]]) -> Counters[T]:
    """What a log adds up to: every key once, in any order, however often it is repeated."""
    return _add(Counters(), union_events(events))


def with_fold(stats: S, counters: Counters[Any]) -> S:
    """The stats with these counters in place of their own."""
    return stats.with_counters(counters)


def _add(counters: Counters[T], events: Iterable[Countable[T]]) -> Counters[T]:
    used, succeeded, failed, last_used, last_success, first_success = counters
    for event in events:
        if event.kind not in ("retrieval", "execution"):
            continue
        used += 1
        last_used = _later(last_used, event.ts)
        if event.kind == "retrieval":
            continue
        if event.outcome == "success":
            succeeded += 1
            last_success = _later(last_success, event.ts)
            first_success = event.ts if first_success is None else first_success
        else:
            failed += 1
    return Counters(used % _WRAP, succeeded % _WRAP, failed % _WRAP, last_used, last_success, first_success)


def _later(known: T | None, ts: T) -> T:
    return ts if known is None or known < ts else known
