"""The files of home follow the set: what is current is written, and what could not be is kept in mind.

Everything that could not be done at once (a lock, a full disk, a guard, a peer that brought too much) is
found and done again by `catch_up`. It knows nothing of where a change came from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress

from fleetsync import datasets
from fleetsync.errors import FileChanged, LockBusy, MalformedRecord, StorageFailed
from fleetsync.files import Folder
from fleetsync.replica.layout import directory_exists, respell, see
from fleetsync.replica.parts import Parts
from fleetsync.replica.versions import Member
from fleetsync.selection import Selection


class Bringing:
    """Writes what is due; single-threaded. `troubles` says by path what could not be done, and why."""

    def __init__(self, parts: Parts) -> None:
        self.troubles: dict[str, str] = {}
        self.wrote: Callable[[str], None] = lambda _path: None
        """Told, on the thread that called, of every file of home that was written for a peer."""
        parts.appending.wrote = self._tell_written
        self._ledger = parts.journal.ledger
        self._members = parts.members
        self._follow = parts.members.follow
        self._carries = parts.carried.carries
        self._versions = parts.versions
        self._registers = parts.registers
        self._counting = parts.counting
        self._lines = parts.lines
        self._units = parts.units
        self._guard = parts.guard
        self._keyless = parts.keyless
        self._postponed = parts.postponed

    def overlook(self, selection: Selection) -> None:
        """What is left out from now on is no trouble."""
        for path in [path for path in self.troubles if not selection.carries(path)]:
            del self.troubles[path]

    def _tell_written(self, path: str) -> None:
        self.wrote(path)

    def bring(self, root: Folder, path: str) -> None:
        """The file becomes the current version; what could not be done now is done by `settle`."""
        if self._guard.stops or not self._carries(path) or self._is_withheld(path):
            return
        row = datasets.find(path)
        standing = directory_exists(root, path.rpartition("/")[0])  # else nothing is there to reset
        if row is not None and row.counters and standing and self._registers.is_unapplied(path):
            self._ledger.begin_reset(path)
        try:
            wrote = self._registers.apply(root, path)
        except (FileChanged, FileNotFoundError, LockBusy):  # absent: its directory went away just then
            self._members.doubt()
            self._postponed.add(path)
            return
        except MalformedRecord as error:  # a file that cannot be taken apart is never replaced
            self._members.doubt()
            self.troubles[path] = f"{path}: {error}"
            return
        except StorageFailed as error:
            self._members.doubt()
            self._postponed.add(path)
            self.troubles[path] = f"{path}: {error}"
            raise
        self._postponed.done(path)
        self.troubles.pop(path, None)
        if wrote:
            self.wrote(path)
        self.look_for_keys(root, [path])
        self._registers.losers.keep_others(path)
        self._reset_counters(root)
        self._lines.unpark_beside(root, path)

    def _is_withheld(self, path: str) -> bool:
        """Whether the current version came from a peer that has brought too much."""
        current = self._versions.current(path)
        origins = [m.stored.origin for m in self._versions.members(path) if m.version is current]
        return any(map(self._guard.allowance.withholds, origins))

    def withheld(self) -> list[str]:
        """Whatever waits because a peer has brought too much."""
        registers = [path for path in self._registers.unapplied() if self._is_withheld(path)]
        return sorted({*registers, *self._lines.flooded()})

    def _reset_counters(self, root: Folder) -> None:
        """Beside every manifest that a peer's has replaced; what cannot be done now stays to be done."""
        for path in self._ledger.resets():
            target = self._registers.target(path)
            try:
                if target is not None and target.value is not None and see(root, path) is not None:
                    self._counting.reset(root, datasets.sibling(path, "events.jsonl"), target.value)
            except (LockBusy, MalformedRecord):
                continue
            self._ledger.finish_reset(path)

    def catch_up(self, root: Folder) -> None:
        """Do what could not be done before: files, parked lines, counts, directories to take away."""
        with self._postponed.tried():
            for member in self._versions.held_by_our_clock():
                if self._carries(member.stored.path):
                    self._mint_anew(member)
            self.make_way(root)
            for path in self._registers.unapplied():
                with suppress(StorageFailed):  # told by `condition`; the others are brought all the same
                    self.bring(root, path)
            self._reset_counters(root)
            self._units.take_away(root)
            self._lines.unpark_all(root)
            self._lines.recount(root)

    def _mint_anew(self, member: Member) -> None:
        """The wall clock was set back: an edit of ours need not wait until it is that late again."""
        path, value = member.stored.path, member.version.value
        if value is not None and self._registers.holds(path, value):
            self._follow(self._versions.mint_anew(path, value))
            self._registers.take_as_is(path)

    def make_way(self, root: Folder) -> None:
        """Of two spellings of one path the smaller stands in home, the other is parked."""
        for path in self._registers.outspelled():
            spelling = self._registers.place_of(path)
            try:
                self._follow(self._registers.put_aside(root, path))
            except FileNotFoundError:
                self._registers.note_gone(path)
            except StorageFailed as error:  # told by `condition`, and tried again
                self.troubles[path] = f"{path}: {error}"
                continue
            if spelling is not None:
                respell(root, spelling)

    def look_for_keys(self, root: Folder, paths: Iterable[str]) -> None:
        """These paths have changed: an agent among them may have come without its key."""
        if any(path.startswith("agents/") for path in paths):
            self._keyless.look(root)
