"""One line of a skill log: read, keyed and written back as the reference does.

On purpose different: a line of a kind that the reference does not know is refused by it; here it
has a key and is carried as it is, because a newer mur on another device may know it (DESIGN §12).
"""

from __future__ import annotations

import json

import pytest

from fleetsync.errors import MalformedRecord
from fleetsync.records import skills
from tests.conformance.vectors import Row, each


@each("skill_events")
def test_line(row: Row) -> None:
    """The reference's key, instant and canonical line; malformed where it fails."""
    line = row["input"].encode()
    if not row["ok"]:
        with pytest.raises(MalformedRecord):
            skills.parse_event(line)
        return
    event = skills.parse_event(line)
    assert event.dedup_key == row["dedup_key"]
    assert (event.micros, event.ts.nanos) == (row["ts_micros"], row["ts_nanos"])
    assert event.canonical.decode() == row["canonical"]
    assert event.line == line


@each("skill_events")
def test_key(row: Row) -> None:
    """The key alone is the same key; of the lines that the reference refuses only those of an
    unknown kind have one (the rule at the head of this module).
    """
    line = row["input"].encode()
    if row["ok"]:
        assert skills.event_key(line) == (row["dedup_key"], row["ts_micros"])
        return
    try:
        key, micros = skills.event_key(line)
    except MalformedRecord:
        return
    kind = json.loads(line)["kind"]
    assert kind not in skills.FIELDS
    assert key.startswith(f"{micros}:{kind}:")


@each("skill_events")
def test_what_is_certain_to_be_readable_is_read_by_the_reference(row: Row) -> None:
    """The strict validator never passes a line that the reference refuses."""
    if skills.readable_by_mur(row["input"].encode()):
        assert row["ok"]


@each("skill_events")
def test_what_the_reference_writes_is_certain_to_be_readable(row: Row) -> None:
    """Lines as the reference writes them are never parked, unless their year has a sign."""
    if row["ok"] and '"ts":"+' not in row["canonical"] and '"ts":"-' not in row["canonical"]:
        assert skills.readable_by_mur(row["canonical"].encode())


@each("skill_events")
def test_canonical_line_reads_as_the_same_event(row: Row) -> None:
    """Writing an event back changes neither its key nor its canonical line."""
    if row["ok"]:
        again = skills.parse_event(row["canonical"].encode())
        assert (again.dedup_key, again.canonical.decode()) == (row["dedup_key"], row["canonical"])
