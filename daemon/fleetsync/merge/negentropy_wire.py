"""Negentropy V1 as bytes: varints, bounds and ranges; what they mean is `reconcile.py`'s concern.

A message is a version byte and ranges that cover the whole order from the start: each has an
exclusive upper bound, a mode and a payload. Everything read here comes from another device, so
every length is checked before it is used and one pass over the bytes is all that ever happens;
what breaks a rule raises `MalformedMessage`. Implements docs/protocol.md, "Reconciliation".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from fleetsync.errors import MalformedMessage

Key = tuple[int, bytes]
"""(timestamp µs, 32-byte id): where an item stands."""

Bound = tuple[int, bytes]
"""(timestamp µs, id prefix of 0 … 32 bytes, missing bytes are zero): a cut in the order of keys."""

INFINITY = 2**64 - 1
START: Bound = (0, b"")
END: Bound = (INFINITY, b"")

VERSION = 0x61
VERSIONS = range(0x60, 0x70)

SKIP = 0
FINGERPRINT = 1
ID_LIST = 2

ID_SIZE = 32
FINGERPRINT_SIZE = 16
VARINT_SIZE = 10  # bytes that 2^64 - 1 takes

_SMALL = [bytes((value,)) for value in range(128)]


class Limits(NamedTuple):
    """What is accepted from another device before it is called hostile."""

    message: int = 1 << 20  # bytes
    ranges: int = 1 << 16  # in one message; a full message of fingerprints has 55,000
    rounds: int = 64  # per session; a healthy one of any size needs fewer than 40


class Range(NamedTuple):
    """One range as read: its lower bound is the upper bound of the one before."""

    upper: Bound
    mode: int
    payload: bytes  # a fingerprint, or ids one after the other
    left: int  # bytes of the message behind it


def encode_varint(value: int) -> bytes:
    """Base 128, most significant group first, as short as possible."""
    if value < 128:
        return _SMALL[value]
    if value < 16_384:
        return bytes((128 | value >> 7, value & 127))
    groups = bytearray((value & 127,))
    while value := value >> 7:
        groups.append(128 | value & 127)
    groups.reverse()
    return bytes(groups)


def read_varint(message: bytes, at: int) -> tuple[int, int]:
    """The number at `at` and the position behind it; raises `MalformedMessage`.

    Refused: a cut number, one above 2^64 - 1, and one padded with leading zero groups.
    """
    if at >= len(message):
        raise MalformedMessage("the message ends inside a range")
    byte = message[at]
    if byte < 128:
        return byte, at + 1
    if byte == 128:
        raise MalformedMessage("a number is padded")
    value = 0
    for end, byte in enumerate(message[at : at + VARINT_SIZE], at + 1):
        value = value << 7 | byte & 127
        if byte < 128:
            if value > INFINITY:
                break
            return value, end
    raise MalformedMessage("a number is cut short or above 2^64 - 1")


def read_bytes(message: bytes, at: int, count: int) -> tuple[bytes, int]:
    """`count` bytes at `at` and the position behind them; raises `MalformedMessage`."""
    end = at + count
    if end > len(message):
        raise MalformedMessage("the message ends inside a range")
    return message[at:end], end


def read_version(message: bytes, limits: Limits) -> int:
    """The version byte of a message that is no larger than allowed; raises `MalformedMessage`."""
    if not message or len(message) > limits.message:
        raise MalformedMessage(f"a reconciliation message of {len(message)} bytes")
    if message[0] not in VERSIONS:
        raise MalformedMessage("not a reconciliation message")
    return message[0]


def read_ranges(message: bytes, limits: Limits) -> Iterator[Range]:
    """The ranges of a message with a known version byte, in order; raises `MalformedMessage`."""
    at, previous, size = 1, START, len(message)
    for _ in range(limits.ranges):
        if at >= size:
            return
        upper, at = _read_bound(message, at, previous)
        mode, at = read_varint(message, at)
        payload, at = _read_payload(message, at, mode)
        yield Range(upper, mode, payload, size - at)
        previous = upper
    if at < size:
        raise MalformedMessage(f"more than {limits.ranges} ranges in a message")


def _read_bound(message: bytes, at: int, previous: Bound) -> tuple[Bound, int]:
    step, at = read_varint(message, at)
    ts = min(previous[0] + step - 1, INFINITY) if step else INFINITY
    length, at = read_varint(message, at)
    prefix = b""
    if length:
        if length > ID_SIZE:
            raise MalformedMessage("a bound is longer than an id")
        prefix, at = read_bytes(message, at, length)
    bound = (ts, prefix)
    if bound < previous and prefix.ljust(ID_SIZE, b"\0") < previous[1].ljust(ID_SIZE, b"\0"):
        raise MalformedMessage("the bounds of the ranges decrease")
    return bound, at


def _read_payload(message: bytes, at: int, mode: int) -> tuple[bytes, int]:
    if mode == FINGERPRINT:
        return read_bytes(message, at, FINGERPRINT_SIZE)
    if mode == SKIP:
        return b"", at
    if mode != ID_LIST:
        raise MalformedMessage("a range has an unknown mode")
    count, at = read_varint(message, at)
    return read_bytes(message, at, count * ID_SIZE)


def split_ids(payload: bytes) -> list[bytes]:
    """The ids of a list, in order."""
    return [payload[at : at + ID_SIZE] for at in range(0, len(payload), ID_SIZE)]


def minimal_bound(before: Key, key: Key) -> Bound:
    """The shortest bound that is above `before` and not above `key`."""
    if key[0] != before[0]:
        return key[0], b""
    shared = next((i for i in range(ID_SIZE) if key[1][i] != before[1][i]), ID_SIZE)
    return key[0], key[1][: shared + 1]


class Writer:
    """A message being written; timestamps of bounds are differences to the bound before."""

    __slots__ = ("_last", "out")

    def __init__(self) -> None:
        self.out = bytearray((VERSION,))
        self._last = 0

    def __len__(self) -> int:
        return len(self.out)

    def skip(self, upper: Bound) -> None:
        """Nothing more to say up to `upper`."""
        self._bound(upper)
        self.out.append(SKIP)

    def fingerprint(self, upper: Bound, fingerprint: bytes) -> None:
        """The fingerprint of the range up to `upper`."""
        self._bound(upper)
        self.out.append(FINGERPRINT)
        self.out += fingerprint

    def id_list(self, upper: Bound, ids: bytes) -> None:
        """All ids of the range up to `upper`, one after the other."""
        self._bound(upper)
        self.out.append(ID_LIST)
        self.out += encode_varint(len(ids) // ID_SIZE)
        self.out += ids

    def mark(self) -> tuple[int, int]:
        """What `rewind` needs to come back to this point."""
        return len(self.out), self._last

    def rewind(self, mark: tuple[int, int]) -> None:
        """Forget what was written since `mark`."""
        del self.out[mark[0] :]
        self._last = mark[1]

    def _bound(self, bound: Bound) -> None:
        ts, prefix = bound
        self.out += b"\0" if ts == INFINITY else encode_varint(ts - self._last + 1)
        self.out.append(len(prefix))
        self.out += prefix
        self._last = ts
