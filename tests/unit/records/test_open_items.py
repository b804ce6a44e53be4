"""Open items: the line is the identity, its `at` the time, and what mur might not read is parked."""

from __future__ import annotations

import pytest

from fleetsync.errors import MalformedRecord
from fleetsync.records import open_items

OPEN = b'{"kind":"open","id":"0a1b2c3d4e5f","agent":"qa","title":"tests","at":"2026-08-03T10:00:00.000001Z"}'
NEXT = b'{"kind":"open","id":"a","agent":"qa","title":"t","next":"mur test","at":"2026-08-03T10:00:00Z"}'
RESOLVE = b'{"kind":"resolve","id":"0a1b2c3d4e5f","at":"2026-08-03T10:00:05Z"}'


def test_the_line_is_its_own_identity() -> None:
    """Two spellings of one record are two members; the time comes from `at`."""
    assert open_items.identity(OPEN) == (OPEN, 1_785_751_200_000_001)
    spaced = OPEN.replace(b",", b", ")
    assert open_items.identity(spaced) == (spaced, 1_785_751_200_000_001)


@pytest.mark.parametrize(
    "line",
    [
        b'{"kind":"resolve","id":"a"}',
        b'{"kind":"resolve","id":"a","at":5}',
        b'{"kind":"resolve","id":"a","at":"soon"}',
        b'{"kind":"resolve","id":"a","at":"2026-08-03T10:00:05Z","at":"2026-08-03T10:00:05Z"}',
    ],
)
def test_an_unreadable_time_is_zero(line: bytes) -> None:
    """Such a line is still a member, with a time that every device computes alike."""
    assert open_items.identity(line) == (line, 0)
    assert not open_items.readable_by_mur(line)


@pytest.mark.parametrize(
    "line", [b"", b"[]", b'"open"', b"{", b'{"kind":"open"', b"\xff", OPEN + b"x", OPEN * 2]
)
def test_what_is_no_object_has_no_identity(line: bytes) -> None:
    """A line that is not one JSON object does not sync."""
    with pytest.raises(MalformedRecord):
        open_items.identity(line)
    assert not open_items.readable_by_mur(line)
    assert open_items.unknown_kind(line) is None


@pytest.mark.parametrize(
    "line", [OPEN, NEXT, RESOLVE, NEXT.replace(b'"mur test"', b"null"), b'{"x":1,' + RESOLVE[1:]]
)
def test_what_mur_writes_is_readable(line: bytes) -> None:
    """mur's own lines, in any order of members and with unknown ones, may be written."""
    assert open_items.readable_by_mur(line)
    assert open_items.unknown_kind(line) is None


@pytest.mark.parametrize(
    "line",
    [
        OPEN.replace(b'"id":"0a1b2c3d4e5f",', b""),
        OPEN.replace(b'"tests"', b"7"),
        NEXT.replace(b'"mur test"', b"[]"),
        RESOLVE.replace(b'"id":"0a1b2c3d4e5f"', b'"id":null'),
        RESOLVE.replace(b"05Z", b"05+00:00"),
        RESOLVE.replace(b"05Z", b"05.10Z"),
        RESOLVE.replace(b'"kind":"resolve"', b'"kind":"resolve","kind":"resolve"'),
        RESOLVE.replace(b'"kind":"resolve"', b'"kind":{"resolve":null}'),
        RESOLVE.replace(b"{", b'{"x":1,"x":2,'),
        RESOLVE.replace(b",", b",\n"),
        RESOLVE.replace(b",", b",\r"),
        RESOLVE.replace(b'"resolve"', b'"Resolve"'),
    ],
)
def test_doubtful_lines_are_parked(line: bytes) -> None:
    """Whatever is not exactly as mur has it is a member that is not written."""
    open_items.identity(line)
    assert not open_items.readable_by_mur(line)


def test_a_new_kind_is_named() -> None:
    """A record of a kind that mur may get one day is known by that kind, and waits."""
    line = RESOLVE.replace(b'"resolve"', b'"postpone"')
    assert open_items.unknown_kind(line) == "postpone"
    assert not open_items.readable_by_mur(line)
    assert open_items.unknown_kind(line.replace(b"{", b'{"kind":"x",')) is None
