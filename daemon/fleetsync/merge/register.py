"""Registers: versions of one value, what covers what, and who wins (SEMANTICS §2).

A version knows what its author had applied (a version vector), so an edit, a restore or a deletion
made in knowledge of another simply replaces it. Only versions made without knowledge of each other
are decided by their stamps, and stamps are compared by content alone, so every device decides alike.
Rule of the file: functions of values; the clock comes in as an argument. The bytes of a version are
carried as authored and are the body of its item.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from functools import cached_property

import msgspec

from fleetsync.errors import MalformedRecord

GONE_DIGEST = b""
MAX_VECTOR = 256
ID_BYTES = 32
MAX_NUMBER = 2**53 - 1
"""Of numbers and times, µs: the year 2255."""


class Dot(msgspec.Struct, frozen=True, array_like=True, order=True):
    """The name of one version: the device that minted it and that device's running number."""

    device: str
    n: int


class Stamp(msgspec.Struct, frozen=True, array_like=True, order=True):
    """What decides between concurrent versions: compared field by field, in this order.

    `effective` and `hybrid` are µs since 1970; `digest` is the SHA-256 of the value, empty for gone.
    """

    effective: int
    hybrid: int
    device: str
    digest: bytes


class Floor(msgspec.Struct, frozen=True, array_like=True, dict=True):
    """What a deletion had seen of the log beside it: everything up to `ts`, and `above` by id."""

    ts: int
    above: list[bytes]

    @cached_property
    def listed(self) -> frozenset[bytes]:
        """The same ids, to be asked for each line of a log."""
        return frozenset(self.above)


class Version(msgspec.Struct, frozen=True, array_like=True):
    """One value that a register had, or that it is gone (`value` None).

    `vector` maps a device to the highest number of its versions that the author had applied here.
    A deletion carries in `before` what it deleted, and in `floor` which lines of the log beside it go
    with it; a value made after a deletion inherits the floor.
    """

    dot: Dot
    vector: dict[str, int]
    stamp: Stamp
    value: bytes | None
    floor: Floor | None = None
    before: bytes | None = None


_ENCODER = msgspec.msgpack.Encoder(order="sorted")
_DECODER = msgspec.msgpack.Decoder(Version)


def digest_of(value: bytes | None) -> bytes:
    """The SHA-256 of a value, or `GONE_DIGEST`."""
    return GONE_DIGEST if value is None else hashlib.sha256(value).digest()


def encode(version: Version) -> bytes:
    """The body of the version's item."""
    return _ENCODER.encode(version)


def decode(body: bytes) -> Version:
    """The version in an item body; raises `MalformedRecord` unless it is whole and consistent."""
    try:
        version = _DECODER.decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise MalformedRecord(f"not a register version: {error}") from None
    numbers = [version.dot.n, version.stamp.effective, version.stamp.hybrid, *version.vector.values()]
    if len(version.vector) > MAX_VECTOR or not all(0 <= n <= MAX_NUMBER for n in numbers):
        raise MalformedRecord("not a register version: a number is out of range")
    if version.stamp.digest != digest_of(version.value) or version.stamp.device != version.dot.device:
        raise MalformedRecord("not a register version: the stamp does not fit the value")
    if covers(version, version) or any(n > version.dot.n for n in version.vector.values()):
        raise MalformedRecord("not a register version: it covers itself, or what came after it")
    if version.floor is not None and not _is_sound(version.floor):
        raise MalformedRecord("not a register version: its floor is none")
    return version


def _is_sound(floor: Floor) -> bool:
    """Whether every id in it can be one; how many there are is bounded by the item's size."""
    return 0 <= floor.ts < 2**64 and all(len(each) == ID_BYTES for each in floor.above)


def covers(newer: Version, older: Version) -> bool:
    """Whether the author of `newer` had applied `older` or something that replaced it."""
    return newer.vector.get(older.dot.device, 0) >= older.dot.n


def uncovered(versions: Iterable[Version]) -> list[Version]:
    """The versions that no other one covers, highest stamp first: all that the set keeps."""
    known = list(versions)
    seen: dict[str, int] = {}  # at once for all: a peer can mint thousands that know nothing of each other
    for version in known:
        _join(seen, version.vector)
    live = [v for v in known if seen.get(v.dot.device, 0) < v.dot.n]
    return sorted(live, key=_rank, reverse=True)


def current(versions: Iterable[Version], horizon: int) -> Version | None:
    """The version to apply: the highest stamp that does not lie beyond `horizon` (µs)."""
    ripe = [v for v in uncovered(versions) if not is_held(v, horizon)]
    return ripe[0] if ripe else None


def is_held(version: Version, horizon: int) -> bool:
    """Whether its time has not come: a stamp beyond wall clock + allowed skew (SEMANTICS §2.3)."""
    return ripens_at(version) > horizon


def ripens_at(version: Version) -> int:
    """The horizon, µs, from which on it is not held."""
    return max(version.stamp.effective, version.stamp.hybrid)


def known_vector(versions: Iterable[Version], unread: Iterable[Version] = ()) -> dict[str, int]:
    """The vector of an author who has applied (or decided against) all of these; of `unread`, which
    came after what that author had before, only what they had replaced.
    """
    vector: dict[str, int] = {}
    for version in versions:
        _join(vector, version.vector)
        _join(vector, {version.dot.device: version.dot.n})
    for version in unread:
        _join(vector, version.vector)
    return vector


def is_below(floor: Floor | None, ts: int, identity: bytes) -> bool:
    """Whether a deletion had seen, or outdates, a line with this key: it lives in trash then."""
    return floor is not None and (ts <= floor.ts or identity in floor.listed)


def effective_time(updated_at: int | None, hybrid: int, skew: int) -> int:
    """The manifest's own time if it has one that is not beyond hybrid + skew, else `hybrid` (µs)."""
    if updated_at is None or updated_at > hybrid + skew:
        return hybrid
    return max(updated_at, 0)


def _join(vector: dict[str, int], other: Mapping[str, int]) -> None:
    for device, n in other.items():
        vector[device] = max(n, vector.get(device, 0))


def _rank(version: Version) -> tuple[Stamp, Dot, bytes]:
    """The stamp decides; one author's equal stamps are told apart by number, then by all bytes."""
    return version.stamp, version.dot, encode(version)
