"""The index follows the journal: which versions and parked lines are members, in one transaction each.

Journal and index are two files, and a crash may come between them. Rule of the file: what is in the
journal is the truth; after any doubt the index is aligned with it before it is used again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fleetsync.errors import FileChanged, IndexDamaged
from fleetsync.ports import Key
from fleetsync.records.names import DeviceId
from fleetsync.replica.index import IN_JOURNAL, Entry, Index
from fleetsync.replica.journal import Journal
from fleetsync.replica.lines import parked_entry
from fleetsync.replica.logs import Logs
from fleetsync.replica.versions import Change, Member, Versions
from fleetsync.selection import EVERYTHING


class Members:
    """The journal's members as the index knows them; single-threaded."""

    def __init__(self, journal: Journal, index: Index, versions: Versions, logs: Logs) -> None:
        self._journal = journal
        self._index = index
        self._versions = versions
        self._logs = logs
        self._carries: Callable[[str], bool] = EVERYTHING.carries
        self._aligned = False

    def carry(self, carries: Callable[[str], bool]) -> None:
        """From now on these paths alone have members; the next alignment makes it so."""
        self._carries = self._index.carries = carries
        self._aligned = False

    def doubt(self) -> None:
        """Something was given up half-way: the index may have missed what is in the journal."""
        self._aligned = False

    def begin(self) -> None:
        """Align at the start. An index may turn out to be damaged only when it is used."""
        try:
            self.align()
        except IndexDamaged:
            self.renew_index()
            self.align()

    def renew_index(self) -> bool:
        """A damaged index begins anew, True then: only a scan of all files makes it whole."""
        if not self._index.damaged:
            return False
        self._index.renew()
        self._aligned = False
        self._logs.reload()
        return True

    def align(self) -> None:
        """The index holds of the journal's members exactly those that are there: a crash, or a transaction
        of the index that was undone, may have come between the two. The files follow with a scan.
        """
        versions = [_version_entry(m) for m in self._versions.all_members()]
        entries = [*versions, *map(parked_entry, self._journal.parked_members())]
        members = [entry for entry in entries if self._carries(entry.path)]
        with self._index.transaction():
            for state in self._index.files():
                if not self._carries(state.path):
                    self._logs.gone(state.path)
            self._index.remove(list(self._index.in_journal() - {member.key.id for member in members}))
            self._index.add(members)
        self._aligned = True

    @contextmanager
    def indexing(self) -> Iterator[None]:
        """One transaction of the index; what is known of the files goes back with it if it fails. Raises
        `FileChanged` where something has gone away while it was being worked at.
        """
        try:
            with self._index.transaction():
                if not self._aligned:
                    self.align()
                yield
        except BaseException as error:
            self._aligned = False
            self._logs.reload()
            if isinstance(error, FileNotFoundError):
                raise FileChanged(f"{error.filename} went away meanwhile") from error
            raise

    def follow(self, change: Change) -> None:
        """The index follows the set of versions."""
        if not change:
            return
        with self._index.transaction():
            self._index.remove([member.stored.id for member in change.removed])
            self._index.add([_version_entry(member) for member in change.added])

    def state(self) -> tuple[int, bytes]:
        """What changes with every change of the set."""
        head = self._index.head()
        return head.arrival, head.fingerprint


def _version_entry(member: Member) -> Entry:
    stored = member.stored
    key = Key(max(0, member.version.stamp.hybrid), stored.id)
    origin = DeviceId(stored.origin) if stored.origin else None
    return Entry(key, stored.path, IN_JOURNAL, len(stored.body), origin, 0)
