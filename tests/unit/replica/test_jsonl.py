"""Batches in append-only files: cutting, and settling a write that stopped anywhere."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetsync.errors import MalformedRecord
from fleetsync.replica import jsonl


def is_record(body: bytes) -> bool:
    try:
        return isinstance(json.loads(body), dict)
    except ValueError:
        return False


def key(body: bytes) -> bytes:
    if not is_record(body):
        raise MalformedRecord("not an object")
    return body


def mend(data: bytes, todo: jsonl.Settlement, offset: int) -> bytes:
    """What the file holds after a settlement was carried out."""
    file = bytearray(data)
    if todo.blank:
        start, length = todo.blank
        file[start - offset : start - offset + length] = b"\n" * length
    return bytes(file) + todo.missing


LINES = [b'{"kind":"execution","n":1}', b'{"kind":"execution","n":2}', b'{"kind":"x","text":"a{b"}']
FOREIGN = [b'{"kind":"execution","n":3}\n', b'{"kind":"x","text":"a}"}\n', b'\n{"kind":"execution","n":12}\n']


def test_a_batch_starts_a_new_line_unless_the_file_is_empty() -> None:
    """The end of a file may lie between another writer's line and its newline."""
    assert jsonl.batch_of([b"1", b"2"], empty=True) == b"1\n2\n"
    assert jsonl.batch_of([b"1", b"2"], empty=False) == b"\n1\n2\n"


@pytest.mark.parametrize("empty", [True, False])
def test_a_write_cut_anywhere_at_the_end_of_the_file_is_completed(empty: bool) -> None:
    """After a kill the file ends in some prefix of the batch, and settling makes it whole."""
    batch = jsonl.batch_of(LINES, empty=empty)
    for cut in range(1 if empty else 2, len(batch) + 1):  # a newline alone is nobody's
        todo = jsonl.settle(batch[:cut], 100, batch, is_record)
        assert mend(batch[:cut], todo, 100) == batch
        assert todo.whole == len(batch)


@pytest.mark.parametrize("foreign", FOREIGN)
@pytest.mark.parametrize("empty", [True, False])
def test_a_torn_line_of_ours_is_blanked_and_the_line_behind_it_is_whole_again(
    foreign: bytes, empty: bool
) -> None:
    """Another writer appended to our fragment: its record is kept, ours is gone or stands whole."""
    batch = jsonl.batch_of(LINES, empty=empty)
    for cut in range(2, len(batch)):
        data = batch[:cut] + foreign
        after = mend(data, jsonl.settle(data, 0, batch, is_record), 0)
        lines = [line for line in after.split(b"\n") if line]
        assert all(is_record(line) for line in lines), (cut, after)
        assert foreign.strip() in lines


BEFORE = [b"", b"\n", b'{"kind":"execution","n":8}\n', b'\n"torn\n\n']


@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("behind", [b'{"other":1}\n', b'{"other":1}', b'{"other":1}\n{"more":2}\n{"torn'])
def test_only_the_torn_last_line_of_a_batch_is_blanked(before: bytes, behind: bytes) -> None:
    """Wherever the batch begins in what was written since: its whole lines stay, and a record behind it is
    another writer's from its first byte, though ours would have gone on alike.
    """
    batch = jsonl.batch_of(LINES, empty=False)
    for cut in range(2, len(batch)):
        data = before + batch[:cut] + behind
        todo = jsonl.settle(data, 100, batch, is_record)
        whole = batch.rfind(b"\n", 0, cut) + 1
        assert (todo.whole, todo.blank is None) == (whole, cut == whole), data
        assert mend(data, todo, 100) == before + batch[:whole] + b"\n" * (cut - whole) + behind


@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("behind", [b"7\n", b"}torn", b'"{"\n{"other":1}\n'])
def test_lines_that_stand_whole_are_known_whatever_stands_behind(before: bytes, behind: bytes) -> None:
    """A fragment with nobody's record behind it cannot be told from another writer's and is left alone; the
    lines before it are in the file and must be counted.
    """
    batch = jsonl.batch_of(LINES, empty=False)
    for cut in range(batch.find(b"\n", 1) + 1, len(batch) - 2):
        data = before + batch[:cut] + behind
        todo = jsonl.settle(data, 100, batch, is_record)
        assert todo == jsonl.Settlement(whole=batch.rfind(b"\n", 0, cut) + 1), data


@pytest.mark.parametrize("data", [b"", b"\n", b"\n\n", b'{"other":1}\n', b'{"other":1}\n\n{"other":1}\n'])
def test_a_newline_alone_is_nobodys(data: bytes) -> None:
    """Every batch begins with one, and so does what another writer adds."""
    batch = jsonl.batch_of(LINES, empty=False)
    assert jsonl.settle(data, 100, batch, is_record) == jsonl.Settlement()


def test_only_bytes_at_the_start_of_a_line_are_taken_for_ours() -> None:
    """A file that was empty has its batch at its first byte, or not at all."""
    batch = jsonl.batch_of(LINES, empty=True)
    assert jsonl.settle(b"x" + batch[:40], 0, batch, is_record) == jsonl.Settlement()
    behind = jsonl.settle(b'{"other":1}\n' + batch[:40], 0, batch, is_record)
    assert behind == jsonl.Settlement()
    batch = jsonl.batch_of(LINES[:1], empty=False)
    assert jsonl.settle(b"x" + batch[1:20], 0, batch, is_record) == jsonl.Settlement()


@pytest.mark.parametrize("foreign", FOREIGN)
def test_another_writers_lines_that_resemble_ours_are_never_touched(foreign: bytes) -> None:
    """Only bytes of ours may be blanked; a batch that was never written leaves nothing to do."""
    batch = jsonl.batch_of(LINES, empty=False)
    todo = jsonl.settle(foreign, 0, batch, is_record)
    assert mend(foreign, todo, 0) == foreign or todo.blank is None
    assert foreign.strip() in mend(foreign, todo, 0)


@given(st.lists(st.sampled_from([*LINES, b"", b"torn {", b'{"a":1}{"b":2}', b'{"a":1}x{"c":3}']), max_size=8))
def test_every_record_in_a_file_is_found_where_it_stands(lines: list[bytes]) -> None:
    """Glued and torn neighbours do not hide a good record, and offsets point at its bytes."""
    data = b"\n".join(lines) + b"\n"
    found = [(line, k) for line, k in jsonl.keyed(data, 1000, key)]
    for line, _ in found:
        assert data[line.offset - 1000 :].startswith(line.body)
    good = [line.body for line, k in found if k is not None]
    assert [b for b in good if b in LINES] == [b for b in lines if b in LINES]
    assert good.count(b'{"b":2}') == lines.count(b'{"a":1}{"b":2}')
    assert good.count(b'{"c":3}') == lines.count(b'{"a":1}x{"c":3}')
    assert sum(k is None for _, k in found) >= lines.count(b"torn {")
