"""Whole channel logs: every event, where it stands, and what is none."""

from __future__ import annotations

from fleetsync.records import channel_logs
from tests.unit.records.test_channels import GOOD, NEW_ACTOR, NEW_KIND


def test_log_is_read_past_damage() -> None:
    """Glued lines are both read, a torn one is told of, a blank one is nothing."""
    torn = GOOD[:60]
    log = channel_logs.parse_log(b"\n".join([GOOD + NEW_KIND, torn, b"  ", "\u00a0".encode(), NEW_ACTOR]))
    assert [placed.event.line for placed in log.events] == [GOOD, NEW_KIND, NEW_ACTOR]
    assert [(placed.number, placed.offset) for placed in log.events][:2] == [(1, 0), (1, len(GOOD))]
    assert [(bad.number, bad.body) for bad in log.malformed] == [(2, torn)]
    assert [event.line for event in channel_logs.read_log(GOOD + b"\n" + torn + b"\n" + NEW_KIND)] == [GOOD]
