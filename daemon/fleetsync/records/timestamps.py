"""Instants as mur writes and reads them: exact, with the text their author chose.

An instant is whole seconds since 1970 plus nanoseconds; a leap second is the second before it with
1,000,000,000 or more nanoseconds. Reading follows the relaxed rules of mur's reader (a superset of
RFC 3339: spaces, short fields, `UTC`, signed years); writing is canonical. Instants compare by time
alone, whatever their text. Nothing here asks a clock. Implements docs/formats.md, "Timestamps".
"""

from __future__ import annotations

import re
from functools import lru_cache

import msgspec

from fleetsync.errors import MalformedRecord

_SECOND = 1_000_000_000  # ns
_DAY = 86_400  # s
_LATEST_ITEM = 2**64 - 2  # µs; 2^64-1 is infinity in a reconciliation message
_FIRST_YEAR, _LAST_YEAR = -262_143, 262_142  # what mur's calendar can hold

_CANONICAL = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,9})?Z"
)

# Unicode White_Space. Python's \s would add U+001C … U+001F.
_SPACE = "\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_WS = f"[{_SPACE}]*"
_RELAXED = re.compile(
    # Leading zeros stay outside: Python reads no integer of more than 4,300 digits. More than 7 others
    # are out of range anyway.
    rf"{_WS}(?:(?P<era>[+-])0*(?P<far>[0-9]{{1,7}})|(?P<year>[0-9]{{1,4}}))"
    rf"{_WS}-{_WS}(?P<month>[0-9]{{1,2}}){_WS}-{_WS}(?P<day>[0-9]{{1,2}})[Tt ]{_WS}(?P<hour>[0-9]{{1,2}})"
    rf"{_WS}:{_WS}(?P<minute>[0-9]{{1,2}}){_WS}:{_WS}(?P<second>[0-9]{{1,2}})(?:\.(?P<fraction>[0-9]+))?{_WS}"
    rf"(?:[Zz]|[Uu][Tt][Cc]|(?P<sign>[+\-\u2212])(?P<oh>[0-9]{{2}})[:{_SPACE}]*(?P<om>[0-9]{{2}})){_WS}"
)

_MINUTES = {f"{n // 60:02}:{n % 60:02}": n * 60 for n in range(24 * 60)}
_SECONDS = {f"{n:02}": n for n in range(60)}


class Timestamp(msgspec.Struct, frozen=True, eq=False):
    """One instant. `text` is how its author wrote it; it plays no part in comparison.

    `secs` counts from 1970 and may be negative; `nanos` is 0 … 999,999,999, or up to 1,999,999,999
    inside a leap second, which sorts before the next second though it shares its microseconds.
    """

    secs: int
    nanos: int
    text: str

    @property
    def canonical(self) -> str:
        """The text that mur writes for this instant: `Z`, and 0, 3, 6 or 9 fraction digits."""
        return write(self.secs, self.nanos)

    @property
    def micros(self) -> int:
        """µs since 1970, rounded down, also before 1970."""
        return self.secs * 1_000_000 + self.nanos // 1000

    @property
    def clamped(self) -> int:
        """µs since 1970 as an item's timestamp: 0 … 2^64-2."""
        return min(max(self.micros, 0), _LATEST_ITEM)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Timestamp):
            return NotImplemented
        return self.secs == other.secs and self.nanos == other.nanos

    def __lt__(self, other: Timestamp) -> bool:
        return (self.secs, self.nanos) < (other.secs, other.nanos)

    def __le__(self, other: Timestamp) -> bool:
        return (self.secs, self.nanos) <= (other.secs, other.nanos)

    def __hash__(self) -> int:
        return hash((self.secs, self.nanos))


def parse(text: str) -> Timestamp:
    """The instant that mur would read from this text; raises `MalformedRecord`."""
    if _CANONICAL.fullmatch(text):
        secs = _plain_seconds(text)
        if secs is not None:
            return Timestamp(secs, int(text[20:-1].ljust(9, "0")), text)
    return _parse_relaxed(text)


def at(nanoseconds: int) -> Timestamp:
    """The instant that many nanoseconds after 1970 (a clock's reading), canonically written."""
    secs, nanos = divmod(nanoseconds, _SECOND)
    return Timestamp(secs, nanos, write(secs, nanos))


EPOCH = Timestamp(0, 0, "1970-01-01T00:00:00Z")
"""What a manifest without `updated_at` counts as."""


