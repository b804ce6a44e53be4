"""Register files in home: noticing edits, and replacing a file without losing a concurrent one.

Replacing (SEMANTICS §4.4), with what a crash after each step leaves:

    1  stage the new bytes under home, fsync         a file in staging, swept at the next start
    2  journal the swap                              staged = new bytes: swept; nothing happened
    3  exchange names, fsync both directories        staged = old bytes: the swap is finished
    4  put the old bytes into history                done again, history keeps one copy
    5  remember the file's look; drop the swap after 60 s, when the old bytes have been hashed again

Whatever stood in the file at the instant of the exchange is kept whole: if it is not what we had
read, somebody edited at that moment, and their bytes become a version of their own. A writer that
still held the old file open is caught by the second look 60 s later.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from fleetsync import datasets
from fleetsync.errors import FileChanged, MalformedRecord, StorageFailed
from fleetsync.files import PRIVATE_FILE, Folder
from fleetsync.merge import register
from fleetsync.merge.register import GONE_DIGEST, Version
from fleetsync.replica.history import History, Why
from fleetsync.replica.journal import Journal, RegisterFile, Swap
from fleetsync.replica.layout import STAGING, Look, Seen, look_of
from fleetsync.replica.versions import NOTHING, Change, Versions
from fleetsync.selection import EVERYTHING

LIMIT = datasets.MAX_BODY - 65_536
"""The largest value, bytes: with its version's header it stays under the item limit."""
SECOND_LOOK = 60_000_000
"""µs after which what was swapped out is hashed again."""
EDITING = 5_000_000
"""µs for which an emptied file is taken for one that an editor is about to write."""
_ATTEMPTS = 5
_NEVER = RegisterFile(GONE_DIGEST, None)
REBUILT = "rebuilt"
"""Set in a journal that a person had begun anew: what is found in home loses to any peer's version."""


@dataclass(frozen=True)
class Target:
    """What should stand in a register's file: `value` None means that there should be none."""

    version: Version
    value: bytes | None
    digest: bytes
    """What spellings of the value have in common; `GONE_DIGEST` without one."""


