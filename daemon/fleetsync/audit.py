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
from collections.abc import Iterator
from contextlib import contextmanager

from fleetsync.config import Flags, Settings
from fleetsync.files import ensure_private_dir
from fleetsync.ports import RunStore
from fleetsync.records.audits import EventType, Run, RunFilter, RunLog, RunStart, RunStats, RunStatus
from fleetsync.stores.opening import open_run_store
from fleetsync.stores.recorder import OpenRun, RunRecorder, mark_crashed, purging
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
