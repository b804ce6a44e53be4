"""The run audit for programs that run skills: record runs, and ask what was recorded.

    from fleetsync.audit import recording

    with recording("my-runner") as recorder, recorder.run("deploy", inputs={"to": "staging"}) as run:
        run.tool_call("ssh", host="staging")
        run.spend(input_tokens=1200, output_tokens=80)
        run.output = {"released": "1.4.2"}

Runs go where the settings of this user say: the file of the daemon, or the PostgreSQL of `[store] url`.
Recording never fails: what cannot be written is kept for a later try and said in the log. Rule of the
file: it joins parts and decides nothing. Implements docs/stores.md, "For programs that run skills".
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fleetsync.config import Flags, Settings
from fleetsync.files import ensure_private_dir
from fleetsync.ports import RunStore
from fleetsync.records.audits import (
    EventType,
    Run,
    RunFilter,
    RunLog,
    RunStart,
    RunStats,
    RunStatus,
    storable_text,
)
from fleetsync.records.execution import MAX_ERROR_CHARACTERS
from fleetsync.records.execution import Run as Execution
from fleetsync.stores.opening import open_run_store
from fleetsync.stores.recorder import OpenRun, RunRecorder, mark_crashed, new_run_id, purging
from fleetsync.stores.scribe import Scribe, Spool

__all__ = [
    "EventType",
    "OpenRun",
    "Run",
    "RunFilter",
    "RunLog",
    "RunRecorder",
    "RunStart",
    "RunStats",
    "RunStatus",
    "RunStore",
    "Scribe",
    "Spool",
    "mark_crashed",
    "open_store",
    "purging",
    "record_execution",
    "recording",
]


def open_store(settings: Settings | None = None) -> RunStore:
    """The store of these settings (by default those of this user), ready to use; close it.

    Raises `BrokenConfig`, `StorageFailed`.
    """
    settings = settings or Settings.load(Flags(), os.environ, sys.platform)
    if not settings.config.store.url:
        ensure_private_dir(settings.state_dir)
    return open_run_store(settings.config.store.url, settings.state_dir)


def record_execution(
    run: Execution, skill_id: str, caller_id: str, *, ended_at: int, opened: Callable[[], RunStore]
) -> None:
    """Record a run that is over already, in the store that `opened` gives; never fails.

    `ended_at` is µs since 1970. This is what `fleetsync record` leaves beside the event in the log.
    """
    seconds = (run.duration_ms or 0) / 1000
    start = RunStart(
        id=new_run_id(),
        skill_id=skill_id,
        caller_id=storable_text(caller_id)[:100],
        inputs={"trigger": run.trigger},
        started_at=ended_at - int(min(seconds * 1e6, ended_at)),
    )
    said = run.stderr or (None if run.exit_code is None else f"exit code {run.exit_code}")
    stats = RunStats(
        status=RunStatus.OK if run.success else RunStatus.ERROR,
        finished_at=ended_at,
        error=None if run.success or said is None else storable_text(said[:MAX_ERROR_CHARACTERS]),
        runtime_seconds=seconds,
    )
    spool = Spool(opened)
    spool.write(lambda store: store.start_run(start))
    spool.write(lambda store: store.finish_run(start.id, stats))
    spool.close()


@contextmanager
def recording(caller_id: str, settings: Settings | None = None) -> Iterator[RunRecorder]:
    """A recorder for the runs of this caller, for as long as the block lasts.

    Each call of it waits until the store has taken it or failed; a SQLite takes about 0.1 ms. In an
    event loop use `RunRecorder(scribe.write, …)` with a `Scribe`, which never waits.
    """
    spool = Spool(lambda: open_store(settings))
    try:
        yield RunRecorder(spool.write, caller_id)
    finally:
        spool.close()
