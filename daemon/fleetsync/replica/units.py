"""Directories that come and go as a whole: noticing that one is gone, and taking one away.

A unit is the directory of a register (a skill, a channel, an agent), or the register itself where a file
holds many. It is gone when it has been seen missing for five seconds; a file that alone is missing is put
back after the same time, because editors unlink and create. A deletion is a version like any other; what
it says is carried out here, through `trash.py` and behind `guard.py`. Implements SEMANTICS §3.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from fleetsync import datasets
from fleetsync.datasets import Kind
from fleetsync.errors import FileChanged, LockBusy, MalformedRecord
from fleetsync.files import Folder, Identity
from fleetsync.ports import Key
from fleetsync.records import loglines
from fleetsync.replica.guard import Cause, Guard, Held
from fleetsync.replica.history import History, Why
from fleetsync.replica.index import IN_JOURNAL, Index
from fleetsync.replica.journal import Journal, ParkedLine, Trashing
from fleetsync.replica.layout import WATCHED_ROOTS, directory_exists, see
from fleetsync.replica.lines import TRASHED, Lines
from fleetsync.replica.logs import Logs
from fleetsync.replica.presence import Presence, presence, presences
from fleetsync.replica.registers import Registers
from fleetsync.replica.trash import Trash
from fleetsync.replica.versions import Change

PATIENCE = 5_000_000
"""µs for which a directory must be seen gone."""
_ROOTS = "dataset-roots"

Follow = Callable[[Change], None]


class _Missing(NamedTuple):
    """Since when (µs) a file has been seen missing, and whether it went while the daemon ran."""

    since: int
    watched: bool


class Units:
    """All units of one home; single-threaded. `follow` keeps the index equal to the versions."""

    def __init__(
        self,
        journal: Journal,
        index: Index,
        logs: Logs,
        lines: Lines,
        registers: Registers,
        history: History,
        trash: Trash,
        guard: Guard,
        follow: Follow,
    ) -> None:
        self.guard = guard
        self._journal = journal
        self._index = index
        self._logs = logs
        self._lines = lines
        self._registers = registers
        self._versions = registers.versions
        self._history = history
        self._trash = trash
        self._follow = follow
        self._now = registers.versions.clock.now
        self._missing: dict[str, _Missing] = {}
        self.stuck: dict[str, str] = {}
        """Deletions that cannot be carried out, by path, and why."""

    # --- noticing -----------------------------------------------------------------------------------

    def look(self, root: Folder, present: Collection[str], *, watched: bool) -> None:
        """A full scan has seen exactly these files: remember since when others are missing.

        `watched` False: what is missing now went while the daemon was down.
        """
        missing = [path for path in self._registers.sightings.present() if path not in present]
        now = _Missing(self._now(), watched)
        since = {path: self._missing.get(path, now) for path in missing}
        # what went before the clock was set back has been missing since now, not until it is that late again
        self._missing = {path: each if each.since <= now.since else now for path, each in since.items()}
        changed = self._roots_changed(root)
        if changed and any(path.partition("/")[0] in changed for path in missing):
            self.guard.hold(Cause.DELETED_HERE, missing)

    def look_into(self, file: str, *, watched: bool) -> None:
        """A file that is there has been read: remember since when registers are missing in it."""
        inside = self._registers.sightings.inside(file)
        now = _Missing(self._now(), watched)
        for path in self._registers.sightings.of_file(file):
            if path in inside:
                self._missing.pop(path, None)
            else:
                self._missing.setdefault(path, now)

    def came_back(self, root: Folder) -> None:
        """If all that the guard asks about is there again, the disk that held it was away, and there is
        nothing to ask.
        """
        held = self.guard.held
        if held is None or held.cause is not Cause.DELETED_HERE:
            return
        if all(each is Presence.HERE for each in presences(root, held.paths).values()):
            self.guard.release()
            self._missing.clear()

    def due_in(self) -> float | None:
        """Seconds until `settle` has something to decide; None if nothing is missing."""
        if not self._missing or self.guard.stops:
            return None
        first = min(missing.since for missing in self._missing.values())
        return max(0.0, (first + PATIENCE - self._now()) / 1e6)

    def settle(self, root: Folder) -> None:
        """What has been missing long enough is deleted, or put back if it is a manifest alone."""
        if self.guard.stops:
            return
        self._missing = {p: each for p, each in self._missing.items() if self._registers.carries(p)}
        late = {p: each for p, each in self._missing.items() if each.since + PATIENCE <= self._now()}
        found = presences(root, late)
        gone: list[str] = []
        for path, missing in late.items():
            self._missing.pop(path)
            if found[path] is Presence.ALONE:
                self._registers.sightings.forget(path)
            elif found[path] is Presence.GONE:
                if not missing.watched and self._registers.edits.unread(path):
                    self._bring_back(path)  # what came meanwhile outlives what nobody watched
                else:
                    gone.append(path)
        if gone and self._may_go(gone, Cause.DELETED_HERE):
            for path in gone:
                self._mint_gone(path, watched=late[path].watched)

    def _bring_back(self, path: str) -> None:
        """It was no deletion: it is made again, its lines with what peers have of them."""
        self._drop_lines(path)
        self._registers.sightings.forget(path)

    def _may_go(self, paths: Iterable[str], cause: Cause) -> bool:
        """Whether the guard lets these registers go; otherwise it holds from now on."""
        paths = list(paths)
        by_dataset = Counter(_dataset(path) for path in paths)
        for name, count in by_dataset.items():
            carried = filter(self._registers.carries, self._versions.paths())
            total = sum(_dataset(path) == name for path in carried)
            if not self.guard.allows(name, count, total):
                self.guard.hold(cause, paths)
                return False
        for name, count in by_dataset.items():
            self.guard.note(name, count)
        return True

    def _mint_gone(self, path: str, *, watched: bool) -> None:
        keys = self._lines.keys(path)
        self._drop_lines(path)
        unread = self._registers.edits.unread(path)
        ahead = self._registers.edits.standing_ahead(path)
        standing = ahead[0] if ahead else self._versions.current(path)
        if standing is not None and standing.value is not None:
            self._history.keep(path, standing.value, Why.DELETED, None, standing.stamp.device)
        self._follow(self._versions.mint_gone(path, keys, watched=watched, unread=unread, ahead=ahead))
        self._registers.note_gone(path)

    def _drop_lines(self, manifest: str) -> None:
        """The files are gone, and with them what only they held; peers give it back, into trash."""
        for path, _ in datasets.logs_beside(manifest):
            self._logs.gone(path)

    def _roots_changed(self, root: Folder) -> set[str]:
        """The top-level directories that are gone or are other ones than at the last scan."""
        raw = self._journal.get(_ROOTS)
        before = msgspec.msgpack.decode(raw, type=dict[str, tuple[int, ...]]) if raw else {}
        now = {name: identity for name in WATCHED_ROOTS if (identity := _identity(root, name))}
        if now != before:
            self._journal.put(_ROOTS, msgspec.msgpack.encode({**before, **now}))
        # earlier journals knew less of a directory
        return {name for name, was in before.items() if now.get(name, ())[: len(was)] != was}

    # --- a deletion that counts ---------------------------------------------------------------------

    def take_away(self, root: Folder) -> None:
        """Move every directory out of home whose registers are all gone by the versions."""
        if self.guard.stops:
            return
        present = self._registers.sightings.present()
        gone = dict.fromkeys(path for path in present if self._registers.is_gone(path))
        units = {_unit(path) for path in gone}
        kept = {_unit(path) for path in present if path not in gone}
        leaving = units - kept
        standing = presences(root, [path for path in gone if _unit(path) in leaving])
        paths = [path for path, presence in standing.items() if presence is Presence.HERE]
        if paths and not self._may_go(paths, Cause.DELETED_ELSEWHERE):
            return
        self._carry_out(root, leaving)
        for path in gone:
            if _unit(path) in kept:
                self._remove_file(root, path)

    def _carry_out(self, root: Folder, units: Iterable[str]) -> None:
        for unit in sorted(units):
            if _is_part(unit):
                self._take_out(root, unit)
            else:
                self._move_out(root, unit)

    def _take_out(self, root: Folder, part: str) -> None:
        self.stuck.pop(part, None)
        try:
            self._registers.take_out(root, part)
        except FileChanged:
            return  # another writer is at work: the next sweep tries again
        except MalformedRecord as error:
            self.stuck[part] = f"{part}: {error}"

    def _move_out(self, root: Folder, unit: str) -> None:
        try:
            trashing = self._trash.put(root, unit)
        except LockBusy:
            return  # somebody is writing: the next sweep tries again
        if trashing is not None:
            self.take_over(root, trashing)
        for path in self._registers.sightings.present():
            if _unit(path) == unit:
                if trashing is None:  # a person was faster: the lines come back into trash
                    self._drop_lines(path)
                self._registers.note_gone(path)

    def _remove_file(self, root: Folder, path: str) -> None:
        """One of several manifests of a unit was deleted: only that file goes, into history."""
        with suppress(FileNotFoundError):  # somebody was faster
            folder, name = root.parent_of(path)
            with folder:
                value = folder.read(name, datasets.MAX_BODY)
                self._history.keep(path, value, Why.DELETED, None, None)
                folder.remove(name)
                folder.sync()
        self._registers.note_gone(path)

    def take_over(self, root: Folder, trashing: Trashing) -> None:
        """What stood in a directory that has left home: manifests to history, lines to the journal."""
        for path in [path for path in self._versions.paths() if _unit(path) == trashing.unit]:
            value = self._trash.read(root, trashing, path.rpartition("/")[2])
            if value:
                self._history.keep(path, value, Why.DELETED, None, None)
            for log, _ in datasets.logs_beside(path):
                self._take_lines(root, trashing, log)
            if see(root, path) is None:
                self._registers.note_gone(path)

    def _take_lines(self, root: Folder, trashing: Trashing, log: str) -> None:
        """Every line of the trashed log is a member whose body is in the journal from now on, unless the
        directory came back meanwhile and the line stands there.
        """
        row = datasets.require(log)[1]
        found: dict[bytes, ParkedLine] = {}
        for line in loglines.lines(self._trash.read(root, trashing, log.rpartition("/")[2])):
            try:
                key: Key = datasets.identify_in(row, log, line.body)
            except MalformedRecord:
                continue  # it stays in the copy, as it is
            body = datasets.carried(row, line.body)
            found.setdefault(key.id, ParkedLine(key.id, log, key.ts, body, TRASHED, None))
        in_file = {e.key.id for e in self._index.of_path(log) if e.offset != IN_JOURNAL}
        came_back = self._is_indexed(root, log)
        ids = [identity for identity in found if not (came_back and identity in in_file)]
        origins = self._journal.ledger.origins(log, ids)
        self._journal.ledger.note_local(log, [i for i in ids if i not in origins])
        self._lines.park([found[i]._replace(origin=origins.get(i)) for i in ids])
        if not came_back:
            self._logs.forget(log)
            self._index.remove([i for i in in_file if i not in found])

    def _is_indexed(self, root: Folder, log: str) -> bool:
        """Whether the index speaks of the file that stands in home now, not of the one that left."""
        look, state = see(root, log), self._index.file(log)
        return look is not None and state is not None and (look.device, look.inode) == state[1:3]

    def recover(self, root: Folder) -> None:
        """Take over again what a crash interrupted."""
        for trashing in self._trash.recover(root):
            self.take_over(root, trashing)

    def look_again(self, root: Folder) -> None:
        """The second look: lines that a late writer left in a directory that was being moved."""
        for trashing in self._trash.due():
            self.take_over(root, trashing)
            self._trash.remove(root, trashing)

    # --- a person decides ---------------------------------------------------------------------------

    def confirm(self, root: Folder) -> list[str]:
        """It was meant: what is missing here is deleted, what was deleted elsewhere goes, what was
        brought back stays. Returns the paths. Raises `NotFound`, and the question stays.
        """
        held = self._asked()
        if held is None:
            return []
        if held.cause is Cause.DELETED_HERE:
            for path in held.paths:
                if presence(root, path) is not Presence.HERE:
                    self._mint_gone(path, watched=True)
        elif held.cause is Cause.RESTORED:
            for path, value in self._brought_back(held).items():
                self._registers.losers.keep_rivals(path, value, standing=True)
                self._follow(self._versions.mint_word(path, value, keep_floor=True))
        else:
            self._carry_out(root, {_unit(path) for path in held.paths if self._registers.is_gone(path)})
        self.guard.release()
        return held.paths

    def undo(self) -> list[str]:
        """It was not meant: what is missing here comes back, what was deleted elsewhere stays."""
        held = self._asked()
        if held is None:
            return []
        for path in held.paths:
            self._missing.pop(path, None)
            if held.cause is Cause.DELETED_HERE:
                self._bring_back(path)
            elif held.cause is Cause.DELETED_ELSEWHERE and self._registers.is_gone(path):
                current = self._versions.current(path)
                if current is not None and current.before is not None:
                    self._follow(self._versions.mint_word(path, current.before, keep_floor=False))
        self.guard.release()
        return held.paths

    def _asked(self) -> Held | None:
        """What a person decides about, less what was left out meanwhile."""
        held = self.guard.held
        return held and replace(held, paths=[path for path in held.paths if self._registers.carries(path)])

    def give_back(self, root: Folder, path: str) -> None:
        """Put the trashed copy of a register's directory back if that is gone."""
        if not _is_part(path) and not directory_exists(root, _unit(path)):
            self._trash.give_back(root, _unit(path))

    def _brought_back(self, held: Held) -> dict[str, bytes]:
        """What the restored home held: it went to history before the current values replaced it."""
        return {path: self._history.value(path, None, held.digests.get(path))[1] for path in held.paths}


def _is_part(path: str) -> bool:
    return datasets.file_of(path) != path


def _unit(path: str) -> str:
    return path if _is_part(path) else path.rpartition("/")[0]


def _dataset(path: str) -> str:
    row = datasets.find(path)
    return row.name if row is not None and row.kind is Kind.REGISTER else ""


def _identity(root: Folder, name: str) -> Identity | None:
    if not directory_exists(root, name):
        return None
    with root.enter(name) as folder:
        return folder.identity()
