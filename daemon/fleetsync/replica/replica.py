"""`Replica`: this device's copy of the set, home plus index plus journal (the `Storage` port).

The set is what is known; home is what is applied. This module joins the parts and decides what
becomes of a member: applied to its file, parked until it may be written, or held until its time has
come. It knows nothing of peers but their ids, and nothing of the network or the event loop.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fleetsync import datasets
from fleetsync.datasets import Dataset, Kind
from fleetsync.errors import (
    FileChanged,
    FleetsyncError,
    HomeMissing,
    IndexDamaged,
    LocalError,
    LockBusy,
    MalformedRecord,
    NotFound,
)
from fleetsync.files import Folder, ensure_private_dir
from fleetsync.ports import (
    END,
    START,
    Alert,
    Arrival,
    Bound,
    Condition,
    Group,
    Head,
    HomeState,
    Item,
    Key,
    Outcome,
    Ranges,
    Verdict,
)
from fleetsync.records import timestamps
from fleetsync.records.names import DeviceId
from fleetsync.records.timestamps import Timestamp
from fleetsync.replica.counting import STATS, Counting
from fleetsync.replica.history import History, Why
from fleetsync.replica.index import IN_JOURNAL, Entry, Index
from fleetsync.replica.journal import HistoryEntry, Journal, ParkedLine
from fleetsync.replica.kinds import Kinds
from fleetsync.replica.layout import Home, Look, Seen, look_of
from fleetsync.replica.logs import Logs, NewLine
from fleetsync.replica.registers import REBUILT, Applied, Change, Clock, Member, Registers

PAGE_BYTES = 1 << 20
_PAGE_ENTRIES = 4096
_HOME_SEEN = "home-seen"
NO_MANIFEST, UNREADABLE = "no live manifest", "mur here could not read it"


@dataclass(frozen=True)
class Surroundings:
    """What a replica takes from outside: time and randomness.

    `now` gives µs since 1970; `random` n random bytes.
    """

    now: Callable[[], int]
    random: Callable[[int], bytes]

    def time(self) -> Timestamp:
        """The time as mur writes it."""
        return timestamps.at(self.now() * 1000)

    def token(self) -> str:
        """A name part that nobody else uses."""
        return self.random(8).hex()


@dataclass
class _Tally:
    """Refusals since the start, for `status`."""

    refused: int = 0
    reasons: dict[str, str] = field(default_factory=dict)


class Replica:
    """The `Storage` of a device with a home; blocking and single-threaded."""

    def __init__(self, home: Path, state: Path, device: DeviceId, around: Surroundings, skew: int) -> None:
        """Opens or makes the state below `state`, settles what a crash left; does not scan.

        `skew` is the allowed clock skew in µs. Raises `JournalDamaged`, `StorageFailed`.
        """
        ensure_private_dir(state)
        self._home = Home(home)
        self._device = device
        self._around = around
        self._journal = Journal.open(state / "journal.db")
        self._index, index_is_new = _open_index(state / "index.db", around)
        clock = Clock(around.now, skew)
        self.history = History(state / "history", self._journal, around.now)
        self._registers = Registers(device, self._journal, self.history, clock, around.token)
        self._counting = Counting(self._journal, around.time, around.token)
        self._logs = Logs(self._journal, self._index)
        self._kinds = Kinds(self._journal)
        self._logs.wrote_here = self._kinds.learn
        self._tally = _Tally()
        self._collided: set[bytes] = set()
        self._watched = False
        self._scanned = False
        self._missing = False
        self._make_home()
        if index_is_new:
            self._reindex()
        self._recover()

    # --- opening ----------------------------------------------------------------------------------

    def _make_home(self) -> None:
        """An absent home is made only if it never existed: absence is not a wish."""
        if self._home.exists():
            self._journal.put(_HOME_SEEN, b"1")
        elif self._journal.get(_HOME_SEEN) is None:
            ensure_private_dir(self._home.path)
            self._journal.put(_HOME_SEEN, b"1")

    def _reindex(self) -> None:
        """What the journal holds goes into an empty index; the files follow with the first scan."""
        with self._index.transaction():
            self._index.add([_version_entry(m) for m in self._registers.all_members()])
            self._index.add([_parked_entry(line) for line in self._journal.parked()])

    def _recover(self) -> None:
        try:
            root = self._home.open()
        except HomeMissing:
            self._missing = True
            return
        with root:
            self._counting.recover(root)
            self._logs.recover(root)
            for path in self._registers.recover(root):
                self._reset_counters(root, path)
            for seen in self._home.walk(root):
                if seen.row.stats is not None:
                    self._counting.sweep(root, seen.path.rpartition("/")[0])

    def close(self) -> None:
        """Release the databases; idempotent."""
        self._index.close()
        self._journal.close()

    @contextmanager
    def _indexing(self) -> Iterator[None]:
        """One transaction of the index; what is known of the files goes back with it if it fails."""
        try:
            with self._index.transaction():
                yield
        except BaseException:
            self._logs.reload()
            raise

    # --- the set ----------------------------------------------------------------------------------

    def head(self) -> Head:
        """See `Storage.head`."""
        return self._index.head()

    def ranges(self) -> Ranges:
        """See `Storage.ranges`."""
        return self._index.ranges()

    def bodies(self, ids: Sequence[bytes]) -> list[Item]:
        """See `Storage.bodies`."""
        return self._items(self._index.find(ids))

    def between(self, lower: Bound, upper: Bound) -> Iterator[list[Item]]:
        """See `Storage.between`."""
        for entries in self._entry_pages(lower, upper):
            yield from _cut(self._items(entries))

    def arrivals(self, after: int, limit_bytes: int) -> list[Arrival]:
        """See `Storage.arrivals`."""
        found: list[Arrival] = []
        size = 0
        while size < limit_bytes:
            entries = self._index.arrivals(after, 256)
            items = {item.key.id: item for item in self._items(entries)}
            for entry in entries:
                item = items.get(entry.key.id)
                if item is not None and size < limit_bytes:
                    found.append(Arrival(entry.arrival, entry.origin, item))
                    size += len(item.body)
            if len(entries) < 256:
                break
            after = entries[-1].arrival
        return found

    def _entry_pages(self, lower: Bound, upper: Bound) -> Iterator[list[Entry]]:
        """Entries register versions first; of the whole set path by path, else page by page."""
        if (lower, upper) == (START, END):
            paths = sorted(self._index.counts_by_path(), key=lambda path: (_is_log(path), path))
            for path in paths:
                yield from _pages(self._index.of_path(path))
        else:
            for page in self._index.between(lower, upper):
                yield sorted(page, key=lambda entry: (_is_log(entry.path), entry.path, entry.key))

    def _items(self, entries: Sequence[Entry]) -> list[Item]:
        """The entries with their bodies, ordered by path and key; unreadable ones left out."""
        bodies = self._stored_bodies([e for e in entries if e.offset == IN_JOURNAL])
        standing = [e for e in entries if e.offset != IN_JOURNAL]
        if standing:
            try:
                with self._home.open() as root:
                    bodies.update(self._logs.bodies(root, standing))
            except HomeMissing:
                self._missing = True
        ordered = sorted(entries, key=lambda entry: (_is_log(entry.path), entry.path, entry.key))
        return [Item(e.key, e.path, bodies[e.key.id]) for e in ordered if e.key.id in bodies]

    def _stored_bodies(self, entries: list[Entry]) -> dict[bytes, bytes]:
        found: dict[bytes, bytes] = {}
        for entry in entries:
            if not _is_log(entry.path):
                stored = self._journal.version(entry.key.id)
                if stored is not None:
                    found[entry.key.id] = stored.body
        found.update(self._journal.parked_bodies([e.key.id for e in entries if _is_log(e.path)]))
        return found

    def highest_dot(self, device: DeviceId) -> int:
        """See `Storage.highest_dot`."""
        return self._registers.highest_number(device)

    def learn_dot(self, number: int) -> None:
        """See `Storage.learn_dot`."""
        self._registers.learn_number(number)

    # --- from home --------------------------------------------------------------------------------

    def scan(self, paths: Sequence[str] | None) -> bool:
        """See `Storage.scan`."""
        before = self._index.head().arrival, self._index.head().fingerprint
        try:
            root = self._home.open()
        except HomeMissing:
            self._missing = True
            return False
        self._missing, self._scanned = False, True
        with root, self._indexing():
            if paths is None:
                self._sweep(root)
                self._watched = True
                self._registers.home_is_known()
            else:
                self._look_at(root, paths)
        return before != (self._index.head().arrival, self._index.head().fingerprint)

    def _sweep(self, root: Folder) -> None:
        """Everything: what changed, what is gone, what was left to do."""
        seen = list(self._home.walk(root))
        for each in seen:
            self._scan_quietly(root, each)
        present = {each.path for each in seen}
        for state in self._index.files():
            if state.path not in present and _directory_exists(root, state.path):
                self._logs.gone(state.path)
        self._catch_up(root)
        self._unpark_all(root)
        self._recount(root)

    def _look_at(self, root: Folder, paths: Sequence[str]) -> None:
        for path in sorted(set(paths), key=_is_log):
            row = datasets.find(path)
            if row is not None:
                seen = _see(root, path, row)
                if seen is not None:
                    self._scan_quietly(root, seen)
                elif row.kind is Kind.LOG and _directory_exists(root, path):
                    self._logs.gone(path)
            elif path.rpartition("/")[2] == STATS:
                self._recount_one(root, datasets.sibling(path, "events.jsonl"))

    def _scan_quietly(self, root: Folder, seen: Seen) -> None:
        """One file's trouble is told by `condition`; it never keeps the others from being read."""
        try:
            self._scan_one(root, seen)
        except FileNotFoundError:
            return
        except (MalformedRecord, LockBusy, FileChanged, LocalError) as error:
            self._tally.reasons[seen.path] = str(error)
        else:
            self._tally.reasons.pop(seen.path, None)

    def _scan_one(self, root: Folder, seen: Seen) -> None:
        if seen.row.kind is Kind.LOG:
            if self._logs.changed(seen.path, seen.look):
                self._logs.read(root, seen.path, seen.row)
            if self._kinds.grew():
                self._unpark_all(root)
        elif self._registers.changed(seen.path, seen.look):
            self._follow(self._registers.scan(root, seen, watched=self._watched))
            self._bring(root, seen.path)
            self._unpark_beside(root, seen.path)

    def _follow(self, change: Change) -> None:
        """The index follows the set of versions."""
        if not change:
            return
        with self._index.transaction():
            self._index.remove([member.stored.id for member in change.removed])
            self._index.add([_version_entry(member) for member in change.added])

    # --- from peers -------------------------------------------------------------------------------

    def apply(self, groups: Sequence[Group], origin: DeviceId) -> list[Verdict]:
        """See `Storage.apply`. Registers go first: lines need their manifest."""
        answers: list[list[Verdict]] = [[] for _ in groups]
        with self._home.open() as root, self._indexing():
            for position in sorted(range(len(groups)), key=lambda p: _is_log(groups[p].path)):
                answers[position] = self._apply_group(root, groups[position], origin)
        return [verdict for answer in answers for verdict in answer]

    def _apply_group(self, root: Folder, group: Group, origin: DeviceId) -> list[Verdict]:
        try:
            path, row = datasets.require(group.path)
        except MalformedRecord as error:
            self._tally.refused += len(group.bodies)
            return [Verdict(Outcome.REFUSED, error.message)] * len(group.bodies)
        if row.kind is Kind.REGISTER:
            return self._apply_versions(root, path, group.bodies, origin)
        return self._apply_lines(root, path, row, group.bodies, origin)

    def _apply_versions(
        self, root: Folder, path: str, bodies: Sequence[bytes], origin: DeviceId
    ) -> list[Verdict]:
        verdicts: list[Verdict] = []
        self._look_at(root, [path])  # an edit that nobody has seen yet was made without knowing these
        for body in bodies:
            try:
                verdict, change = self._registers.take(path, body, origin)
                self._follow(change)
            except MalformedRecord as error:
                self._tally.refused += 1
                verdict = Verdict(Outcome.REFUSED, error.message)
            verdicts.append(verdict)
        if any(verdict.outcome is Outcome.NEW for verdict in verdicts):
            self._bring(root, path)
            self._unpark_beside(root, path)
        return verdicts

    def _apply_lines(
        self, root: Folder, path: str, row: Dataset, bodies: Sequence[bytes], origin: DeviceId
    ) -> list[Verdict]:
        keys = [self._key_or_reason(row, path, body) for body in bodies]
        known = self._index.has([key.id for key in keys if isinstance(key, Key)])
        fresh: dict[bytes, NewLine] = {}
        verdicts: list[Verdict] = []
        for key, body in zip(keys, bodies, strict=True):
            if isinstance(key, str):
                verdicts.append(Verdict(Outcome.REFUSED, key))
            elif key.id in known or key.id in fresh:
                verdicts.append(Verdict(Outcome.KNOWN))
            else:
                fresh[key.id] = NewLine(key, body)
                verdicts.append(Verdict(Outcome.NEW))
        self._note_collisions(keys, bodies, known)
        if fresh:
            self._admit_lines(root, path, row, list(fresh.values()), origin)
        return verdicts

    def _note_collisions(self, keys: Sequence[Key | str], bodies: Sequence[bytes], known: set[bytes]) -> None:
        """Another line under a key that is taken here: the first one is kept, and it is told."""
        pairs = zip(keys, bodies, strict=True)
        offered = {key.id: body for key, body in pairs if isinstance(key, Key) and key.id in known}
        held = {item.key.id: item.body for item in self.bodies(list(offered))} if offered else {}
        self._collided |= {identity for identity, body in held.items() if offered[identity] != body}

    def _key_or_reason(self, row: Dataset, path: str, body: bytes) -> Key | str:
        try:
            return datasets.identify_in(row, path, body)
        except MalformedRecord as error:
            self._tally.refused += 1
            return error.message

    def _admit_lines(
        self, root: Folder, path: str, row: Dataset, lines: list[NewLine], origin: DeviceId
    ) -> None:
        """Write what may be written, park the rest; then count."""
        alive = _has_manifest(root, path, row)
        writable = [line for line in lines if alive and self._kinds.readable(row, line.body)]
        reason = UNREADABLE if alive else NO_MANIFEST
        written = {line.key.id for line in writable}
        self._park(path, [line for line in lines if line.key.id not in written], reason, origin)
        if writable:
            self._logs.append(root, path, row, writable, origin, parked=False)
            self._count(root, path, row, {line.key.id: line.body for line in writable})

    def _park(self, path: str, lines: list[NewLine], reason: str, origin: DeviceId) -> None:
        if not lines:
            return
        parked = [ParkedLine(line.key.id, path, line.key.ts, line.body, reason, origin) for line in lines]
        self._journal.park(parked)
        with self._index.transaction():
            self._index.add([_parked_entry(line) for line in parked])

    # --- what follows a change ----------------------------------------------------------------------

    def _bring(self, root: Folder, path: str) -> None:
        """The file becomes the current version; what could not be done now is done by `settle`."""
        try:
            applied = self._registers.apply(root, path)
        except (FileChanged, LockBusy):
            return
        self._after_applying(root, path, applied)

    def _after_applying(self, root: Folder, path: str, applied: Applied) -> None:
        self._follow(applied.change)
        self._registers.keep_losers(path)
        if applied.value is not None:
            self._reset_counters(root, path)

    def _reset_counters(self, root: Folder, path: str) -> None:
        row = datasets.find(path)
        current = self._registers.current(path)
        if row is not None and row.counters and current is not None and current.value is not None:
            self._counting.reset(root, datasets.sibling(path, "events.jsonl"), current.value)

    def _unpark_beside(self, root: Folder, manifest: str) -> None:
        for row in datasets.DATASETS:
            if row.kind is Kind.LOG and manifest.rpartition("/")[2] in row.manifest:
                path = datasets.sibling(manifest, row.pattern.rpartition("/")[2])
                if datasets.find(path) is row:
                    self._unpark(root, path, row)

    def _unpark_all(self, root: Folder) -> None:
        for path in self._journal.parked_paths():
            row = datasets.find(path)
            if row is not None:
                self._unpark(root, path, row)

    def _unpark(self, root: Folder, path: str, row: Dataset) -> None:
        """Write the parked lines of a log that may be written now."""
        if not _has_manifest(root, path, row):
            return
        lines = [line for line in self._journal.parked(path) if self._kinds.readable(row, line.body)]
        for origin in dict.fromkeys(line.origin for line in lines):
            mine = [line for line in lines if line.origin == origin]
            new = [NewLine(Key(line.ts, line.id), line.body) for line in mine]
            self._logs.append(root, path, row, new, origin or "", parked=True)
        if lines:
            self._count(root, path, row, {line.id: line.body for line in lines})

    def _count(self, root: Folder, path: str, row: Dataset, at_hand: dict[bytes, bytes]) -> None:
        """Count what waits at a log; the bodies just written need not be read again."""
        if row.stats is None:
            return

        def bodies(ids: Sequence[bytes]) -> dict[bytes, bytes]:
            elsewhere = [identity for identity in ids if identity not in at_hand]
            found = {i: at_hand[i] for i in ids if i in at_hand}
            standing = [e for e in self._index.find(elsewhere) if e.offset != IN_JOURNAL]
            return {**self._logs.bodies(root, standing), **found}

        try:
            self._counting.count(root, path, bodies)
        except (LockBusy, FileNotFoundError):
            self._journal.finish_append(path)  # the ids wait in the ledger; `settle` comes back

    def _recount(self, root: Folder) -> None:
        """Counts that wait, and stats.json files that have vanished since peers' lines came."""
        for path in {*self._journal.pending_paths(), *self._stats_gone(root)}:
            self._recount_one(root, path)

    def _recount_one(self, root: Folder, path: str) -> None:
        row = datasets.find(path)
        if row is not None and _has_manifest(root, path, row):
            self._count(root, path, row, {})

    def _stats_gone(self, root: Folder) -> list[str]:
        return [
            path
            for path in self._journal.counted_paths()
            if _see_file(root, datasets.sibling(path, STATS)) is None
        ]

    def settle(self) -> bool:
        """See `Storage.settle`."""
        before = self._index.head().fingerprint
        try:
            root = self._home.open()
        except HomeMissing:
            self._missing = True
            return False
        with root, self._indexing():
            self._follow(self._registers.settle(root))
            self._catch_up(root)
            self._recount(root)
        return before != self._index.head().fingerprint

    def _catch_up(self, root: Folder) -> None:
        """Bring every file to its current version that could not be brought there before."""
        for path in self._registers.unapplied():
            self._bring(root, path)
            self._unpark_beside(root, path)

    # --- a person's word ----------------------------------------------------------------------------

    def keep_local(self, path: str) -> HistoryEntry:
        """What stands here, in one file or in a directory, becomes new versions that cover all others.

        Returns the newest entry of history: what lost by this. Raises `NotFound`.
        """
        with self._home.open() as root, self._indexing():
            files = [seen for seen in self._home.walk(root) if _within(seen, path)]
            if not files:
                raise NotFound(f"{path} is no file or directory that syncs as a whole")
            kept = [self._keep_local(root, seen.path) for seen in files]
        return next(iter(self.history.entries(path)), kept[-1])

    def _keep_local(self, root: Folder, path: str) -> HistoryEntry:
        folder, name = root.parent_of(path)
        with folder:
            value = folder.read(name, datasets.MAX_BODY)
        self._registers.keep_rivals(path, value)
        self._follow(self._registers.mint(path, value))
        self._registers.settle_file(root, path)
        digest = hashlib.sha256(value).hexdigest()
        return HistoryEntry(0, path, Why.REPLACED, self._around.now(), None, self._device, len(value), digest)

    def restore(self, path: str, version: int | None) -> HistoryEntry:
        """Values from history, of one file or the newest of a directory's, become versions that cover
        all others. Returns the newest entry of history: what was replaced by this. Raises `NotFound`.
        """
        paths = {path} if datasets.find(path) else {entry.path for entry in self.history.entries(path)}
        chosen = [self.history.value(each, version) for each in sorted(paths)]
        if not chosen:
            raise NotFound(f"history has nothing of {path}", next_step="run `fleetsync history`")
        with self._home.open() as root, self._indexing():
            for entry, value in chosen:
                self._follow(self._registers.mint(entry.path, value))
                self._bring(root, entry.path)
                self._unpark_beside(root, entry.path)
        return next(iter(self.history.entries(path)), chosen[-1][0])

    def rebuild_stats(self, path: str) -> None:
        """The counters beside this log become the fold of all of its lines. Raises `NotFound`."""
        with self._home.open() as root:
            entries = [e for e in self._index.of_path(path) if e.offset != IN_JOURNAL]
            if not entries:
                raise NotFound(f"no line of {path} is known here")
            self._counting.rebuild(root, path, self._logs.bodies(root, entries).values())

    # --- how it is ----------------------------------------------------------------------------------

    def condition(self) -> Condition:
        """See `Storage.condition`."""
        alerts = self._alerts()
        state = HomeState.MISSING if self._missing else HomeState.DEGRADED if alerts else HomeState.OK
        return Condition(
            state if self._scanned or self._missing else HomeState.SCANNING,
            parked=sum(self._journal.parked_paths().values()),
            held=len(self._registers.held()),
            refused=self._tally.refused + len(self._registers.oversize),
            malformed=self._logs.malformed(),
            collisions=self._logs.collisions() + len(self._collided),
            alerts=alerts,
        )

    def _alerts(self) -> list[Alert]:
        alerts = [
            Alert(
                "stats-unreadable",
                "counting waits",
                reason,
                "mend or remove the file; it is tried again by itself",
            )
            for reason in self._counting.unreadable.values()
        ]
        alerts += [
            Alert("file-trouble", "a file could not be synced", reason, "run `fleetsync doctor`")
            for reason in self._tally.reasons.values()
        ]
        if self._missing:
            error = HomeMissing(f"{self._home.path} is not there")
            alerts.append(Alert(error.code, error.title(), error.message, error.next))
        return alerts


