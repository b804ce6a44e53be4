"""What a shape is, and the shapes of single values: text, truth, numbers, words, any JSON.

The types of the reference are narrower than JSON: a bool is no number, a whole number has no fraction,
an f32 is narrowed when it is read. Shapes made of shapes are in `experience_shapes.py`. Implements
docs/experience.md, "Shapes".
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Protocol

from fleetsync.records import strictjson
from fleetsync.records.experience_json import (
    canonical_f64,
    canonical_json,
    finite,
    narrow,
    plain,
    print_f32,
    print_json,
    refuse,
)
from fleetsync.records.strictjson import Json, Object, print_f64, print_string

_U64 = 2**64


class Shape(Protocol):
    """One type in JSON."""

    def read(self, value: Json) -> Any:
        """The value; raises `MalformedRecord` for what the reference refuses."""

    def write(self, value: Any) -> str:
        """The JSON that the reference writes; raises `MalformedRecord` for a value of another type."""

    def canonical(self, value: Json) -> str:
        """The canonical text; raises `MalformedRecord` for what has another shape."""


class Text:
    """A string."""

    def read(self, value: Json) -> str:
        """See `Shape.read`."""
        return value if isinstance(value, str) else refuse("a string", value)

    def write(self, value: Any) -> str:
        """See `Shape.write`."""
        return print_string(value) if isinstance(value, str) else refuse("a string", value)

    def canonical(self, value: Json) -> str:
        """See `Shape.canonical`."""
        return self.write(value)


class Truth:
    """A bool, and no number."""

    def read(self, value: Json) -> bool:
        """See `Shape.read`."""
        return value if isinstance(value, bool) else refuse("true or false", value)

    def write(self, value: Any) -> str:
        """See `Shape.write`."""
        return ("true" if value else "false") if isinstance(value, bool) else refuse("true or false", value)

    def canonical(self, value: Json) -> str:
        """See `Shape.canonical`."""
        return self.write(value)


class Whole:
    """A u64: 0 … 2^64-1, written without fraction or exponent."""

    def read(self, value: Json) -> int:
        """See `Shape.read`."""
        found = strictjson.as_u64(value)
        return refuse("a whole number below 2^64", value) if found is None else found

    def write(self, value: Any) -> str:
        """See `Shape.write`; True is no number."""
        fits = type(value) is int and 0 <= value < _U64
        return str(value) if fits else refuse("a whole number below 2^64", value)

    def canonical(self, value: Json) -> str:
        """See `Shape.canonical`."""
        return str(self.read(value))


class Real:
    """An f64; a whole number is taken and written with `.0`."""

    def read(self, value: Json) -> float:
        """See `Shape.read`."""
        found = strictjson.as_f64(value)
        return refuse("a number", value) if found is None else found

    def write(self, value: Any) -> str:
        """See `Shape.write`."""
        return print_f64(finite(value))

    def canonical(self, value: Json) -> str:
        """See `Shape.canonical`."""
        return canonical_f64(self.read(value))


class Single:
    """An f32: narrowed when read, written with the shortest digits that give it back."""

    def read(self, value: Json) -> float:
        """See `Shape.read`; beyond the range of f32 is refused: it would be written as null."""
        return narrow(Real().read(value))

    def write(self, value: Any) -> str:
        """See `Shape.write`."""
        return print_f32(narrow(finite(value)))

    def canonical(self, value: Json) -> str:
        """See `Shape.canonical`."""
        return print_f32(abs(number) if (number := self.read(value)) == 0 else number)


class Choice:
    """One of a few words. `{"Word":null}` is read as the word, as the reference does."""

    def __init__(self, words: type[StrEnum]) -> None:
        self.words = words

    def read(self, value: Json) -> StrEnum:
        """See `Shape.read`."""
        word = _unit(value)
        if word is None or word not in self.words.__members__.values():
            return refuse(f"one of {', '.join(self.words)}", value)
        return self.words(word)

    def write(self, value: Any) -> str:
        """See `Shape.write`; the word itself is taken too."""
        if not isinstance(value, str) or value not in self.words.__members__.values():
            return refuse(f"one of {', '.join(self.words)}", value)
        return f'"{value}"'

    def canonical(self, value: Json) -> str:
        """See `Shape.canonical`."""
        return f'"{self.read(value)}"'


class Anything:
    """Any JSON, as plain Python values."""

    def read(self, value: Json) -> Any:
        """See `Shape.read`."""
        return plain(value)

    def write(self, value: Any) -> str:
        """See `Shape.write`."""
        return print_json(value)

    def canonical(self, value: Json) -> str:
        """See `Shape.canonical`."""
        return canonical_json(value)


def _unit(value: Json) -> str | None:
    if isinstance(value, Object) and len(value.members) == 1 and value.members[0][1] is None:
        return value.members[0][0]
    return value if isinstance(value, str) else None
