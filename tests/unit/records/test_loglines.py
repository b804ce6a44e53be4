"""Lines and glued pieces: every byte is accounted for, and effort is bounded."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetsync.records import loglines, strictjson

OBJECTS = st.sampled_from([b'{"a":1}', b'{"b":{"c":"}{"}}', '{"é":"€"}'.encode()])
SCRAPS = st.sampled_from([b"", b"x", b'{"torn":"', b"\x00\x00", b"\xff", b",", b"{", b" ", "€".encode()])


@given(st.binary(max_size=60).map(lambda data: data.replace(b"a", b"\n").replace(b"b", b"\r\n")))
def test_lines_are_where_they_say(data: bytes) -> None:
    """Each line stands at its offset, ends where a line ends, and none is left out."""
    found = list(loglines.lines(data))
    for line in found:
        end = line.offset + len(line.body)
        assert data[line.offset : end] == line.body
        assert data[end:].startswith((b"\n", b"\r\n")) or end == len(data)
        assert line.number == data.count(b"\n", 0, line.offset) + 1
    assert b"".join(line.body for line in found) == data.replace(b"\r\n", b"").replace(b"\n", b"")


@given(st.lists(st.tuples(SCRAPS, OBJECTS), max_size=5), SCRAPS)
def test_pieces_are_where_they_say(parts: list[tuple[bytes, bytes]], last: bytes) -> None:
    """Each piece stands at its offset, and all but white space belongs to one."""
    line = b"".join(scrap + body for scrap, body in parts) + last
    found = loglines.pieces(line)
    assert all(line[p.offset : p.offset + len(p.body)] == p.body for p in found)
    assert b"".join(p.body for p in found).replace(b" ", b"") == line.replace(b" ", b"")


@pytest.mark.parametrize(
    ("line", "whole"),
    [
        (b'{"a":1}{"b":2}', [b'{"a":1}', b'{"b":2}']),
        (b'{"a":"to{"b":2}', [b'{"b":2}']),
        (b'{"a":{"x":{"b":2}', [b'{"b":2}']),
        (b'\xef\xbb\xbf{"a":1}', [b'{"a":1}']),
        (b'\x00\x00{"a":1} \r', [b'{"a":1}']),
        (b'{"a":"\xff"}{"b":2}', [b'{"a":"\xff"}', b'{"b":2}']),
        (b"{}", []),
        (b"", []),
    ],
)
def test_whole_objects_are_found(line: bytes, whole: list[bytes]) -> None:
    """Glued, torn, after a BOM, padded with NULs, beside bytes that are no text."""
    assert [p.body for p in loglines.pieces(line) if p.whole] == whole


def test_only_the_white_space_of_json_is_dropped() -> None:
    """Around a line and around each of its pieces; a form feed is scrap."""
    assert loglines.trim(b' \t{"a":1}\r ') == (2, b'{"a":1}')
    assert loglines.trim(b"\x0c\x0b") == (0, b"\x0c\x0b")
    assert loglines.trim(b" \r") == (2, b"")
    assert loglines.pieces(b' x  {"a":1}\t y \x0c') == [
        loglines.Piece(1, b"x", False),
        loglines.Piece(4, b'{"a":1}', True),
        loglines.Piece(13, b"y \x0c", False),
    ]


def test_the_search_for_records_ends_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read of a line that only begins, again and again, is a few times its length; a short one is
    searched to its end.
    """
    read = 0
    extent = strictjson.extent

    def counted(text: str, start: int) -> int:
        nonlocal read
        try:
            return extent(text, start)
        except strictjson.NotAnObject as error:
            read += error.at - start
            raise

    monkeypatch.setattr(strictjson, "extent", counted)
    line = b'{"a":' * 20_000 + b'{"b":2}'
    assert not any(piece.whole for piece in loglines.pieces(line))
    assert len(line) < read < 5 * len(line)
    found = loglines.pieces(b'{"' * 40 + b'{"b":2}')
    assert [piece.body for piece in found if piece.whole] == [b'{"b":2}']


@pytest.mark.parametrize(
    "hostile", [b'{"a":' * 200_000, b'{"a":[1,' * 120_000, b'{"' * 500_000, b"{ " * 500_000]
)
def test_a_hostile_line_costs_no_more_than_its_length(hostile: bytes) -> None:
    """A megabyte of beginnings without an end is scrap within seconds, not hours."""
    began = time.process_time()
    assert not any(p.whole for p in loglines.pieces(hostile))
    assert time.process_time() - began < 30


def test_a_line_of_many_records_costs_no_more_than_its_length() -> None:
    """A megabyte of glued records is taken apart within seconds, each of them where it stands."""
    began = time.process_time()
    found = loglines.pieces(b'\xff{"a":1}' * 100_000)
    assert time.process_time() - began < 30
    assert found[-1] == loglines.Piece(799_993, b'{"a":1}', True)
    assert len(found) == 200_000
