"""Registers in files of home: bringing a file to the value that counts, and taking that away again.

Replacing a file (SEMANTICS §4.4), with what a crash after each step leaves:

    1  stage the new bytes under home, fsync         a file in staging, swept at the next start
    2  journal the swap                              staged = new bytes: swept; nothing happened
    3  exchange names, fsync both directories        staged = old bytes: the swap is finished
    4  put the old bytes into history                done again, history keeps one copy
    5  remember what stands there; drop the swap after 60 s, when the old bytes have been hashed again

Whatever stood in the file at the instant of the exchange is kept whole. If it is not what we had read,
somebody wrote at that moment: what they changed becomes a version of their own. A file that mur rewrites
whole, from what it had read, is put back besides, and changed again: much of it may be nobody's but
theirs. A writer that still held the old file open is caught by the second look 60 s later.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from fleetsync import datasets
from fleetsync.errors import FileChanged, StorageFailed
from fleetsync.files import Folder
from fleetsync.merge import register
from fleetsync.merge.register import GONE_DIGEST, Dot, Version
from fleetsync.records.model_entries import Level, SecretProblem
from fleetsync.replica.edits import Edits
from fleetsync.replica.history import History, Why
from fleetsync.replica.journal import Journal, Swap
from fleetsync.replica.layout import Seen
from fleetsync.replica.losers import Losers
from fleetsync.replica.reading import LIMIT, digest_of, found_at, read, read_file, values_of
from fleetsync.replica.sightings import Sightings
from fleetsync.replica.swaps import Swaps, is_foreign, was_made
from fleetsync.replica.versions import NOTHING, Change, Versions

_ATTEMPTS = 5


@dataclass(frozen=True)
class Target:
    """What should stand at a register's path: `value` None means nothing."""

    version: Version
    value: bytes | None
    digest: bytes
    """What spellings of the value have in common; `GONE_DIGEST` without one."""


