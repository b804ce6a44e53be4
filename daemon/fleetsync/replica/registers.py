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
from fleetsync.datasets import Dataset
from fleetsync.errors import FileChanged, StorageFailed
from fleetsync.files import PRIVATE_FILE, Folder
from fleetsync.merge import register
from fleetsync.merge.register import Dot, Stamp, Version
from fleetsync.ports import Outcome, Verdict
from fleetsync.records.names import DeviceId
from fleetsync.replica.history import History, Why
from fleetsync.replica.journal import Journal, RegisterFile, StoredVersion, Swap
from fleetsync.replica.layout import STAGING, Look, Seen, look_of

LIMIT = datasets.MAX_BODY - 16_384
"""The largest value, bytes: with its version's header it stays under the item limit."""
SECOND_LOOK = 60_000_000
"""µs after which what was swapped out is hashed again."""
_ATTEMPTS = 5
REBUILT = "rebuilt"
"""Set in a journal that a person had begun anew: what is found in home loses to any peer's version."""
_HYBRID, _NUMBER = "hybrid-clock", "highest-number"


@dataclass(frozen=True)
class Clock:
    """What registers need to know of time: µs since 1970, and how far a stamp may lie ahead."""

    now: Callable[[], int]
    skew: int

    def horizon(self) -> int:
        """Stamps beyond this are held."""
        return self.now() + self.skew


@dataclass(frozen=True)
class Member:
    """A version in the set."""

    stored: StoredVersion
    version: Version


