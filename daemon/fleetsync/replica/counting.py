"""A peer's lines reach `stats.json` exactly once (DESIGN §5.4, SEMANTICS §5).

The protocol, with what a crash after each step leaves and what the next start makes of it:

    J1  journal: state A = inode, offset, bytes, ids (appending.py)  ids known as a peer's, not counted
    F1  log: append under the lock mur takes, fsync (appending.py)   A: settle the tail, then count
    F2  lock stats.lock; read, compute, write temporary, fsync  A: the temporary is swept, count
    J3  journal: state P = temporary, directory, ids, epoch     P + temporary: remove it, count
    F3  rename the temporary over stats.json, fsync directory   P, no temporary: it is counted, J4
    J4  journal: ids counted, intents gone; unlock              nothing to do

The rename is the commit point: the temporary's absence proves it. A prepared temporary is never
renamed after a crash, because mur may have counted in between. The log's lock and stats.lock are
never held together. Stats that do not parse are left alone and the ids wait (`pending`). Stats that
vanished, or were rebuilt from traces by somebody else, begin a new epoch: everything that came
from peers is counted again, in one write.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import msgspec

from fleetsync.errors import MalformedRecord
from fleetsync.files import Folder, flocked
from fleetsync.merge import counters
from fleetsync.records import manifests, skills, stats
from fleetsync.records.skills import SkillEvent
from fleetsync.records.stats import SkillStats
from fleetsync.records.timestamps import Timestamp
from fleetsync.replica.journal import Journal
from fleetsync.replica.ledger import Count

STATS, STATS_LOCK = "stats.json", "stats.lock"
TEMPORARY = ".stats.json.", ".fleetsync"
"""Prefix and suffix of our temporaries beside stats.json; mur's have other names."""
_LIMIT = 1 << 20

Bodies = Callable[[Sequence[bytes]], dict[bytes, bytes]]
"""ids → the lines of those that stand in the log."""


