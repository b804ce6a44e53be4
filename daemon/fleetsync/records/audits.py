"""The run audit: what is kept of a run, of its log, and of a question about runs.

A run is the record of one exchange or one execution of a skill; its log is what happened in it, in
order. Every value here can be stored by every store: texts hold no NUL and no lone surrogate, names
are short enough for an index, numbers fit 63 bits, `inputs`, `output` and payloads are JSON. What is
not so raises `MalformedRecord` when the value is made. Times are µs since 1970. Nothing here knows a
database or a clock. Implements docs/stores.md, "Run audit".
"""

from __future__ import annotations

import json
import math
from enum import StrEnum
from typing import Any

import msgspec

from fleetsync.errors import MalformedRecord

Json = Any
"""What JSON can hold: None, bool, int, float, str, list, dict with str keys. Not to be changed."""

MAX_NAME_BYTES = 512
"""Of an id or a name: PostgreSQL indexes at most 2,704 bytes a row, and two names share one."""
MAX_NUMBER = 2**63 - 1

PAGE, MAX_PAGE = 50, 500
"""Runs in a page of a filtered listing: when the limit makes no sense, and at most."""
MAX_CHAIN = 32
"""Runs in a chain of parents, however deep the data says it is."""


class RunStatus(StrEnum):
    """How a run stands; everything but RUNNING is terminal."""

    RUNNING = "running"
    OK = "ok"
    ERROR = "error"
    TIMEOUT = "timeout"
    BUDGET_EXCEEDED = "budget_exceeded"
    DRY_RUN = "dry_run"
    PREEMPTED = "preempted"
    LANE_BUSY = "lane_busy"


class EventType(StrEnum):
    """What an entry of a run's log is about."""

    STEP = "step"
    TOOL_CALL = "tool_call"
    TOOL_RESULT = "tool_result"
    ERROR = "error"


