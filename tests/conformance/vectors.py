"""Recordings of the reference implementation, one JSON object per line.

`FLEETSYNC_VECTORS` names the directory (default `tests/vectors`), so that other recordings of the
same kind can be run too; a file that such a directory lacks is skipped. Every row of a file is run.
What the fields mean is told in `tests/vectors/README.md`.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

OWN = Path(__file__).parents[1] / "vectors"
DIRECTORY = Path(os.environ.get("FLEETSYNC_VECTORS") or OWN)

Row = dict[str, Any]


def rows(name: str) -> list[Row]:
    """All rows of one recording."""
    path = DIRECTORY / f"{name}.jsonl"
    if DIRECTORY != OWN and not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]


def each(name: str) -> pytest.MarkDecorator:
    """Run a test once for every row of a recording, as its argument `row`."""
    found = rows(name)
    return pytest.mark.parametrize("row", found, ids=[_label(n, row) for n, row in enumerate(found)])


def _label(number: int, row: Row) -> str:
    note = str(row.get("note", row.get("input", "")))[:60]
    return f"{number}-{note}".encode("ascii", "backslashreplace").decode()
