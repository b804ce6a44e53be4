"""`SqlRunStore`: the run audit in a database; one SQL for SQLite and PostgreSQL (`sql.py`).

Passes `tests/contracts/runs.py` on both. Rule of the file: whatever changes a run changes
the summary (`run_counts.py`) in the same transaction. The indexes that make each question cheap are
named in `run_schema.py`; what they cost is measured by `bench/stores.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from fleetsync.errors import NotFound
from fleetsync.records.audits import (
    MAX_CHAIN,
    MAX_NUMBER,
    EventType,
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
from fleetsync.stores import run_counts
from fleetsync.stores.migrations import migrate
from fleetsync.stores.run_schema import SCHEMA, VERSIONS
from fleetsync.stores.sql import BrokenReference, Database, Execute, Row, marks

PURGE_BATCH = 5_000
"""Runs removed in one transaction: a purge never keeps other writers waiting for long."""
SKILLS_BATCH = 500
"""Skills asked for in one statement; SQLite takes at least 999 parameters."""

_RUN = (
    "id, skill_id, caller_id, channel_id, inputs, started_at, finished_at, status, output, error,"
    " tool_calls_count, runtime_seconds, parent_run_id, total_input_tokens, total_output_tokens,"
    " total_thinking_tokens"
)
_LOG = "run_id, sequence, event_type, payload, created_at"
_NEWEST = "ORDER BY started_at DESC, id DESC"

_INSERT = f"INSERT INTO audit_runs ({_RUN}, top_level) VALUES ({marks(_RUN.split(','))}, ?)"
_INSERT_LOG = f"INSERT INTO audit_logs ({_LOG}) VALUES ({marks(_LOG.split(','))})"
_FINISH = """
UPDATE audit_runs SET status = ?, finished_at = ?, output = ?, error = ?, tool_calls_count = ?,
    runtime_seconds = ?, total_input_tokens = ?, total_output_tokens = ?, total_thinking_tokens = ?
WHERE id = ?
"""
_CHAIN = f"""
WITH RECURSIVE chain (link, parent, depth) AS (
    SELECT id, parent_run_id, 1 FROM audit_runs WHERE id = ?
    UNION ALL
    SELECT run.id, run.parent_run_id, chain.depth + 1
    FROM chain JOIN audit_runs AS run ON run.id = chain.parent WHERE chain.depth < {MAX_CHAIN})
