"""`RunRecorder`: writes runs, with sequences that only grow and an end whatever happens.

A run is a `with` block. However it is left (done, raised, timed out, cancelled, interrupted), its end
is recorded; only a killed process leaves a run `running`, and `mark_crashed` says so at the next start
by an entry in its log, never by rewriting the run. Rule of the file: it makes operations and hands
them to `write`, in order; when and how often these reach a store is not its business, so recording
never fails and, with a `Scribe` behind it (`scribe.py`), never waits.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import count
from threading import Lock
from typing import Any

from fleetsync.ports import RunStore
from fleetsync.records.audits import (
    MAX_PAGE,
    EventType,
    Json,
    RunFilter,
    RunLog,
    RunStart,
    RunStats,
    RunStatus,
    storable_json,
    storable_text,
)

Operation = Callable[[RunStore], object]
"""One thing to do to a store. Done twice it is a duplicate or the same again, never something else."""

CRASHED = "crashed"
"""The reason in the entry that marks a run whose process did not end it."""


def new_run_id() -> str:
    """32 hexadecimal digits: milliseconds since 1970, then chance; they sort by time."""
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"


def wall_micros() -> int:
    """µs since 1970 by this machine's clock."""
    return time.time_ns() // 1000


class RunRecorder:
    """Records the runs of one caller. May be used by several threads and tasks at once.

    `write` takes operations in order and neither waits nor raises; `clock` gives µs since 1970,
    `monotonic` seconds, `new_id` an id that no run has.
    """

    def __init__(
        self,
        write: Callable[[Operation], None],
        caller_id: str,
        *,
        clock: Callable[[], int] = wall_micros,
        monotonic: Callable[[], float] = time.monotonic,
        new_id: Callable[[], str] = new_run_id,
    ) -> None:
        self.write = write
        self.caller_id = caller_id
        self.clock = clock
        self.monotonic = monotonic
        self.new_id = new_id

    def writing_to(self, write: Callable[[Operation], None]) -> RunRecorder:
        """The same recorder with another place for its operations."""
        return RunRecorder(
            write, self.caller_id, clock=self.clock, monotonic=self.monotonic, new_id=self.new_id
        )

    @contextmanager
    def run(
        self,
        skill_id: str,
        *,
        channel_id: str = "",
        inputs: Json = None,
        parent_run_id: str | None = None,
        run_id: str | None = None,
    ) -> Iterator[OpenRun]:
        """Record what the block does as a run; an exception that leaves it is recorded and goes on.

        `inputs` that are not JSON are recorded as nearly as JSON can say. Raises `MalformedRecord`
        for names that no store can hold.
        """
        run = OpenRun(
            self,
            RunStart(
                id=run_id or self.new_id(),
                skill_id=skill_id,
                caller_id=self.caller_id,
                channel_id=channel_id,
                inputs=storable_json(inputs),
                started_at=self.clock(),
                parent_run_id=parent_run_id or None,
            ),
        )
        try:
            yield run
        except BaseException as error:
            run.close(error)
            raise
        run.close(None)


