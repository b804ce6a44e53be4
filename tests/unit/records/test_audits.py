"""Records of the run audit: what every store can hold, and what none can."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fleetsync.errors import MalformedRecord
from fleetsync.records.audits import (
    COUNTERS,
    MAX_NAME_BYTES,
    MAX_NUMBER,
    EventType,
    RunFilter,
    RunLog,
    RunStart,
    RunStats,
    RunStatus,
    begun,
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


def test_what_lies_at_a_bound_can_be_stored() -> None:
    """The longest name, the largest numbers, times long before 1970, every text that is Unicode."""
    longest = "é" * (MAX_NAME_BYTES // 2)
    for moment in (MAX_NUMBER, -MAX_NUMBER):
        assert start(id=longest, started_at=moment, channel_id="\ud7ff\ue000𝄞").started_at == moment
        assert RunFilter(since=moment, until=moment, caller_id="").until == moment
        assert stats(finished_at=moment, error="").finished_at == moment
        entry = RunLog(
            run_id="a", sequence=MAX_NUMBER, event_type=EventType.STEP, payload=0, created_at=moment
        )
        assert entry.created_at == moment
    assert stats(**dict.fromkeys(COUNTERS, MAX_NUMBER)).total_thinking_tokens == MAX_NUMBER


@pytest.mark.parametrize("changes", [{"run_id": ""}, {"run_id": "\ud800"}, {"created_at": -MAX_NUMBER - 1}])
def test_an_entry_belongs_to_a_run_and_a_time(changes: dict[str, Any]) -> None:
    """To a run that has an id, at a time that is a number of 63 bits."""
    entry: dict[str, Any] = {"run_id": "a", "sequence": 0, "event_type": EventType.STEP, "payload": 0}
    with pytest.raises(MalformedRecord):
        RunLog(**{**entry, "created_at": 0, **changes})


def test_what_is_refused_is_named() -> None:
    """The field, and the value of which there may be much, in ASCII."""
    with pytest.raises(MalformedRecord, match=r"^total_input_tokens -1 is out of range$"):
        stats(total_input_tokens=-1)
    with pytest.raises(MalformedRecord, match=r"^caller 'x{79}\\x00' has characters that cannot be stored$"):
        start(caller_id="x" * 79 + "\0" + "x" * 900)
    with pytest.raises(MalformedRecord, match=r"^skill 'x{80}' is empty or longer than 512 bytes$"):
        start(skill_id="x" * 900)
    for moment in (MAX_NUMBER + 1, -MAX_NUMBER - 1):
        with pytest.raises(MalformedRecord, match=r"^time .* is out of range$"):
            RunFilter(until=moment)


def test_a_run_that_has_begun_has_used_nothing() -> None:
    """And is what its start said."""
    run = begun(start(channel_id="c", inputs={"x": 1}, parent_run_id="p", started_at=7))
    assert (run.id, run.skill_id, run.caller_id, run.channel_id) == ("a", "deploy", "cli", "c")
    assert (run.inputs, run.parent_run_id, run.started_at) == ({"x": 1}, "p", 7)
    assert run.status is RunStatus.RUNNING
    assert (run.finished_at, run.runtime_seconds, run.output, run.error) == (None, None, None, None)
    assert [getattr(run, name) for name in COUNTERS] == [0, 0, 0, 0]


ADMITTED = begun(start(channel_id="c", parent_run_id="p", started_at=7))


@pytest.mark.parametrize(
    ("asked", "admitted"),
    [
        ({}, True),
        ({"status": RunStatus.RUNNING}, True),
        ({"status": RunStatus.OK}, False),
        ({"skill_id": "deploy"}, True),
        ({"skill_id": "other"}, False),
        ({"skill_id": ""}, False),
        ({"caller_id": "cli"}, True),
        ({"caller_id": "other"}, False),
        ({"channel_id": "c"}, True),
        ({"channel_id": "other"}, False),
        ({"top_level_only": True}, False),
        ({"since": 7, "until": 8}, True),
        ({"since": 8}, False),
        ({"until": 7}, False),
        ({"skill_id": "other", "caller_id": "cli", "channel_id": "c"}, False),
    ],
)
def test_a_filter_admits_what_meets_every_condition(asked: dict[str, Any], admitted: bool) -> None:
    """From a time on and before another; a condition that is not named is met."""
    assert RunFilter(**asked).admits(ADMITTED) is admitted


def test_a_dry_run_is_shown_to_who_asks_for_it() -> None:
    """By its status or on purpose; a run at the top has no parent."""
    dry = msgspec.structs.replace(ADMITTED, status=RunStatus.DRY_RUN, parent_run_id=None)
    assert not RunFilter().admits(dry)
    assert RunFilter(include_dry_run=True, top_level_only=True).admits(dry)
    assert RunFilter(status=RunStatus.DRY_RUN).admits(dry)
    assert not RunFilter(include_dry_run=True, status=RunStatus.OK).admits(dry)


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
