"""Logs in a home of a test, with the journal and the index that know them."""

from __future__ import annotations

import os
from pathlib import Path

from fleetsync import datasets
from fleetsync.datasets import Dataset
from fleetsync.files import Folder
from fleetsync.replica.index import IN_JOURNAL, Index
from fleetsync.replica.journal import Journal
from fleetsync.replica.logs import NewLine
from tests.faults.scenarios import LOG


def row_of(path: str) -> Dataset:
    return datasets.require(path)[1]


def new(*bodies: bytes, path: str = LOG) -> list[NewLine]:
    """A peer's lines with their keys, as they are handed over to be written."""
    return [NewLine(datasets.identify_in(row_of(path), path, body), body) for body in bodies]


def ids(*bodies: bytes, path: str = LOG) -> list[bytes]:
    return [each.key.id for each in new(*bodies, path=path)]


class LogHome:
    """A home with the directories of these logs, its journal and index."""

    def __init__(self, folder: Path, *logs: str) -> None:
        self.home = folder / "home"
        for path in logs:
            self.path(path).parent.mkdir(parents=True)
        self.root = Folder.open(self.home)
        self.journal = Journal.open(folder / "journal.db")
        self.index = Index.open(folder / "index.db", os.urandom)

    def path(self, path: str = LOG) -> Path:
        return self.home / path

    def standing(self, path: str = LOG) -> list[bytes]:
        """What the index says stands in a log, in order, read from where it says."""
        data = self.path(path).read_bytes()
        places = sorted((e.offset, e.length) for e in self.index.of_path(path) if e.offset != IN_JOURNAL)
        return [data[offset : offset + length] for offset, length in places]

    def close(self) -> None:
        self.root.close()
        self.index.close()
        self.journal.close()