# --- small truths ---------------------------------------------------------------------------------


def _open_index(path: Path, around: Surroundings) -> tuple[Index, bool]:
    """The index, and whether it is empty because it had to be made."""
    fresh = not path.exists()
    try:
        return Index.open(path, around.random), fresh
    except IndexDamaged:
        for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
            path.with_name(name).unlink(missing_ok=True)
        return Index.open(path, around.random), True


def rebuild_journal(state: Path, now: Callable[[], int]) -> Path:
    """Put a damaged journal aside and begin a new one, on a person's word; returns where it went.

    The next start takes home as it stands; its manifests lose to any peer's (SEMANTICS §4.5).
    """
    aside = state / f"journal.db.damaged-{now()}"
    (state / "journal.db").rename(aside)
    for suffix in ("-wal", "-shm"):
        if (state / f"journal.db{suffix}").exists():
            (state / f"journal.db{suffix}").rename(f"{aside}{suffix}")
    journal = Journal.open(state / "journal.db")
    journal.put(REBUILT, b"1")
    journal.close()
    return aside


def _within(seen: Seen, path: str) -> bool:
    """Whether a register file is this path or lies below it."""
    return seen.row.kind is Kind.REGISTER and (seen.path == path or seen.path.startswith(f"{path}/"))


def _is_log(path: str) -> bool:
    row = datasets.find(path)
    return row is not None and row.kind is Kind.LOG


