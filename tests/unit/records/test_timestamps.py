"""Instants: exact arithmetic, the short way beside the long way, comparison by time alone."""

from __future__ import annotations

import calendar
import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetsync.errors import MalformedRecord
from fleetsync.records import timestamps
from fleetsync.records.timestamps import Timestamp

# All of mur's calendar, in ns since 1970.
NANOSECONDS = st.integers(-8334601228800 * 10**9, 8210266876799 * 10**9)
DATETIMES = st.datetimes(timezones=st.just(dt.UTC))
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


@given(NANOSECONDS)
def test_what_is_written_is_read_back(nanoseconds: int) -> None:
    """Every instant survives a round trip through its text, to the nanosecond."""
    ts = timestamps.at(nanoseconds)
    again = timestamps.parse(ts.canonical)
    assert (again.secs * 10**9 + again.nanos, again.text) == (nanoseconds, ts.text)


@given(DATETIMES)
def test_agrees_with_the_standard_library(when: dt.datetime) -> None:
    """For the years that `datetime` knows, the microseconds are the same."""
    assert timestamps.parse(when.isoformat()).micros == (when - EPOCH) // dt.timedelta(microseconds=1)


@given(DATETIMES, st.integers(0, 999_999_999), st.integers(0, 9))
def test_short_way_equals_long_way(when: dt.datetime, nanos: int, digits: int) -> None:
    """A plain time is read alike by the inner loop, the short way and the relaxed reader."""
    fraction = f".{nanos:09}"[: digits + 1] if digits else ""
    text = f"{when:%Y}".zfill(4) + f"{when:-%m-%dT%H:%M:%S}{fraction}Z"
    ts, relaxed = timestamps.parse(text), timestamps._parse_relaxed(text)
    assert (ts.secs, ts.nanos, ts.text) == (relaxed.secs, relaxed.nanos, relaxed.text)
    assert timestamps.plain_micros(text) == ts.micros
    plain = timestamps.plain(text)
    assert plain is not None
    assert (plain.secs, plain.nanos, plain.text) == (ts.secs, ts.nanos, text)


def test_every_day_of_four_centuries_is_called_by_its_name() -> None:
    """After which the calendar repeats itself; read again it is the same day."""
    for ordinal in range(dt.date(1799, 12, 30).toordinal(), dt.date(2200, 1, 2).toordinal()):
        days = ordinal - EPOCH.toordinal()
        name = dt.date.fromordinal(ordinal).isoformat()
        assert timestamps.write(days * 86_400, 0) == f"{name}T00:00:00Z"
        assert timestamps.plain_micros(f"{name}T00:00:00Z") == days * 86_400_000_000


@pytest.mark.parametrize("year", [4, 1896, 1900, 1904, 1999, 2000, 2001, 2100, 2400, 9999])
def test_a_month_has_as_many_days_as_it_has(year: int) -> None:
    """Every fourth year one more, but for three centuries in four."""
    for month in range(1, 13):
        longest = calendar.monthrange(year, month)[1]
        days = [day for day in range(100) if timestamps.is_day(f"{year:04}-{month:02}-{day:02}")]
        assert days == list(range(1, longest + 1))


@pytest.mark.parametrize("date", ["2026-02-29", "2026-04-31", "2026-00-10", "2026-13-01", "1900-02-29"])
def test_a_day_that_does_not_exist_is_refused(date: str) -> None:
    """The short way knows the calendar."""
    assert not timestamps.is_day(date)
    assert timestamps.plain_micros(f"{date}T00:00:00Z") is None
    assert timestamps.plain(f"{date}T00:00:00Z") is None
    with pytest.raises(MalformedRecord):
        timestamps.parse(f"{date}T00:00:00Z")


def test_instants_compare_by_time_alone() -> None:
    """Other spellings of one instant are equal, and equal as keys."""
    a, b = timestamps.parse("2026-05-30T00:00:00Z"), timestamps.parse("2026-05-30T02:00:00.000+02:00")
    assert a == b
    assert a <= b
    assert b >= a
    assert len({a, b}) == 1
    assert a.text != b.text
    assert a != "2026-05-30T00:00:00Z"
    assert not a < b
    later, fraction = timestamps.parse("2026-05-30T00:00:01Z"), timestamps.parse("2026-05-30T00:00:00.1Z")
    assert a < fraction < later
    assert a not in (later, fraction)


def test_an_offset_is_less_than_a_day() -> None:
    """23:59 in either direction, and nothing beyond it."""
    noon = timestamps.parse("2026-05-30T12:00:00Z")
    assert timestamps.parse("2026-05-31T11:59:00+23:59") == noon
    assert timestamps.parse("2026-05-29T12:01:00-23:59") == noon
    for offset in ("+24:00", "-24:00", "+00:60"):
        with pytest.raises(MalformedRecord):
            timestamps.parse(f"2026-05-30T12:00:00{offset}")


def test_a_leap_second_sorts_before_the_second_it_shares_its_microseconds_with() -> None:
    """`:60` is later than `:59.9` and earlier than the next `:00`, with whose key it collides."""
    before = timestamps.parse("2026-05-30T23:59:59.999999999Z")
    leap = timestamps.parse("2026-05-30T23:59:60Z")
    after = timestamps.parse("2026-05-31T00:00:00Z")
    assert before < leap < after
    assert leap.micros == after.micros


def test_microseconds_are_floored_before_1970() -> None:
    """Half a microsecond before 1970 is microsecond -1, not 0."""
    assert timestamps.parse("1969-12-31T23:59:59.9999995Z").micros == -1


def test_item_timestamps_are_clamped() -> None:
    """An item's timestamp is never negative and never infinity."""
    assert timestamps.parse("1960-01-01T00:00:00Z").clamped == 0
    assert Timestamp(2**63, 0, "").clamped == 2**64 - 2
    assert timestamps.parse("2026-05-30T00:00:00.0000019Z").clamped == 1780099200000001


@pytest.mark.parametrize("text", ["+" + "9" * 5000 + "-01-01T00:00:00Z", "1-1-1T0:0:0." + "9" * 5000 + "Z"])
def test_thousands_of_digits_do_no_harm(text: str) -> None:
    """A number that Python would refuse to convert is an answer like any other."""
    try:
        assert timestamps.parse(text).nanos == 999_999_999
    except MalformedRecord:
        assert text.startswith("+")


def test_thousands_of_zeros_before_a_year_do_no_harm() -> None:
    """A signed year may have any number of leading zeros: it is the same year, or none of the calendar."""
    padded = "+" + "0" * 5000
    assert timestamps.parse(f"{padded}2024-01-01T00:00:00Z") == timestamps.parse("2024-01-01T00:00:00Z")
    assert timestamps.parse(f"{padded}-01-01T00:00:00Z") == timestamps.parse("+0-01-01T00:00:00Z")
    with pytest.raises(MalformedRecord):
        timestamps.parse(f"{padded}12345678-01-01T00:00:00Z")