SELECT {_RUN} FROM chain JOIN audit_runs ON id = link ORDER BY depth
"""


class SqlRunStore:
    """The audit of everyone who uses this database. Closes the database with itself."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def initialize(self) -> None:
        """See `RunStore.initialize`. Raises `StorageFailed` if a newer fleetsync was here."""
        migrate(self._database, SCHEMA, VERSIONS)

    def close(self) -> None:
        """See `RunStore.close`."""
        self._database.close()

    # --- writing ---------------------------------------------------------------------------------

    def start_run(self, start: RunStart) -> None:
        """See `RunStore.start_run`."""
        run = begun(start)
        top = int(run.parent_run_id is None)
        kind = run.skill_id, run.caller_id, run.channel_id, str(run.status), top

        def work(execute: Execute) -> None:
            execute(_INSERT, [*_row(run), top])
            run_counts.change(execute, {kind: 1})

        self._database.write(work)

    def finish_run(self, run_id: str, stats: RunStats) -> None:
        """See `RunStore.finish_run`."""
        require_text("run id", run_id)
        query = f"SELECT {run_counts.KIND} FROM audit_runs WHERE id = ?{self._database.for_update}"

        def work(execute: Execute) -> None:
            found = execute(query, (run_id,))
            if not found:
                raise NotFound(f"there is no run {run_id}")
            execute(_FINISH, (*_ended(stats), run_id))
            skill, caller, channel, before, top = found[0]
            if before != stats.status:
                after = (skill, caller, channel, str(stats.status), top)
                run_counts.change(execute, {found[0]: -1, after: 1})

        self._database.write(work)

    def append_log(self, entry: RunLog) -> None:
        """See `RunStore.append_log`."""
        row = (
            entry.run_id,
            entry.sequence,
            str(entry.event_type),
            encode_json(entry.payload),
            entry.created_at,
        )
        try:
            self._database.write(lambda execute: execute(_INSERT_LOG, row))
        except BrokenReference as error:
            raise NotFound(f"there is no run {entry.run_id}") from error

    def purge_older_than(self, time: int) -> int:
        """See `RunStore.purge_older_than`."""
        require_number("time", time, least=-MAX_NUMBER)
        return self._purge("started_at < ?", (time,))

    def purge_beyond(self, keep: int) -> int:
        """See `RunStore.purge_beyond`."""
        if keep <= 0:
            return self._purge("1 = 1", ())
        last = f"SELECT started_at, id FROM audit_runs {_NEWEST} LIMIT 1 OFFSET ?"
        rows = self._database.read(last, (_within(keep - 1),))
        return self._purge("(started_at, id) < (?, ?)", rows[0]) if rows else 0

    def _purge(self, condition: str, values: Sequence[Any]) -> int:
        oldest = f"SELECT id FROM audit_runs WHERE {condition} ORDER BY started_at, id LIMIT {PURGE_BATCH}"
        delete = f"DELETE FROM audit_runs WHERE id IN ({oldest}) RETURNING {run_counts.KIND}"

        def work(execute: Execute) -> int:
            gone = Counter(execute(delete, values))
            run_counts.change(execute, {kind: -count for kind, count in gone.items()})
            run_counts.forget_empty(execute)
            return gone.total()

        total = 0
        while removed := self._database.write(work):
            total += removed
        return total

    # --- asking ----------------------------------------------------------------------------------

    def get_run(self, run_id: str) -> Run:
        """See `RunStore.get_run`."""
        found = self._runs("WHERE id = ?", (require_text("run id", run_id),))
        if not found:
            raise NotFound(f"there is no run {run_id}")
        return found[0]

    def list_logs_by_run(self, run_id: str) -> list[RunLog]:
        """See `RunStore.list_logs_by_run`."""
        query = f"SELECT {_LOG} FROM audit_logs WHERE run_id = ? ORDER BY sequence"
        return [_log(row) for row in self._database.read(query, (require_text("run id", run_id),))]

    def list_runs_by_skill(self, skill_id: str, limit: int) -> list[Run]:
        """See `RunStore.list_runs_by_skill`."""
        return self.list_runs_by_skill_paginated(skill_id, 0, limit, include_dry_run=False)

    def list_runs_by_skill_paginated(
        self, skill_id: str, offset: int, limit: int, include_dry_run: bool
    ) -> list[Run]:
        """See `RunStore.list_runs_by_skill_paginated`."""
        return self._page(RunFilter(skill_id=skill_id, include_dry_run=include_dry_run), offset, limit)

    def count_runs_by_skill(self, skill_id: str, include_dry_run: bool) -> int:
        """See `RunStore.count_runs_by_skill`."""
        return self.count_runs_filtered(RunFilter(skill_id=skill_id, include_dry_run=include_dry_run))

    def list_runs_by_caller(self, caller_id: str, limit: int) -> list[Run]:
        """See `RunStore.list_runs_by_caller`."""
        return self._page(RunFilter(caller_id=caller_id, include_dry_run=True), 0, limit)

    def list_runs_filtered(self, wanted: RunFilter, offset: int, limit: int) -> list[Run]:
        """See `RunStore.list_runs_filtered`."""
        return self._page(wanted, offset, page_size(limit))

    def count_runs_filtered(self, wanted: RunFilter) -> int:
        """See `RunStore.count_runs_filtered`; what the summary does not know is counted by an index."""
        if (summed := run_counts.question(wanted)) is not None:
            return self._number(*summed)
        condition, values = _where(wanted, self._rarest(wanted))
        return self._number(f"SELECT count(*) FROM audit_runs {condition}", values)

    def list_children_by_parent(self, run_id: str) -> list[Run]:
        """See `RunStore.list_children_by_parent`."""
        require_text("run id", run_id)
        return self._runs("WHERE parent_run_id = ? ORDER BY started_at, id", (run_id,)) if run_id else []

    def walk_parent_chain(self, run_id: str) -> list[Run]:
        """See `RunStore.walk_parent_chain`."""
        rows = self._database.read(_CHAIN, (require_text("run id", run_id),))
        return list({row[0]: _run(row) for row in rows}.values())[::-1]  # in a cycle rows come again

    def list_finished_runs_before(self, cutoff: int, limit: int) -> list[Run]:
        """See `RunStore.list_finished_runs_before`."""
        require_number("time", cutoff, least=-MAX_NUMBER)
        condition = "WHERE finished_at IS NOT NULL AND finished_at < ? ORDER BY finished_at, id LIMIT ?"
        return self._runs(condition, (cutoff, _within(limit))) if limit > 0 else []

    def last_run_by_skills(self, skill_ids: Collection[str], include_failed: bool) -> dict[str, Run]:
        """See `RunStore.last_run_by_skills`."""
        skills = sorted({require_text("skill", skill) for skill in skill_ids})
        # NOT <> keeps SQLite to the index of skills, as in `_where`.
        status = "run.status <> 'dry_run'" if include_failed else "NOT run.status <> 'ok'"
        found: dict[str, Run] = {}
        for start in range(0, len(skills), SKILLS_BATCH):
            batch = skills[start : start + SKILLS_BATCH]
            query = _last_runs(len(batch), status)
            found |= {row[1]: _run(row) for row in self._database.read(query, batch)}
        return found

    def _page(self, wanted: RunFilter, offset: int, limit: int) -> list[Run]:
        if limit <= 0:
            return []
        condition, values = _where(wanted, self._rarest(wanted))
        return self._runs(
            f"{condition} {_NEWEST} LIMIT ? OFFSET ?", (*values, _within(limit), _within(offset))
        )

    def _rarest(self, wanted: RunFilter) -> str:
        """Of several conditions the column whose value the fewest runs have, "" if there is no choice."""
        said = _said(wanted)
        if len(said) < 2:
            return ""
        return min(said, key=lambda column: self._number(*run_counts.holders(column, said[column])))

    def _number(self, query: str, values: Sequence[Any]) -> int:
        return int(self._database.read(query, values)[0][0] or 0)

    def _runs(self, rest: str, values: Sequence[Any]) -> list[Run]:
        return [_run(row) for row in self._database.read(f"SELECT {_RUN} FROM audit_runs {rest}", values)]


