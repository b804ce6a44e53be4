"""Bytes as text with one character in front that names the alphabet.

mur writes base58btc (`z`) and reads every base that its library knows; so does this, less the ones
made of pictures. Reading is strict: of all texts that could stand for the same bytes only the one
that the library would write is taken, but for upper and lower case where the library does not mind.
"""

from __future__ import annotations

from typing import NamedTuple

from fleetsync.errors import MalformedRecord

_LOWER = "abcdefghijklmnopqrstuvwxyz"
_DIGITS = "0123456789"
_BASE32 = _LOWER + "234567"
_BASE32_HEX = (_DIGITS + _LOWER)[:32]
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_BASE58_FLICKR = "123456789abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ"
_BASE64 = _LOWER.upper() + _LOWER + _DIGITS

MAX_TEXT = 1024
"""Characters; a signature in the longest base takes 513."""


class _Base(NamedTuple):
    """`bits` per character, or 0 for one large number with leading zeros kept."""

    alphabet: str
    bits: int
    folds: bool = False  # upper case is read as lower case
    padded: bool = False


_BASES = {
    "0": _Base("01", 1),
    "7": _Base("01234567", 3),
    "9": _Base(_DIGITS, 0),
    "f": _Base(_DIGITS + "abcdef", 4, folds=True),
    "F": _Base(_DIGITS + "abcdef", 4, folds=True),
    "b": _Base(_BASE32, 5, folds=True),
    "B": _Base(_BASE32, 5, folds=True),
    "c": _Base(_BASE32, 5, folds=True, padded=True),
    "C": _Base(_BASE32, 5, folds=True, padded=True),
    "v": _Base(_BASE32_HEX, 5, folds=True),
    "V": _Base(_BASE32_HEX, 5, folds=True),
    "t": _Base(_BASE32_HEX, 5, folds=True, padded=True),
    "T": _Base(_BASE32_HEX, 5, folds=True, padded=True),
    "h": _Base("ybndrfg8ejkmcpqxot1uwisza345h769", 5),
    "k": _Base(_DIGITS + _LOWER, 0, folds=True),
    "K": _Base(_DIGITS + _LOWER, 0, folds=True),
    "Z": _Base(_BASE58_FLICKR, 0),
    "z": _Base(_BASE58, 0),
    "m": _Base(_BASE64 + "+/", 6),
    "M": _Base(_BASE64 + "+/", 6, padded=True),
    "u": _Base(_BASE64 + "-_", 6),
    "U": _Base(_BASE64 + "-_", 6, padded=True),
}


def encode(data: bytes) -> str:
    """The bytes in base58btc, as mur writes keys and signatures."""
    return "z" + _write(data, _BASES["z"])


def decode(text: str) -> bytes:
    """The bytes that this text stands for; raises `MalformedRecord`."""
    base = _BASES.get(text[:1])
    if base is None or len(text) > MAX_TEXT:
        raise MalformedRecord("not multibase text")
    digits = text[1:].lower() if base.folds and text.isascii() else text[1:]
    try:
        data = _read(digits, base)
    except (ValueError, OverflowError):
        raise MalformedRecord("not multibase text") from None
    if _write(data, base) != digits:
        raise MalformedRecord("not multibase text")
    return data


def _read(digits: str, base: _Base) -> bytes:
    """The bytes; any text that is not the one for them is noticed when they are written again."""
    value = 0
    plain = digits.rstrip("=") if base.padded else digits
    for digit in plain:
        value = value * len(base.alphabet) + base.alphabet.index(digit)
    if not base.bits:
        zeros = len(digits) - len(digits.lstrip(base.alphabet[0]))
        return bytes(zeros) + value.to_bytes((value.bit_length() + 7) // 8, "big")
    length, spare = divmod(len(plain) * base.bits, 8)
    return (value >> spare).to_bytes(length, "big")


def _write(data: bytes, base: _Base) -> str:
    value = int.from_bytes(data, "big")
    if not base.bits:
        zeros = len(data) - len(data.lstrip(b"\0"))
        return base.alphabet[0] * zeros + _digits(value, base, 0)
    length = -(-len(data) * 8 // base.bits)
    spare = length * base.bits - len(data) * 8
    text = _digits(value << spare, base, length)
    group = {5: 8, 6: 4}.get(base.bits, 1) if base.padded else 1
    return text + "=" * (-len(text) % group)


def _digits(value: int, base: _Base, length: int) -> str:
    found = []
    while value:
        value, digit = divmod(value, len(base.alphabet))
        found.append(base.alphabet[digit])
    return "".join(reversed(found)).rjust(length, base.alphabet[0])
