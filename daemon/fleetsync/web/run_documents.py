"""The documents of `fleetsync runs`: a run, a run with its log and children, a run as it is exported.

Pure and light to import. Rule of the file: exactly the keys of docs/cli.md; times are RFC 3339 UTC,
unknown is null.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fleetsync.records import timestamps
from fleetsync.records.audits import Run, RunLog

Document = dict[str, Any]


def run_document(run: Run) -> Document:
    """One run."""
    return {
        "id": run.id,
        "skill_id": run.skill_id,
        "caller_id": run.caller_id,
        "channel_id": run.channel_id,
        "status": str(run.status),
        "started_at": _time(run.started_at),
        "finished_at": None if run.finished_at is None else _time(run.finished_at),
        "runtime_seconds": run.runtime_seconds,
        "output": run.output,
        "error": run.error,
        "tool_calls_count": run.tool_calls_count,
        "parent_run_id": run.parent_run_id,
        "total_input_tokens": run.total_input_tokens,
        "total_output_tokens": run.total_output_tokens,
        "total_thinking_tokens": run.total_thinking_tokens,
    }


def log_document(entry: RunLog) -> Document:
    """One entry of a run's log."""
    return {
        "sequence": entry.sequence,
        "event_type": str(entry.event_type),
        "created_at": _time(entry.created_at),
        "payload": entry.payload,
    }


def exported(run: Run, logs: Sequence[RunLog]) -> Document:
    """All that is kept of one run."""
    return {**run_document(run), "inputs": run.inputs, "logs": [log_document(entry) for entry in logs]}


def detailed(run: Run, logs: Sequence[RunLog], children: Sequence[Run]) -> Document:
    """One run with its log and the runs right inside it."""
    return {**exported(run, logs), "children": [run_document(child) for child in children]}


def _time(micros: int) -> str:
    return timestamps.at(micros * 1000).canonical