class RunStart(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a run when it begins. `parent_run_id` None means top level."""

    id: str
    skill_id: str
    caller_id: str
    started_at: int
    channel_id: str = ""
    inputs: Json = None
    parent_run_id: str | None = None

    def __post_init__(self) -> None:
        require_name("run id", self.id, empty=False)
        require_name("skill", self.skill_id)
        require_name("caller", self.caller_id)
        require_name("channel", self.channel_id)
        if self.parent_run_id is not None:
            require_name("parent run id", self.parent_run_id, empty=False)
        require_number("start", self.started_at, least=-MAX_NUMBER)
        encode_json(self.inputs)


class RunStats(msgspec.Struct, frozen=True, kw_only=True):
    """How a run ended: a terminal status and what it used."""

    status: RunStatus
    finished_at: int
    output: Json = None
    error: str | None = None
    tool_calls_count: int = 0
    runtime_seconds: float = 0.0
    total_input_tokens: int = 0
    total_output_tokens: int = 0
    total_thinking_tokens: int = 0

    def __post_init__(self) -> None:
        if self.status not in TERMINAL:
            raise MalformedRecord(f"a run cannot end as {self.status!r}")
        if self.error is not None:
            require_text("error", self.error)
        require_number("end", self.finished_at, least=-MAX_NUMBER)
        for name in COUNTERS:
            require_number(name, getattr(self, name))
        if not (math.isfinite(self.runtime_seconds) and self.runtime_seconds >= 0):
            raise MalformedRecord(f"{self.runtime_seconds} is no runtime")
        encode_json(self.output)


TERMINAL = frozenset(RunStatus) - {RunStatus.RUNNING}
COUNTERS = ("tool_calls_count", "total_input_tokens", "total_output_tokens", "total_thinking_tokens")


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A run as a store gives it back; `finished_at` and `runtime_seconds` are None while it runs."""

    id: str
    skill_id: str
    caller_id: str
    channel_id: str
    inputs: Json
    started_at: int
    finished_at: int | None
    status: RunStatus
    output: Json
    error: str | None
    tool_calls_count: int
    runtime_seconds: float | None
    parent_run_id: str | None
    total_input_tokens: int
    total_output_tokens: int
    total_thinking_tokens: int


class RunLog(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of a run's log; `sequence` (from 0 up) is its place in it."""

    run_id: str
    sequence: int
    event_type: EventType
    payload: Json
    created_at: int

    def __post_init__(self) -> None:
        require_name("run id", self.run_id, empty=False)
        require_number("sequence", self.sequence)
        require_number("time", self.created_at, least=-MAX_NUMBER)
        encode_json(self.payload)


class RunFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which runs are asked for: all conditions that are not None must hold; since ≤ start < until.

    Dry runs are left out unless `include_dry_run` or `status` asks for them.
    """

    status: RunStatus | None = None
    skill_id: str | None = None
    caller_id: str | None = None
    channel_id: str | None = None
    top_level_only: bool = False
    include_dry_run: bool = False
    since: int | None = None
    until: int | None = None

    def __post_init__(self) -> None:
        for name in (self.skill_id, self.caller_id, self.channel_id):
            if name is not None:
                require_text("filter", name)
        for time in (self.since, self.until):
            if time is not None:
                require_number("time", time, least=-MAX_NUMBER)

    @property
    def shows_dry_runs(self) -> bool:
        """Whether dry runs are among what is asked for."""
        return self.include_dry_run or self.status is RunStatus.DRY_RUN

    def admits(self, run: Run) -> bool:
        """Whether this run is one of those."""
        return (
            self.status in (None, run.status)
            and self.skill_id in (None, run.skill_id)
            and self.caller_id in (None, run.caller_id)
            and self.channel_id in (None, run.channel_id)
            and not (self.top_level_only and run.parent_run_id is not None)
            and (self.shows_dry_runs or run.status is not RunStatus.DRY_RUN)
            and (self.since is None or self.since <= run.started_at)
            and (self.until is None or run.started_at < self.until)
        )


def begun(start: RunStart) -> Run:
    """The run right after its start."""
    return Run(
        **msgspec.structs.asdict(start),
        finished_at=None,
        status=RunStatus.RUNNING,
        output=None,
        error=None,
        tool_calls_count=0,
        runtime_seconds=None,
        total_input_tokens=0,
        total_output_tokens=0,
        total_thinking_tokens=0,
    )


def page_size(limit: int) -> int:
    """The limit of a filtered listing as it is applied."""
    return limit if 0 < limit <= MAX_PAGE else PAGE


# --- what every store can hold ---------------------------------------------------------------------


def encode_json(value: Json) -> str:
    """The value as JSON in ASCII, so that any text is storable; raises `MalformedRecord`."""
    try:
        return json.dumps(value, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise MalformedRecord(f"this is not JSON: {error}") from error


def decode_json(text: str) -> Json:
    """The value in text that `encode_json` made; raises `MalformedRecord` for text that is damaged."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MalformedRecord(f"stored JSON is damaged: {error}") from error


def storable_json(value: Json) -> Json:
    """The value itself if it is JSON, else the nearest thing that is: what JSON lacks, as its repr."""
    try:
        return json.loads(json.dumps(value, allow_nan=False, default=repr))
    except (TypeError, ValueError, RecursionError) as error:
        return {"unreadable": f"{type(value).__name__}: {error}"}


def storable_text(text: str) -> str:
    """The text with what no database takes replaced by U+FFFD."""
    return text.replace("\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def require_text(what: str, text: str) -> str:
    """The text itself; raises `MalformedRecord` for NUL and lone surrogates."""
    if "\0" in text or (not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text)):
        raise MalformedRecord(f"{what} {text[:80]!a} has characters that cannot be stored")
    return text


def require_name(what: str, text: str, *, empty: bool = True) -> str:
    """The text itself, if it can be an id or a name; raises `MalformedRecord`."""
    require_text(what, text)
    if len(text.encode()) > MAX_NAME_BYTES or not (text or empty):
        raise MalformedRecord(f"{what} {text[:80]!r} is empty or longer than {MAX_NAME_BYTES} bytes")
    return text


def require_number(what: str, number: int, *, least: int = 0) -> int:
    """The number itself, if it fits 63 bits and is not below `least`; raises `MalformedRecord`."""
    if not least <= number <= MAX_NUMBER:
        raise MalformedRecord(f"{what} {number} is out of range")
    return number
