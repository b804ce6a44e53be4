"""When an experience happened: the text of its author, and the point in time that it names, if any.

Text is kept for output; points are compared. What names no point is *unknown*: it lies in no span of
time and orders nothing. `item_time` is all that syncing knows of an experience. Implements
docs/experience.md, "Times".
"""

from __future__ import annotations

import re
from typing import NamedTuple

from fleetsync.errors import MalformedRecord
from fleetsync.records import strictjson, timestamps
from fleetsync.records.strictjson import Object
from fleetsync.records.timestamps import Timestamp

PLACEHOLDER = "1970-01-01T00:00:00Z"
"""What the reference's constructors write for a time that nobody gave."""

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


class Instant(NamedTuple):
    """A point in time: µs since 1970, rounded down, and the ns above that (0 … 999).

    A leap second falls together with the second after it.
    """

    micros: int
    rest: int

    @classmethod
    def of(cls, time: Timestamp) -> Instant:
        """The point of a timestamp."""
        return cls(time.micros, time.nanos % 1000)


def instant(text: str) -> Instant | None:
    """The point in time that `occurred_at` names; a bare date is its first moment.

    None is *unknown*: text that is no time (`lamport:7`), and 1970-01-01T00:00:00Z, which is what
    programs write that do not look at a clock.
    """
    try:
        point = Instant.of(timestamps.parse(f"{text}T00:00:00Z" if _DAY.fullmatch(text) else text))
    except MalformedRecord:
        return None
    return None if point == (0, 0) else point


def end_of(text: str) -> Instant | None:
    """The last moment that this text still names, as the end of a range: of a bare date its last."""
    if not _DAY.fullmatch(text):
        return instant(text)
    begin = instant(text)
    return begin and Instant(begin.micros + 86_400_000_000 - 1, 999)


def stamp(nanoseconds: int) -> str:
    """A clock's reading (ns since 1970) as text that sorts as time does: `…T00:00:00.000000Z`."""
    secs, nanos = divmod(nanoseconds, 1_000_000_000)
    return f"{timestamps.write(secs, 0)[:-1]}.{nanos // 1000:06}Z"


def item_time(line: bytes) -> int:
    """µs since 1970 of a line as a member of the set, 0 if it says none that can be read.

    Any JSON object is a member, envelope or not; raises `MalformedRecord` for anything else.
    """
    value = strictjson.parse(line)
    if not isinstance(value, Object):
        raise MalformedRecord("not an object")
    texts = [each for name, each in value.members if name == "occurred_at"]
    found = instant(texts[0]) if len(texts) == 1 and isinstance(texts[0], str) else None
    return 0 if found is None else found.micros
