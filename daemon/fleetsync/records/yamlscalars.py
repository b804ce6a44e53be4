"""Single values in YAML text as mur's own library reads and writes them.

Reading: what a plain scalar means (YAML 1.2: `on`, `y` and `1_000` are strings). Writing: which
strings stand plain, quoted or as a literal block, and exactly how. Only values are written, never
keys, and lines are never folded. Implements docs/formats.md, "YAML".
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from fleetsync.records.strictjson import Number

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_SPECIAL_FLOAT = re.compile(r"[+-]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_DIGITS_BUT_NO_NUMBER = re.compile(r"[+-]?0[0-9]+")
_INTEGER = re.compile(r"(?P<sign>[+-]?)(?:0x(?P<hex>[0-9a-fA-F]+)|0o(?P<oct>[0-7]+)|0b(?P<bin>[01]+)|[0-9]+)")
_FLOAT = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_BASES = {"hex": 16, "oct": 8, "bin": 2, None: 10}
_WIDEST = 2**127  # mur's library knows integers of 128 bits


# --- reading ------------------------------------------------------------------------------------------


def meaning(plain: str) -> bool | str | Number | None:
    """What a plain scalar without a tag means."""
    if plain in _NULL:
        return None
    if plain in _BOOL:
        return _BOOL[plain]
    integer = read_integer(plain)
    if integer is not None:
        return Number(plain, integer)
    return Number(plain, 0.0) if _is_float(plain) else plain


def read_integer(plain: str) -> int | None:
    """The integer that this text spells in one of four bases, signed or not; None for anything else."""
    found = _INTEGER.fullmatch(plain)
    if found is None or _DIGITS_BUT_NO_NUMBER.fullmatch(plain):
        return None
    base = _BASES[found.lastgroup if found.lastgroup != "sign" else None]
    digits = plain[len(found["sign"]) + (2 if base != 10 else 0) :]
    if len(digits) > 128:
        return None
    value = -int(digits, base) if found["sign"] == "-" else int(digits, base)
    return value if -_WIDEST <= value < 2 * _WIDEST else None


def _is_float(plain: str) -> bool:
    if _SPECIAL_FLOAT.fullmatch(plain):
        return True
    if _FLOAT.fullmatch(plain) is None or _DIGITS_BUT_NO_NUMBER.fullmatch(plain):
        return False
    return abs(float(plain)) != float("inf")


# --- writing ------------------------------------------------------------------------------------------

BREAKS = "\r\n\x85\u2028\u2029"
"""What counts as the end of a line in YAML as mur writes it."""

_BLANK_OR_END = rf"(?:[ \t{BREAKS}\0]|\Z)"
_UNPRINTABLE = re.compile("[^\n\x20-\x7e\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
_SPACE_THEN_BREAK = re.compile(f" [{BREAKS}]")
_BREAK_THEN_SPACE = re.compile(f"[{BREAKS}] ")
_NOT_PLAIN = re.compile(
    rf"\A[ #,[\]{{}}&*!|>'\"%@`]|\A(?:---|\.\.\.)|\A[?-]{_BLANK_OR_END}|:{_BLANK_OR_END}"
    rf"|[ \t\0]\#|[{BREAKS}]|\ \Z"
)
_ESCAPES = {
    "\0": "0",
    "\x07": "a",
    "\b": "b",
    "\t": "t",
    "\n": "n",
    "\v": "v",
    "\f": "f",
    "\r": "r",
    "\x1b": "e",
    '"': '"',
    "\\": "\\",
    "\x85": "N",
    "\xa0": "_",
    "\u2028": "L",
    "\u2029": "P",
}
_ESCAPED = re.compile(rf'["\\{BREAKS}]|{_UNPRINTABLE.pattern}')
_LINES = re.compile(f"[^{BREAKS}]+|[{BREAKS}]")


def print_scalar(text: str, indent: int) -> str:
    """A string as the value of a key or an item whose own contents would stand `indent` columns in.

    What a literal block needs of line breaks is in it, also the last one.
    """
    unquotable = _UNPRINTABLE.search(text) or _SPACE_THEN_BREAK.search(text)
    if "\n" in text:
        blockable = not unquotable and not text.endswith(" ")
        return _literal(text, indent) if blockable else double_quoted(text)
    if unquotable or _BREAK_THEN_SPACE.search(text):
        return double_quoted(text)
    return _single_quoted(text, indent) if _must_be_quoted(text) else text


def stacked(parts: Iterable[str]) -> str:
    """Printed parts one below the other; a literal block may already end with a break."""
    text = ""
    for part in parts:
        text += part if not text or text[-1] in BREAKS else "\n" + part
    return text


def _must_be_quoted(text: str) -> bool:
    ambiguous = not isinstance(meaning(text), str) or _DIGITS_BUT_NO_NUMBER.fullmatch(text) is not None
    return ambiguous or _NOT_PLAIN.search(text) is not None


def _literal(text: str, indent: int) -> str:
    hint = "2" if text[0] in f" {BREAKS}" else ""
    chomp = "-" if text[-1] not in BREAKS else "+" if len(text) == 1 or text[-2] in BREAKS else ""
    lines = "".join(part if part in BREAKS else " " * indent + part for part in _LINES.findall(text))
    return f"|{hint}{chomp}\n{lines}"


def _single_quoted(text: str, indent: int) -> str:
    """A break in a quoted string is followed by indentation, unless another break follows."""
    padded = re.sub(f"(?<=[{BREAKS}])(?![{BREAKS}])", " " * indent, text)
    return "'" + padded.replace("'", "''") + "'"


def double_quoted(text: str) -> str:
    """A string on one line, whatever is in it."""
    return '"' + _ESCAPED.sub(_escape, text) + '"'


def _escape(found: re.Match[str]) -> str:
    character = found[0]
    if character in _ESCAPES:
        return "\\" + _ESCAPES[character]
    code = ord(character)
    return f"\\x{code:02X}" if code <= 0xFF else f"\\u{code:04X}" if code <= 0xFFFF else f"\\U{code:08X}"
