"""The plain Ed25519 primitive, and the group it lives in worked out by hand, for judging the former."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha512

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fleetsync.records.signatures import Signed

P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P
ORDER = 2**252 + 27742317777372353535851937790883648493
ROOT = pow(2, (P - 1) // 4, P)  # of -1


def check(claims: Sequence[Signed]) -> list[bool]:
    """Which claims hold, as the daemon's helper process would answer."""
    return [holds(claim) for claim in claims]


def holds(claim: Signed) -> bool:
    """Whether OpenSSL takes the signature; it says nothing of small-order points."""
    try:
        Ed25519PublicKey.from_public_bytes(claim.key).verify(claim.signature, claim.message)
    except (InvalidSignature, ValueError):
        return False
    return True


def key_of(seed: bytes) -> tuple[bytes, Ed25519PrivateKey]:
    """The public key (32 bytes) and the private key of a seed."""
    private = Ed25519PrivateKey.from_private_bytes(seed)
    return private.public_key().public_bytes_raw(), private


def sign_with_neutral_point(seed: bytes, message: bytes) -> bytes:
    """A signature by an honest key whose own point is the neutral one: good, but not strictly."""
    point = b"\x01" + bytes(31)
    scalar = int.from_bytes(sha512(seed).digest()[:32], "little") & ((1 << 254) - 8) | 1 << 254
    challenge = int.from_bytes(sha512(point + key_of(seed)[0] + message).digest(), "little")
    return point + (challenge * scalar % ORDER).to_bytes(32, "little")


def is_weak(encoded: bytes) -> bool:
    """Whether eight times this point is the neutral one: every message can be "signed" for it."""
    point = _decompress(encoded)
    if point is None:
        return False
    for _ in range(3):
        point = _double(point)
    return point == (0, 1)


def _decompress(encoded: bytes) -> tuple[int, int] | None:
    y = (int.from_bytes(encoded, "little") & (2**255 - 1)) % P
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * ROOT % P
    return None if (x * x - square) % P else (x, y)


def _double(point: tuple[int, int]) -> tuple[int, int]:
    x, y = point
    product = D * x * x * y * y
    return 2 * x * y * pow(1 + product, -1, P) % P, (y * y + x * x) * pow(1 - product, -1, P) % P
