"""Home on disk: where the dataset files are, and whether home is still the home it was.

Looks, never writes. It walks only where the table of datasets points, and never through a symlink:
what it finds by name is opened component by component by `files.Folder`.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from fleetsync import datasets
from fleetsync.datasets import Dataset, Kind
from fleetsync.errors import FleetsyncError, HomeMissing
from fleetsync.files import Folder
from fleetsync.records.names import NAME_RULES, folded

STAGING = ".fleetsync/staging"
"""Under home, because a rename must not cross filesystems; never synced, swept at start."""


class Look(NamedTuple):
    """What one stat says of a file; a changed look is a reason to read."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int


def look_of(status: os.stat_result) -> Look:
    """The part of a stat result that changes when a file does."""
    return Look(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def look_in(folder: Folder, name: str) -> Look | None:
    """The look of a name in a directory; None if nothing is there."""
    status = folder.status(name)
    return None if status is None else look_of(status)


def see(root: Folder, path: str) -> Look | None:
    """The look of a file under home; None if it is not there or may not be looked at."""
    try:
        folder, name = root.parent_of(path)
    except (FileNotFoundError, FleetsyncError):
        return None
    with folder:
        return look_in(folder, name)


def directory_exists(root: Folder, directory: str) -> bool:
    """Whether a directory under home is there."""
    try:
        root.enter(directory).close()
    except (FileNotFoundError, FleetsyncError):
        return False
    return True


@dataclass(frozen=True)
class Seen:
    """A dataset file that exists."""

    path: str
    row: Dataset
    look: Look


class Home:
    """The root of the tree being synced; every use opens it anew, so that it may come and go."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def open(self) -> Folder:
        """The root; raises `HomeMissing` when it is not there."""
        try:
            return Folder.open(self.path)
        except FileNotFoundError:
            raise HomeMissing(f"{self.path} is not there") from None

    def exists(self) -> bool:
        """Whether there is a directory at all."""
        return self.path.is_dir()

    def walk(self, root: Folder) -> Iterator[Seen]:
        """Every dataset file under home, by stat alone."""
        for branch in _BRANCHES:
            for directory in _directories(root, branch.parts):
                yield from _members(root, directory, branch.leaves)


@dataclass(frozen=True)
class _Branch:
    """A directory pattern and the dataset files that may lie in it."""

    parts: tuple[str, ...]
    leaves: tuple[tuple[str, Dataset], ...]


def _branches() -> list[_Branch]:
    leaves: dict[tuple[str, ...], list[tuple[str, Dataset]]] = {}
    for row in datasets.DATASETS:
        if row.published:
            continue
        *parts, name = row.file_pattern.split("/")
        leaves.setdefault(tuple(parts), []).append((name, row))
    # Registers before logs: a log's lines may only be written once its manifest is known.
    return [
        _Branch(parts, tuple(sorted(found, key=lambda leaf: leaf[1].kind is Kind.LOG)))
        for parts, found in leaves.items()
    ]


_BRANCHES = _branches()
WATCHED_ROOTS = tuple(sorted({branch.parts[0] for branch in _BRANCHES if branch.parts}))
"""The top-level directories in which datasets live."""


def leaves_of(directory: str) -> frozenset[str] | None:
    """The dataset files that a directory may hold; None if there may be some further below it too."""
    parts = directory.split("/")
    found: set[str] = set()
    for branch in _BRANCHES:
        begins = all(_rule(part).fullmatch(name) for part, name in zip(branch.parts, parts, strict=False))
        if begins and len(branch.parts) > len(parts):
            return None
        if begins and len(branch.parts) == len(parts):
            found.update(f"{directory}/{name}" for name, _ in branch.leaves)
    return frozenset(found)


def agents_in(root: Folder) -> list[str]:
    """The names of the agents that have a directory."""
    return _subdirectories(root, "agents", NAME_RULES["agent"])


def _rule(part: str) -> re.Pattern[str]:
    """What a directory may be called at this place of a pattern."""
    placeholder = part.strip("<>")
    return NAME_RULES[placeholder] if part != placeholder else re.compile(re.escape(placeholder))


def is_spelled_so(root: Folder, path: str) -> bool:
    """Whether every directory of the path stands under home by exactly this name: a filesystem that
    ignores case finds it by another one too.
    """
    *directories, _ = path.split("/")
    above = ""
    for name in directories:
        try:
            with root.enter(above) as folder:
                if name not in folder.names():
                    return False
        except (FileNotFoundError, FleetsyncError):
            return False
        above = f"{above}{name}/"
    return True


def respell(root: Folder, directory: str) -> None:
    """Give a directory this spelling of its last name, if it stands there by another one that the
    filesystem takes for the same.
    """
    above, _, name = directory.rpartition("/")
    try:
        parent = root.enter(above)
    except (FileNotFoundError, FleetsyncError):
        return
    with parent:
        names = parent.names()
        if name in names or parent.status(name) is None:
            return
        for other in names:
            if folded(other) == folded(name):
                parent.rename_to(other, parent, name)
                parent.sync()


def _directories(root: Folder, parts: tuple[str, ...], above: str = "") -> Iterator[str]:
    """All directories under home that match the pattern parts, as relative paths with a final /."""
    if not parts:
        yield above
        return
    for name in _subdirectories(root, above, _rule(parts[0])):
        yield from _directories(root, parts[1:], f"{above}{name}/")


def _subdirectories(root: Folder, above: str, rule: re.Pattern[str]) -> list[str]:
    try:
        inner = root.enter(above)
    except OSError:
        return []
    with inner, os.scandir(inner.fd) as entries:
        return sorted(e.name for e in entries if rule.fullmatch(e.name) and e.is_dir(follow_symlinks=False))


def _members(root: Folder, directory: str, leaves: tuple[tuple[str, Dataset], ...]) -> Iterator[Seen]:
    for name, row in leaves:
        path = f"{directory}{name}"
        try:
            status = os.stat(path, dir_fd=root.fd, follow_symlinks=False)
        except OSError:
            continue
        if stat.S_ISREG(status.st_mode):
            yield Seen(path, row, look_of(status))
