"""What a replica is made of, joined; decides nothing.

Each part knows those that it is given here and no others.
"""

from __future__ import annotations

from pathlib import Path

from fleetsync.records.names import DeviceId
from fleetsync.replica.appending import Appending
from fleetsync.replica.carried import Carried
from fleetsync.replica.counting import Counting
from fleetsync.replica.guard import Guard
from fleetsync.replica.history import History
from fleetsync.replica.journal import Journal
from fleetsync.replica.keyless import Keyless
from fleetsync.replica.layout import Home
from fleetsync.replica.lines import Lines
from fleetsync.replica.logs import Logs
from fleetsync.replica.members import Members
from fleetsync.replica.opening import open_index
from fleetsync.replica.postponed import Postponed
from fleetsync.replica.publishing import Publishing
from fleetsync.replica.registers import Registers
from fleetsync.replica.shelf import Shelf
from fleetsync.replica.surroundings import Surroundings
from fleetsync.replica.trash import Trash
from fleetsync.replica.units import Units
from fleetsync.replica.verification import Verification
from fleetsync.replica.versions import Clock, Versions


class Parts:
    """Opens or makes the databases below `state`. Raises `JournalDamaged`, `StorageFailed`."""

    def __init__(self, home: Path, state: Path, device: DeviceId, around: Surroundings, skew: int) -> None:
        self.around = around
        self.home = Home(home)
        self.journal = journal = Journal.open(state / "journal.db")
        self.index = index = open_index(state / "index.db", around)
        self.history = History(state / "history", journal, around.now)
        self.trash = Trash(state / "trash", journal, around.now, around.token)
        self.guard = Guard(journal, around.now)
        self.versions = versions = Versions(device, journal, Clock(around.now, skew))
        self.registers = Registers(versions, journal, self.history, around.token)
        self.counting = Counting(journal, around.time, around.token)
        self.logs = Logs(journal, index)
        self.appending = Appending(journal, index, self.logs)
        self.shelf = Shelf(self.home, journal, index, self.logs)
        self.verification = Verification(versions, around.check)
        self.postponed = Postponed(around.now)
        self.lines = Lines(
            journal,
            index,
            self.logs,
            self.appending,
            self.shelf,
            versions,
            self.counting,
            self.guard,
            self.verification,
            self.postponed,
        )
        self.members = Members(journal, index, versions, self.logs)
        self.carried = Carried(journal, self.members, self.lines, self.registers)
        self.publishing = Publishing(versions)
        self.keyless = Keyless()
        self.registers.outlived = self.lines.outlived
        self.registers.follow = self.members.follow
        self.units = Units(
            journal,
            index,
            self.logs,
            self.lines,
            self.registers,
            self.history,
            self.trash,
            self.guard,
            self.members.follow,
        )
