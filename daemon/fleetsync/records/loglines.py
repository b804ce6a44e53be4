"""A JSONL log as bytes: its lines, and the records on a line that is damaged.

Two writers can glue their lines together, and a crash can leave half of one. What is complete on
such a line is still good: an object that ends is cut out and can be read alone, all else is scrap.
What a record means is not known here. Offsets are bytes; a body never contains its line break.
Implements docs/formats.md, "Logs".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from fleetsync.records import strictjson

_BLANK = b" \t\r"
_OPENING = re.compile(r'\{[ \t\r]*+"')
_EFFORT = 3
"""A line may be read this many times over before the search for records on it is given up."""
_SMALL = 4096
"""Characters that may be read beyond that: a short line is always searched to its end."""


class Line(NamedTuple):
    """One line: its number from 1, its first byte, and its bytes without the line break."""

    number: int
    offset: int
    body: bytes


class Piece(NamedTuple):
    """Part of a damaged line: its first byte within the line, and whether it is one whole object."""

    offset: int
    body: bytes
    whole: bool


def lines(data: bytes) -> Iterator[Line]:
    """The lines of a log that are not empty. CR LF ends a line too, a lone CR does not."""
    offset = 0
    for number, raw in enumerate(data.split(b"\n"), 1):
        end = offset + len(raw)
        ended = end < len(data)
        body = raw[:-1] if ended and raw.endswith(b"\r") else raw
        if body:
            yield Line(number, offset, body)
        offset = end + 1


def pieces(line: bytes) -> list[Piece]:
    """What a line consists of: whole objects, and the scraps between them; white space is dropped.

    The effort is bounded by the length of the line: a hostile one ends as scrap.
    """
    text = line.decode(errors="surrogateescape")
    found: list[Piece] = []
    end, at = 0, 0  # the same place in characters and in bytes
    for start, stop in [*_objects(text), (len(text), len(text))]:
        for begin, finish, whole in ((end, start, False), (start, stop, True)):
            body = text[begin:finish].encode(errors="surrogateescape")
            dropped, trimmed = trim(body)
            if trimmed:
                found.append(Piece(at + dropped, trimmed, whole))
            at += len(body)
        end = stop
    return found


def trim(line: bytes) -> tuple[int, bytes]:
    """A line without white space around it, and how many bytes were dropped in front."""
    body = line.lstrip(_BLANK)
    return len(line) - len(body), body.rstrip(_BLANK)


def _objects(text: str) -> Iterator[tuple[int, int]]:
    effort = _EFFORT * len(text) + _SMALL
    start = _opening(text, 0)
    while start is not None and effort > 0:
        try:
            end = strictjson.extent(text, start)
        except strictjson.NotAnObject as error:
            effort -= error.at - start
            start = _opening(text, start + 1)
        else:
            yield start, end
            start = _opening(text, end)


def _opening(text: str, start: int) -> int | None:
    found = _OPENING.search(text, start)
    return found.start() if found else None
