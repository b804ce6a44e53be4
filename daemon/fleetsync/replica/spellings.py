"""Paths that differ in upper and lower case alone: on many disks they are one (SEMANTICS §1.5).

Knows register paths and how they are spelled, nothing of values or files. Rule of the file: directories
are compared, not files, because everything below two spellings would lie in one directory; and the
smaller spelling goes first everywhere, so that a fleet of unlike disks applies the same. No log can
be spelled twice: names that lead to logs are lower case (`records/names.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fleetsync.records.names import folded


class Spellings:
    """Every directory of these register paths, by what its spellings have in common."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._spelled: dict[str, dict[str, list[str]]] = {}
        self._several: set[str] = set()
        for path in paths:
            self.add(path)

    def add(self, path: str) -> None:
        """A register that was not known before."""
        for directory in _directories(path):
            key = folded(directory)
            spelled = self._spelled.setdefault(key, {})
            spelled.setdefault(directory, []).append(path)
            if len(spelled) > 1:
                self._several.add(key)

    def several(self) -> list[str]:
        """Every path below a directory that is spelled in more than one way."""
        found = (paths for key in self._several for paths in self._spelled[key].values())
        return sorted({path for paths in found for path in paths})

    def before(self, path: str) -> Iterator[tuple[str, str]]:
        """The registers that go before this path, each with the smaller spelling that it lies below."""
        for directory, other in self._others(path):
            if other < directory:
                yield from ((other, rival) for rival in self._spelled[folded(directory)][other])

    def is_spelled_twice(self, path: str) -> bool:
        """Whether another spelling of one of its directories is known."""
        return next(self._others(path), None) is not None

    def _others(self, path: str) -> Iterator[tuple[str, str]]:
        """Each directory of the path with another spelling of its last name alone."""
        for directory in _directories(path):
            above = directory.rpartition("/")[0]
            for other in sorted(self._spelled.get(folded(directory), ())):
                if other != directory and other.rpartition("/")[0] == above:
                    yield directory, other


def _directories(path: str) -> list[str]:
    parts = path.split("/")[:-1]
    return ["/".join(parts[:n]) for n in range(1, len(parts) + 1)]
