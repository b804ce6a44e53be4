"""The verifier in plain integers: it answers as the library does, whose speed it lacks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetsync.records import ed25519
from fleetsync.records.signatures import Signed
from tests.conformance.vectors import Row, each
from tests.fakes.ed25519 import ORDER, check, key_of


@each("ed25519_edge")
def test_edges(row: Row) -> None:
    """At the edges of the curve both take the same."""
    key, message, signature = (bytes.fromhex(row[name]) for name in ("public_key_hex", "msg_hex", "sig_hex"))
    assert ed25519.check([Signed(key, message, signature)]) == [row["openssl_valid"]]


@given(seed=st.binary(min_size=32, max_size=32), message=st.binary(max_size=200), bit=st.integers(0, 511))
def test_as_the_library(seed: bytes, message: bytes, bit: int) -> None:
    """Every honest signature holds, and none of which one bit is another one."""
    key, private = key_of(seed)
    signature = private.sign(message)
    forged = (int.from_bytes(signature, "big") ^ 1 << bit).to_bytes(64, "big")
    claims = [
        Signed(key, message, signature),
        Signed(key, message, forged),
        Signed(key, message + b"x", signature),
    ]
    assert ed25519.check(claims) == check(claims) == [True, False, False]


@given(key=st.binary(min_size=32, max_size=32), signature=st.binary(min_size=64, max_size=64))
def test_anything_for_a_key(key: bytes, signature: bytes) -> None:
    """Bytes that spell no point, or no reduced scalar, are refused as the library refuses them."""
    claims = [Signed(key, b"m", signature)]
    assert ed25519.check(claims) == check(claims)


@pytest.mark.parametrize(("key", "signature"), [(31, 64), (33, 64), (32, 63), (32, 65), (0, 0)])
def test_other_sizes(key: int, signature: int) -> None:
    """32 bytes and 64, nothing else."""
    assert not ed25519.holds(bytes(key), b"m", bytes(signature))


def test_a_byte_more_or_less_is_another_size_though_it_says_the_same() -> None:
    """A number may have zeros behind it, and what a key has too much could be the message's first byte."""
    key, private = key_of(bytes(range(32)))
    signed = ((message, private.sign(message)) for message in (b"%d" % n for n in range(1000)))
    message, signature = next(each for each in signed if not each[1][-1])
    assert ed25519.holds(key, message, signature)
    assert not ed25519.holds(key, message, signature[:-1])
    assert not ed25519.holds(key, message, signature + b"\0")
    assert not ed25519.holds(key + b"\0", message, private.sign(b"\0" + message))


def test_a_scalar_that_is_not_reduced() -> None:
    """The same signature in another spelling is none: else every line could be made anew."""
    key, private = key_of(bytes(range(32)))
    signature = private.sign(b"m")
    scalar = int.from_bytes(signature[32:], "little") + ORDER
    assert not ed25519.holds(key, b"m", signature[:32] + scalar.to_bytes(32, "little"))
