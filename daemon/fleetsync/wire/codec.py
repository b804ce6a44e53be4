"""Messages to bytes and back, within limits that hold before memory is spent.

Knows MessagePack, zstd and the four-byte frame length; knows neither sockets nor storage. Rule of the
file: what is read comes from a stranger who happens to be paired, so every size and every count is
bounded before anything is allocated for it, and every failure is `MalformedMessage` or `TooLarge`.
Implements docs/protocol.md, "Encoding".
"""

from __future__ import annotations

import sys
from collections.abc import Hashable, Iterable, Iterator
from functools import cache
from typing import Annotated, Any, TypeVar, cast

import msgspec

from fleetsync.errors import MalformedMessage, TooLarge
from fleetsync.ports import Group, Item
from fleetsync.wire.messages import (
    MAX_ENCODED,
    MAX_EXPANDED,
    MAX_GROUPS,
    MAX_MEMBERS,
    Batch,
    Frame,
    Heartbeat,
    Receipt,
)

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PLAIN, ZSTD = 0, 1
PLAIN_BELOW = 512  # bytes: below this zstd saves little and costs its frame header
LEVEL = 3
MAX_SMALL = 1 << 20
"""Expanded size of every message that is not a batch or a receipt."""

BATCH_BYTES = 384 << 10
BATCH_MEMBERS = 16_384
BATCH_GROUPS = 1024
"""What a sender puts into one batch: raw bytes, bodies, paths. Well inside what a receiver accepts, and
within what a connection carries behind a middlebox that resets each after half a megabyte."""
COVERING_BYTES = 512 << 10
"""Covering versions that one receipt carries; the rest is found by the next reconciliation."""

FRAME_HEADER = 4
WINDOW_LOG_MAX = 24  # 16 MiB, the largest expanded size: a longer window could never be used

T = TypeVar("T")


# --- payloads ------------------------------------------------------------------------------------


def encode(message: msgspec.Struct) -> bytes:
    """The payload of a message: one byte of encoding and the body. Raises `TooLarge`."""
    raw = msgspec.msgpack.encode(message)
    if len(raw) > MAX_EXPANDED:
        raise TooLarge(f"a message of {len(raw)} bytes is over the limit of {MAX_EXPANDED}")
    payload = _smaller(raw)
    if len(payload) > MAX_ENCODED:
        raise TooLarge(f"a message of {len(payload)} encoded bytes is over the limit of {MAX_ENCODED}")
    return payload


def _smaller(raw: bytes) -> bytes:
    if len(raw) >= PLAIN_BELOW:
        packed = zstd.compress(raw, LEVEL)
        if len(packed) < len(raw):
            return b"\x01" + packed
    return b"\x00" + raw


def decode(payload: bytes, kind: type[T], limit: int = MAX_SMALL) -> T:
    """The message in a payload; `limit` bounds its expanded size in bytes.

    Raises `MalformedMessage` for what is no `kind`, `TooLarge` for what is too much.
    """
    decoder: msgspec.msgpack.Decoder[T] = _decoder(cast(Hashable, kind))
    return _parse(decoder, expand(payload, limit))


def expand(payload: bytes, limit: int) -> memoryview | bytes:
    """The MessagePack bytes in a payload, at most `limit` of them, checked while expanding."""
    if len(payload) > MAX_ENCODED:
        raise TooLarge(f"a payload of {len(payload)} bytes is over the limit of {MAX_ENCODED}")
    if not payload:
        raise MalformedMessage("an empty payload")
    body = memoryview(payload)[1:]
    if payload[0] == ZSTD:
        return _decompress(body, limit)
    if payload[0] != PLAIN:
        raise MalformedMessage(f"unknown payload encoding {payload[0]}")
    if len(body) > limit:
        raise TooLarge(f"a message of {len(body)} bytes is over the limit of {limit}")
    return body


def _decompress(packed: memoryview, limit: int) -> bytes:
    expander = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: WINDOW_LOG_MAX})
    try:
        raw = expander.decompress(packed, limit + 1)
    except zstd.ZstdError as error:
        raise MalformedMessage(f"a payload that does not expand: {error}") from error
    if len(raw) > limit:
        raise TooLarge(f"a payload that expands beyond the limit of {limit} bytes")
    if not expander.eof or expander.unused_data:
        raise MalformedMessage("a payload that is not exactly one zstd frame")
    return raw


@cache
def _decoder(kind: Hashable) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(cast("type[Any]", kind))


def _parse(decoder: msgspec.msgpack.Decoder[T], raw: memoryview | bytes) -> T:
    try:
        return decoder.decode(raw)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise MalformedMessage(f"a message that cannot be read: {error}") from error


# --- batches, bounded in objects as well as in bytes -----------------------------------------------


class _RawBatch(msgspec.Struct, frozen=True, array_like=True, tag=1):
    groups: Annotated[list[msgspec.Raw], msgspec.Meta(max_length=MAX_GROUPS)]


class _BoundedGroup(msgspec.Struct, frozen=True, array_like=True):
    path: str
    bodies: Annotated[list[bytes], msgspec.Meta(max_length=MAX_MEMBERS)]


