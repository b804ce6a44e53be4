"""Home is read: what changed, what is gone, what came back.

A full sweep is the truth, a look at some paths is quick; both end with the files of home as they should
be. Rule of the file: one file's trouble is told and never keeps the others from being read; nothing is
concluded from what is missing when home itself may have been swapped.
"""

from __future__ import annotations

from collections.abc import Sequence

from fleetsync import datasets
from fleetsync.datasets import Kind
from fleetsync.errors import FleetsyncError, HomeMissing, MalformedRecord
from fleetsync.files import Folder, Identity
from fleetsync.replica import approvals
from fleetsync.replica.bringing import Bringing
from fleetsync.replica.counting import STATS
from fleetsync.replica.layout import Look, Seen, directory_exists, is_spelled_so, see
from fleetsync.replica.parts import Parts
from fleetsync.replica.publishing import is_public_file
from fleetsync.replica.restoring import Restoring
from fleetsync.replica.shelf import is_log


class Sweep:
    """Reads one home; single-threaded."""

    def __init__(self, parts: Parts, bringing: Bringing) -> None:
        self._home = parts.home
        self._index = parts.index
        self._logs = parts.logs
        self._lines = parts.lines
        self._members = parts.members
        self._carried = parts.carried
        self._versions = parts.versions
        self._registers = parts.registers
        self._units = parts.units
        self._guard = parts.guard
        self._verification = parts.verification
        self._publishing = parts.publishing
        self._keyless = parts.keyless
        self._follow = parts.members.follow
        self._bringing = bringing
        self._restoring = Restoring(parts.registers, parts.guard)
        self._troubles = bringing.troubles
        self._watched = False
        self._swept: Identity | None = None  # the directory that home was when all of it was read last

    def read(self, root: Folder, paths: Sequence[str] | None) -> None:
        """Look at these paths, or at everything."""
        asked = paths is None or any(map(approvals.concern, paths))
        found_approvals = asked and self._carried.find_approvals(root)
        if paths is None or found_approvals:
            self.sweep(root)
        else:
            self.look_at(root, paths)
            self._bringing.make_way(root)

    def look_at(self, root: Folder, paths: Sequence[str]) -> None:
        """Some paths: what changed in them. What went back in time is judged with everything in view."""
        if self._is_another(root) or self._went_back(root, paths):
            self.sweep(root)
        else:
            self._look_at(root, paths)

    def _is_another(self, root: Folder) -> bool:
        """Whether home is another directory than the one that was read."""
        return self._swept not in (None, root.identity())

    def _went_back(self, root: Folder, paths: Sequence[str]) -> bool:
        """Whether anything at these paths goes back in time, or did so and is something else by now."""
        if any(path in self._registers.edits.suspects for path in paths):
            return True
        looked = ((path, datasets.find_file(path), self._see(root, path)) for path in paths)
        seen = [Seen(path, row, look) for path, row, look in looked if row is not None and look is not None]
        return bool(self._restoring.found(root, seen))

    def require_home(self, root: Folder) -> None:
        """An empty mount point is not home: when home is another directory than the one that was read, the
        guard decides before anything is written.
        """
        if self._is_another(root):
            self.sweep(root)

    def due_in(self) -> float | None:
        """Seconds until `settle` has something to judge; None if nothing went back in time."""
        return self._restoring.due_in()

    def settle(self, root: Folder) -> None:
        """Judge what went back in time and was not followed by more, and first whether this is home."""
        if self._is_another(root) or self._restoring.due_in() == 0:
            self.sweep(root)

    def sweep(self, root: Folder) -> None:
        """Everything: what changed, what is gone, what was left to do."""
        identity = root.identity()
        seen = [each for each in self._home.walk(root) if self._carried.reads(each.path)]
        self._units.came_back(root)
        self._notice_restored_home(root, seen)
        for each in seen:
            self._scan_quietly(root, each)
        if self._identity_now() != identity:
            return  # home was swapped while it was read: nothing is concluded from what is missing
        present = self._inside(seen)
        for state in self._index.files():  # some may have been made since the walk, by lines set free
            gone = state.path not in present and see(root, state.path) is None
            if gone and self._is_damage(root, state.path):
                self._logs.gone(state.path)
        self._carried.welcome(present)
        self._units.look(root, present, watched=self._watched)
        self._watched = True
        self._swept = identity
        self._registers.edits.home_is_known()
        self._publish(root)
        self._bringing.catch_up(root)
        self._keyless.look(root)

    def _inside(self, seen: Sequence[Seen]) -> set[str]:
        """The paths of what is in these files, as far as they have been read."""
        found = {each.path for each in seen if each.row.parts is None}
        taken_apart = (each.path for each in seen if each.row.parts is not None)
        return found.union(*map(self._registers.sightings.inside, taken_apart))

    def _publish(self, root: Folder) -> None:
        """Tell the fleet of this device's public keys, and judge by them what came back from it."""
        try:
            self._follow(self._publishing.look(root))
        except MalformedRecord as error:
            self._troubles["agents"] = f"agents: {error}"
        else:
            self._troubles.pop("agents", None)
        self.keys_changed(root)

    def keys_changed(self, root: Folder) -> None:
        """Published keys may have: lines that waited for one are judged again."""
        if self._verification.refresh():
            self._lines.unpark_signed(root)

    def _is_damage(self, root: Folder, log: str) -> bool:
        """Whether a missing log is to be refilled, and not for a deletion to judge: its directory stands, or
        it never was the log of anything that could be deleted.
        """
        row = datasets.find(log)
        if row is None or directory_exists(root, log.rpartition("/")[0]):
            return True
        return not any(self._registers.is_present(datasets.sibling(log, name)) for name in row.manifest)

    def _identity_now(self) -> Identity | None:
        try:
            with self._home.open() as root:
                return root.identity()
        except HomeMissing:
            return None

    def believe(self, root: Folder, file: str) -> None:
        """Look at one file, about which a person speaks: it is not judged, whatever stands there."""
        self._restoring.acquit(file)
        self._look_at(root, [file])

    def _look_at(self, root: Folder, paths: Sequence[str]) -> None:
        for path in sorted(filter(self._carried.reads, set(paths)), key=is_log):
            row = datasets.find_file(path)
            if is_public_file(path):
                self._publish(root)
            elif row is not None:
                look = self._see(root, path)
                if look is not None:
                    self._scan_quietly(root, Seen(path, row, look))
                elif row.kind is Kind.LOG and self._is_damage(root, path):
                    self._logs.gone(path)
            elif path.rpartition("/")[2] == STATS:
                self._lines.recount_one(root, datasets.sibling(path, "events.jsonl"))
        self._bringing.look_for_keys(root, paths)

    def _see(self, root: Folder, path: str) -> Look | None:
        """The look of a file, if it is there under this very spelling."""
        if self._versions.spellings.is_spelled_twice(path) and not is_spelled_so(root, path):
            return None
        return see(root, path)

    def _scan_quietly(self, root: Folder, seen: Seen) -> None:
        """One file's trouble is told by `condition`; it never keeps the others from being read. What was
        minted before it is in the journal, and the index learns of it by being aligned.
        """
        try:
            self._scan_one(root, seen)
        except FileNotFoundError:
            return
        except FleetsyncError as error:
            self._members.doubt()
            self._troubles[seen.path] = str(error)
        else:
            self._troubles.pop(seen.path, None)

    def _scan_one(self, root: Folder, seen: Seen) -> None:
        if seen.row.kind is Kind.LOG:
            if self._logs.changed(seen.path, seen.look):
                self._logs.read(root, seen.path, seen.row)
            if self._lines.learnt():
                self._lines.unpark_all(root)
        elif not self._guard.stops:
            self._scan_registers(root, seen)

    def _scan_registers(self, root: Folder, seen: Seen) -> None:
        watched = self._watched and self._carried.carried_before(seen.path)
        changed = self._registers.sightings.changed(seen)
        if changed:
            self._follow(self._registers.edits.scan(root, seen, watched=watched))
        if seen.row.parts is not None:
            self._units.look_into(seen.path, watched=watched)
        if changed or seen.row.parts is not None:
            self._bring_into(root, seen)

    def _bring_into(self, root: Folder, seen: Seen) -> None:
        """What was read from a file may have brought other values to the top."""
        if seen.row.parts is None:
            self._bringing.bring(root, seen.path)
            return
        for path in [path for path in self._troubles if datasets.file_of(path) == seen.path]:
            self._troubles.pop(path)
        for path in self._registers.unapplied(seen.path):
            self._bringing.bring(root, path)

    def _notice_restored_home(self, root: Folder, seen: Sequence[Seen]) -> None:
        """What went back in time is judged together, and with what the logs lost."""
        went_back = self._restoring.found(root, seen)
        if went_back:
            for each in (s for s in seen if s.row.kind is Kind.LOG):
                self._scan_quietly(root, each)
        self._restoring.judge(root, went_back, watched=self._watched, shrunk=bool(self._logs.shrunk))
        self._logs.shrunk.clear()
