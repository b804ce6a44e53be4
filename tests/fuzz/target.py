"""What a fuzz target is: a check that takes any bytes, and returns unless a promise is broken.

A check swallows the errors that its parser documents and no others, so whatever else escapes is a finding;
it asserts what must hold of all that is accepted. Rule of the file: no target, only its shape.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

Check = Callable[[bytes], None]

CORPUS = Path(__file__).parent / "corpus"


class Target(NamedTuple):
    """One parser. `seeds` are inputs from which the search begins; `longest` bounds inputs, bytes."""

    check: Check
    seeds: tuple[bytes, ...] = ()
    longest: int = 4096


def parts(data: bytes, count: int, cut: bytes = b"\0\0") -> list[bytes]:
    """The input as so many inputs, cut where these bytes stand; missing ones are empty."""
    found = data.split(cut, count - 1)
    return found + [b""] * (count - len(found))
