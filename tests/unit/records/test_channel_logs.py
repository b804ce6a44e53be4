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


def test_each_piece_is_told_by_its_line_and_its_first_byte() -> None:
    """Blanks around it are no part of it; what is malformed says where it stands and why."""
    data = b" \t" + GOOD + b"\r\n\n  x" + NEW_KIND + b" y \n \xff \n" + NEW_ACTOR
    log = channel_logs.parse_log(data)
    assert [placed.number for placed in log.events] == [1, 3, 5]
    assert [bad[:1] + bad[2:3] for bad in log.malformed] == [(3, b"x"), (3, b"y"), (4, b"\xff")]
    for placed in log.events:
        assert data.startswith(placed.event.line, placed.offset)
    for bad in log.malformed:
        assert data.startswith(bad.body, bad.offset)
        assert bad.reason
