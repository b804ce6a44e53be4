"""A person's word: keep what is here, bring something back, count anew, answer the guard.

What a person says wins by causality over everything that is known when it is said, and says so in
history. Implements SEMANTICS §2.1 and §3.
"""

from __future__ import annotations

import hashlib

from fleetsync import datasets
from fleetsync.datasets import Kind
from fleetsync.errors import FileChanged, NotFound
from fleetsync.files import Folder
from fleetsync.replica.bringing import Bringing
from fleetsync.replica.guard import Cause, Held
from fleetsync.replica.history import Why
from fleetsync.replica.index import IN_JOURNAL
from fleetsync.replica.journal import HistoryEntry
from fleetsync.replica.parts import Parts
from fleetsync.replica.sweep import Sweep


class Orders:
    """Carries them out; single-threaded."""

    def __init__(self, parts: Parts, bringing: Bringing, sweep: Sweep) -> None:
        self._home = parts.home
        self._now = parts.around.now
        self._index = parts.index
        self._logs = parts.logs
        self._carried = parts.carried
        self._indexing = parts.members.indexing
        self._follow = parts.members.follow
        self._history = parts.history
        self._versions = parts.versions
        self._registers = parts.registers
        self._counting = parts.counting
        self._units = parts.units
        self._guard = parts.guard
        self._bringing = bringing
        self._sweep = sweep

    def keep_local(self, path: str) -> HistoryEntry:
        """What stands here, in one file or in a directory, becomes new versions that cover all others.

        Returns the newest entry of history: what lost by this. Raises `NotFound`.
        """
        with self._home.open() as root, self._indexing():
            self._carried.require(path)
            values = self._standing(root, path)
            if not values:
                raise NotFound(f"{path} is no file, part of one or directory that syncs as a whole")
            kept = [self._keep_local(root, each, value) for each, value in values.items()]
        return next(iter(self._history.entries(path)), kept[-1])

    def _standing(self, root: Folder, path: str) -> dict[str, bytes]:
        """The values of the registers at or below a path. Raises `MalformedRecord`."""
        found: dict[str, bytes] = {}
        for seen in self._home.walk(root):
            if seen.row.kind is Kind.REGISTER and (_within(seen.path, path) or _within(path, seen.path)):
                folder, name = root.parent_of(seen.path)
                with folder:
                    data = folder.read(name, datasets.MAX_BODY)
                found.update(datasets.contents(seen.row, seen.path, data).values)
        return {each: found[each] for each in found if _within(each, path) and self._carried.carries(each)}

    def _keep_local(self, root: Folder, path: str, value: bytes) -> HistoryEntry:
        self._registers.losers.keep_rivals(path, value)
        self._follow(self._versions.mint_word(path, value, keep_floor=True))
        self._registers.settle_file(root, path)
        digest, now = hashlib.sha256(value).hexdigest(), self._now()
        return HistoryEntry(0, path, Why.REPLACED, now, None, self._versions.device, len(value), digest)

    def restore(self, path: str, version: int | None) -> HistoryEntry:
        """Values from history, of one file or the newest of a directory's, become versions that cover
        all others; a directory that was deleted comes back with all that was in it.

        Returns the newest entry of history: what was replaced by this. Raises `NotFound`.
        """
        paths = {path} if datasets.find(path) else {entry.path for entry in self._history.entries(path)}
        chosen = [self._history.value(each, version) for each in sorted(paths)]
        if not chosen:
            raise NotFound(f"history has nothing of {path}", next_step="run `fleetsync history`")
        for entry, _ in chosen:
            self._carried.require(entry.path)
        with self._home.open() as root, self._indexing():
            for entry, raw in chosen:
                value = datasets.require(entry.path)[1].value_of(raw)  # history has whole files too
                self._units.give_back(root, entry.path)
                self._sweep.believe(root, datasets.file_of(entry.path))
                self._registers.losers.keep_rivals(entry.path, value, standing=True)
                self._follow(self._versions.mint_word(entry.path, value, keep_floor=False))
                self._bringing.bring(root, entry.path)
            self._sweep.sweep(root)
        return next(iter(self._history.entries(path)), chosen[-1][0])

    def rebuild_stats(self, path: str) -> None:
        """The counters beside this log become the fold of all of its lines. Raises `NotFound`, and
        `FileChanged` when it cannot be known what these are.
        """
        self._carried.require(path)
        with self._home.open() as root, self._indexing():
            self._sweep.look_at(root, [path])
            entries = [e for e in self._index.of_path(path) if e.offset != IN_JOURNAL]
            if not entries:
                raise NotFound(f"no line of {path} is known here")
            lines = self._logs.bodies(root, entries)
            if len(lines) < len(entries):
                raise FileChanged(
                    f"{root.at(path)} cannot be read as a whole", next_step="run the command again"
                )
            self._counting.rebuild(root, path, lines)

    @property
    def guarded(self) -> Held | None:
        """What the guard holds back until a person decides."""
        guard = self._guard
        if guard.held is None and guard.allowance.asks and (waiting := self._bringing.withheld()):
            return Held(Cause.FLOODED, waiting)
        return guard.held

    def decide(self, *, confirm: bool) -> list[str]:
        """A person's answer to the guard: it was meant, or it is undone. Returns the paths."""
        with self._home.open() as root, self._indexing():
            if self._guard.held is None:
                paths, allowance = self._bringing.withheld(), self._guard.allowance
                allowance.release() if confirm else allowance.decline()
            else:
                paths = self._units.confirm(root) if confirm else self._units.undo()
            self._sweep.sweep(root)
        return paths


def _within(inner: str, outer: str) -> bool:
    """Whether a path is this one or lies below it."""
    return inner == outer or inner.startswith(f"{outer}/")