def decode_frame(payload: bytes) -> Frame:
    """A batch or a heartbeat. Raises `MalformedMessage`, `TooLarge`."""
    found = decode(payload, _RawBatch | Heartbeat, MAX_EXPANDED)  # type: ignore[arg-type]
    return found if isinstance(found, Heartbeat) else _groups(found)


def decode_batch(payload: bytes) -> Batch:
    """A batch: at most `MAX_GROUPS` paths, `MAX_MEMBERS` bodies. Raises `MalformedMessage`, `TooLarge`."""
    return _groups(decode(payload, _RawBatch, MAX_EXPANDED))


def _groups(found: _RawBatch) -> Batch:
    groups: list[Group] = []
    left = MAX_MEMBERS
    for raw in found.groups:
        group = _parse(_decoder(_BoundedGroup), memoryview(raw))
        left -= len(group.bodies)
        if left < 0:
            raise TooLarge(f"a batch with more than {MAX_MEMBERS} bodies")
        groups.append(Group(group.path, group.bodies))
    return Batch(groups)


def decode_receipt(payload: bytes) -> Receipt:
    """A receipt, which may carry covering versions. Raises `MalformedMessage`, `TooLarge`."""
    return decode(payload, Receipt, MAX_EXPANDED)


def fitted(receipt: Receipt) -> Receipt:
    """The receipt without the covering versions beyond `COVERING_BYTES`."""
    room = COVERING_BYTES
    exceptions = {}
    for position, verdict in sorted(receipt.exceptions.items()):
        room -= len(verdict.covering or b"")
        exceptions[position] = verdict if room >= 0 else msgspec.structs.replace(verdict, covering=None)
    return Receipt(exceptions, receipt.head)


# --- cutting what is sent into batches -------------------------------------------------------------


def grouped(items: Iterable[Item]) -> Iterator[Group]:
    """Neighbouring items of one path as one group, order kept."""
    path, bodies = "", list[bytes]()
    for item in items:
        if bodies and item.path != path:
            yield Group(path, bodies)
            bodies = []
        path = item.path
        bodies.append(item.body)
    if bodies:
        yield Group(path, bodies)


def batches(groups: Iterable[Group], limit: int | None = None) -> Iterator[Batch]:
    """The groups, order kept, cut so that each batch can be encoded and will be accepted.

    A batch holds at most `limit` bytes raw (`BATCH_BYTES` if none is given), unless it is one larger body
    alone.
    """
    limit = limit or BATCH_BYTES
    batch = _Filling(limit)
    for group in groups:
        for body in group.bodies:
            if not batch.has_room(group.path, body):
                yield Batch(batch.groups)
                batch = _Filling(limit)
            batch.add(group.path, body)
    if batch.groups:
        yield Batch(batch.groups)


class _Filling:
    """A batch while it is being filled."""

    def __init__(self, limit: int) -> None:
        self.groups: list[Group] = []
        self._limit = limit
        self._bytes = 0
        self._members = 0

    def has_room(self, path: str, body: bytes) -> bool:
        if not self.groups:
            return True
        fits = self._bytes + self._cost(path, body) <= self._limit and self._members < BATCH_MEMBERS
        return fits and (self.groups[-1].path == path or len(self.groups) < BATCH_GROUPS)

    def add(self, path: str, body: bytes) -> None:
        self._bytes += self._cost(path, body)
        self._members += 1
        if not self.groups or self.groups[-1].path != path:
            self.groups.append(Group(path, []))
        self.groups[-1].bodies.append(body)

    def _cost(self, path: str, body: bytes) -> int:
        opens = not self.groups or self.groups[-1].path != path
        return len(body) + 5 + (len(path) + 16 if opens else 0)


# --- frames ----------------------------------------------------------------------------------------


def frame(payload: bytes) -> bytes:
    """The payload as it stands in a stream: its length in four bytes, then itself."""
    return len(payload).to_bytes(FRAME_HEADER, "big") + payload


class FrameReader:
    """Cuts a stream of bytes, arriving in any pieces, into payloads."""

    def __init__(self, limit: int = MAX_ENCODED) -> None:
        self._limit = limit
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        """Take what has arrived."""
        self._buffer += data

    def next(self) -> bytes | None:
        """The next payload, None if it is not complete yet.

        Raises as soon as its length is known and illegal, before the payload itself has arrived.
        """
        if len(self._buffer) < FRAME_HEADER:
            return None
        announced = int.from_bytes(self._buffer[:FRAME_HEADER], "big")
        if announced > self._limit:
            raise TooLarge(f"a frame of {announced} bytes is over the limit of {self._limit}")
        if announced == 0:
            raise MalformedMessage("an empty frame")
        stop = FRAME_HEADER + announced
        if len(self._buffer) < stop:
            return None
        payload = bytes(self._buffer[FRAME_HEADER:stop])
        del self._buffer[:stop]
        return payload

    def finish(self) -> None:
        """The stream has ended; raises `MalformedMessage` if it ended within a frame."""
        if self._buffer:
            raise MalformedMessage(f"a stream that ends {len(self._buffer)} bytes into a frame")
