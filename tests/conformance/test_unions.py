"""Merging two logs, beside the reference's merge.

On purpose different, because the reference is not a function of the set:
- it keeps what is repeated inside either input; here every key stands once;
- of two bodies with one key it keeps that of `a`; here the least in the total order, from whichever side;
- among equal instants it keeps the order of arrival; here the total order decides;
- one line that it cannot read fails the merge; here the other lines are merged.
Where an input leaves none of these freedoms, the result must be equal to the last byte.
"""

from __future__ import annotations

from itertools import pairwise

import pytest

from fleetsync.errors import MalformedRecord
from fleetsync.merge.union import union_events
from fleetsync.records import skills
from fleetsync.records.skills import SkillEvent
from tests.conformance.vectors import Row, each


def _events(lines: list[str]) -> list[SkillEvent]:
    return [skills.parse_event(line.encode()) for line in lines]


def _readable(lines: list[str]) -> list[SkillEvent]:
    return [placed.event for placed in skills.parse_log("\n".join(lines).encode()).events]  # type: ignore[misc]


def _lines(events: list[SkillEvent]) -> list[str]:
    return [event.canonical.decode() for event in events]


def _leaves_no_freedom(events: list[SkillEvent]) -> bool:
    """Whether no two events share an instant or a key."""
    instants = {event.ts for event in events}
    keys = {event.dedup_key for event in events}
    return len(instants) == len(keys) == len(events)


def _check(ours: list[SkillEvent], theirs: list[str], given: list[SkillEvent]) -> None:
    if _leaves_no_freedom(given):
        assert _lines(ours) == theirs
    assert {event.dedup_key for event in ours} == {event.dedup_key for event in _events(theirs)}
    assert len({event.dedup_key for event in ours}) == len(ours)
    for event in ours:
        assert event == min((e for e in given if e.dedup_key == event.dedup_key), key=lambda e: e.order)
    assert all(earlier.ts <= later.ts for earlier, later in pairwise(ours))


@each("unions")
def test_union(row: Row) -> None:
    """The reference's members, each once, by time; byte for byte where nothing was free."""
    a, b = _readable(row["a"]), _readable(row["b"])
    if row["merged"] is None:
        with pytest.raises(MalformedRecord):
            _events([*row["a"], *row["b"]])
        assert {e.dedup_key for e in union_events(a, b)} == {e.dedup_key for e in a + b}
    else:
        _check(union_events(a, b), row["merged"], a + b)


@each("unions")
def test_union_does_what_the_reference_does_not(row: Row) -> None:
    """Either side first, again, or with itself: the same log, also where the reference's differs."""
    a, b = _readable(row["a"]), _readable(row["b"])
    merged = _lines(union_events(a, b))
    assert _lines(union_events(b, a)) == merged
    assert _lines(union_events(union_events(a, b), b)) == merged
    assert _lines(union_events(union_events(a, b), union_events(b, a))) == merged


@each("unions_three")
def test_union_of_three(row: Row) -> None:
    """How three logs are grouped does not matter, and no member of the reference's is missing."""
    a, b, c = _events(row["a"]), _events(row["b"]), _events(row["c"])
    left = union_events(union_events(a, b), c)
    right = union_events(a, union_events(b, c))
    assert _lines(left) == _lines(right)
    _check(left, row["left"], a + b + c)
    _check(right, row["right"], a + b + c)
