"""Which kinds of lines this device's mur reads beyond those we know: the ones it has written itself.

One unknown line makes mur drop a whole log, so a peer's line of an unknown kind is parked. Once a
program on this device writes that kind, its mur is new enough (SEMANTICS §4.3).
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from fleetsync.datasets import Dataset
from fleetsync.replica.journal import Journal

_LEARNT = "kinds-written-here"


class Kinds:
    """The kinds seen in lines written here, kept in the journal."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        raw = journal.get(_LEARNT)
        self._learnt = set(msgspec.msgpack.decode(raw, type=list[str]) if raw else [])
        self._grew = False

    def readable(self, row: Dataset, line: bytes) -> bool:
        """Whether mur on this device certainly reads this line."""
        return row.readable(line) or self._name(row, line) in self._learnt

    def learn(self, row: Dataset, lines: Sequence[bytes]) -> None:
        """Lines that another program on this device has written."""
        names = {self._name(row, line) for line in lines if not row.readable(line)} - {None} - self._learnt
        if names:
            self._learnt |= {name for name in names if name is not None}
            self._journal.put(_LEARNT, msgspec.msgpack.encode(sorted(self._learnt)))
            self._grew = True

    def grew(self) -> bool:
        """Whether a kind was learnt since the last call."""
        grew, self._grew = self._grew, False
        return grew

    @staticmethod
    def _name(row: Dataset, line: bytes) -> str | None:
        kind = row.kind_of(line)
        return None if kind is None else f"{row.name}:{kind}"
