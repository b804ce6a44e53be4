"""Fingerprints: what is summed, what is hashed."""

from __future__ import annotations

from hashlib import sha256

from fleetsync.merge.fingerprint import MODULUS, fingerprint, id_number, id_sum


def test_an_id_is_a_little_endian_number() -> None:
    """The first byte counts least."""
    assert id_sum([b"\x02" + bytes(31)]) == id_number(b"\x02" + bytes(31)) == 2
    assert id_sum([bytes(31) + b"\x01"]) == 1 << 248


def test_sums_wrap_and_do_not_depend_on_order() -> None:
    """Addition mod 2^256 commutes."""
    ids = [sha256(bytes((n,))).digest() for n in range(20)]
    assert id_sum(ids) == id_sum(reversed(ids)) < MODULUS
    assert id_sum([b"\xff" * 32, b"\x01" + bytes(31)]) == 0


def test_the_count_is_part_of_the_fingerprint() -> None:
    """Sets of different size differ even where their sums agree."""
    assert fingerprint(0, 0) != fingerprint(0, 1)
    assert fingerprint(5, 300) == sha256((5).to_bytes(32, "little") + b"\x82\x2c").digest()[:16]
