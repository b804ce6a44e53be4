"""What a failed run's output speaks for, and how surely, is the reference's answer."""

from __future__ import annotations

from fleetsync.records.execution import classify_failure
from tests.conformance.vectors import Row, each


@each("env_class")
def test_class(row: Row) -> None:
    """Class and confidence are those of the reference."""
    assert classify_failure(row["stderr"]) == (row["class"], row["confidence"])
