"""Signatures at the edges of the curve: what events and rotations take.

On purpose different: the reference takes events under keys of small order, for which anybody can
make signatures; fleetsync never does.
"""

from __future__ import annotations

from fleetsync.records import signatures
from fleetsync.records.signatures import Signed
from tests.conformance.vectors import Row, each
from tests.fakes.ed25519 import check, holds, is_weak


def _claim(row: Row, *, strict: bool) -> Signed:
    key, message, signature = (bytes.fromhex(row[name]) for name in ("public_key_hex", "msg_hex", "sig_hex"))
    return Signed(key, message, signature, strict)


@each("ed25519_edge")
def test_event(row: Row) -> None:
    """The reference's answer for events, but no for every weak key."""
    claim = _claim(row, strict=False)
    assert signatures.verify([claim], check) == [row["valid"] and not is_weak(claim.key)]


@each("ed25519_edge")
def test_rotation(row: Row) -> None:
    """The reference's answer for rotations."""
    assert signatures.verify([_claim(row, strict=True)], check) == [row["valid_strict"]]


@each("ed25519_edge")
def test_small_order(row: Row) -> None:
    """Exactly the points whose eightfold is neutral are of small order."""
    for point in (bytes.fromhex(row["public_key_hex"]), bytes.fromhex(row["sig_hex"])[:32]):
        assert signatures.small_order(point) == is_weak(point)


@each("ed25519_edge")
def test_primitive(row: Row) -> None:
    """The primitive under it answers as it did when the row was recorded."""
    assert holds(_claim(row, strict=False)) == row["openssl_valid"]
