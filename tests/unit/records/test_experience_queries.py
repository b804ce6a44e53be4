"""Questions to a ledger: what can be asked, and how a place in it is named."""

from __future__ import annotations

import pytest

from fleetsync.errors import InvalidQuery
from fleetsync.records.experience_queries import (
    EventQuery,
    TimeRange,
    cursor_text,
    query_document,
    read_cursor,
    require_query,
    span_of,
)


@pytest.mark.parametrize("position", [0, 7, 10**18 - 1])
def test_a_cursor_is_read_back_in_its_own_epoch_only(position: int) -> None:
    """After a ledger was built anew its positions mean something else."""
    text = cursor_text("e1", position)
    assert read_cursor(text, "e1") == position
    with pytest.raises(InvalidQuery, match="is no cursor of this ledger") as refused:
        read_cursor(text, "e2")
    assert refused.value.next_step


@pytest.mark.parametrize("text", ["e1", "e1:", "e1:x", "e1:-1", "e1: 1", "e1:1:2", ":1", "", f"e1:{10**18}"])
def test_what_only_resembles_a_cursor_is_refused(text: str) -> None:
    """Damaged, cut short, or a number that no ledger reaches; 80 characters of it are shown."""
    with pytest.raises(InvalidQuery):
        read_cursor(text, "e1")
    with pytest.raises(InvalidQuery, match=f"^'e1:{'1' * 77}' is no"):
        read_cursor("e1:" + "1" * 999, "e1")


@pytest.mark.parametrize(
    ("query", "why"),
    [
        (EventQuery(), "whose"),
        (EventQuery(tenant_id="t", all_tenants=True), "both"),
        (EventQuery(tenant_id="t", limit=-1), "limit"),
        (EventQuery(tenant_id="t", related=True), "chain_id"),
        (EventQuery(tenant_id="t", time_range=TimeRange(start="yesterday")), "start of the time range"),
        (EventQuery(tenant_id="t", time_range=TimeRange(end="2026-13-01")), "end of the time range"),
    ],
)
def test_what_makes_no_sense_is_not_asked(query: EventQuery, why: str) -> None:
    """And the answer says what is missing."""
    with pytest.raises(InvalidQuery, match=why):
        require_query(query)


def test_the_reference_asks_of_everybody_and_compares_text() -> None:
    """Without a tenant, by times that are no times; nothing else is laxer."""
    require_query(EventQuery(time_range=TimeRange(start="yesterday")), upstream=True)
    require_query(EventQuery(tenant_id="t", limit=0, related=True, chain_id="c"))
    require_query(EventQuery(all_tenants=True))
    with pytest.raises(InvalidQuery):
        require_query(EventQuery(limit=-1), upstream=True)


def test_a_range_without_ends_is_none() -> None:
    """Open at one end it is one."""
    assert span_of(EventQuery()) is None
    assert span_of(EventQuery(time_range=TimeRange())) is None
    open_ended = span_of(EventQuery(time_range=TimeRange(start="2026-06-16")))
    assert open_ended is not None
    assert open_ended.first is not None
    assert open_ended.last is None


def test_the_reference_reads_its_six_conditions() -> None:
    """All of them, also those that are not asked for, and none of ours."""
    assert query_document(EventQuery(all_tenants=True, related=True, chain_id="c")) == {
        "tenant_id": None,
        "time_range": None,
        "kinds": [],
        "correlation_id": None,
        "chain_id": "c",
        "limit": None,
    }
    asked = query_document(EventQuery(time_range=TimeRange("a"), kinds=("x",), limit=3))
    assert asked["time_range"] == {"start": "a", "end": None}
    assert (asked["kinds"], asked["limit"]) == (["x"], 3)
