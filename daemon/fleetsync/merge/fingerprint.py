"""Fingerprints of ranges and sets: an additive sum of ids, so that parts can be put together.

The sum of a range is Σ of its ids read as little-endian numbers, mod 2^256; the fingerprint is the
first 16 bytes of SHA-256 over that sum and the number of ids. Sums add and subtract, fingerprints
do not: keep sums, compare fingerprints. Implements docs/protocol.md, "Reconciliation".
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256

from fleetsync.merge.negentropy_wire import FINGERPRINT_SIZE, ID_SIZE, encode_varint

MODULUS = 1 << 8 * ID_SIZE


def id_number(identity: bytes) -> int:
    """An id as the number that sums are made of."""
    return int.from_bytes(identity, "little")


def id_sum(ids: Iterable[bytes]) -> int:
    """The sum of these ids, mod 2^256."""
    return sum([int.from_bytes(identity, "little") for identity in ids]) % MODULUS


def fingerprint(total: int, count: int) -> bytes:
    """The 16-byte fingerprint of `count` ids that sum up to `total` (0 … 2^256 - 1)."""
    digest = sha256(total.to_bytes(ID_SIZE, "little") + encode_varint(count)).digest()
    return digest[:FINGERPRINT_SIZE]