def _within(number: int) -> int:
    """The number as LIMIT or OFFSET can take it."""
    return min(max(number, 0), MAX_NUMBER)


# --- conditions ------------------------------------------------------------------------------------


def _where(wanted: RunFilter, by: str = "") -> tuple[str, list[Any]]:
    """The WHERE clause of a filter and its values.

    `by` names the column whose index SQLite shall use: it has no statistics to choose by, and takes no
    index for NOT <>. PostgreSQL reads that as = and chooses by itself.
    """
    said = _said(wanted)
    conditions = [f"{name} = ?" if by in ("", name) else f"NOT {name} <> ?" for name in said]
    values: list[Any] = list(said.values())
    for term, time in (("started_at >= ?", wanted.since), ("started_at < ?", wanted.until)):
        if time is not None:
            conditions.append(term)
            values.append(time)
    if wanted.top_level_only:
        conditions.append("top_level = 1")
    if not wanted.shows_dry_runs and wanted.status is None:
        conditions.append("status <> 'dry_run'")
    return f"WHERE {' AND '.join(conditions)}" if conditions else "", values


def _said(wanted: RunFilter) -> dict[str, str]:
    """Column → value, of the conditions that a filter makes."""
    columns = {
        "status": None if wanted.status is None else str(wanted.status),
        "skill_id": wanted.skill_id,
        "caller_id": wanted.caller_id,
        "channel_id": wanted.channel_id,
    }
    return {column: value for column, value in columns.items() if value is not None}


def _last_runs(skills: int, status: str) -> str:
    """The newest run of each of so many skills."""
    return f"""
    WITH wanted (skill) AS (VALUES {", ".join(["(?)"] * skills)})
    SELECT {_RUN} FROM audit_runs WHERE id IN (
        SELECT (SELECT run.id FROM audit_runs AS run
            WHERE run.skill_id = wanted.skill AND {status}
            ORDER BY run.started_at DESC, run.id DESC LIMIT 1)
        FROM wanted)
    """


# --- rows ------------------------------------------------------------------------------------------

_PLACE = {name.strip(): place for place, name in enumerate(_RUN.split(","))}
_READERS: dict[str, Callable[[Any], Any]] = {
    "inputs": decode_json,
    "output": decode_json,
    "status": RunStatus,
}


def _run(row: Row) -> Run:
    fields: dict[str, Any] = dict(zip(_PLACE, row, strict=True))
    for name, read in _READERS.items():
        fields[name] = read(fields[name])
    return Run(**fields)


def _row(run: Run) -> list[Any]:
    values = {name: getattr(run, name) for name in _PLACE}
    values |= {
        "inputs": encode_json(run.inputs),
        "output": encode_json(run.output),
        "status": str(run.status),
    }
    return list(values.values())


def _ended(stats: RunStats) -> Iterable[Any]:
    return (
        str(stats.status),
        stats.finished_at,
        encode_json(stats.output),
        stats.error,
        stats.tool_calls_count,
        stats.runtime_seconds,
        stats.total_input_tokens,
        stats.total_output_tokens,
        stats.total_thinking_tokens,
    )


def _log(row: Row) -> RunLog:
    run_id, sequence, event_type, payload, created_at = row
    return RunLog(
        run_id=run_id,
        sequence=sequence,
        event_type=EventType(event_type),
        payload=decode_json(payload),
        created_at=created_at,
    )
