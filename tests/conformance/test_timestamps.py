"""Times are read, rounded and written as the reference does, exotic spellings included."""

from __future__ import annotations

import pytest

from fleetsync.errors import MalformedRecord
from fleetsync.records import timestamps
from tests.conformance.vectors import Row, each


@each("timestamps")
def test_time(row: Row) -> None:
    """A time that the reference reads is read as the same instant; any other is malformed."""
    if not row["ok"]:
        with pytest.raises(MalformedRecord):
            timestamps.parse(row["input"])
        return
    ts = timestamps.parse(row["input"])
    assert (ts.secs, ts.nanos, ts.micros) == (row["secs"], row["nanos"], row["micros"])
    assert ts.canonical == row["canonical"]
    assert ts.text == row["input"]
    assert row["rfc3339_offset_form"] == ts.canonical.removesuffix("Z") + "+00:00"


@each("timestamps")
def test_what_is_written_is_read_back(row: Row) -> None:
    """The canonical text of an instant is that instant."""
    if row["ok"]:
        again = timestamps.parse(row["canonical"])
        assert (again.secs, again.nanos, again.canonical) == (row["secs"], row["nanos"], row["canonical"])
