"""Putting a file in place under home so that nothing that anybody wrote at that moment is lost.

A new file appears by a rename that replaces nothing; one that is there is exchanged, names against
names, and what was swapped out stays in staging, named by the journal, until it has been looked at
again. Knows files and the journal, not what files mean. Implements SEMANTICS §4.4.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import NamedTuple

from fleetsync.errors import StorageFailed
from fleetsync.files import PRIVATE_FILE, Folder
from fleetsync.replica.journal import Journal, Swap
from fleetsync.replica.layout import STAGING

SECOND_LOOK = 60_000_000
"""µs after which what was swapped out is looked at again."""


class Swapped(NamedTuple):
    """What an exchange did: `raced` if somebody had written meanwhile, `stands` if the new file stayed."""

    swapped_out: bytes
    raced: bool
    stands: bool


class Swaps:
    """Files being put in place; `now` gives µs since 1970, `limit` is the largest file, bytes."""

    def __init__(
        self, journal: Journal, now: Callable[[], int], token: Callable[[], str], limit: int
    ) -> None:
        self._journal = journal
        self._now = now
        self._token = token
        self._limit = limit

    # --- where nothing stands ---------------------------------------------------------------------

    def appear(self, root: Folder, file: str, data: bytes) -> bool:
        """The directory does not exist: it appears by one rename, the file inside. False if it does."""
        directory, _, name = file.rpartition("/")
        above, _, last = directory.rpartition("/")
        token = self._token()
        with root.enter(STAGING, create=True) as staging, root.enter(above, create=True) as parent:
            try:
                staging.make(token)
                with staging.enter(token) as unit:
                    unit.create(name, data)
                    unit.sync()
                if not staging.move_into_place(token, parent, last):
                    return False
                parent.sync()
            finally:
                staging.remove_tree(token)  # what has not found its place
        return True

    def fill(self, root: Folder, folder: Folder, name: str, data: bytes) -> bool:
        """The directory is there, the file is not. False if it is by now."""
        token = self._token()
        with root.enter(STAGING, create=True) as staging:
            try:
                staging.create(token, data)
                if not staging.move_into_place(token, folder, name):
                    return False
                folder.sync()
            finally:
                staging.remove(token)  # what has not found its place
        return True

    # --- where a file stands ----------------------------------------------------------------------

    def exchange(
        self,
        root: Folder,
        folder: Folder,
        path: str,
        name: str,
        before: bytes,
        after: bytes,
        *,
        yields: bool,
    ) -> Swapped | None:
        """Put `after` in place of `name`; what stood there is kept. None if the file was gone.

        With `yields`, what turns out not to be `before` has its place again at once, sooner than anything
        is made durable: the shorter another program can read `after`, the better.
        """
        status, token = folder.status(name), self._token()
        mode = PRIVATE_FILE if status is None else status.st_mode & 0o777
        swap = Swap(token, path, _hash(after), _hash(before), self._now())
        with root.enter(STAGING, create=True) as staging:
            staging.create(token, after, mode)
            self._journal.begin_swap(swap)
            try:
                staging.exchange(token, folder, name)
            except FileNotFoundError:
                staging.remove(token)
                self._journal.finish_swap(token)
                return None
            swapped_out = staging.read(token, self._limit)
            raced = is_foreign(swap, swapped_out)
            if raced and yields:
                self.put_back(root, swap, folder, name)
                return Swapped(swapped_out, raced=True, stands=False)
            folder.sync()
            staging.sync()
        return Swapped(swapped_out, raced=raced, stands=True)

    def put_back(self, root: Folder, swap: Swap, folder: Folder, name: str) -> bool:
        """What was swapped out takes its place again. False if a third file stood there by then, or none:
        what is latest stays, and what was swapped out waits in staging.
        """
        with root.enter(STAGING, create=True) as staging:
            try:
                staging.exchange(swap.staged, folder, name)
            except FileNotFoundError:
                return False
            if _hash(staging.read(swap.staged, self._limit)) != swap.version:
                staging.exchange(swap.staged, folder, name)
                return False
            folder.sync()
            staging.sync()
        self.finish(root, swap)
        return True

    def put_aside(self, root: Folder, path: str, before: bytes) -> tuple[Swap, bytes]:
        """Take a file out of home, as in a swap for nothing; returns what stood there with the swap that
        keeps it. Raises `FileNotFoundError`.
        """
        swap = Swap(self._token(), path, b"", _hash(before), self._now())
        folder, name = root.parent_of(path)
        with folder, root.enter(STAGING, create=True) as staging:
            self._journal.begin_swap(swap)
            folder.rename_to(name, staging, swap.staged)
            folder.sync()
            staging.sync()
            return swap, staging.read(swap.staged, self._limit)

    # --- afterwards -------------------------------------------------------------------------------

    def under_way(self) -> list[Swap]:
        """All that are not finished, oldest first."""
        return self._journal.swaps()

    def due(self) -> list[Swap]:
        """Those whose second look has come, or that are from a time that a clock set back has made later
        than now: their bytes must not wait until it is that late again.
        """
        now = self._now()
        return [swap for swap in self._journal.swaps() if not now - SECOND_LOOK < swap.since <= now]

    def staged(self, root: Folder, swap: Swap) -> bytes | None:
        """What is in staging: the new file before the exchange, the old one after it; None if nothing is.

        Raises `StorageFailed` when it cannot be read.
        """
        try:
            with root.enter(STAGING) as staging:
                return staging.read(swap.staged, self._limit)
        except FileNotFoundError:
            return None

    def finish(self, root: Folder, swap: Swap) -> None:
        """What is in staging is not needed any more."""
        with root.enter(STAGING, create=True) as staging:
            staging.remove(swap.staged)
        self._journal.finish_swap(swap.staged)

    def forget(self, swap: Swap) -> None:
        """The exchange never happened; what is in staging is swept."""
        self._journal.finish_swap(swap.staged)

    def sweep(self, root: Folder) -> None:
        """Remove from staging what no swap names."""
        kept = {swap.staged for swap in self._journal.swaps()}
        try:
            staging = root.enter(STAGING)
        except FileNotFoundError:
            return
        with staging:
            for name in staging.names():
                if name not in kept:
                    _remove(staging, name)


def was_made(swap: Swap, staged: bytes | None) -> bool:
    """Whether the names were exchanged, judged by what is in staging."""
    return staged is not None and _hash(staged) != swap.version


def is_foreign(swap: Swap, staged: bytes) -> bool:
    """Whether what was swapped out is neither what had been read before nor what was put in place."""
    return _hash(staged) not in (swap.replaced, swap.version)


def _hash(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _remove(staging: Folder, name: str) -> None:
    try:
        staging.remove(name)
    except StorageFailed:  # a directory
        staging.remove_tree(name)
