"""Whether a register stands in home, and if not, whether that means anything.

Absence is not a wish: a file that is missing while its directory stands, or that is empty, is damage or
the middle of an edit; a file that cannot be read says nothing of what is in it (SEMANTICS §3.1).
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum, auto

from fleetsync import datasets
from fleetsync.datasets import Contents
from fleetsync.errors import FleetsyncError
from fleetsync.files import Folder
from fleetsync.replica.layout import directory_exists, see


class Presence(Enum):
    """What is found where a register should stand."""

    HERE = auto()
    """It stands there, or nothing can be said."""
    ALONE = auto()
    """It alone is missing, or all of its file: it is put back."""
    GONE = auto()
    """It is gone with its directory, or out of a file in which others may stand: deleted."""


def presence(root: Folder, path: str) -> Presence:
    """Of one register."""
    return presences(root, [path])[path]


def presences(root: Folder, paths: Iterable[str]) -> dict[str, Presence]:
    """Of many; every file is read once."""
    files: dict[str, Contents | Presence] = {}
    found: dict[str, Presence] = {}
    for path in paths:
        file = datasets.file_of(path)
        if file == path:
            found[path] = _of_file(root, path)
            continue
        if file not in files:
            files[file] = _inside(root, file)
        found[path] = _of_part(path, files[file])
    return found


def _of_file(root: Folder, path: str) -> Presence:
    if see(root, path) is not None:
        return Presence.HERE
    return Presence.ALONE if directory_exists(root, path.rpartition("/")[0]) else Presence.GONE


def _of_part(path: str, inside: Contents | Presence) -> Presence:
    if isinstance(inside, Presence):
        return inside
    stands = path in inside.values or path in inside.left_out
    return Presence.HERE if stands else Presence.GONE


def _inside(root: Folder, file: str) -> Contents | Presence:
    """What a file holds, or what can be said of all that it held."""
    row = datasets.find_file(file)
    try:
        folder, name = root.parent_of(file)
        with folder:
            data = folder.read(name, datasets.MAX_BODY)
        if row is None or not data.strip():
            return Presence.ALONE
        return datasets.contents(row, file, data)
    except FileNotFoundError:
        return Presence.ALONE
    except FleetsyncError:
        return Presence.HERE
