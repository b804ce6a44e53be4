"""Counting looks at kind, time and outcome only, of anything that has them."""

from __future__ import annotations

from typing import Any, NamedTuple, Self

from fleetsync.merge.counters import Counters, apply_new_events_to_stats, fold, with_fold


class Event(NamedTuple):
    """An event of the simplest kind, its time a number."""

    kind: str
    ts: int
    outcome: str | None = None

    @property
    def dedup_key(self) -> str:
        """By time and kind."""
        return f"{self.ts}:{self.kind}"

    @property
    def order(self) -> tuple[int, int, str, bytes]:
        """By time."""
        return self.ts, 0, self.dedup_key, (self.outcome or "").encode()


class Stats(NamedTuple):
    """Stats of which only the counters matter."""

    counters: tuple[int, int, int, Any, Any, Any] = (0, 0, 0, None, None, None)

    def with_counters(self, counters: tuple[int, int, int, Any, Any, Any], /) -> Self:
        """The same with other counters."""
        return self._replace(counters=tuple(counters))


def test_each_kind_counts_as_it_should() -> None:
    """A retrieval is a use, an execution a use that succeeded or not, the rest is nothing."""
    events = [
        Event("retrieval", 1),
        Event("execution", 2, "success"),
        Event("execution", 3, "Success"),
        Event("dismissed", 4),
        Event("superseded", 5),
        Event("rated", 6),
    ]
    assert apply_new_events_to_stats(Stats(), events).counters == (3, 1, 1, 3, 2, 2)


def test_known_times_only_move_forward_and_the_first_success_never() -> None:
    """Older news changes counts, not what is latest or first."""
    known = Stats((10, 7, 3, 30, 20, 10))
    assert apply_new_events_to_stats(known, [Event("execution", 5, "success")]).counters == (
        11,
        8,
        3,
        30,
        20,
        10,
    )
    assert apply_new_events_to_stats(known, [Event("execution", 40, "success")]).counters == (
        11,
        8,
        3,
        40,
        40,
        10,
    )


def test_applying_counts_what_it_is_given() -> None:
    """Exactly once is the caller's: an event handed over twice counts twice, as in mur."""
    assert apply_new_events_to_stats(Stats(), [Event("retrieval", 1)] * 2).counters[0] == 2


def test_a_fold_counts_every_key_once() -> None:
    """A log in which a line stands twice adds up to one use."""
    success, failure = Event("execution", 2, "success"), Event("retrieval", 1)
    assert fold([success, failure, success]) == Counters(2, 1, 0, 2, 2, 2)
    assert with_fold(Stats((9, 9, 9, 9, 9, 9)), fold([success])).counters == (1, 1, 0, 2, 2, 2)


def test_counts_wrap_like_those_of_mur() -> None:
    """They are 64 bits wide in its file, and a number beyond would make it unreadable."""
    full = Stats((2**64 - 1, 0, 2**64 - 1, None, None, None))
    assert apply_new_events_to_stats(full, [Event("execution", 1, "failure")]).counters[:3] == (0, 0, 0)
