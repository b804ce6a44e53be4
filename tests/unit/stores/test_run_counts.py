"""The summary of the audit: what is changed, in which order, and what it can answer."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from typing import Any

import pytest

from fleetsync.records.audits import RunFilter, RunStatus
from fleetsync.stores import run_counts
from fleetsync.stores.sql import Row

KINDS = [("a", "me", "", "ok", 1), ("b", "me", "room", "error", 0), ("a", "you", "", "running", 1)]


def changed(kinds: dict[tuple[str, str, str, str, int], int]) -> list[tuple[Any, ...]]:
    """The rows that these changes touch, in the order in which they are touched."""
    rows: list[tuple[Any, ...]] = []

    def execute(_: str, values: Sequence[Any]) -> list[Row]:
        rows.extend(tuple(values[i : i + 5]) for i in range(0, len(values), 5))
        return []

    run_counts.change(execute, kinds)
    return rows


def test_rows_are_taken_in_one_order() -> None:
    """Whatever is changed: two writers who want the same rows queue up and never wait in a circle."""
    for order in permutations(KINDS):
        places = [row[:4] for row in changed(dict.fromkeys(order, 1))]
        assert places == sorted(places)
        assert len(places) == len(set(places))


def test_every_run_is_counted_in_every_dimension() -> None:
    """In all, by skill, by caller and by channel; what cancels out is not touched."""
    assert changed({KINDS[0]: 2}) == [
        ("all", "", "ok", 1, 2),
        ("caller", "me", "ok", 1, 2),
        ("channel", "", "ok", 1, 2),
        ("skill", "a", "ok", 1, 2),
    ]
    moved = changed({("a", "me", "", "ok", 1): -1, ("a", "you", "", "ok", 1): 1})
    assert moved == [("caller", "me", "ok", 1, -1), ("caller", "you", "ok", 1, 1)]


@pytest.mark.parametrize(
    ("wanted", "can"),
    [
        (RunFilter(), True),
        (RunFilter(status=RunStatus.ERROR, top_level_only=True), True),
        (RunFilter(channel_id="", include_dry_run=True), True),
        (RunFilter(skill_id="a", caller_id="me"), False),
        (RunFilter(since=0), False),
        (RunFilter(until=0), False),
    ],
)
def test_what_the_summary_can_tell(wanted: RunFilter, can: bool) -> None:
    """Counts over at most one name and all time."""
    assert (run_counts.question(wanted) is not None) is can
