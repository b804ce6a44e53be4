"""Which paths this device carries: what was chosen, less the channels in which agents remember approvals.

The journal keeps the choice of the last full scan: what was left out then and is missing now was not
deleted. Implements SEMANTICS §1.4 and §7.5.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import msgspec

from fleetsync import datasets
from fleetsync.errors import NotFound
from fleetsync.files import Folder
from fleetsync.replica import approvals
from fleetsync.replica.journal import Journal
from fleetsync.replica.lines import Lines
from fleetsync.replica.members import Members
from fleetsync.replica.registers import Registers
from fleetsync.selection import EVERYTHING, Selection

_SELECTED = "selected"

_Choice = tuple[tuple[str, ...], tuple[str, ...]]
"""Rules and private skills, as the journal keeps them."""


class Carried:
    """The choice in force; single-threaded. Who asks whether a path is carried is told at each change."""

    def __init__(self, journal: Journal, members: Members, lines: Lines, registers: Registers) -> None:
        self.changed: Callable[[], None] = lambda: None
        """Told when `kept_here` has changed."""
        self._journal = journal
        self._members = members
        self._lines = lines
        self._registers = registers
        self._seen_with = _selection_of(journal.get(_SELECTED))  # at the last full scan
        self._wanted = self._selection = EVERYTHING
        self._approvals: dict[str, str] = {}

    @property
    def kept_here(self) -> Mapping[str, str]:
        """Directories of channels that stay on this device whatever is selected, and for which agent."""
        return self._approvals

    def carries(self, path: str) -> bool:
        """Whether the members of this path are members here."""
        return self._selection.carries(path)

    def carried_before(self, path: str) -> bool:
        """Whether they were at the last full scan."""
        return self._seen_with == self._selection or self._seen_with.carries(path)

    def choose(self, wanted: Selection) -> None:
        """Carry this from now on; the members follow when they are aligned."""
        self._wanted = wanted
        self._choose()

    def find_approvals(self, root: Folder) -> bool:
        """Whether other channels than before serve as an agent's memory of approvals."""
        found = approvals.remembered(root)
        if found == self._approvals:
            return False
        self._approvals = found
        self._choose()
        self._members.align()
        self.changed()
        return True

    def _choose(self) -> None:
        selection = self._selection = self._wanted.without(self._approvals)
        self._lines.carries = selection.carries
        self._members.carry(selection.carries)
        self._registers.sightings.carries = selection.carries
        self._registers.sightings.look_anew()

    def reads(self, file: str) -> bool:
        """Whether anything may be carried that stands in this file."""
        row = datasets.find_file(file)
        return self.carries(file) or (row is not None and row.parts is not None)

    def welcome(self, present: Collection[str]) -> None:
        """What was left out at the last full scan and is missing now was not deleted: nobody was looking."""
        if self._seen_with == self._selection:
            return
        for path in self._registers.sightings.present():
            if path not in present and not self._seen_with.carries(path):
                self._registers.sightings.forget(path)
        choice = (self._selection.rules, self._selection.private)
        self._journal.put(_SELECTED, msgspec.msgpack.encode(choice))
        self._seen_with = self._selection

    def require(self, path: str) -> None:
        """Raises `NotFound` for a path that is left out."""
        if not self.carries(path):
            raise NotFound(
                f"{path} is left out on this device",
                next_step="change [sync] in the configuration, then `fleetsync reload`",
            )


def _selection_of(raw: bytes | None) -> Selection:
    """What was carried at the last full scan; everything, if nothing ever was left out."""
    return EVERYTHING if raw is None else Selection(*msgspec.msgpack.decode(raw, type=_Choice))
