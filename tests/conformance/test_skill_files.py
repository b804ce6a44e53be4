"""A whole skill log: the strict reader fails where the reference does, the tolerant one never.

On purpose different: where one bad line makes the reference drop the whole log, `parse_log` still
reads the good ones and says where the bad ones are.
"""

from __future__ import annotations

import pytest

from fleetsync.errors import MalformedRecord
from fleetsync.records import skills
from tests.conformance.vectors import Row, each


def _data(row: Row) -> bytes:
    return bytes.fromhex(row["hex"]) if "hex" in row else row["text"].encode()


@each("skill_files")
def test_strict_reader(row: Row) -> None:
    """The reference's events in its order, or malformed as a whole."""
    if not row["ok"]:
        with pytest.raises(MalformedRecord):
            skills.read_log(_data(row))
        return
    assert [event.canonical.decode() for event in skills.read_log(_data(row))] == row["events"]


@each("skill_files")
def test_tolerant_reader(row: Row) -> None:
    """It sees the same events in a good log, and says what is wrong with exactly the others."""
    data = _data(row)
    log = skills.parse_log(data)
    assert bool(log.malformed or log.opaque) == (not row["ok"])
    if row["ok"]:
        assert [placed.event.line for placed in log.events] == [e.line.strip() for e in skills.read_log(data)]
    for placed in log.events:
        line = placed.event.line
        assert data[placed.offset : placed.offset + len(line)] == line