def plain_micros(text: str) -> int | None:
    """µs since 1970 of `YYYY-MM-DDTHH:MM:SS[.fraction]Z`; None if there is no such day.

    The caller has checked that shape and the ranges of hour, minute and second (below 60): this is
    the inner loop of a first scan.
    """
    secs = _plain_seconds(text)
    return None if secs is None else secs * 1_000_000 + int((text[20:-1] + "00000")[:6])


def plain(text: str) -> Timestamp | None:
    """The instant in a text that `plain_micros` takes, under the same conditions."""
    secs = _plain_seconds(text)
    return None if secs is None else Timestamp(secs, int(text[20:-1].ljust(9, "0")), text)


def is_day(date: str) -> bool:
    """Whether the calendar has this `YYYY-MM-DD`, whose shape the caller has checked."""
    return _midnight(date) is not None


def write(secs: int, nanos: int) -> str:
    """The canonical text of an instant; shapes as in `Timestamp`."""
    leap, nanos = divmod(nanos, _SECOND)
    days, second = divmod(secs, _DAY)
    minutes, second = divmod(second, 60)
    year, month, day = _civil(days)
    sign = f"{year:04}" if 0 <= year <= 9999 else f"{year:+05}"
    clock = f"{minutes // 60:02}:{minutes % 60:02}:{second + leap:02}"
    return f"{sign}-{month:02}-{day:02}T{clock}{_fraction(nanos)}Z"


def _fraction(nanos: int) -> str:
    if nanos == 0:
        return ""
    if nanos % 1_000_000 == 0:
        return f".{nanos // 1_000_000:03}"
    if nanos % 1000 == 0:
        return f".{nanos // 1000:06}"
    return f".{nanos:09}"


def _plain_seconds(text: str) -> int | None:
    midnight = _midnight(text[:10])
    if midnight is None:
        return None
    return midnight + _MINUTES[text[11:16]] + _SECONDS[text[17:19]]


@lru_cache(maxsize=4096)
def _midnight(date: str) -> int | None:
    year, month, day = int(date[:4]), int(date[5:7]), int(date[8:])
    return _days(year, month, day) * _DAY if _is_date(year, month, day) else None


def _parse_relaxed(text: str) -> Timestamp:
    found = _RELAXED.fullmatch(text)
    if found is None:
        raise MalformedRecord(f"{text[:80]!r} is not a time")
    year = int(found["year"] or found["era"] + found["far"])
    month, day = int(found["month"]), int(found["day"])
    hour, minute, second = int(found["hour"]), int(found["minute"]), int(found["second"])
    offset = _offset(found["sign"], found["oh"], found["om"])
    if not _is_date(year, month, day) or hour > 23 or minute > 59 or second > 60 or offset is None:
        raise MalformedRecord(f"{text[:80]!r} is out of range")
    leap = second // 60  # :60 is the second before it, one second longer
    secs = _days(year, month, day) * _DAY + hour * 3600 + minute * 60 + second - leap - offset
    if not _FIRST_YEAR <= _civil(secs // _DAY)[0] <= _LAST_YEAR:
        raise MalformedRecord(f"{text[:80]!r} is out of range")
    nanos = int((found["fraction"] or "")[:9].ljust(9, "0"))
    return Timestamp(secs, nanos + leap * _SECOND, text)


def _offset(sign: str | None, hours: str | None, minutes: str | None) -> int | None:
    """Seconds east of Greenwich; None if there is no such offset."""
    if hours is None or minutes is None:
        return 0
    if int(hours) > 23 or int(minutes) > 59:
        return None
    east = int(hours) * 3600 + int(minutes) * 60
    return east if sign == "+" else -east


def _is_date(year: int, month: int, day: int) -> bool:
    if not _FIRST_YEAR <= year <= _LAST_YEAR or not 1 <= month <= 12:
        return False
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    longest = 28 + leap if month == 2 else 30 if month in (4, 6, 9, 11) else 31
    return 1 <= day <= longest


def _days(year: int, month: int, day: int) -> int:
    """Days from 1970-01-01 in the proleptic Gregorian calendar, counting years from March."""
    era_year = year - (month < 3)
    day_of_year = (153 * ((month - 3) % 12) + 2) // 5 + day - 1
    return era_year * 365 + era_year // 4 - era_year // 100 + era_year // 400 + day_of_year - 719_468


def _civil(days: int) -> tuple[int, int, int]:
    """Year, month and day of a day number; the inverse of `_days`."""
    era, day_of_era = divmod(days + 719_468, 146_097)
    year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted = (5 * day_of_year + 2) // 153
    month = shifted + 3 if shifted < 10 else shifted - 9
    return era * 400 + year_of_era + (month < 3), month, day_of_year - (153 * shifted + 2) // 5 + 1