class Counting:
    """Counts what the ledger says is waiting; single-threaded."""

    def __init__(self, journal: Journal, now: Callable[[], Timestamp], token: Callable[[], str]) -> None:
        """`now` gives the time; `token` a fresh random name part."""
        self._journal = journal
        self._now = now
        self._token = token
        self.unreadable: dict[str, str] = {}
        """Log path → why its stats.json cannot be counted into."""
        self._unfinished: set[str] = set()

    def count(self, root: Folder, path: str, bodies: Bodies) -> None:
        """Count everything that waits at this log (F2 to J4). Raises `LockBusy`, `StorageFailed`."""
        directory, _, _ = path.rpartition("/")
        with root.enter(directory) as folder, _locked(folder):
            self._finish(folder, path)
            try:
                current = _load(folder)
            except MalformedRecord as error:
                self.unreadable[path] = error.message
                self._journal.ledger.finish_append(path)
                return
            self.unreadable.pop(path, None)
            self._count_into(folder, path, current, bodies)

    def _count_into(self, folder: Folder, path: str, current: SkillStats | None, bodies: Bodies) -> None:
        ids = self._due(path, current)
        lines = bodies(ids)
        if not lines:
            self._journal.ledger.finish_append(path)
            return
        base = current or self._fresh(folder)
        after = _with_events(base, lines.values())
        self._put_in_place(folder, path, after, list(lines))

    def _put_in_place(self, folder: Folder, path: str, after: SkillStats, ids: list[bytes]) -> None:
        """The end of F2, J3, F3 and J4: these stats replace stats.json, and `ids` are counted in them."""
        prefix, suffix = TEMPORARY
        temporary = f"{prefix}{self._token()}{suffix}"
        count = Count(path, ids, temporary, folder.identity()[1], after.epoch)
        folder.create(count.temporary, stats.dumps(after))
        folder.sync()
        self._unfinished.add(path)
        self._journal.ledger.begin_count(count)
        folder.rename_to(count.temporary, folder, STATS)
        folder.sync()
        self._journal.ledger.finish_count(count)
        self._unfinished.discard(path)

    def _finish(self, folder: Folder, path: str) -> None:
        """What an error of the disk interrupted in this process is settled before anything is counted
        again, as after a crash: the rename may have been done.
        """
        if path not in self._unfinished:
            return
        for count in self._journal.ledger.counts():
            if count.path == path:
                self._recover_one(folder, count)
        self._unfinished.discard(path)

    def _due(self, path: str, current: SkillStats | None) -> list[bytes]:
        """The ids to count now: what waits, or in a new epoch all that ever came from peers."""
        last = self._journal.ledger.epoch(path)
        begun_anew = current is None or (last is not None and last[0] != current.epoch)
        return self._journal.ledger.foreign(path) if begun_anew else self._journal.ledger.pending(path)

    def recover(self, root: Folder) -> None:
        """Settle every count that was under way; before temporaries are swept and peers spoken to."""
        for count in self._journal.ledger.counts():
            try:
                folder = root.enter(count.path.rpartition("/")[0])
            except FileNotFoundError:
                self._journal.ledger.drop_count(count.path)
                continue
            with folder, _locked(folder):
                self._recover_one(folder, count)

    def _recover_one(self, folder: Folder, count: Count) -> None:
        if folder.identity()[1] != count.directory:
            self._journal.ledger.drop_count(count.path)
        elif folder.status(count.temporary) is None:
            folder.sync()
            self._journal.ledger.finish_count(count)
        else:  # the intent goes first: without its temporary it would say that it is counted
            self._journal.ledger.drop_count(count.path)
            folder.remove(count.temporary)
            folder.sync()

    def sweep(self, root: Folder, directory: str) -> None:
        """Remove temporaries of ours that a crash before J3 left; only after `recover`."""
        prefix, suffix = TEMPORARY
        try:
            with root.enter(directory) as folder:
                for name in folder.names():
                    if name.startswith(prefix) and name.endswith(suffix):
                        folder.remove(name)
        except FileNotFoundError:
            return

    def reset(self, root: Folder, path: str, manifest: bytes) -> None:
        """A peer's manifest was applied: do what mur does when the digest changes. Idempotent.

        Raises `LockBusy`, `MalformedRecord` (stats.json cannot be read): to be done again later.
        """
        directory, _, _ = path.rpartition("/")
        with root.enter(directory) as folder:
            if folder.status(STATS) is None:
                return
            with _locked(folder):
                self._finish(folder, path)
                self._reset_in(folder, path, manifest)

    def _reset_in(self, folder: Folder, path: str, manifest: bytes) -> None:
        current = _load(folder)
        digest = hashlib.sha256(manifest).hexdigest()
        if current is None or not stats.is_stale(current, digest):
            return
        version = _version_of(manifest) or current.skill_version
        after = stats.reset_for_new_manifest(current, version=version, digest=digest, now=self._now())
        self._put_in_place(folder, path, after, [])

    def rebuild(self, root: Folder, path: str, lines: Mapping[bytes, bytes]) -> SkillStats:
        """`fleetsync stats --rebuild`: the counters become the fold of the log, given by id.

        Peers' lines that do not stand in it now will be counted when they do. Raises
        `MalformedRecord` when stats.json cannot be read (it is left alone).
        """
        directory, _, _ = path.rpartition("/")
        with root.enter(directory) as folder, _locked(folder):
            self._finish(folder, path)
            base = _load(folder) or self._fresh(folder)
            after = counters.with_fold(base, counters.fold(_events(lines.values())))
            foreign = self._journal.ledger.foreign(path)
            self._journal.ledger.uncount(path, [identity for identity in foreign if identity not in lines])
            self._put_in_place(folder, path, after, [identity for identity in foreign if identity in lines])
        return after

    def _fresh(self, folder: Folder) -> SkillStats:
        manifest = _manifest(folder)
        name = folder.label.rpartition("/")[2]
        digest = hashlib.sha256(manifest).hexdigest()
        return stats.new(name, _version_of(manifest) or "0.0.0", digest, self._now())


def _events(lines: Iterable[bytes]) -> list[SkillEvent]:
    """The events that mur would count, in the order of a merged log; other kinds count nothing."""
    events = (skills.read_event(line) for line in lines)
    known = [event for event in events if isinstance(event, SkillEvent)]
    return sorted(known, key=lambda event: event.order)


def _with_events(base: SkillStats, lines: Iterable[bytes]) -> SkillStats:
    """As mur adds events; but the first success is the earliest, in whatever order lines arrive."""
    events = [event for event in map(skills.read_countable, lines) if event is not None]
    after = counters.apply_new_events_to_stats(base, events)
    wins = [event.ts for event in events if event.outcome == "success"]
    known = [ts for ts in (*wins, base.first_successful_use_at) if ts is not None]
    return msgspec.structs.replace(after, first_successful_use_at=min(known, default=None))


@contextmanager
def _locked(folder: Folder) -> Iterator[None]:
    """Hold stats.lock as mur does."""
    fd = folder.open_file(STATS_LOCK, os.O_RDWR | os.O_CREAT)
    try:
        with flocked(fd, folder.at(STATS_LOCK)):
            yield
    finally:
        os.close(fd)


def _load(folder: Folder) -> SkillStats | None:
    try:
        raw = folder.read(STATS, _LIMIT)
    except FileNotFoundError:
        return None
    try:
        return stats.loads(raw)
    except MalformedRecord as error:
        raise MalformedRecord(f"{folder.at(STATS)}: {error.message}") from None


def _manifest(folder: Folder) -> bytes:
    for name in ("skill.yaml", "skill.md"):
        try:
            return folder.read(name, _LIMIT)
        except FileNotFoundError:
            continue
    return b""


def _version_of(manifest: bytes) -> str | None:
    try:
        return manifests.top_scalars(manifest).get("version")
    except MalformedRecord:
        return None
