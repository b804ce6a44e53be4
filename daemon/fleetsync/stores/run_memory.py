"""`MemoryRunStore`: the `RunStore` port in its smallest form, to be read as its specification.

Runs are a dict, logs are another. Rule of the file: obvious before fast; every question looks at all
runs. It refuses to know schemas, indexes and summaries, which are the SQL stores' trade. Passes
`tests/contracts/runs.py`, and property tests hold the other stores against it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from threading import Lock

import msgspec

from fleetsync.errors import DuplicateRecord, NotFound
from fleetsync.records.audits import (
    MAX_CHAIN,
    MAX_NUMBER,
    Run,
    RunFilter,
    RunLog,
    RunStart,
    RunStats,
    RunStatus,
    begun,
    decode_json,
    encode_json,
    page_size,
    require_number,
    require_text,
)


class MemoryRunStore:
    """The audit of one process, gone with it."""

    def __init__(self) -> None:
        self._runs: dict[str, Run] = {}
        self._logs: dict[str, dict[int, RunLog]] = {}
        self._lock = Lock()

    def initialize(self) -> None:
        """There is no schema."""

    def start_run(self, start: RunStart) -> None:
        """See `RunStore.start_run`."""
        with self._lock:
            if start.id in self._runs:
                raise DuplicateRecord(f"there is a run {start.id} already")
            self._runs[start.id] = msgspec.structs.replace(begun(start), inputs=_stored(start.inputs))
            self._logs[start.id] = {}

    def finish_run(self, run_id: str, stats: RunStats) -> None:
        """See `RunStore.finish_run`."""
        ended = {**msgspec.structs.asdict(stats), "output": _stored(stats.output)}
        with self._lock:
            self._runs[run_id] = msgspec.structs.replace(self._run(run_id), **ended)

    def append_log(self, entry: RunLog) -> None:
        """See `RunStore.append_log`."""
        with self._lock:
            log = self._logs[self._run(entry.run_id).id]
            if entry.sequence in log:
                raise DuplicateRecord(f"run {entry.run_id} has an entry {entry.sequence} already")
            log[entry.sequence] = msgspec.structs.replace(entry, payload=_stored(entry.payload))

    def get_run(self, run_id: str) -> Run:
        """See `RunStore.get_run`."""
        return self._run(run_id)

    def list_logs_by_run(self, run_id: str) -> list[RunLog]:
        """See `RunStore.list_logs_by_run`."""
        log = self._logs.get(require_text("run id", run_id), {})
        return [log[sequence] for sequence in sorted(log)]

    def list_runs_by_skill(self, skill_id: str, limit: int) -> list[Run]:
        """See `RunStore.list_runs_by_skill`."""
        return self.list_runs_by_skill_paginated(skill_id, 0, limit, include_dry_run=False)

    def list_runs_by_skill_paginated(
        self, skill_id: str, offset: int, limit: int, include_dry_run: bool
    ) -> list[Run]:
        """See `RunStore.list_runs_by_skill_paginated`."""
        wanted = RunFilter(skill_id=skill_id, include_dry_run=include_dry_run)
        return _page(self._newest_first(wanted.admits), offset, limit)

    def count_runs_by_skill(self, skill_id: str, include_dry_run: bool) -> int:
        """See `RunStore.count_runs_by_skill`."""
        return self.count_runs_filtered(RunFilter(skill_id=skill_id, include_dry_run=include_dry_run))

    def list_runs_by_caller(self, caller_id: str, limit: int) -> list[Run]:
        """See `RunStore.list_runs_by_caller`."""
        wanted = RunFilter(caller_id=caller_id, include_dry_run=True)
        return _page(self._newest_first(wanted.admits), 0, limit)

    def list_runs_filtered(self, wanted: RunFilter, offset: int, limit: int) -> list[Run]:
        """See `RunStore.list_runs_filtered`."""
        return _page(self._newest_first(wanted.admits), offset, page_size(limit))

    def count_runs_filtered(self, wanted: RunFilter) -> int:
        """See `RunStore.count_runs_filtered`."""
        return len(self._newest_first(wanted.admits))

    def purge_older_than(self, time: int) -> int:
        """See `RunStore.purge_older_than`."""
        require_number("time", time, least=-MAX_NUMBER)
        return self._remove(run for run in self._newest_first() if run.started_at < time)

    def purge_beyond(self, keep: int) -> int:
        """See `RunStore.purge_beyond`."""
        return self._remove(self._newest_first()[max(keep, 0) :])

    def list_children_by_parent(self, run_id: str) -> list[Run]:
        """See `RunStore.list_children_by_parent`."""
        require_text("run id", run_id)
        return self._newest_first(lambda run: run.parent_run_id == run_id)[::-1]

    def walk_parent_chain(self, run_id: str) -> list[Run]:
        """See `RunStore.walk_parent_chain`."""
        chain: dict[str, Run] = {}
        run = self._runs.get(require_text("run id", run_id))
        while run is not None and run.id not in chain and len(chain) < MAX_CHAIN:
            chain[run.id] = run
            run = self._runs.get(run.parent_run_id or "")
        return list(chain.values())[::-1]

    def list_finished_runs_before(self, cutoff: int, limit: int) -> list[Run]:
        """See `RunStore.list_finished_runs_before`."""
        require_number("time", cutoff, least=-MAX_NUMBER)
        finished = [(r.finished_at, r.id, r) for r in self._newest_first() if r.finished_at is not None]
        found = sorted(entry for entry in finished if entry[0] < cutoff)
        return _page([run for _, _, run in found], 0, limit)

    def last_run_by_skills(self, skill_ids: Collection[str], include_failed: bool) -> dict[str, Run]:
        """See `RunStore.last_run_by_skills`."""
        status = None if include_failed else RunStatus.OK
        found: dict[str, Run] = {}
        for skill in skill_ids:
            newest = self._newest_first(RunFilter(skill_id=skill, status=status).admits)
            found |= {run.skill_id: run for run in newest[:1]}
        return found

    def close(self) -> None:
        """Nothing to release."""

    def _run(self, run_id: str) -> Run:
        run = self._runs.get(require_text("run id", run_id))
        if run is None:
            raise NotFound(f"there is no run {run_id}")
        return run

    def _newest_first(self, admits: Callable[[Run], bool] = lambda _: True) -> list[Run]:
        with self._lock:
            runs = [run for run in self._runs.values() if admits(run)]
        return sorted(runs, key=lambda run: (run.started_at, run.id), reverse=True)

    def _remove(self, runs: Iterable[Run]) -> int:
        gone = [run.id for run in runs]
        with self._lock:
            for run_id in gone:
                self._runs.pop(run_id)
                self._logs.pop(run_id)
        return len(gone)


def _page(runs: list[Run], offset: int, limit: int) -> list[Run]:
    start = max(offset, 0)
    return runs[start : start + max(limit, 0)]


def _stored(value: object) -> object:
    """The value as it comes back from a database: a copy, tuples as lists, keys as text."""
    return decode_json(encode_json(value))
