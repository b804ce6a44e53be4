"""Records of the run audit: what every store can hold, and what none can."""

from __future__ import annotations

from typing import Any

import pytest

from fleetsync.errors import MalformedRecord
from fleetsync.records.audits import (
    MAX_NUMBER,
    EventType,
    RunFilter,
    RunLog,
    RunStart,
    RunStats,
    RunStatus,
    decode_json,
    encode_json,
    page_size,
    storable_json,
    storable_text,
)


def start(**changes: Any) -> RunStart:
    """A start with changes."""
    return RunStart(**{"id": "a", "skill_id": "deploy", "caller_id": "cli", "started_at": 0, **changes})


def stats(**changes: Any) -> RunStats:
    """An end with changes."""
    return RunStats(**{"status": RunStatus.OK, "finished_at": 0, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {"id": ""},
        {"id": "x" * 513},
        {"skill_id": "é" * 257},
        {"caller_id": "a\0"},
        {"channel_id": "\udfff"},
        {"parent_run_id": ""},
        {"started_at": MAX_NUMBER + 1},
        {"inputs": float("nan")},
        {"inputs": {"when": object()}},
    ],
)
def test_a_start_that_no_store_can_hold_is_refused(changes: dict[str, Any]) -> None:
    """Names that are empty, too long for an index or not storable; numbers and inputs out of bounds."""
    start()
    with pytest.raises(MalformedRecord):
        start(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"status": RunStatus.RUNNING},
        {"status": "done"},
        {"error": "a\0b"},
        {"tool_calls_count": -1},
        {"total_input_tokens": MAX_NUMBER + 1},
        {"runtime_seconds": float("inf")},
        {"runtime_seconds": -0.1},
        {"output": {"x": float("inf")}},
    ],
)
def test_an_end_that_makes_no_sense_is_refused(changes: dict[str, Any]) -> None:
    """A run cannot end as running, take negative time or use negative tokens."""
    stats()
    with pytest.raises(MalformedRecord):
        stats(**changes)


def test_logs_and_filters_are_checked_too() -> None:
    """A negative sequence, a payload that is no JSON, a filter that no database takes."""
    entry: dict[str, Any] = {"run_id": "a", "event_type": EventType.STEP, "created_at": 0}
    RunLog(sequence=0, payload={}, **entry)
    wrongs: list[dict[str, Any]] = [{"sequence": -1, "payload": {}}, {"sequence": 0, "payload": {1j: 2}}]
    for wrong in wrongs:
        with pytest.raises(MalformedRecord):
            RunLog(**wrong, **entry)
    with pytest.raises(MalformedRecord):
        RunFilter(skill_id="a\0")


def test_json_is_ascii_and_comes_back_as_it_was() -> None:
    """Whatever text a value holds, even what UTF-8 cannot, its JSON can be stored."""
    value = {"a": ["\0", "\ud800", "é", 2**80, 1.5, None, True]}
    assert encode_json(value).isascii()
    assert decode_json(encode_json(value)) == value


def test_deep_nesting_is_refused_in_words() -> None:
    """Not with a RecursionError."""
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(MalformedRecord):
        encode_json(value)
    assert set(storable_json(value)) == {"unreadable"}


def test_what_is_no_json_is_told_as_nearly_as_json_can() -> None:
    """Objects as their repr, in place; a value that cannot be said at all says why."""
    assert storable_json({"path": {1}, "n": (1,)}) == {"path": "{1}", "n": [1]}
    assert "unreadable" in storable_json(float("nan"))
    assert storable_text("a\0b\ud800𝄞") == "a\ufffdb\ufffd𝄞"


@pytest.mark.parametrize(("limit", "size"), [(1, 1), (500, 500), (501, 50), (0, 50), (-7, 50)])
def test_page_sizes(limit: int, size: int) -> None:
    """1 … 500 as asked, anything else 50."""
    assert page_size(limit) == size
