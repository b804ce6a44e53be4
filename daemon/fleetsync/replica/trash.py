"""Directories that were deleted elsewhere: out of home in one rename, kept, and looked at again.

What a crash after each step leaves, and what the next start makes of it (SEMANTICS §3.4):

    1  journal: token, unit                           the rename never happened: forgotten
    2  lock the log, rename under `.fleetsync/trash`  everything below is done again
    3  copy to the state directory, fsync             the copy is replaced
    4  the unit's lines and files are taken over      idempotent
    5  after 60 s: look for late writes, remove       done again until it is gone

A writer that had the log open writes into the renamed file; those lines are found by step 5 and are
ordinary new lines. Knows directories, not what their files mean.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from fleetsync.files import Folder, ensure_private_dir, flocked
from fleetsync.replica.journal import Journal, Trashing

UNDER_HOME = ".fleetsync/trash"
SECOND_LOOK = 60_000_000
"""µs after which a renamed directory is looked at again and removed."""
_LIMIT = 1 << 30


class Trash:
    """The trash of one device: `directory` is outside home; `now` gives µs since 1970."""

    def __init__(
        self, directory: Path, journal: Journal, now: Callable[[], int], token: Callable[[], str]
    ) -> None:
        ensure_private_dir(directory)
        self._directory = directory
        self._journal = journal
        self._now = now
        self._token = token

    def put(self, root: Folder, unit: str) -> Trashing | None:
        """Move a directory out of home and keep a copy; None if it, or what it lay in, is not there.

        Raises `LockBusy` when a program holds the log for long; nothing has happened then.
        """
        try:
            parent, name = root.parent_of(unit)
        except FileNotFoundError:
            return None
        with parent, root.enter(UNDER_HOME, create=True) as trash:
            if parent.status(name) is None:
                return None
            trashing = Trashing(self._token(), unit, self._now())
            with ExitStack() as locks:
                _lock_log(parent, name, locks)
                self._journal.begin_trash(trashing)
                parent.rename_to(name, trash, trashing.token)
                parent.sync()
                trash.sync()
            self._copy(trash, trashing)
        return trashing

    def recover(self, root: Folder) -> list[Trashing]:
        """What was under way when the process died and must be taken over (again)."""
        found: list[Trashing] = []
        under_way = self._journal.trashings()
        if not under_way:
            return found  # nothing is made in a home that may not even be writable
        with root.enter(UNDER_HOME, create=True) as trash:
            for trashing in under_way:
                if trash.status(trashing.token) is None:
                    self._journal.finish_trash(trashing.token)
                else:
                    self._copy(trash, trashing)
                    found.append(trashing)
        return found

    def due(self) -> list[Trashing]:
        """Directories whose second look has come, or that are from later than now: a clock was set back."""
        now = self._now()
        return [each for each in self._journal.trashings() if not now - SECOND_LOOK < each.since <= now]

    def read(self, root: Folder, trashing: Trashing, name: str) -> bytes:
        """A file of a directory that is still under home; empty if there is none."""
        try:
            with root.enter(f"{UNDER_HOME}/{trashing.token}") as unit:
                return unit.read(name, _LIMIT)
        except FileNotFoundError:
            return b""

    def remove(self, root: Folder, trashing: Trashing) -> None:
        """The second look is over: what is left under home goes; the copy outside stays."""
        with root.enter(UNDER_HOME, create=True) as trash:
            self._copy(trash, trashing)
            trash.remove_tree(trashing.token)
            trash.sync()
        self._journal.finish_trash(trashing.token)

    def give_back(self, root: Folder, unit: str) -> bool:
        """Put the newest copy of a directory back where it was; False if there is none or no place."""
        copies = sorted(self._directory.glob(f"*-{_flat(unit)}"), reverse=True)
        if not copies:
            return False
        token = self._token()
        above, _, name = unit.rpartition("/")
        with (
            root.enter(UNDER_HOME, create=True) as trash,
            root.enter(above, create=True) as parent,
            Folder.open(copies[0]) as source,
        ):
            trash.make(token)
            with trash.enter(token) as target:
                _copy_tree(source, target)
            if trash.move_into_place(token, parent, name):
                parent.sync()
                return True
            trash.remove_tree(token)
        return False

    def purge(self, max_age: int) -> None:
        """Remove copies older than `max_age` µs."""
        horizon = self._now() - max_age
        with Folder.open(self._directory) as trash:
            for name in trash.names():
                moment = name.partition("-")[0]
                if moment.isdecimal() and int(moment) < horizon:
                    trash.remove_tree(name)

    def _copy(self, trash: Folder, trashing: Trashing) -> None:
        name = f"{trashing.since:017}-{_flat(trashing.unit)}"
        with Folder.open(self._directory) as outside, trash.enter(trashing.token) as source:
            partial = f"{name}.tmp"
            outside.remove_tree(partial)
            outside.make(partial)
            with outside.enter(partial) as target:
                _copy_tree(source, target)
            outside.remove_tree(name)
            outside.rename_to(partial, outside, name)
            outside.sync()


def _flat(unit: str) -> str:
    """A unit as one name; no legal name holds a plus sign."""
    return unit.replace("/", "+")


def _lock_log(parent: Folder, name: str, locks: ExitStack) -> None:
    """Hold the lock that mur's writer takes while the directory changes its name."""
    try:
        unit = locks.enter_context(parent.enter(name))
        fd = unit.open_file("events.jsonl", os.O_RDWR)
    except FileNotFoundError:
        return
    locks.callback(os.close, fd)
    locks.enter_context(flocked(fd, unit.at("events.jsonl")))


def _copy_tree(source: Folder, target: Folder) -> None:
    """Regular files and directories, fsynced; anything else is left out."""
    for name in source.names():
        status = source.status(name)
        if status is None:
            continue
        if stat.S_ISDIR(status.st_mode):
            target.make(name)
            with source.enter(name) as below, target.enter(name) as copy:
                _copy_tree(below, copy)
        elif stat.S_ISREG(status.st_mode):
            target.create(name, source.read(name, _LIMIT), status.st_mode & 0o777)
    target.sync()