class OpenRun:
    """A run while it happens. Made by `RunRecorder.run`; after the block its methods do nothing."""

    def __init__(self, recorder: RunRecorder, start: RunStart) -> None:
        self.id = start.id
        self.output: Json = None
        self._recorder = recorder
        self._start = start
        self._began = recorder.monotonic()
        self._sequence = count()
        self._lock = Lock()
        self._tool_calls = 0
        self._tokens = [0, 0, 0]
        self._verdict: tuple[RunStatus, str | None] | None = None
        self._closed = False
        recorder.write(lambda store: store.start_run(start))

    # --- its log -----------------------------------------------------------------------------------

    def step(self, name: str, **facts: Json) -> None:
        """Something was done: its name and whatever else is worth knowing."""
        self._log(EventType.STEP, {"name": name, **facts})

    def tool_call(self, tool: str, **facts: Json) -> None:
        """A tool is called; counted."""
        with self._lock:
            self._tool_calls += 1
        self._log(EventType.TOOL_CALL, {"tool": tool, **facts})

    def tool_result(self, tool: str, **facts: Json) -> None:
        """A tool has answered."""
        self._log(EventType.TOOL_RESULT, {"tool": tool, **facts})

    def error(self, reason: str, **facts: Json) -> None:
        """Something went wrong that does not end the run by itself."""
        self._log(EventType.ERROR, {"reason": reason, **facts})

    def _log(self, event_type: EventType, payload: Mapping[str, Any]) -> None:
        with self._lock:  # whoever gets a sequence writes before the next one does
            if self._closed:
                return
            entry = RunLog(
                run_id=self.id,
                sequence=next(self._sequence),
                event_type=event_type,
                payload=storable_json(payload),
                created_at=self._recorder.clock(),
            )
            self._recorder.write(lambda store: store.append_log(entry))

    # --- what it used, and its end -------------------------------------------------------------------

    def spend(self, *, input_tokens: int = 0, output_tokens: int = 0, thinking_tokens: int = 0) -> None:
        """Add tokens to the totals of the run."""
        with self._lock:
            for place, tokens in enumerate((input_tokens, output_tokens, thinking_tokens)):
                self._tokens[place] += tokens

    def end(self, status: RunStatus, error: str | None = None) -> None:
        """Say how the run ends when its block ends; an exception that leaves the block says more."""
        self._verdict = RunStatus(status), error

    @contextmanager
    def child(
        self, skill_id: str, *, channel_id: str = "", inputs: Json = None, run_id: str | None = None
    ) -> Iterator[OpenRun]:
        """A run inside this one."""
        with self._recorder.run(
            skill_id, channel_id=channel_id, inputs=inputs, parent_run_id=self.id, run_id=run_id
        ) as run:
            yield run

    def close(self, raised: BaseException | None) -> None:
        """Record the end; the block does it. Later calls change nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            status, error = _verdict(raised) or self._verdict or (RunStatus.OK, None)
            stats = RunStats(
                status=status,
                finished_at=self._recorder.clock(),
                output=storable_json(self.output),
                error=None if error is None else storable_text(error),
                tool_calls_count=self._tool_calls,
                runtime_seconds=max(0.0, self._recorder.monotonic() - self._began),
                total_input_tokens=self._tokens[0],
                total_output_tokens=self._tokens[1],
                total_thinking_tokens=self._tokens[2],
            )
            self._recorder.write(lambda store: store.finish_run(self.id, stats))


def _verdict(raised: BaseException | None) -> tuple[RunStatus, str] | None:
    """How a run ends that was left by this exception."""
    if raised is None:
        return None
    words = f"{type(raised).__name__}: {raised}" if str(raised) else type(raised).__name__
    if isinstance(raised, TimeoutError):
        return RunStatus.TIMEOUT, words
    if isinstance(raised, Exception):
        return RunStatus.ERROR, words
    return RunStatus.ERROR, f"cancelled ({words})"


def mark_crashed(store: RunStore, caller_id: str, skill_ids: frozenset[str], *, now: int) -> int:
    """Say in the log of every run of this caller and these skills that still is `running` that its
    process ended without ending it; how many were marked. A marked run is not marked again.

    To be called before the first run of a new process, and only if no other process records runs
    for the same caller and skills.
    """
    running = RunFilter(status=RunStatus.RUNNING, caller_id=caller_id, until=now)
    marked, offset = 0, 0
    while page := store.list_runs_filtered(running, offset, MAX_PAGE):
        marked += sum(_mark(store, run.id, now) for run in page if run.skill_id in skill_ids)
        offset += len(page)
    return marked


def _mark(store: RunStore, run_id: str, now: int) -> bool:
    log = store.list_logs_by_run(run_id)
    last = log[-1].payload if log else None
    if isinstance(last, dict) and last.get("reason") == CRASHED:
        return False
    entry = RunLog(
        run_id=run_id,
        sequence=log[-1].sequence + 1 if log else 0,
        event_type=EventType.ERROR,
        payload={"reason": CRASHED, "detail": "the process ended without ending this run"},
        created_at=now,
    )
    store.append_log(entry)
    return True


def marking(caller_id: str, skill_ids: frozenset[str], *, now: int) -> Operation:
    """`mark_crashed` as an operation."""
    return partial(mark_crashed, caller_id=caller_id, skill_ids=skill_ids, now=now)


def purging(before: int, keep: int) -> Operation:
    """What removes the runs that started before a time, and all but the newest `keep`."""

    def purge(store: RunStore) -> None:
        store.purge_older_than(before)
        store.purge_beyond(keep)

    return purge