def _version_entry(member: Member) -> Entry:
    stored = member.stored
    key = Key(max(0, member.version.stamp.hybrid), stored.id)
    origin = DeviceId(stored.origin) if stored.origin else None
    return Entry(key, stored.path, IN_JOURNAL, len(stored.body), origin, 0)


def _parked_entry(line: ParkedLine) -> Entry:
    origin = DeviceId(line.origin) if line.origin else None
    return Entry(Key(line.ts, line.id), line.path, IN_JOURNAL, len(line.body), origin, 0)


def _see(root: Folder, path: str, row: Dataset) -> Seen | None:
    look = _see_file(root, path)
    return None if look is None else Seen(path, row, look)


def _see_file(root: Folder, path: str) -> Look | None:
    try:
        folder, name = root.parent_of(path)
    except (FileNotFoundError, FleetsyncError):
        return None
    with folder:
        status = folder.status(name)
    return None if status is None else look_of(status)


def _directory_exists(root: Folder, path: str) -> bool:
    try:
        root.enter(path.rpartition("/")[0]).close()
    except (FileNotFoundError, FleetsyncError):
        return False
    return True


def _has_manifest(root: Folder, path: str, row: Dataset) -> bool:
    """Whether a manifest stands beside the log, so that mur takes the directory for a skill."""
    return not row.manifest or any(_see_file(root, datasets.sibling(path, name)) for name in row.manifest)


def _pages(entries: list[Entry]) -> Iterator[list[Entry]]:
    """Portions small enough to read their bodies at once."""
    for start in range(0, len(entries), _PAGE_ENTRIES):
        yield entries[start : start + _PAGE_ENTRIES]


def _cut(items: list[Item]) -> Iterator[list[Item]]:
    """Pages of at most `PAGE_BYTES` of bodies, at least one item each."""
    page: list[Item] = []
    size = 0
    for item in items:
        if page and size + len(item.body) > PAGE_BYTES:
            yield page
            page, size = [], 0
        page.append(item)
        size += len(item.body)
    if page:
        yield page
