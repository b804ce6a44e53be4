"""Append-only line files: cutting bytes into lines, and settling a write that stopped anywhere.

Pure: bytes in, spans out; reading and writing is the caller's. A line ends with a newline; empty
lines mean nothing. A batch that a crash or a full disk cut short is found again by its own bytes,
and only those are ever touched (SEMANTICS §4.2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar

from fleetsync.errors import MalformedRecord
from fleetsync.records import loglines

T = TypeVar("T")

TAIL_BYTES = 256
"""How much before the indexed end is hashed, to tell a log that grew from one that was replaced."""


class Line(NamedTuple):
    """A record or a scrap in the file: where it starts and its bytes (no newline)."""

    offset: int
    body: bytes


def batch_of(bodies: Sequence[bytes], *, empty: bool) -> bytes:
    """The bytes to append in one write.

    It starts with a newline unless the file is empty: an older mur writes a line and its newline
    separately and takes no lock, so the end of the file may be inside such a pair.
    """
    return (b"" if empty else b"\n") + b"\n".join(bodies) + b"\n"


class Settlement(NamedTuple):
    """What is left to do about a batch whose write may have stopped anywhere.

    `missing`: bytes to append so that the fragment at the end of the file becomes whole.
    `blank`: a span (offset, length) of ours to overwrite with newlines.
    `whole`: how many leading bytes of the batch stand in the file for good once that is done.
    """

    missing: bytes = b""
    blank: tuple[int, int] | None = None
    whole: int = 0


def settle(data: bytes, offset: int, batch: bytes, is_record: Callable[[bytes], bool]) -> Settlement:
    """Find `batch` in `data`, the file's bytes from `offset`, the end of the file at the intent.

    Whole: nothing to do. A fragment at the end of the file: complete it. A fragment with another
    writer's bytes behind it: its whole lines stay, the torn last line of ours is blanked. Bytes are
    taken for ours only if they start where a line starts, are a prefix of our batch, and what stands
    behind them is a record that is not the continuation of the same line.
    """
    if batch in data:
        return Settlement(whole=len(batch))
    found = _longest_prefix(data, batch, is_record)
    if found is None:
        return Settlement()
    position, length = found
    if position + length == len(data):
        return Settlement(missing=batch[length:], whole=len(batch))
    torn = length - (batch.rfind(b"\n", 0, length) + 1)
    whole = length - torn
    span = (offset + position + whole, torn) if torn else None
    return Settlement(blank=span, whole=whole)


def _longest_prefix(data: bytes, batch: bytes, is_record: Callable[[bytes], bool]) -> tuple[int, int] | None:
    """(position, length) of the longest piece of `data` that is certainly a prefix of `batch`."""
    best: tuple[int, int] | None = None
    nothing = len(batch) - len(batch.lstrip(b"\n"))  # a newline alone is nobody's
    for position in _line_starts(data, batch):
        end = _end_of_ours(data, position + _common(data, position, batch), is_record)
        if end - position > nothing and (best is None or end - position > best[1]):
            best = position, end - position
    return best


def _line_starts(data: bytes, batch: bytes) -> Iterator[int]:
    """Where the batch may begin: at its leading newline, or (empty file) at the very start."""
    if not batch.startswith(b"\n"):
        yield 0
        return
    position = data.find(b"\n")
    while position >= 0:
        yield position
        position = data.find(b"\n", position + 1)


def _common(data: bytes, position: int, batch: bytes) -> int:
    """How many bytes of `data` from `position` agree with `batch`."""
    low, high = 0, min(len(batch), len(data) - position)
    while low < high:
        middle = (low + high + 1) // 2
        if data[position : position + middle] == batch[:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _end_of_ours(data: bytes, end: int, is_record: Callable[[bytes], bool]) -> int:
    """Where our bytes stop, at most at `end`: at the end of the file, of a line, or where another
    record is glued on (its first bytes may be what ours would have gone on with); else where that line
    begins, for the lines before it stand there whole.

    Another writer's line may begin like ours: it is a record as a whole, and then not ours.
    """
    if end == len(data) or data[end : end + 1] == b"\n":
        return end
    line_start = data.rfind(b"\n", 0, end) + 1
    line_end = data.find(b"\n", end)
    line_end = len(data) if line_end < 0 else line_end
    if is_record(data[line_start:line_end]):
        return line_start
    while end > line_start and not is_record(data[end:line_end]):
        end = data.rfind(b"{", line_start, end)
    return max(line_start, end)


def keyed(data: bytes, offset: int, key: Callable[[bytes], T]) -> Iterator[tuple[Line, T | None]]:
    """Each line with its key; of a damaged line its good records, then what is left with None."""
    for line in loglines.lines(data):
        place = Line(offset + line.offset, line.body)
        try:
            yield place, key(line.body)
        except MalformedRecord:
            yield from _salvaged(place, key)


def _salvaged(line: Line, key: Callable[[bytes], T]) -> Iterator[tuple[Line, T | None]]:
    """The records glued on a line; every other piece of it is malformed."""
    for piece in loglines.pieces(line.body):
        place = Line(line.offset + piece.offset, piece.body)
        try:
            yield place, key(piece.body)
        except MalformedRecord:
            yield place, None