class Registers:
    """All register files of one home; single-threaded."""

    def __init__(
        self, versions: Versions, journal: Journal, history: History, token: Callable[[], str]
    ) -> None:
        self.versions = versions
        self.outlived: Callable[[str, Version], bool] = lambda _path, _gone: False
        """Whether a line that a deletion does not cover stands beside this register (SEMANTICS §3.3)."""
        self.carries: Callable[[str], bool] = EVERYTHING.carries
        """Whether this device carries a path; of others nothing is noticed and nothing is applied."""
        self.oversize: set[str] = set()
        self._journal = journal
        self._history = history
        self._token = token
        self._clock = versions.clock
        self._files = journal.register_files()
        self._rebuilt = journal.get(REBUILT) is not None

    def target(self, path: str) -> Target | None:
        """What should stand in the file now; None while nothing is known of it."""
        current = self.versions.current(path)
        if current is None:
            return None
        value = current.value
        if value is None and current.before is not None and self.outlived(path, current):
            value = current.before
        if value is None:
            return Target(current, None, GONE_DIGEST)
        others = [v.value for v in self.versions.ripe(path) if v.value is not None and v is not current]
        whole = datasets.require(path)[1].merged([value, *others])
        return Target(current, whole, _digest(path, whole))

    def unapplied(self) -> list[str]:
        """Paths whose file is not what it should be: a crash came first, or a held version ripened."""
        return [path for path in self.versions.paths() if self.carries(path) and self.is_unapplied(path)]

    def is_unapplied(self, path: str) -> bool:
        """Whether the file is not what it should be, as far as is known without looking."""
        target, file = self.target(path), self._files.get(path)
        if target is None or (file is None and target.value is None) or datasets.require(path)[1].published:
            return False
        return (file is None or file.digest != target.digest) and self.place_of(path) is None

    def present(self) -> list[str]:
        """The paths carried here whose file was there when last seen or written."""
        there = (path for path, file in self._files.items() if file.digest != GONE_DIGEST)
        return [path for path in there if self.carries(path)]

    def holds(self, path: str, value: bytes) -> bool:
        """Whether the file held this value when last seen or written."""
        file = self._files.get(path)
        return file is not None and file.digest == _digest(path, value)

    def take_as_is(self, path: str) -> None:
        """The version that counts now is what the file holds already."""
        target, file = self.target(path), self._files.get(path)
        if target is not None and file is not None:
            self._remember(path, target.digest, None if file.look is None else Look(*file.look))

    def forget(self, path: str) -> None:
        """Take the file for one that never was here: it will be made again."""
        self._journal.drop_register_file(path)
        self._files.pop(path, None)

    def note_gone(self, path: str) -> None:
        """The file is gone, and that is how it should be."""
        self._remember(path, GONE_DIGEST, None)

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
        return [path for path in self.misplaced() if self._files.get(path, _NEVER).digest != GONE_DIGEST]

    def _is_alive(self, path: str) -> bool:
        target = self.target(path)
        return target is not None and target.value is not None

    def put_aside(self, root: Folder, path: str) -> Change:
        """Take the file out of home: its version stays a member, its bytes are in history.

        It leaves by a rename that the journal knows of, as in a swap: what another program wrote until
        then, or writes into the file that it still holds open, becomes a version. Raises
        `FileNotFoundError`.
        """
        token = self._token()
        folder, name = root.parent_of(path)
        with folder, root.enter(STAGING, create=True) as staging:
            before = _read(folder, name)[0]
            if len(before) > LIMIT:
                return NOTHING
            replaced = hashlib.sha256(before).digest()
            self._journal.begin_swap(Swap(token, path, GONE_DIGEST, replaced, self._clock.now()))
            folder.rename_to(name, staging, token)
            folder.sync()
            staging.sync()
            put_aside = staging.read(token, LIMIT + 1)
        self.note_gone(path)
        self._history.keep(path, put_aside, Why.REPLACED, None, None)
        unchanged = hashlib.sha256(put_aside).digest() == replaced
        return NOTHING if unchanged else self._rescue(path, put_aside, None)

    # --- noticing local edits ---------------------------------------------------------------------

    def changed(self, path: str, look: Look) -> bool:
        """Whether the file is not what it was when last seen or written."""
        file = self._files.get(path)
        return file is None or file.look != look

    def scan(self, root: Folder, seen: Seen, *, watched: bool, unread: Version | None = None) -> Change:
        """Mint a version if the file holds something else than before. `watched`: the edit was made
        while the daemon ran, so its time is now (SEMANTICS §2.4). Its author cannot have known
        `unread`, a version that is not in the file yet.
        """
        folder, name = root.parent_of(seen.path)
        with folder:
            raw, look = _read(folder, name)
        if len(raw) > LIMIT:
            self.oversize.add(seen.path)
            return NOTHING
        value = seen.row.value_of(raw)
        self.oversize.discard(seen.path)
        digest = _digest(seen.path, value)
        before, target = self._files.get(seen.path), self.target(seen.path)
        unchanged = before is not None and before.digest == digest
        if unchanged or (target is not None and target.digest == digest):
            self._remember(seen.path, digest, look)
            return NOTHING
        if not value and self._clock.now() - look.mtime_ns // 1000 < EDITING:
            return NOTHING
        change = self._mint_found(seen.path, value, look, watched=watched, unread=unread)
        self._remember(seen.path, digest, look)
        return change

    def _mint_found(
        self, path: str, value: bytes, look: Look, *, watched: bool, unread: Version | None
    ) -> Change:
        mtime = max(0, look.mtime_ns // 1000)
        if path not in self._files:
            time = 0 if self._rebuilt else min(mtime, self._clock.now())
            return self.versions.mint_first(path, value, time)
        known = [version for version in self.versions.ripe(path) if version is not unread]
        return self.versions.mint_edit(path, value, known, None if watched else mtime)

    def is_old_news(self, root: Folder, seen: Seen) -> bool:
        """Whether the file has gone back to something that was superseded here before."""
        folder, name = root.parent_of(seen.path)
        with folder:
            value = _value(seen.path, _read(folder, name)[0])
        file = self._files.get(seen.path)
        changed = file is not None and file.digest != _digest(seen.path, value)
        return changed and self._journal.was_superseded(seen.path, hashlib.sha256(value).digest())

    def discount(self, root: Folder, seen: Seen) -> None:
        """Take what stands in the file for no edit: the current version will replace it."""
        folder, name = root.parent_of(seen.path)
        with folder:
            raw, look = _read(folder, name)
        self._remember(seen.path, _digest(seen.path, _value(seen.path, raw)), look)

    def home_is_known(self) -> None:
        """A full scan is over: what is found from now on is an edit."""
        if self._rebuilt:
            self._journal.drop(REBUILT)
            self._rebuilt = False

    # --- applying -----------------------------------------------------------------------------------

    def apply(self, root: Folder, path: str) -> Applied:
        """Bring the file to the current version.

        Raises `FileChanged` when another writer keeps getting in between; it is tried again later.
        """
        change = NOTHING
        for _ in range(_ATTEMPTS):
            target = self.target(path)
            if target is None or target.value is None or self.place_of(path) is not None:
                return Applied(change, None)
            file = self._files.get(path)
            if file is not None and file.digest == target.digest:
                return Applied(change, None)
            found = self._replace(root, path, target)
            if found is not None:
                change = change.and_then(found)
            if self._files.get(path) != file:
                return Applied(change, target.value)
        raise FileChanged(f"{root.at(path)} keeps changing while a newer version is to be put in place")

    def _replace(self, root: Folder, path: str, target: Target) -> Change | None:
        """One attempt; returns what was learnt about a concurrent local edit, if there was one."""
        directory, _, name = path.rpartition("/")
        try:
            folder = root.enter(directory)
        except FileNotFoundError:
            return self._appear(root, path, target)
        with folder:
            if folder.status(name) is None:
                return self._fill(root, folder, path, target)
            before, look = _read(folder, name)
            file = self._files.get(path)
            if file is None or _digest(path, _value(path, before)) != file.digest:
                seen = Seen(path, datasets.require(path)[1], look)
                return self.scan(root, seen, watched=True, unread=target.version)
            return self._swap(root, folder, path, target, before)

    def _appear(self, root: Folder, path: str, target: Target) -> Change | None:
        """The directory does not exist: it appears by one rename, the manifest inside."""
        if self._files.get(path, _NEVER).digest != GONE_DIGEST:
            return None  # it was here and is gone: that is for deletion to decide, never undone here
        directory, _, name = path.rpartition("/")
        above, _, last = directory.rpartition("/")
        token = self._token()
        with root.enter(STAGING, create=True) as staging, root.enter(above, create=True) as parent:
            staging.make(token)
            with staging.enter(token) as unit:
                unit.create(name, _first(path, target))
                unit.sync()
            if not staging.move_into_place(token, parent, last):
                staging.remove_tree(token)
                return None
            parent.sync()
        self._remember_file(root, path, target)
        return None

    def _fill(self, root: Folder, folder: Folder, path: str, target: Target) -> Change | None:
        """The directory is there, the file is not."""
        token, name = self._token(), path.rpartition("/")[2]
        with root.enter(STAGING, create=True) as staging:
            staging.create(token, _first(path, target))
            if not staging.move_into_place(token, folder, name):
                staging.remove(token)
                return None
            folder.sync()
        self._remember_file(root, path, target)
        return None

    def _swap(self, root: Folder, folder: Folder, path: str, target: Target, before: bytes) -> Change | None:
        name, token = path.rpartition("/")[2], self._token()
        status = folder.status(name)
        mode = PRIVATE_FILE if status is None else status.st_mode & 0o777
        after = datasets.require(path)[1].file_of(before, target.value or b"")
        replaced, staged = (hashlib.sha256(each).digest() for each in (before, after))
        with root.enter(STAGING, create=True) as staging:
            staging.create(token, after, mode)
            self._journal.begin_swap(Swap(token, path, staged, replaced, self._clock.now()))
            try:
                staging.exchange(token, folder, name)
            except FileNotFoundError:
                staging.remove(token)
                self._journal.finish_swap(token)
                return None
            folder.sync()
            staging.sync()
            swapped_out = staging.read(token, LIMIT + 1)
        self._remember_file(root, path, target)
        self._keep(path, swapped_out, target.version)
        if hashlib.sha256(swapped_out).digest() == replaced:
            return None
        return self._rescue(path, swapped_out, target.version)

    def _rescue(self, path: str, raw: bytes, replaced_by: Version | None) -> Change:
        """Bytes that somebody wrote while we replaced the file, or put it aside: a version of their own,
        made in knowledge of what stood there before, not of what we put in place.
        """
        others = [v for v in self.versions.ripe(path) if replaced_by is None or v.dot != replaced_by.dot]
        return self.versions.mint_edit(path, _value(path, raw), others, None)

    def _keep(self, path: str, raw: bytes, replaced_by: Version | None) -> None:
        """Into history: as the loser of a conflict if it is a version that nothing covers."""
        self._keep_value(path, _value(path, raw), replaced_by)

    def _keep_value(self, path: str, value: bytes, replaced_by: Version | None) -> None:
        digest = register.digest_of(value)
        lost = next((m for m in self.versions.members(path) if m.version.stamp.digest == digest), None)
        stamp = None if lost is None else msgspec.msgpack.encode(lost.version.stamp)
        device = None if lost is None else lost.version.stamp.device
        if lost is not None and replaced_by is not None and lost.version.dot == replaced_by.dot:
            return
        self._history.keep(path, value, Why.REPLACED if lost is None else Why.LOST_CONFLICT, stamp, device)

    def keep_rivals(self, path: str, value: bytes) -> None:
        """What is about to lose to `value` by a person's word goes to history, held versions too."""
        for member in self.versions.members(path):
            rival = member.version
            if rival.value is not None and rival.value != value:
                stamp = msgspec.msgpack.encode(rival.stamp)
                self._history.keep(path, rival.value, Why.LOST_CONFLICT, stamp, rival.stamp.device)

    def keep_losers(self, path: str) -> None:
        """Concurrent versions that lost and never stood in this device's file go to history too."""
        current = self.versions.current(path)
        for value in self._losing_values(path, current):
            self._keep_value(path, value, current)

    def _losing_values(self, path: str, current: Version | None) -> list[bytes]:
        kept = None if current is None else current.value
        return [v.value for v in self.versions.ripe(path) if v.value is not None and v.value != kept]

    def settle_file(self, root: Folder, path: str) -> None:
        """Take the file as it stands for the current version (it has just been minted from it)."""
        target = self.target(path)
        if target is not None:
            self._remember_file(root, path, target)

    def _remember_file(self, root: Folder, path: str, target: Target) -> None:
        """The file has just been written. A look is only remembered for the bytes that it belongs to:
        an editor may have saved again since, and that edit must be found.
        """
        folder, name = root.parent_of(path)
        with folder:
            try:
                value, look = _read(folder, name)
            except FileNotFoundError:
                value, look = b"", None
        written = target.value is not None and _digest(path, _value(path, value)) == target.digest
        self._remember(path, target.digest, look if written else None, durable=not written)

    def _remember(self, path: str, digest: bytes, look: Look | None, *, durable: bool = True) -> None:
        file = RegisterFile(digest, look)
        if self._files.get(path) != file:
            self._journal.set_register_file(path, file, durable=durable)
            self._files[path] = file

    # --- settling -------------------------------------------------------------------------------

    def recover(self, root: Folder) -> None:
        """Finish or undo every swap that was under way, then sweep staging."""
        for swap in self._journal.swaps():
            self._recover_one(root, swap)
        kept = {swap.staged for swap in self._journal.swaps()}
        try:
            staging = root.enter(STAGING)
        except FileNotFoundError:
            return
        with staging:
            for name in staging.names():
                if name not in kept:
                    _remove(staging, name)

    def _recover_one(self, root: Folder, swap: Swap) -> None:
        staged = _staged(root, swap)
        if staged is None or hashlib.sha256(staged).digest() == swap.version:
            self._journal.finish_swap(swap.staged)  # the exchange never happened
            return
        target = self.target(swap.path)
        if swap.version == GONE_DIGEST:  # it was put aside
            self.note_gone(swap.path)
            self._history.keep(swap.path, staged, Why.REPLACED, None, None)
            return
        self._remember(swap.path, swap.version if target is None else target.digest, None)
        self._keep(swap.path, staged, self.versions.current(swap.path))

    def settle(self, root: Folder) -> Change:
        """The second look at what was swapped out a minute ago."""
        change = NOTHING
        due = self._clock.now() - SECOND_LOOK
        for swap in self._journal.swaps():
            if swap.since <= due:
                change = change.and_then(self._second_look(root, swap))
        return change

    def _second_look(self, root: Folder, swap: Swap) -> Change:
        staged = _staged(root, swap)
        change = NOTHING
        if staged is not None and hashlib.sha256(staged).digest() not in (swap.replaced, swap.version):
            current = self.versions.current(swap.path)
            self._keep(swap.path, staged, current)
            if current is not None and not self._already_rescued(swap.path, staged):
                change = self._rescue(swap.path, staged, None if swap.version == GONE_DIGEST else current)
        with root.enter(STAGING, create=True) as staging:
            staging.remove(swap.staged)
        self._journal.finish_swap(swap.staged)
        return change

    def _already_rescued(self, path: str, value: bytes) -> bool:
        digest = register.digest_of(value)
        return any(m.version.stamp.digest == digest for m in self.versions.members(path))


@dataclass(frozen=True)
class Applied:
    """What `apply` did: `value` is what now stands in the file, None if it was not replaced."""

    change: Change
    value: bytes | None


def _value(path: str, raw: bytes) -> bytes:
    """What of a file travels; a file that cannot be taken apart is put aside as it is."""
    try:
        return datasets.require(path)[1].value_of(raw)
    except MalformedRecord:
        return raw


def _first(path: str, target: Target) -> bytes:
    """The file where there was none; raises `MalformedRecord`."""
    return datasets.require(path)[1].file_of(None, target.value or b"")


def _digest(path: str, value: bytes) -> bytes:
    """What spellings of this value have in common, by the row of its path."""
    return datasets.require(path)[1].digest(value)


def _read(folder: Folder, name: str) -> tuple[bytes, Look]:
    """The bytes of the file (one more than `LIMIT` at most) and its look before reading."""
    status = folder.status(name)
    if status is None:
        raise FileNotFoundError(name)
    if status.st_size > LIMIT:
        return b"\0" * (LIMIT + 1), look_of(status)
    return folder.read(name, LIMIT + 1), look_of(status)


def _staged(root: Folder, swap: Swap) -> bytes | None:
    try:
        with root.enter(STAGING) as staging:
            return staging.read(swap.staged, LIMIT + 1)
    except (FileNotFoundError, StorageFailed):
        return None


def _remove(staging: Folder, name: str) -> None:
    try:
        staging.remove(name)
    except StorageFailed:  # a directory
        staging.remove_tree(name)