class Registers:
    """All registers of one home; single-threaded."""

    def __init__(
        self, versions: Versions, journal: Journal, history: History, token: Callable[[], str]
    ) -> None:
        self.versions = versions
        self.outlived: Callable[[str, Version], bool] = lambda _path, _gone: False
        """Whether a line that a deletion does not cover stands beside this register (SEMANTICS §3.3)."""
        self.follow: Callable[[Change], None] = lambda _change: None
        """Told at once of versions that were minted while files were being put in place."""
        self.sightings = Sightings(journal)
        self._journal = journal
        self._history = history
        self.losers = Losers(versions, history)
        self._clock = versions.clock
        self._swaps = Swaps(journal, versions.clock.now, token, LIMIT + 1)
        self.edits = Edits(versions, journal, self.sightings, self._wanted)

    @property
    def carries(self) -> Callable[[str], bool]:
        """Whether this device carries a path; of others nothing is noticed and nothing is applied."""
        return self.sightings.carries

    def target(self, path: str) -> Target | None:
        """What should stand there now; None while nothing is known of it."""
        current = self.versions.current(path)
        if current is None:
            return None
        value = current.value
        if value is None and current.before is not None and self.outlived(path, current):
            value = current.before
        if value is None:
            return Target(current, None, GONE_DIGEST)
        others = register.uncovered(self.versions.ripe(path))[1:]  # by falling stamp, whatever came first
        whole = datasets.require(path)[1].merged([value, *(v.value for v in others if v.value is not None)])
        return Target(current, whole, digest_of(path, whole))

    def _wanted(self, path: str) -> bytes | None:
        target = self.target(path)
        return None if target is None else target.digest

    def unapplied(self, file: str | None = None) -> list[str]:
        """Paths, of one file or all, where something else stands than should: a crash came first, a held
        version ripened, or another program put an older value back.
        """
        paths = (path for path in self.versions.paths() if file is None or datasets.file_of(path) == file)
        return [path for path in paths if self.carries(path) and self.is_unapplied(path)]

    def is_unapplied(self, path: str) -> bool:
        """Whether something else stands there than should, as far as is known without looking."""
        target = self.target(path)
        if target is None or datasets.require(path)[1].published:
            return False
        if target.value is None and not self.sightings.known(path):
            return False
        known = self.sightings.known(path) and self.sightings.digest(path) == target.digest
        return not known and self.place_of(path) is None

    def newer(self) -> Iterator[tuple[str, int]]:
        """Paths whose current value a newer mur wrote than is known, and its version."""
        for path in sorted(filter(self.carries, self.versions.paths())):
            current = self.versions.current(path)
            value = None if current is None else current.value
            version = None if value is None else datasets.require(path)[1].newer(value)
            if version is not None:
                yield path, version

    def problems(self, resolves: Callable[[str], bool]) -> Iterator[tuple[str, SecretProblem]]:
        """What is wrong on this device with values that stand here. A path that was entered here is none
        of it: it is good on the device that wrote it.
        """
        for path in sorted(self.sightings.present()):
            look_for = datasets.require(path)[1].problem
            target = None if look_for is None else self.target(path)
            if look_for is None or target is None or target.value is None:
                continue
            problem = look_for(target.value, resolves)
            ours = target.version.stamp.device == self.versions.device
            if problem is not None and not (ours and problem.level is Level.FLAGGED):
                yield path, problem

    def is_gone(self, path: str) -> bool:
        """Whether nothing should stand there."""
        target = self.target(path)
        return target is not None and target.value is None

    def holds(self, path: str, value: bytes) -> bool:
        """Whether this value was there when last seen or written."""
        return self.sightings.digest(path) == digest_of(path, value)

    def take_as_is(self, path: str) -> None:
        """The version that counts now is what stands there already."""
        target = self.target(path)
        if target is not None and self.sightings.known(path):
            self.sightings.remember(path, target.digest, self.sightings.look(path))

    def note_gone(self, path: str) -> None:
        """Nothing stands there, and that is how it should be."""
        self.sightings.remember(path, GONE_DIGEST, None)

    # --- two spellings of one path (SEMANTICS §1.5) -------------------------------------------------

    def place_of(self, path: str) -> str | None:
        """The smaller spelling of one of its directories below which something is alive: only that one
        is applied.
        """
        rivals = self.versions.spellings.before(path)
        return next((spelling for spelling, rival in rivals if self._is_alive(rival)), None)

    def misplaced(self) -> list[str]:
        """The paths that are alive and not applied because of their spelling."""
        several = self.versions.spellings.several()
        alive = (path for path in several if self.carries(path) and self._is_alive(path))
        return [path for path in alive if self.place_of(path) is not None]

    def outspelled(self) -> list[str]:
        """Those of them whose file stands in home all the same."""
        return [path for path in self.misplaced() if self.is_present(path)]

    def is_present(self, path: str) -> bool:
        """Whether the file was there when last seen or written."""
        return self.sightings.digest(path) != GONE_DIGEST

    def _is_alive(self, path: str) -> bool:
        target = self.target(path)
        return target is not None and target.value is not None

    def put_aside(self, root: Folder, path: str) -> Change:
        """Take the file out of home: its version stays a member, its bytes are in history.

        What another program wrote until then, or writes into the file that it still holds open, becomes
        a version. Raises `FileNotFoundError`.
        """
        before = read_file(root, path)[0]
        if len(before) > LIMIT:
            return NOTHING
        swap, put_aside = self._swaps.put_aside(root, path, before)
        self.note_gone(path)
        self._history.keep(path, put_aside, Why.REPLACED, None, None)
        return self._rescue(path, put_aside, None) if is_foreign(swap, put_aside) else NOTHING

    # --- applying -----------------------------------------------------------------------------------

    def apply(self, root: Folder, path: str) -> bool:
        """Bring the file to the value that counts; one that is gone is for deletion to take away. Returns
        whether it has become another one.

        Raises `FileChanged` when another writer keeps getting in between; it is tried again later.
        Raises `MalformedRecord` for a file that cannot be taken apart: that is never replaced.
        """
        before = self.sightings.digest(path)
        for _ in range(_ATTEMPTS):
            target = self.target(path)
            if target is None or target.value is None or not self.is_unapplied(path):
                return self.sightings.digest(path) != before
            self._replace(root, path, target)
        raise FileChanged(f"{root.at(path)} keeps changing while a newer version is to be put in place")

    def take_out(self, root: Folder, path: str) -> None:
        """Take a part whose register is gone out of its file, into history. Raises as `apply` does."""
        for _ in range(_ATTEMPTS):
            target = self.target(path)
            if target is None or target.value is not None or self.sightings.digest(path) == GONE_DIGEST:
                return
            self._replace(root, path, target)
        raise FileChanged(f"{root.at(path)} keeps changing while a part of it is to be taken out")

    def _replace(self, root: Folder, path: str, target: Target) -> None:
        """One attempt."""
        file = datasets.file_of(path)
        directory, _, name = file.rpartition("/")
        try:
            folder = root.enter(directory)
        except FileNotFoundError:
            self._appear(root, path, target)
            return
        with folder:
            if folder.status(name) is None:
                self._fill(root, folder, path, target)
                return
            before, look = read(folder, name)
            if found_at(path, before) != self.sightings.digest(path):
                seen = Seen(file, datasets.require(path)[1], look)
                self.follow(self.edits.scan(root, seen, watched=True))
            else:
                self._swap(root, folder, path, target, before)

    def _appear(self, root: Folder, path: str, target: Target) -> None:
        """The directory does not exist."""
        if self.sightings.digest(path) != GONE_DIGEST:
            return  # it was here and is gone: that is for deletion to decide, never undone here
        if self._swaps.appear(root, datasets.file_of(path), datasets.rewritten(path, None, target.value)):
            self._remember_file(root, path, target)

    def _fill(self, root: Folder, folder: Folder, path: str, target: Target) -> None:
        """The directory is there, the file is not."""
        file = datasets.file_of(path)
        if file != path and self.sightings.of_file(file):
            return  # an editor may be about to write it; soon all that stood in it is put back
        name = file.rpartition("/")[2]
        if self._swaps.fill(root, folder, name, datasets.rewritten(path, None, target.value)):
            self.sightings.bring(path, GONE_DIGEST, self._new_in(path, target), self._clock.now())
            self._remember_file(root, path, target)

    def _swap(self, root: Folder, folder: Folder, path: str, target: Target, before: bytes) -> None:
        name, row = datasets.file_of(path).rpartition("/")[2], datasets.require(path)[1]
        after = datasets.rewritten(path, before, target.value)
        done = self._swaps.exchange(root, folder, path, name, before, after, yields=row.rewritten)
        if done is None:
            return
        fresh = self._new_in(path, target)
        if done.stands:
            self.sightings.bring(path, self.sightings.digest(path), fresh, self._clock.now())
            self._remember_file(root, path, target)
            self.losers.keep_file(path, done.swapped_out, target.version)
        if done.raced:
            self._take_up(path, before, done.swapped_out, fresh)

    def _new_in(self, path: str, target: Target) -> set[Dot]:
        """The versions that nobody has seen in the file before it is brought to this one."""
        return {target.version.dot, *(version.dot for version in self.edits.unread(path))}

    def _take_up(self, path: str, before: bytes, theirs: bytes, unread: set[Dot]) -> None:
        """What somebody wrote while we replaced the file becomes versions, made in knowledge of what
        stood there before.
        """
        old = {each: digest_of(each, value) for each, value in values_of(path, before).items()}
        for each, value in values_of(path, theirs).items():
            digest = digest_of(each, value)
            if digest != old.get(each) and self.carries(each):
                self._take_up_one(each, value, old.get(each, GONE_DIGEST), unread)

    def _take_up_one(self, path: str, value: bytes, stood: bytes, unread: set[Dot]) -> None:
        """Where their file has its place again it may be written over once more, by somebody who has read
        ours meanwhile, with what `stood` there before.
        """
        now, digest = self._clock.now(), digest_of(path, value)
        rewritten = datasets.require(path)[1].rewritten
        if not self.sightings.is_overtaken(path, digest, now):
            missed = unread | self.sightings.unread_by(path, now)
            unseen = [version for version in self.versions.ripe(path) if version.dot in missed]
            change = self.versions.mint_edit(path, value, unseen)
            self.follow(change)
            if rewritten:
                self.sightings.bring(path, stood, [change.added[0].version.dot], now)
        if rewritten:
            self.sightings.remember(path, digest, None)

    def _rescue(self, path: str, raw: bytes, replaced_by: Version | None) -> Change:
        """Bytes that somebody wrote into a file that had been replaced or put aside: versions of their own,
        made in knowledge of what stood there before, not of what we put in place.
        """
        change = NOTHING
        for each, value in values_of(path, raw).items():
            if not self._is_known(each, value):
                unread = [v for v in self.versions.ripe(each) if v == replaced_by]
                change = change.and_then(self.versions.mint_edit(each, value, unread))
        return change

    def _is_known(self, path: str, value: bytes) -> bool:
        """Whether a value is one of this register's versions here; of a part, also whether it was one."""
        digest = register.digest_of(value)
        if datasets.file_of(path) != path and self._journal.was_superseded(path, digest):
            return True
        held = any(member.version.stamp.digest == digest for member in self.versions.members(path))
        return held or self.holds(path, value)

    def settle_file(self, root: Folder, path: str) -> None:
        """Take the file as it stands for the current version (it has just been minted from it)."""
        target = self.target(path)
        if target is not None:
            self._remember_file(root, path, target)

    def _remember_file(self, root: Folder, path: str, target: Target) -> None:
        """The file has just been written. A look is only remembered for the bytes that it belongs to:
        an editor may have saved again since, and that edit must be found.
        """
        if datasets.file_of(path) != path:
            self.sightings.unread(datasets.file_of(path))
            self.sightings.remember(path, target.digest, None)
            return
        try:
            value, look = read_file(root, path)
        except FileNotFoundError:
            value, look = b"", None
        written = target.value is not None and found_at(path, value) == target.digest
        self.sightings.remember(path, target.digest, look if written else None, durable=not written)

    # --- settling -------------------------------------------------------------------------------

    def recover(self, root: Folder) -> None:
        """Finish or undo every swap that was under way, then sweep staging."""
        for swap in self._swaps.under_way():
            self._recover_one(root, swap)
        self._swaps.sweep(root)

    def _recover_one(self, root: Folder, swap: Swap) -> None:
        try:
            staged = self._swaps.staged(root, swap)
        except StorageFailed:
            return  # what cannot be read cannot be put into history: it stays where it is
        if staged is None or not was_made(swap, staged):
            self._swaps.forget(swap)
            return
        if swap.version == GONE_DIGEST:  # it was put aside
            self.note_gone(swap.path)
            self._history.keep(swap.path, staged, Why.REPLACED, None, None)
            return
        placed = self._placed(root, swap)
        if placed is not None and is_foreign(swap, staged) and datasets.require(swap.path)[1].rewritten:
            folder, name = root.parent_of(datasets.file_of(swap.path))
            with folder:
                if self._swaps.put_back(root, swap, folder, name):
                    return
        if placed is not None:
            self.sightings.remember(swap.path, found_at(swap.path, placed), None)
        self.losers.keep_file(swap.path, staged, self.versions.current(swap.path))

    def _placed(self, root: Folder, swap: Swap) -> bytes | None:
        """What the swap put in place, if that stands there still."""
        try:
            data = read_file(root, datasets.file_of(swap.path))[0]
        except FileNotFoundError:
            return None
        return data if hashlib.sha256(data).digest() == swap.version else None

    def settle(self, root: Folder) -> Change:
        """The second look at what was swapped out a minute ago."""
        change = NOTHING
        for swap in self._swaps.due():
            change = change.and_then(self._second_look(root, swap))
        return change

    def _second_look(self, root: Folder, swap: Swap) -> Change:
        try:
            staged = self._swaps.staged(root, swap)
        except StorageFailed:
            return NOTHING  # as above
        change = NOTHING
        if staged is not None and was_made(swap, staged):
            current = self.versions.current(swap.path)
            late = is_foreign(swap, staged)
            if late or not self.losers.has_kept(swap.path, staged):  # an error may have come before it was
                self.losers.keep_file(swap.path, staged, current)
            if late and current is not None:
                change = self._rescue(swap.path, staged, None if swap.version == GONE_DIGEST else current)
        self._swaps.finish(root, swap)
        return change
