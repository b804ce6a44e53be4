"""Ed25519 verification in plain integers (RFC 8032, section 5.1.7, without the cofactor).

For a handful of signatures: a library that does it faster would weigh 10 MB in an idle daemon for the
rest of its life, and a child process takes as long as fifty of these. Only public values are handled,
so time may tell what it likes. What it refuses is what mur's own library refuses: a scalar that is not
reduced, a key that is no point. Points of small order are the caller's to refuse (`signatures`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha512
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from fleetsync.records.signatures import Signed

_P = 2**255 - 19
_ORDER = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, -1, _P) % _P
_TWICE_D = 2 * _D % _P
_ROOT = pow(2, (_P - 1) // 4, _P)  # of -1
_SIGN = 1 << 255

_Point: TypeAlias = tuple[int, int, int, int]
"""Extended coordinates: x = X/Z, y = Y/Z, T = XY/Z."""
_Cached: TypeAlias = tuple[int, int, int, int]
"""A point as it is added: Y+X, Y-X, 2Z, 2dT."""

_NEUTRAL: _Point = (0, 1, 1, 0)
_WINDOW = 5
"""Bits of a scalar that one addition covers; odd multiples up to 2^(_WINDOW-1) are at hand."""


def check(claims: Sequence[Signed]) -> list[bool]:
    """Which claims hold, in order; 2 ms each."""
    return [holds(claim.key, claim.message, claim.signature) for claim in claims]


def holds(key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether this key (32 bytes) made this signature (64 bytes) of the message."""
    if len(key) != 32 or len(signature) != 64:
        return False
    scalar = int.from_bytes(signature[32:], "little")
    multiples = _multiples_of_negated(key)
    if scalar >= _ORDER or multiples is None:
        return False
    challenge = int.from_bytes(sha512(signature[:32] + key + message).digest(), "little") % _ORDER
    return _encode(_joint(challenge, multiples, scalar, _base_multiples())) == signature[:32]


# --- points ---------------------------------------------------------------------------------------------


def _decompress(encoded: bytes) -> _Point | None:
    """The point that 32 bytes spell; a y that is not reduced is read as the one it stands for."""
    number = int.from_bytes(encoded, "little")
    y = (number & (_SIGN - 1)) % _P
    u, v = (y * y - 1) % _P, (_D * y * y + 1) % _P
    x = u * pow(v, 3, _P) * pow(u * pow(v, 7, _P), (_P - 5) // 8, _P) % _P
    if (v * x * x - u) % _P:
        x = x * _ROOT % _P
    if (v * x * x - u) % _P:
        return None
    if x & 1 != number >> 255:
        x = _P - x
    return x % _P, y, 1, x * y % _P


def _encode(point: _Point) -> bytes:
    x, y, z, _ = point
    inverse = pow(z, -1, _P)
    x, y = x * inverse % _P, y * inverse % _P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def _double(point: _Point) -> _Point:
    x, y, z, _ = point
    a, b = x * x, y * y
    c = 2 * z * z
    h = a + b
    e = h - (x + y) * (x + y)
    g = a - b
    f = c + g
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _add(point: _Point, other: _Cached) -> _Point:
    x, y, z, t = point
    plus, minus, twice_z, twice_dt = other
    a, b = (y - x) * minus, (y + x) * plus
    c, d = t * twice_dt, z * twice_z
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _cached(point: _Point) -> _Cached:
    x, y, z, t = point
    return (y + x) % _P, (y - x) % _P, 2 * z % _P, _TWICE_D * t % _P


def _negated(point: _Cached) -> _Cached:
    plus, minus, twice_z, twice_dt = point
    return minus, plus, twice_z, -twice_dt


def _odd_multiples(point: _Point) -> list[_Cached]:
    """1, 3, 5, … times the point."""
    twice = _cached(_double(point))
    found = [point]
    for _ in range(2 ** (_WINDOW - 2) - 1):
        found.append(_add(found[-1], twice))
    return [_cached(each) for each in found]


@lru_cache(maxsize=1)
def _base_multiples() -> list[_Cached]:
    base = _decompress((4 * pow(5, -1, _P) % _P).to_bytes(32, "little"))
    assert base is not None
    return _odd_multiples(base)


@lru_cache(maxsize=16)
def _multiples_of_negated(key: bytes) -> list[_Cached] | None:
    point = _decompress(key)
    if point is None:
        return None
    x, y, z, t = point
    return _odd_multiples((_P - x, y, z, _P - t))


# --- scalars --------------------------------------------------------------------------------------------


def _digits(scalar: int) -> list[int]:
    """The scalar in odd signed digits below 2^(_WINDOW-1), lowest first, mostly zeros between them."""
    digits = []
    while scalar:
        digit = 0
        if scalar & 1:
            digit = scalar & (2**_WINDOW - 1)
            digit -= (digit >> (_WINDOW - 1)) << _WINDOW
            scalar -= digit
        digits.append(digit)
        scalar >>= 1
    return digits


def _joint(first: int, multiples: list[_Cached], second: int, others: list[_Cached]) -> _Point:
    """first × one point + second × another, from their odd multiples."""
    left, right = _digits(first), _digits(second)
    length = max(len(left), len(right))
    left += [0] * (length - len(left))
    right += [0] * (length - len(right))
    result = _NEUTRAL
    for one, two in zip(reversed(left), reversed(right), strict=True):
        result = _double(result)
        if one:
            result = _add(result, _times(multiples, one))
        if two:
            result = _add(result, _times(others, two))
    return result


def _times(multiples: list[_Cached], digit: int) -> _Cached:
    return multiples[digit >> 1] if digit > 0 else _negated(multiples[-digit >> 1])
