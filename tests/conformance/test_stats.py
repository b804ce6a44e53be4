"""stats.json: read, counted into and written byte for byte as the reference does (release build)."""

from __future__ import annotations

import pytest

from fleetsync.errors import MalformedRecord
from fleetsync.merge.counters import apply_new_events_to_stats
from fleetsync.records import skills, stats, timestamps
from fleetsync.records.stats import SkillStats
from tests.conformance.vectors import Row, each


@each("stats_apply")
def test_counting(row: Row) -> None:
    """The same events leave the same file."""
    events = [skills.parse_event(line.encode()) for line in row["events"]]
    after = apply_new_events_to_stats(stats.loads(row["stats"].encode()), events)
    assert stats.dumps(after).decode() == row["after"]


@each("stats_files")
def test_file(row: Row) -> None:
    """A file that the reference reads is written back as it would; any other is malformed."""
    if not row["ok"]:
        with pytest.raises(MalformedRecord):
            stats.loads(row["input"].encode())
        return
    assert stats.dumps(_result(row)).decode() == row["output"]


def _result(row: Row) -> SkillStats:
    if "new" in row:
        return stats.new(**{**row["new"], "now": timestamps.parse(row["new"]["now"])})
    loaded = stats.loads(row["input"].encode())
    if "reset" not in row:
        return loaded
    reset = row["reset"]
    assert stats.is_stale(loaded, reset["digest"]) == row["is_stale_before"]
    now = timestamps.parse(reset["now"])
    return stats.reset_for_new_manifest(loaded, version=reset["version"], digest=reset["digest"], now=now)
