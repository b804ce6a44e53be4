"""The daemon's own lines in the experience ledger."""

from __future__ import annotations

import json
from pathlib import Path

from fleetsync.app.chronicle import Chronicle
from fleetsync.records.names import DeviceId

ME = DeviceId("a" * 52)
PEER = "b" * 52


def written(home: Path) -> list[tuple[str, str | None]]:
    """Kind and round of each line of the daemon's stream."""
    lines = (home / "experience/fleetsync/events.jsonl").read_bytes().split(b"\n")
    events = [json.loads(line) for line in lines if line]
    return [(event["event"]["type"], event["correlation_id"]) for event in events]


def test_rounds_and_changes_of_trust_become_lines(tmp_path: Path) -> None:
    """A round is an outcome under its run's id; the same trust told again is not written again."""
    chronicle = Chronicle(tmp_path, ME)
    chronicle.trust({PEER: "both"})
    chronicle.trust({PEER: "both"})
    chronicle.round_over("run-1", {PEER: "converged"}, 0.5)
    chronicle.trust({})
    chronicle.close()
    assert written(tmp_path) == [
        ("PolicySnapshotCaptured", None),
        ("OutcomeRecorded", "run-1"),
        ("PolicySnapshotCaptured", None),
    ]


def test_a_home_that_is_gone_stops_nothing(tmp_path: Path) -> None:
    """What cannot be written is logged, and closing still ends."""
    chronicle = Chronicle(tmp_path / "away", ME)
    chronicle.round_over("run-1", {PEER: "failed"}, 0.5)
    chronicle.close()
    assert not (tmp_path / "away").exists()
