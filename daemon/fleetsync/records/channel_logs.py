"""A channel's whole log: every event in it, where it stands, and what is no event.

Glued records on one line are told apart, as in `skills.py`; what a line means is `channels.py`'s.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from fleetsync.errors import MalformedRecord
from fleetsync.records import loglines
from fleetsync.records.channels import ChannelEvent, OpaqueEvent, parse_event, read_event


class Placed(NamedTuple):
    """An event and where it is: the number of its line from 1, and its first byte in the log."""

    number: int
    offset: int
    event: ChannelEvent | OpaqueEvent


class Malformed(NamedTuple):
    """Bytes that are no event, where they are, and why."""

    number: int
    offset: int
    body: bytes
    reason: str


class ChannelLog(NamedTuple):
    """All that a log holds, each list in the order of the file."""

    events: list[Placed]
    malformed: list[Malformed]


def read_log(data: bytes) -> list[ChannelEvent]:
    """The events as mur reads a log: it skips every line that it cannot read."""
    found = []
    for line in loglines.lines(data):
        try:
            found.append(parse_event(line.body))
        except MalformedRecord:
            continue
    return found


def parse_log(data: bytes) -> ChannelLog:
    """Every event in a log, also those on damaged lines and those of unknown kinds; never raises."""
    log = ChannelLog([], [])
    for line in loglines.lines(data):
        if not line.body.decode(errors="replace").strip():
            continue
        dropped, body = loglines.trim(line.body)
        for piece in _pieces(body):
            _place(log, line.number, line.offset + dropped + piece.offset, piece.body)
    return log


def _pieces(body: bytes) -> Iterable[loglines.Piece]:
    """The line as one piece if it is an event, else what it consists of."""
    whole = loglines.Piece(0, body, True)
    return [whole] if _is_event(body) else loglines.pieces(body) or [whole]


def _is_event(body: bytes) -> bool:
    try:
        read_event(body)
    except MalformedRecord:
        return False
    return True


def _place(log: ChannelLog, number: int, offset: int, body: bytes) -> None:
    try:
        log.events.append(Placed(number, offset, read_event(body)))
    except MalformedRecord as error:
        log.malformed.append(Malformed(number, offset, body, error.message))
