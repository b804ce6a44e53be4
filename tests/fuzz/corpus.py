"""The inputs that are kept: one text file per target, one input a line, written as Python bytes.

A line that begins with `#` says what the next ones once broke. Text, because whoever reviews a change
should see what it adds.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path

from tests.fuzz.target import CORPUS


def path_of(target: str) -> Path:
    """The corpus file of a target."""
    return CORPUS / f"{target}.txt"


def read(target: str) -> list[bytes]:
    """The kept inputs of a target, in the order of the file."""
    path = path_of(target)
    lines = path.read_text().splitlines() if path.exists() else []
    return [ast.literal_eval(line) for line in lines if line and not line.startswith("#")]


def keep(target: str, inputs: Iterable[bytes]) -> int:
    """Replace what the search found (not what stands under a remark) by these; returns how many stand now."""
    path = path_of(target)
    lines = path.read_text().splitlines() if path.exists() else []
    first = next((at for at, line in enumerate(lines) if line.startswith("#")), len(lines))
    told = lines[first:]
    known = {ast.literal_eval(line) for line in told if line and not line.startswith("#")}
    found = sorted({*inputs} - known, key=lambda each: (len(each), each))
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in [*map(repr, found), *told]))
    return len(found) + len(known)
