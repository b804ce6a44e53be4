"""JSON values without a type: read as plain Python, printed, and made canonical; and numbers of Rust.

Canonical text is equal for two spellings of one value: keys sorted, of two equal keys the last, floats to
the digits that survive other readers. It is compared and hashed, never stored or sent. Implements
docs/experience.md, "Canonical content".
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from typing import Any, NoReturn

from fleetsync.errors import MalformedRecord
from fleetsync.records.strictjson import MAX_DEPTH, Json, Number, Object, print_f64, print_string

SIGNIFICANT = 15
"""Digits of an f64 that count: the reference's parser moves others by one or two units."""

_WORDS = {None: "null", True: "true", False: "false"}


def canonical_f64(value: float) -> str:
    """Equal for what one f64 may have become in another reader."""
    text = f"{value:.{SIGNIFICANT}g}"
    return "0" if text == "-0" else text


def print_f32(value: float) -> str:
    """The shortest digits that give this f32 back; plain from 1e-6 to below 1e13, else `1e+13`."""
    if value == 0:
        return "-0.0" if str(value).startswith("-") else "0.0"
    text = next(text for digits in range(9) if _nearest(float(text := f"{value:.{digits}e}")) == value)
    mantissa, exponent = text.split("e")
    if not -6 <= int(exponent) <= 12:
        return f"{mantissa}e{int(exponent):+d}"
    digits = len(mantissa.lstrip("-").replace(".", ""))
    places = max(digits - 1 - int(exponent), 1)
    return f"{float(text):.{places}f}"


def narrow(value: float) -> float:
    """The nearest f32; raises `MalformedRecord` beyond their range."""
    nearest = _nearest(value)
    if nearest is None:
        raise MalformedRecord(f"{value} is out of the range of f32")
    return nearest


def _nearest(value: float) -> float | None:
    try:
        nearest: float = struct.unpack("<f", struct.pack("<f", value))[0]
    except OverflowError:
        return None
    return nearest


def finite(value: Any) -> float:
    """A number as a float; raises `MalformedRecord` for anything else, bools too."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return refuse("a number", value)
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    return number if math.isfinite(number) else refuse("a finite number", value)


def plain(value: Json) -> Any:
    """The value as Python has it; of two equal keys the last counts."""
    if isinstance(value, Number):
        return value.value
    if isinstance(value, list):
        return [plain(each) for each in value]
    return {name: plain(each) for name, each in value.members} if isinstance(value, Object) else value


def canonical_json(value: Json) -> str:
    """The canonical text of JSON of no known type: keys sorted, of two equal ones the last."""
    if isinstance(value, Object):
        members = sorted(dict(value.members).items())
        return "{" + ",".join(f"{print_string(k)}:{canonical_json(v)}" for k, v in members) + "}"
    if isinstance(value, list):
        return f"[{','.join(map(canonical_json, value))}]"
    if isinstance(value, Number):
        return str(value.value) if isinstance(value.value, int) else f"{canonical_f64(value.value)}f"
    return print_string(value) if isinstance(value, str) else _WORDS[value]


def member(value: Json, wanted: str) -> Json:
    """The member of that name, None if there is none; raises `MalformedRecord` if it is there twice."""
    found = [each for name, each in value.members if name == wanted] if isinstance(value, Object) else []
    if len(found) > 1:
        raise MalformedRecord(f"{wanted} is there twice")
    return found[0] if found else None


def print_json(value: Any, depth: int = MAX_DEPTH) -> str:
    """Plain Python as JSON in the reference's spelling; raises `MalformedRecord` for what is none."""
    if depth < 0:
        raise MalformedRecord("nested too deeply")
    if value is None or isinstance(value, bool):
        return _WORDS[value]
    if isinstance(value, str):
        return print_string(value)
    if isinstance(value, int):
        return str(value) if -(2**63) <= value < 2**64 else refuse("a number of 64 bits", value)
    if isinstance(value, float):
        return print_f64(finite(value))
    if isinstance(value, list | tuple):
        return f"[{','.join(print_json(each, depth - 1) for each in value)}]"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{print_name(k)}:{print_json(v, depth - 1)}" for k, v in value.items()) + "}"
    return refuse("JSON", value)


def print_name(name: Any) -> str:
    """The name of a member; raises `MalformedRecord` for what is no string."""
    return print_string(name) if isinstance(name, str) else refuse("a string", name)


def refuse(wanted: str, value: object) -> NoReturn:
    """Raises `MalformedRecord` that says what was wanted."""
    raise MalformedRecord(f"{wanted} is wanted, not {_shown(value)}")


def _shown(value: object) -> str:
    if isinstance(value, Number):
        return value.lexeme[:40]
    if isinstance(value, Object):
        return "an object"
    return "null" if value is None else repr(value)[:60]
