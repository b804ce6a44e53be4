"""Reading hostile bytes, and writing what the format says."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetsync.errors import MalformedMessage
from fleetsync.merge.negentropy_wire import (
    END,
    INFINITY,
    Limits,
    Writer,
    encode_varint,
    minimal_bound,
    read_ranges,
    read_varint,
    read_version,
)

ID = bytes(range(32))


def read(text: str, limits: Limits | None = None) -> list[tuple[object, ...]]:
    """The ranges behind the version byte, given in hex."""
    return [tuple(part)[:3] for part in read_ranges(bytes.fromhex("61" + text), limits or Limits())]


@given(st.integers(0, INFINITY))
def test_numbers_survive(value: int) -> None:
    """What is written is read again, in at most ten bytes."""
    data = encode_varint(value)
    assert len(data) <= 10
    assert read_varint(b"\0" + data + b"\xff", 1) == (value, 1 + len(data))


@pytest.mark.parametrize(
    ("value", "text"), [(0, "00"), (127, "7f"), (128, "8100"), (16_383, "ff7f"), (16_384, "818000")]
)
def test_most_significant_group_first(value: int, text: str) -> None:
    """Not the little-endian order of other formats."""
    assert encode_varint(value).hex() == text


@pytest.mark.parametrize(
    "text",
    ["", "81", "8001", "ff" * 9, "82" + "80" * 8 + "00", "81" + "80" * 10 + "00", "ff" * 200_000],
    ids=["empty", "cut", "padded", "cut-late", "2^64", "eleven-bytes", "endless"],
)
def test_bad_numbers_are_refused(text: str) -> None:
    """Cut, padded, above 2^64 - 1 or endless."""
    with pytest.raises(MalformedMessage):
        read_varint(bytes.fromhex(text), 0)


@pytest.mark.parametrize(
    "text",
    [
        "00",
        "0000",
        "000001" + "aa" * 15,
        "000003",
        "0021" + "aa" * 33 + "00",
        "0020" + "aa" * 31,
        "000002" + "02" + "aa" * 63,
        "000002" + encode_varint(2**63).hex(),
        "0502ffff00" + "0101fe00",
        "0001ff00" + "0001fe00",
        "0502aa0100" + "0101aa00",
    ],
    ids=[
        "no-length",
        "no-mode",
        "short-fingerprint",
        "mode",
        "long-prefix",
        "short-prefix",
        "short-list",
        "huge-list",
        "decreasing",
        "decreasing-at-infinity",
        "decreasing-by-its-end",
    ],
)
def test_bad_ranges_are_refused(text: str) -> None:
    """Whatever is cut short, too long or out of order, before memory is spent on it."""
    with pytest.raises(MalformedMessage):
        read(text)


def test_timestamps_saturate() -> None:
    """A step beyond the last timestamp means infinity, and infinity stays."""
    assert read("0200 00" + encode_varint(INFINITY).hex() + "0000" + "050000") == [
        ((1, b""), 0, b""),
        (END, 0, b""),
        (END, 0, b""),
    ]


def test_equal_bounds_written_differently_do_not_decrease() -> None:
    """A prefix and the same prefix with zeros behind it are one bound."""
    assert len(read("0502aa0000" + "0101aa00")) == 2


@pytest.mark.parametrize("message", [b"", b"\x5f", b"\x70", b"\x00", b"\x61" + bytes(1 << 20)])
def test_no_version_or_too_large(message: bytes) -> None:
    """Only 1 MiB that begins with a version of this protocol is read at all."""
    with pytest.raises(MalformedMessage):
        read_version(message, Limits())


def test_a_flood_of_empty_ranges_ends_early() -> None:
    """A megabyte of zero-width skips is refused after a bounded number of them."""
    began = time.process_time()
    with pytest.raises(MalformedMessage):
        read("010000" * 300_000)
    assert time.process_time() - began < 1
    assert len(read("010000" * 100)) == 100


def test_a_message_may_have_as_many_ranges_as_the_limit() -> None:
    """And not one more."""
    assert len(read("010000" * 3, Limits(ranges=3))) == 3
    with pytest.raises(MalformedMessage, match="more than 3"):
        read("010000" * 4, Limits(ranges=3))


def test_rewinding_forgets_the_timestamp_too() -> None:
    """Differences start from the last bound that is still there."""
    writer = Writer()
    writer.skip((5, b""))
    mark = writer.mark()
    writer.skip((9, b"\xaa"))
    writer.rewind(mark)
    writer.id_list((6, b""), ID)
    assert writer.out.hex() == "61" + "060000" + "020002" + "01" + ID.hex()


def test_minimal_bounds() -> None:
    """The timestamp alone if it differs, else one byte more than both ids share."""
    assert minimal_bound((1, ID), (2, ID)) == (2, b"")
    assert minimal_bound((1, b"\1" * 32), (1, b"\1" * 3 + b"\2" * 29)) == (1, b"\1\1\1\2")


def test_a_message_may_be_as_long_as_the_limit() -> None:
    """And not a byte longer."""
    limits = Limits(message=100)
    assert read_version(b"\x61" + bytes(99), limits) == 0x61
    with pytest.raises(MalformedMessage, match="101 bytes"):
        read_version(b"\x61" + bytes(100), limits)
