"""The line that a run leaves behind is the reference's line."""

from __future__ import annotations

from fleetsync.records import skills, timestamps
from fleetsync.records.execution import Run, record_run
from tests.conformance.vectors import Row, each

NOW = timestamps.parse("2026-05-30T00:00:00.123456789Z")


@each("record_run")
def test_line(row: Row) -> None:
    """Fields, their order, the classification, the override and the cut at 500 characters."""
    line = record_run(Run(**row["record"]), NOW, "dev")
    assert line.decode().replace(NOW.text, "TS", 1) == row["line_with_ts_replaced"]
    error = skills.parse_event(line).error
    assert (None if error is None else len(error)) == row["error_chars"]
