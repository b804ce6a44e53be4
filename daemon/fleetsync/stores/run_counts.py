"""The summary of the run audit: how many runs there are of each kind (`audit_counts`).

Changed in the transaction that changes a run. Rule of the file: rows are changed in one order, so
that two daemons on one database do not wait for each other in a circle.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from fleetsync.records.audits import RunFilter
from fleetsync.stores.sql import Execute

Kind = tuple[str, str, str, str, int]
"""What the summary knows of a run: skill, caller, channel, status, 1 if at top level."""

KIND = "skill_id, caller_id, channel_id, status, top_level"
"""The kind of a row of `audit_runs`: plain columns, because SQLite 3.40 takes an `IS NULL` in the
RETURNING of a DELETE for false.
"""

_ROWS = 500  # in one statement; each has five parameters
_DIMENSIONS = ("all", "skill", "caller", "channel")


def change(execute: Execute, runs: Mapping[Kind, int]) -> None:
    """Add that many runs of each kind; negative numbers take away."""
    changes: Counter[tuple[str, str, str, int]] = Counter()
    for (skill, caller, channel, status, top), number in runs.items():
        for dimension, name in zip(_DIMENSIONS, ("", skill, caller, channel), strict=True):
            changes[dimension, name, status, top] += number
    rows = [(*place, number) for place, number in sorted(changes.items()) if number]
    for first in range(0, len(rows), _ROWS):
        part = rows[first : first + _ROWS]
        execute(_statement(len(part)), [value for row in part for value in row])


def forget_empty(execute: Execute) -> None:
    """Remove what counts no run."""
    execute("DELETE FROM audit_counts WHERE runs = 0", ())


def question(wanted: RunFilter) -> tuple[str, list[Any]] | None:
    """The SELECT and its parameters that count what a filter admits.

    None if the summary cannot tell: a span of time, or two names at once.
    """
    names = zip(_DIMENSIONS[1:], (wanted.skill_id, wanted.caller_id, wanted.channel_id), strict=True)
    given = [(dimension, name) for dimension, name in names if name is not None] or [("all", "")]
    if len(given) > 1 or (wanted.since, wanted.until) != (None, None):
        return None
    conditions, values = ["dimension = ?", "name = ?"], list[Any](given[0])
    if wanted.status is not None:
        conditions.append("status = ?")
        values.append(str(wanted.status))
    elif not wanted.include_dry_run:
        conditions.append("status <> 'dry_run'")
    if wanted.top_level_only:
        conditions.append("top_level = 1")
    return f"SELECT sum(runs) FROM audit_counts WHERE {' AND '.join(conditions)}", values


def holders(column: str, value: str) -> tuple[str, list[str]]:
    """The SELECT and its parameters that count the runs with a value in a column: a name or `status`."""
    counted = "SELECT sum(runs) FROM audit_counts WHERE dimension = ? AND name = ?"
    if column == "status":
        return f"{counted} AND status = ?", ["all", "", value]
    return counted, [column.removesuffix("_id"), value]


def _statement(rows: int) -> str:
    return f"""
    INSERT INTO audit_counts (dimension, name, status, top_level, runs)
    VALUES {", ".join(["(?, ?, ?, ?, ?)"] * rows)}
    ON CONFLICT (dimension, name, status, top_level)
    DO UPDATE SET runs = audit_counts.runs + excluded.runs
    """
