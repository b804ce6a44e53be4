"""JSON read and written exactly as mur's own library does it.

Two ways to read. `parse` takes a whole value and checks everything in it: UTF-8, grammar, finite
numbers, no half surrogates, bounded nesting. `parse_members` takes a top-level object of which only
some members matter: those are checked alike, the others need only be well-formed, nested as deep as
they like. Neither recurses. Numbers keep the text their author wrote; repeated names are kept, for
the caller to judge. Implements docs/formats.md, "JSON".
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection
from typing import Final, Literal, NamedTuple, TypeAlias

import msgspec

from fleetsync.errors import MalformedRecord

MAX_DEPTH = 127
"""How many arrays and objects may be open at once in a value that is read."""

_U64, _U32, _I64, _I32 = 2**64, 2**32, 2**63, 2**31

# One token after optional white space. Possessive: nothing is ever tried twice.
_TOKEN = re.compile(
    r"[ \t\n\r]*+(?:([][{}:,])"
    r'|"([^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*+)*+)"'
    r"|(-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?)"
    r"|(true|false|null))"
)
_PUNCTUATION, _STRING, _NUMBER, _WORD = 1, 2, 3, 4  # the groups of _TOKEN
_BLANK = re.compile(r"[ \t\n\r]*+")
_SURROGATE = re.compile("[\ud800-\udfff]")
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
_WORDS: dict[str, bool | None] = {"true": True, "false": False, "null": None}


class Number(msgspec.Struct, frozen=True):
    """A number and the text its author wrote.

    `value` is an int from -2^63 to 2^64-1, else a float (also for `-0` and for larger integers).
    """

    lexeme: str
    value: int | float

    @property
    def type(self) -> Literal["u64", "i64", "f64"]:
        """How mur holds it in memory."""
        if isinstance(self.value, float):
            return "f64"
        return "i64" if self.value < 0 else "u64"

    @property
    def printed(self) -> str:
        """How mur writes it."""
        return print_f64(self.value) if isinstance(self.value, float) else str(self.value)


class Object(msgspec.Struct, frozen=True):
    """Members in the order of the text, repeated names included."""

    members: tuple[tuple[str, Json], ...]


Json: TypeAlias = bool | str | Number | list["Json"] | Object | None
"""A value as it was read."""


class NotAnObject(MalformedRecord):
    """No complete object begins here; `at` is how far the text could be read."""

    def __init__(self, at: int) -> None:
        super().__init__(f"no complete object before character {at}")
        self.at = at


def parse(data: bytes) -> Json:
    """The one value that these bytes are; raises `MalformedRecord`."""
    text = _decode(data)
    if text.count("[") + text.count("{") <= MAX_DEPTH and not _SURROGATE_ESCAPE.search(text):
        return _parse_tame(text)
    reader = _Reader(text)
    value = reader.value(_CHECKED)
    reader.finish()
    return value


def parse_members(data: bytes, wanted: Collection[str]) -> Json:
    """As `parse`, but members of a top-level object that are not `wanted` are left out.

    They must be well-formed and are not looked at otherwise. Raises `MalformedRecord`.
    """
    reader = _Reader(_decode(data))
    value = reader.members(wanted)
    reader.finish()
    return value


def extent(text: str, start: int) -> int:
    """Where the value that begins at `start` of a longer text ends; raises `NotAnObject`."""
    reader = _Reader(text, start)
    try:
        reader.value(_SKIMMED)
    except MalformedRecord as error:
        raise NotAnObject(reader.at) from error
    return reader.at


def read_number(lexeme: str) -> Number:
    """A number from text of the right grammar; raises `MalformedRecord` beyond the range of f64."""
    if lexeme.lstrip("-").isdigit() and lexeme != "-0" and len(lexeme) <= len(str(_U64)):
        integer = int(lexeme)
        if -_I64 <= integer < _U64:
            return Number(lexeme, integer)
    real = float(lexeme)
    if math.isinf(real):
        raise MalformedRecord(f"the number {lexeme[:40]} is out of range")
    return Number(lexeme, real)


def print_f64(value: float) -> str:
    """A float as mur writes it: shortest digits, plain from 1e-5 to below 1e16, else `1e+16`, `1e-6`.

    Whole numbers keep their fraction: `1.0`.
    """
    mantissa, _, exponent = repr(float(value)).partition("e")
    if not exponent:
        return mantissa
    if int(exponent) == -5:  # the one power that Python already writes with an exponent
        sign = "-" if mantissa.startswith("-") else ""
        return f"{sign}0.0000{mantissa.lstrip('-').replace('.', '')}"
    return f"{mantissa}e{int(exponent):+d}"


def print_string(text: str) -> str:
    """A string as mur writes it: quoted, with only the escapes that JSON demands."""
    return json.dumps(text, ensure_ascii=False)


def unescape(raw: str) -> str:
    """What the text between two quotes means, its grammar checked; raises `MalformedRecord` for
    half a surrogate pair.
    """
    text: str = json.loads(f'"{raw}"') if "\\" in raw else raw
    if _SURROGATE.search(text):
        raise MalformedRecord("half a surrogate pair")
    return text


def as_u64(value: Json) -> int | None:
    """The value for a u64 field, None if mur refuses it there."""
    return _integer(value, 0, _U64)


def as_u32(value: Json) -> int | None:
    """The value for a u32 field, None if mur refuses it there."""
    return _integer(value, 0, _U32)


def as_i32(value: Json) -> int | None:
    """The value for an i32 field, None if mur refuses it there."""
    return _integer(value, -_I32, _I32)


def as_f64(value: Json) -> float | None:
    """The value for an f64 field, None if mur refuses it there; integers are taken."""
    return float(value.value) if isinstance(value, Number) else None


def as_string(value: Json) -> str | None:
    """The value for a string field, None if mur refuses it there."""
    return value if isinstance(value, str) else None


def _parse_tame(text: str) -> Json:
    """`parse` by the standard library: five times faster, and different only in depth and surrogates."""
    try:
        value: Json = _DECODER.decode(text)
    except ValueError as error:
        raise MalformedRecord(f"not JSON: {error}") from error
    return value


def _object(members: list[tuple[str, Json]]) -> Object:
    return Object(tuple(members))


def _refuse(constant: str) -> Number:
    raise MalformedRecord(f"{constant} is no JSON number")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=read_number, parse_float=read_number, parse_constant=_refuse
)


def _integer(value: Json, low: int, high: int) -> int | None:
    if isinstance(value, Number) and isinstance(value.value, int) and low <= value.value < high:
        return value.value
    return None


def _decode(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise MalformedRecord("not UTF-8") from error


class _Rules(NamedTuple):
    """How deep a value may nest, and whether what is in it is looked at."""

    depth: float
    checked: bool


_CHECKED: Final = _Rules(MAX_DEPTH, checked=True)
_MEMBER: Final = _Rules(MAX_DEPTH - 1, checked=True)
_SKIMMED: Final = _Rules(math.inf, checked=False)


class _Open:
    """An array or object that is being read; `key` is the name of the member to come."""

    __slots__ = ("closer", "items", "key", "members")

    def __init__(self, opener: str) -> None:
        self.closer = "]" if opener == "[" else "}"
        self.key = ""
        self.items: list[Json] = []
        self.members: list[tuple[str, Json]] = []

    def add(self, value: Json) -> None:
        if self.closer == "]":
            self.items.append(value)
        else:
            self.members.append((self.key, value))

    def close(self) -> Json:
        return self.items if self.closer == "]" else Object(tuple(self.members))


class _Reader:
    """A place in a text. Every method reads forward or raises `MalformedRecord`."""

    def __init__(self, text: str, at: int = 0) -> None:
        self.text = text
        self.at = at

    def finish(self) -> None:
        """Nothing but white space may follow."""
        if _BLANK.fullmatch(self.text, self.at) is None:
            raise self._unexpected()

    def value(self, rules: _Rules) -> Json:
        """One value; None for all that is not looked at."""
        stack: list[_Open] = []
        while True:
            depth = len(stack)
            value = self._begin(stack, rules)
            if len(stack) > depth:
                continue  # its first element comes next
            while stack and not self._continues(stack[-1], value, rules):
                closed = stack.pop()
                value = closed.close() if rules.checked else None
            if not stack:
                return value

    def members(self, wanted: Collection[str]) -> Json:
        """One value; of an object only the wanted members."""
        if not self._accept("{"):
            return self.value(_CHECKED)
        top = _Open("{")
        if self._accept("}"):
            return top.close()
        self._name(top, _CHECKED)
        while True:
            if top.key in wanted:
                top.add(self.value(_MEMBER))
            else:
                self.value(_SKIMMED)
            if not self._separator(top, _CHECKED):
                return top.close()

    def _begin(self, stack: list[_Open], rules: _Rules) -> Json:
        """A scalar or an empty container; anything else is opened on the stack."""
        kind, text = self._next()
        if kind != _PUNCTUATION:
            return _scalar(kind, text) if rules.checked else None
        if text not in "[{":
            raise self._unexpected()
        if len(stack) >= rules.depth:
            raise MalformedRecord("nested too deeply")
        top = _Open(text)
        if self._accept(top.closer):
            return top.close()
        stack.append(top)
        self._name(top, rules)
        return None

    def _continues(self, top: _Open, value: Json, rules: _Rules) -> bool:
        """Put a finished value into its container; whether another follows."""
        if rules.checked:
            top.add(value)
        return self._separator(top, rules)

    def _separator(self, top: _Open, rules: _Rules) -> bool:
        if self._accept(top.closer):
            return False
        self._expect(",")
        self._name(top, rules)
        return True

    def _name(self, top: _Open, rules: _Rules) -> None:
        if top.closer == "]":
            return
        kind, text = self._next()
        if kind != _STRING:
            raise self._unexpected()
        top.key = unescape(text) if rules.checked else ""
        self._expect(":")

    def _next(self) -> tuple[int, str]:
        found = _TOKEN.match(self.text, self.at)
        if found is None or found.lastindex is None:
            raise self._unexpected()
        self.at = found.end()
        return found.lastindex, found[found.lastindex]

    def _accept(self, punctuation: str) -> bool:
        found = _TOKEN.match(self.text, self.at)
        if found is None or found[_PUNCTUATION] != punctuation:
            return False
        self.at = found.end()
        return True

    def _expect(self, punctuation: str) -> None:
        if not self._accept(punctuation):
            raise self._unexpected()

    def _unexpected(self) -> MalformedRecord:
        return MalformedRecord(
            f"unexpected text near character {self.at}: {self.text[self.at : self.at + 20]!r}"
        )


def _scalar(kind: int, text: str) -> Json:
    if kind == _STRING:
        return unescape(text)
    return read_number(text) if kind == _NUMBER else _WORDS[text]