class Registers:
    """All register files of one home; single-threaded."""

    def __init__(
        self, device: DeviceId, journal: Journal, history: History, clock: Clock, token: Callable[[], str]
    ) -> None:
        self._device = device
        self._journal = journal
        self._history = history
        self._clock = clock
        self._token = token
        self._files = journal.register_files()
        self._members: dict[str, list[Member]] = {}
        for stored in journal.versions():
            self._members.setdefault(stored.path, []).append(Member(stored, register.decode(stored.body)))
        self.oversize: set[str] = set()
        self._rebuilt = journal.get(REBUILT) is not None

    # --- the set --------------------------------------------------------------------------------

    def members(self, path: str) -> list[Member]:
        """The versions that are members at a path."""
        return self._members.get(path, [])

    def all_members(self) -> list[Member]:
        """Every version in the set."""
        return [member for members in self._members.values() for member in members]

    def current(self, path: str) -> Version | None:
        """The version that should stand in the file now."""
        return register.current([m.version for m in self.members(path)], self._clock.horizon())

    def held(self) -> list[Member]:
        """Members whose time has not come."""
        horizon = self._clock.horizon()
        return [m for m in self.all_members() if register.is_held(m.version, horizon)]

    def take(self, path: str, body: bytes, origin: DeviceId | None) -> tuple[Verdict, Change]:
        """Make a peer's version a member. The file is not touched: see `apply`."""
        identity = datasets.identify(path, body).id
        version = register.decode(body)
        members = self.members(path)
        if any(m.stored.id == identity for m in members):
            return Verdict(Outcome.KNOWN), NOTHING
        covering = next((m for m in members if register.covers(m.version, version)), None)
        if covering is not None:
            return Verdict(Outcome.SUPERSEDED, covering=covering.stored.body), NOTHING
        if not register.is_held(version, self._clock.horizon()):
            self._observe(version.stamp.hybrid)
        member = Member(StoredVersion(identity, path, body, origin), version)
        return Verdict(Outcome.NEW), self._admit(member)

    def _admit(self, member: Member) -> Change:
        path = member.stored.path
        covered = [m for m in self.members(path) if register.covers(member.version, m.version)]
        self._journal.add_version(member.stored, [m.stored.id for m in covered])
        kept = [m for m in self.members(path) if m not in covered]
        self._members[path] = [*kept, member]
        return Change([member], covered)

    def unapplied(self) -> list[str]:
        """Paths whose file is not the current version: a crash came first, or a held one ripened."""
        return [path for path in self._members if self._is_unapplied(path)]

    def _is_unapplied(self, path: str) -> bool:
        current, file = self.current(path), self._files.get(path)
        if current is None or current.value is None:
            return False
        return file is None or file.digest != current.stamp.digest

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
            value, look = _read(folder, name)
        if len(value) > LIMIT:
            self.oversize.add(seen.path)
            return NOTHING
        self.oversize.discard(seen.path)
        digest = hashlib.sha256(value).digest()
        before = self._files.get(seen.path)
        current = self.current(seen.path)
        unchanged = before is not None and before.digest == digest
        if unchanged or (current is not None and current.stamp.digest == digest):
            self._remember(seen.path, digest, look)
            return NOTHING
        if not value and self._clock.now() - look.mtime_ns // 1000 < 5_000_000:
            return NOTHING  # an editor has emptied the file and is about to write it
        known = [version for version in self._ripe(seen.path) if version is not unread]
        change = self._mint_found(
            seen.row, seen.path, value, look, known, watched=watched and before is not None
        )
        self._remember(seen.path, digest, look)
        return change

    def _mint_found(
        self, row: Dataset, path: str, value: bytes, look: Look, known: list[Version], *, watched: bool
    ) -> Change:
        mtime = max(0, look.mtime_ns // 1000)
        if path not in self._files:  # first seen: made in knowledge of nothing
            hybrid = 0 if self._rebuilt else min(mtime, self._clock.now())
            return self._mint(row, path, value, {}, hybrid)
        hybrid = self._tick() if watched else max(mtime, *(v.stamp.hybrid + 1 for v in known), 0)
        return self._mint(row, path, value, register.known_vector(known), hybrid)

    def home_is_known(self) -> None:
        """A full scan is over: what is found from now on is an edit."""
        if self._rebuilt:
            self._journal.drop(REBUILT)
            self._rebuilt = False

    def _ripe(self, path: str) -> list[Version]:
        horizon = self._clock.horizon()
        return [m.version for m in self.members(path) if not register.is_held(m.version, horizon)]

    def mint(self, path: str, value: bytes) -> Change:
        """A person's word (restore, keep-local): a version that covers all there is, held ones too."""
        row = datasets.require(path)[1]
        known = [m.version for m in self.members(path)]
        return self._mint(row, path, value, register.known_vector(known), self._tick())

    def _mint(self, row: Dataset, path: str, value: bytes, vector: dict[str, int], hybrid: int) -> Change:
        n = max(self._journal.number(_NUMBER) + 1, hybrid, self._clock.now())
        effective = register.effective_time(row.updated_at(value), hybrid, self._clock.skew)
        stamp = Stamp(effective, hybrid, self._device, register.digest_of(value))
        version = Version(Dot(self._device, n), vector, stamp, value)
        body = register.encode(version)
        with self._journal.transaction():
            self._journal.put_number(_NUMBER, n)
            stored = StoredVersion(datasets.identify_in(row, path, body).id, path, body, None)
            return self._admit(Member(stored, version))

    def highest_number(self, device: DeviceId) -> int:
        """The highest version number of that device in the set; our own from the journal."""
        own = self._journal.number(_NUMBER) if device == self._device else 0
        vectors = (m.version.vector.get(device, 0) for m in self.all_members())
        dots = (m.version.dot.n for m in self.all_members() if m.version.dot.device == device)
        return max(own, 0, *vectors, *dots)

    def learn_number(self, number: int) -> None:
        """Mint above this from now on."""
        if number > self._journal.number(_NUMBER):
            self._journal.put_number(_NUMBER, number)

    def _tick(self) -> int:
        hybrid = max(self._clock.now(), self._journal.number(_HYBRID) + 1)
        if hybrid > self._clock.horizon():  # the wall clock was set back: begin again from it
            hybrid = self._clock.now()
        self._journal.put_number(_HYBRID, hybrid)
        return hybrid

    def _observe(self, hybrid: int) -> None:
        if hybrid > self._journal.number(_HYBRID):
            self._journal.put_number(_HYBRID, hybrid)

    # --- applying -----------------------------------------------------------------------------------

    def apply(self, root: Folder, path: str) -> Applied:
        """Bring the file to the current version.

        Raises `FileChanged` when another writer keeps getting in between; it is tried again later.
        """
        change = NOTHING
        for _ in range(_ATTEMPTS):
            current = self.current(path)
            if current is None or current.value is None:
                return Applied(change, None)
            file = self._files.get(path)
            if file is not None and file.digest == current.stamp.digest:
                return Applied(change, None)
            found = self._replace(root, path, current)
            if found is not None:
                change = change.and_then(found)
            if self._files.get(path) != file:
                return Applied(change, current.value)
        raise FileChanged(f"{root.at(path)} keeps changing while a newer version is to be put in place")

    def _replace(self, root: Folder, path: str, current: Version) -> Change | None:
        """One attempt; returns what was learnt about a concurrent local edit, if there was one."""
        directory, _, name = path.rpartition("/")
        try:
            folder = root.enter(directory)
        except FileNotFoundError:
            return self._appear(root, path, current)
        with folder:
            if folder.status(name) is None:
                return self._fill(root, folder, path, current)
            before, look = _read(folder, name)
            file = self._files.get(path)
            if file is None or hashlib.sha256(before).digest() != file.digest:
                seen = Seen(path, datasets.require(path)[1], look)
                return self.scan(root, seen, watched=True, unread=current)
            return self._swap(root, folder, path, current, before)

    def _appear(self, root: Folder, path: str, current: Version) -> Change | None:
        """The directory does not exist: it appears by one rename, the manifest inside."""
        if path in self._files:
            return None  # it was here and is gone: that is for deletion to decide, never undone here
        directory, _, name = path.rpartition("/")
        above, _, last = directory.rpartition("/")
        token = self._token()
        with root.enter(STAGING, create=True) as staging, root.enter(above, create=True) as parent:
            staging.make(token)
            with staging.enter(token) as unit:
                unit.create(name, current.value or b"")
                unit.sync()
            if not staging.move_into_place(token, parent, last):
                staging.remove_tree(token)
                return None
            parent.sync()
        self._remember_file(root, path, current)
        return None

    def _fill(self, root: Folder, folder: Folder, path: str, current: Version) -> Change | None:
        """The directory is there, the file is not."""
        token, name = self._token(), path.rpartition("/")[2]
        with root.enter(STAGING, create=True) as staging:
            staging.create(token, current.value or b"")
            if not staging.move_into_place(token, folder, name):
                staging.remove(token)
                return None
            folder.sync()
        self._remember_file(root, path, current)
        return None

    def _swap(
        self, root: Folder, folder: Folder, path: str, current: Version, before: bytes
    ) -> Change | None:
        name, token = path.rpartition("/")[2], self._token()
        status = folder.status(name)
        mode = PRIVATE_FILE if status is None else status.st_mode & 0o777
        replaced = hashlib.sha256(before).digest()
        with root.enter(STAGING, create=True) as staging:
            staging.create(token, current.value or b"", mode)
            self._journal.begin_swap(Swap(token, path, current.stamp.digest, replaced, self._clock.now()))
            try:
                staging.exchange(token, folder, name)
            except FileNotFoundError:
                staging.remove(token)
                self._journal.finish_swap(token)
                return None
            folder.sync()
            staging.sync()
            swapped_out = staging.read(token, LIMIT + 1)
        self._remember_file(root, path, current)
        self._keep(path, swapped_out, current)
        if hashlib.sha256(swapped_out).digest() == replaced:
            return None
        return self._rescue(path, swapped_out, current)

    def _rescue(self, path: str, value: bytes, replaced_by: Version) -> Change:
        """Bytes that somebody wrote while we replaced the file: a version of their own, made in
        knowledge of what stood there before, not of what we put in place.
        """
        row = datasets.require(path)[1]
        others = [m.version for m in self.members(path) if m.version.dot != replaced_by.dot]
        return self._mint(row, path, value, register.known_vector(others), self._tick())

    def _keep(self, path: str, value: bytes, replaced_by: Version | None) -> None:
        """Into history: as the loser of a conflict if it is a version that nothing covers."""
        digest = register.digest_of(value)
        lost = next((m for m in self.members(path) if m.version.stamp.digest == digest), None)
        stamp = None if lost is None else msgspec.msgpack.encode(lost.version.stamp)
        device = None if lost is None else lost.version.stamp.device
        if lost is not None and replaced_by is not None and lost.version.dot == replaced_by.dot:
            return
        self._history.keep(path, value, Why.REPLACED if lost is None else Why.LOST_CONFLICT, stamp, device)

    def keep_rivals(self, path: str, value: bytes) -> None:
        """What is about to lose to `value` by a person's word goes to history, held versions too."""
        for member in self.members(path):
            rival = member.version
            if rival.value is not None and rival.value != value:
                stamp = msgspec.msgpack.encode(rival.stamp)
                self._history.keep(path, rival.value, Why.LOST_CONFLICT, stamp, rival.stamp.device)

    def keep_losers(self, path: str) -> None:
        """Concurrent versions that lost and never stood in this device's file go to history too."""
        current = self.current(path)
        for value in self._losing_values(path, current):
            self._keep(path, value, current)

    def _losing_values(self, path: str, current: Version | None) -> list[bytes]:
        digest = None if current is None else current.stamp.digest
        ripe = (v for v in self._ripe(path) if v.value is not None and v.stamp.digest != digest)
        return [version.value for version in ripe if version.value is not None]

    def settle_file(self, root: Folder, path: str) -> None:
        """Take the file as it stands for the current version (it has just been minted from it)."""
        current = self.current(path)
        if current is not None:
            self._remember_file(root, path, current)

    def _remember_file(self, root: Folder, path: str, current: Version) -> None:
        folder, name = root.parent_of(path)
        with folder:
            status = folder.status(name)
        self._remember(path, current.stamp.digest, None if status is None else look_of(status))

    def _remember(self, path: str, digest: bytes, look: Look | None) -> None:
        file = RegisterFile(digest, look)
        if self._files.get(path) != file:
            self._journal.set_register_file(path, file)
            self._files[path] = file

    # --- settling -------------------------------------------------------------------------------

    def recover(self, root: Folder) -> list[str]:
        """Finish or undo every swap that was under way, then sweep staging; returns the paths whose
        file was replaced, so that what follows a replacement can be done (again).
        """
        replaced = [swap.path for swap in self._journal.swaps() if self._recover_one(root, swap)]
        kept = {swap.staged for swap in self._journal.swaps()}
        try:
            staging = root.enter(STAGING)
        except FileNotFoundError:
            return replaced
        with staging:
            for name in staging.names():
                if name not in kept:
                    _remove(staging, name)
        return replaced

    def _recover_one(self, root: Folder, swap: Swap) -> bool:
        staged = _staged(root, swap)
        if staged is None or hashlib.sha256(staged).digest() == swap.version:
            self._journal.finish_swap(swap.staged)  # the exchange never happened
            return False
        self._files[swap.path] = RegisterFile(swap.version, None)
        self._journal.set_register_file(swap.path, self._files[swap.path])
        self._keep(swap.path, staged, self.current(swap.path))
        return True

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
            current = self.current(swap.path)
            self._keep(swap.path, staged, current)
            if current is not None and not self._already_rescued(swap.path, staged):
                change = self._rescue(swap.path, staged, current)
        with root.enter(STAGING, create=True) as staging:
            staging.remove(swap.staged)
        self._journal.finish_swap(swap.staged)
        return change

    def _already_rescued(self, path: str, value: bytes) -> bool:
        digest = register.digest_of(value)
        return any(m.version.stamp.digest == digest for m in self.members(path))


@dataclass(frozen=True)
class Change:
    """Members that came and members that went."""

    added: list[Member]
    removed: list[Member]

    def and_then(self, later: Change) -> Change:
        """Both, in this order."""
        gone = {m.stored.id for m in later.removed}
        kept = [m for m in self.added if m.stored.id not in gone]
        return Change([*kept, *later.added], [*self.removed, *later.removed])

    def __bool__(self) -> bool:
        """Whether the set changed."""
        return bool(self.added or self.removed)


NOTHING = Change([], [])


@dataclass(frozen=True)
class Applied:
    """What `apply` did: `value` is what now stands in the file, None if it was not replaced."""

    change: Change
    value: bytes | None


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
