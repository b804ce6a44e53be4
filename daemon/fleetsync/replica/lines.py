"""What becomes of log lines: written into their file, parked, or trashed; and then counted.

A peer's line is a member at once and for good. Whether it is written depends on this device: on a
live manifest beside the log, on what mur here can read, on deletions and on the guard (SEMANTICS §3,
§4.3). The reason stands beside each parked body, and everything that may clear it ends in `unpark`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain

from fleetsync import datasets
from fleetsync.datasets import Dataset
from fleetsync.errors import FileChanged, LockBusy, MalformedRecord, StorageFailed
from fleetsync.files import Folder
from fleetsync.merge import register
from fleetsync.merge.register import Floor, Version
from fleetsync.ports import Group, Key, Outcome, Verdict
from fleetsync.records.names import DeviceId
from fleetsync.replica.appending import Appending
from fleetsync.replica.counting import STATS, Counting
from fleetsync.replica.guard import Guard
from fleetsync.replica.index import IN_JOURNAL, Entry, Index
from fleetsync.replica.journal import Journal, ParkedLine, ParkedMember
from fleetsync.replica.kinds import Kinds
from fleetsync.replica.layout import see
from fleetsync.replica.logs import Logs, NewLine
from fleetsync.replica.postponed import Postponed
from fleetsync.replica.shelf import Shelf
from fleetsync.replica.verification import AWAITED, Verification
from fleetsync.replica.versions import Versions
from fleetsync.selection import EVERYTHING

NO_MANIFEST = "no live manifest"
UNREADABLE = "mur here could not read it"
REPEATED = "mur wrote another line with this idempotency key"
UNANSWERED = "a question that only the device that asked can take an answer to"
TRASHED = "deleted"
FLOODED = "its peer brought more than is allowed in an hour: waiting for a person"
GUARDED = "many things are gone at once: waiting for a person"


class Lines:
    """All log lines of one replica, from arrival to the counters; single-threaded."""

    def __init__(
        self,
        journal: Journal,
        index: Index,
        logs: Logs,
        appending: Appending,
        shelf: Shelf,
        versions: Versions,
        counting: Counting,
        guard: Guard,
        verification: Verification,
        postponed: Postponed,
    ) -> None:
        self.refused = 0
        self.troubles: dict[str, str] = {}
        self.carries: Callable[[str], bool] = EVERYTHING.carries
        """Whether this device carries a path; lines of others stay parked, whatever they wait for."""
        self._journal = journal
        self._index = index
        self._logs = logs
        self._appending = appending
        self._shelf = shelf
        self._versions = versions
        self._counting = counting
        self._guard = guard
        self._verification = verification
        self._postponed = postponed
        self._kinds = Kinds(journal)
        self._collided: set[bytes] = set()
        self._judged: dict[str, Floor | None] = {}  # by which deletions all lines parked there were judged
        logs.wrote_here = self._kinds.learn

    # --- arriving ---------------------------------------------------------------------------------

    def take(self, root: Folder, path: str, row: Dataset, group: Group, origin: DeviceId) -> list[Verdict]:
        """Make a peer's lines members and write what may be written."""
        keys = [self._key_or_reason(row, path, body) for body in group.bodies]
        group = Group(path, [_as_carried(row, body) for body in group.bodies]) if row.numbering else group
        ids = [key.id for key in keys if isinstance(key, Key)]
        known = self._index.has(ids) if self._index.has_path(path) else set[bytes]()
        fresh: dict[bytes, NewLine] = {}
        verdicts: list[Verdict] = []
        for key, body in zip(keys, group.bodies, strict=True):
            if isinstance(key, str):
                verdicts.append(Verdict(Outcome.REFUSED, key))
            elif key.id in known or key.id in fresh:
                verdicts.append(Verdict(Outcome.KNOWN))
            else:
                fresh[key.id] = NewLine(key, body)
                verdicts.append(Verdict(Outcome.NEW))
        self._note_collisions(keys, group.bodies, known)
        if fresh:
            self._admit(root, path, row, list(fresh.values()), origin)
        return verdicts

    def _key_or_reason(self, row: Dataset, path: str, body: bytes) -> Key | str:
        try:
            return datasets.identify_in(row, path, body)
        except MalformedRecord as error:
            self.refused += 1
            return error.message

    def _note_collisions(self, keys: Sequence[Key | str], bodies: Sequence[bytes], known: set[bytes]) -> None:
        """Another line under a key that is taken here: the first one is kept, and it is told."""
        pairs = zip(keys, bodies, strict=True)
        offered = {key.id: body for key, body in pairs if isinstance(key, Key) and key.id in known}
        for page in self._shelf.bodies(list(offered)):
            self._collided |= {item.key.id for item in page if offered[item.key.id] != item.body}

    def _admit(self, root: Folder, path: str, row: Dataset, lines: list[NewLine], origin: DeviceId) -> None:
        reasons = self._reasons(root, path, row, lines)
        if self._guard.allowance.withholds(origin):
            reasons = {**dict.fromkeys((line.key.id for line in lines), FLOODED), **reasons}
        writable = [line for line in lines if line.key.id not in reasons]
        self.park(
            [
                ParkedLine(line.key.id, path, line.key.ts, line.body, reasons[line.key.id], origin)
                for line in lines
                if line.key.id in reasons
            ]
        )
        if writable:
            self._appending.append(root, path, row, writable, origin, parked=False)
            self.count(root, path, row, {line.key.id: line.body for line in writable})
        if any(row.answers(line.body) for line in lines):
            self.unpark(root, path, row)

    def _reasons(self, root: Folder, path: str, row: Dataset, lines: Sequence[NewLine]) -> dict[bytes, str]:
        """Why lines may not be written now, by id; those that may are left out."""
        floor = self.floor(path, row)
        of_all = GUARDED if self._guard.stops else None if has_manifest(root, path, row) else NO_MANIFEST
        reasons: dict[bytes, str] = {}
        for line in lines:
            if register.is_below(floor, line.key.ts, line.key.id):
                reasons[line.key.id] = TRASHED
            elif of_all is not None:
                reasons[line.key.id] = of_all
            elif not self._kinds.readable(row, line.body):
                reasons[line.key.id] = UNREADABLE
        free = [line for line in lines if line.key.id not in reasons]
        reasons.update(self._verification.reasons(path, row, free))
        free = [line for line in free if line.key.id not in reasons]
        reasons.update(self._repeated(root, path, row, free))
        reasons.update(self._unanswered(path, row, free))
        return reasons

    def _repeated(self, root: Folder, path: str, row: Dataset, lines: Sequence[NewLine]) -> dict[bytes, str]:
        """Lines with a key of which a line stands in the file already, or comes earlier among these."""
        keyed = [(line.key.id, key) for line in lines if (key := row.once(line.body)) is not None]
        if not keyed:
            return {}
        taken = {row.once(body) for body in self._standing(root, path).values()}
        repeated: dict[bytes, str] = {}
        for identity, key in keyed:
            if key in taken:
                repeated[identity] = REPEATED
            taken.add(key)
        return repeated

    def _unanswered(self, path: str, row: Dataset, lines: Sequence[NewLine]) -> dict[bytes, str]:
        """Questions asked on other devices whose answer is not known yet."""
        asked = [(line.key.id, question) for line in lines if (question := row.asks(line.body)) is not None]
        if not asked:
            return {}
        ids = [entry.key.id for entry in self._index.of_path(path)]
        known = (item.body for page in self._shelf.bodies(ids) for item in page)
        answered = {row.answers(body) for body in chain(known, (line.body for line in lines))}
        return {identity: UNANSWERED for identity, question in asked if question not in answered}

    def _standing(self, root: Folder, path: str) -> dict[bytes, bytes]:
        entries = [entry for entry in self._index.of_path(path) if entry.offset != IN_JOURNAL]
        return self._logs.bodies(root, entries)

    def park(self, lines: Sequence[ParkedLine]) -> None:
        """Keep members whose bodies are not, or no longer, in their file."""
        if not lines:
            return
        self._journal.park(lines)
        for line in lines:
            self._judged.pop(line.path, None)
        members = [ParkedMember(x.id, x.path, x.ts, len(x.body), x.origin) for x in lines]
        with self._index.transaction():
            new = {entry.key.id for entry in self._index.add(map(parked_entry, members))}
            self._index.relocate([(x.id, IN_JOURNAL, len(x.body)) for x in lines if x.id not in new])

    # --- deletions --------------------------------------------------------------------------------

    def floor(self, path: str, row: Dataset) -> Floor | None:
        """What deletions of the directory around this log cover (SEMANTICS §3.2, §3.3)."""
        currents = [self._versions.current(datasets.sibling(path, name)) for name in row.manifest]
        live = [version for version in currents if version is not None and version.value is not None]
        if live:
            return live[0].floor
        floors = [version.floor for version in currents if version is not None and version.floor]
        return max(floors, key=lambda floor: floor.ts, default=None)

    def outlived(self, manifest: str, gone: Version) -> bool:
        """Whether a line that this deletion does not cover stands in the log beside it."""
        return any(
            not register.is_below(gone.floor, entry.key.ts, entry.key.id)
            for path, _ in datasets.logs_beside(manifest)
            for entry in self._index.of_path(path)
        )

    def keys(self, manifest: str) -> list[Key]:
        """The keys of all lines in the logs beside a manifest."""
        return [
            entry.key for path, _ in datasets.logs_beside(manifest) for entry in self._index.of_path(path)
        ]

    # --- leaving the park -------------------------------------------------------------------------

    def unpark_all(self, root: Folder) -> None:
        """Everywhere: write what may be written by now. A log of which all lines are in trash is not gone
        through again while the same deletions count.
        """
        for path, row, trashed in self._parked_logs():
            floor = self.floor(path, row)
            if trashed and path in self._judged and self._judged[path] == floor:
                continue
            with self._apart(path):
                self.unpark(root, path, row)
                self._judged[path] = floor

    def _parked_logs(self) -> Iterator[tuple[str, Dataset, bool]]:
        """The logs carried here of which lines are parked, and whether all of these are in trash."""
        reasons: defaultdict[str, set[str]] = defaultdict(set)
        for path, reason, _ in self._journal.parked_reasons():
            reasons[path].add(reason)
        for path, found in reasons.items():
            row = datasets.find(path)
            if row is not None and self.carries(path):
                yield path, row, found == {TRASHED}

    def unpark_signed(self, root: Folder) -> None:
        """A key came, or the rule changed: so may the fate of lines that may be signed."""
        for path, row, _ in self._parked_logs():
            if row.signed is not None:
                with self._apart(path):
                    self.unpark(root, path, row)

    def unpark_beside(self, root: Folder, manifest: str) -> None:
        """A manifest came, changed or went: so may the fate of the lines beside it."""
        for path, row in datasets.logs_beside(manifest):
            with self._apart(path):
                self.unpark(root, path, row)

    def unpark(self, root: Folder, path: str, row: Dataset) -> None:
        """Write the parked lines of a log that may be written now, and count them."""
        parked = self._journal.parked(path) if self.carries(path) else []
        if not parked:
            return
        lines = [NewLine(Key(line.ts, line.id), line.body) for line in parked]
        withheld = [x.id for x in parked if x.reason == FLOODED and self._guard.allowance.withholds(x.origin)]
        reasons = {**dict.fromkeys(withheld, FLOODED), **self._reasons(root, path, row, lines)}
        for reason in {*reasons.values()}:
            changed = [x.id for x in parked if reasons.get(x.id) == reason != x.reason]
            self._journal.set_reason(changed, reason)
        free = [line for line in parked if line.id not in reasons]
        self._verification.forget(line.id for line in parked if reasons.get(line.id) not in AWAITED)
        for origin in dict.fromkeys(line.origin for line in free):
            mine = [NewLine(Key(x.ts, x.id), x.body) for x in free if x.origin == origin]
            self._appending.append(root, path, row, mine, origin or "", parked=True)
        if free:
            self.count(root, path, row, {line.id: line.body for line in free})

    @contextmanager
    def _apart(self, path: str) -> Iterator[None]:
        """Work at one log, which never keeps the others from theirs: its trouble is told by `condition`."""
        try:
            yield
        except (FileChanged, FileNotFoundError, LockBusy):  # absent: its directory went away just then
            self._postponed.add(path)
        except StorageFailed as error:
            self._postponed.add(path)
            self.troubles[path] = f"{path}: {error}"
        else:
            self._postponed.done(path)
            self.troubles.pop(path, None)

    def learnt(self) -> bool:
        """Whether a program here has just written a kind that was unknown before."""
        return self._kinds.grew()

    # --- counting ---------------------------------------------------------------------------------

    def count(self, root: Folder, path: str, row: Dataset, at_hand: dict[bytes, bytes]) -> None:
        """Count what waits at a log; the bodies just written need not be read again. What cannot be counted
        waits in the ledger, and is told: the lines stand in their file all the same.
        """
        if row.stats is None:
            return
        place = datasets.sibling(path, row.stats)

        def bodies(ids: Sequence[bytes]) -> dict[bytes, bytes]:
            elsewhere = [identity for identity in ids if identity not in at_hand]
            found = {i: at_hand[i] for i in ids if i in at_hand}
            standing = [e for e in self._index.find(elsewhere) if e.offset != IN_JOURNAL]
            return {**self._logs.bodies(root, standing), **found}

        try:
            self._counting.count(root, path, bodies)
        except FileNotFoundError:
            self._journal.ledger.finish_append(path)
        except (LockBusy, StorageFailed) as error:
            self._journal.ledger.finish_append(path)
            self._postponed.add(place)
            if isinstance(error, StorageFailed):
                self.troubles[place] = f"{place}: {error}"
        else:
            self._postponed.done(place)
            self.troubles.pop(place, None)

    def recount(self, root: Folder) -> None:
        """Counts that wait, and stats.json files that have vanished since peers' lines came."""
        gone = [
            path
            for path in self._journal.ledger.counted_paths()
            if see(root, datasets.sibling(path, STATS)) is None
        ]
        for path in {*self._journal.ledger.pending_paths(), *gone}:
            self.recount_one(root, path)

    def recount_one(self, root: Folder, path: str) -> None:
        """Count what waits at one log, if there is one."""
        row = datasets.find(path)
        if row is not None and self.carries(path) and has_manifest(root, path, row):
            self.count(root, path, row, {})

    def flooded(self) -> list[str]:
        """The logs in which lines wait because their peer brought too much."""
        reasons = self._journal.parked_reasons()
        return sorted({path for path, reason, _ in reasons if reason == FLOODED and self.carries(path)})

    # --- how it is ----------------------------------------------------------------------------------

    def collisions(self) -> int:
        """Lines whose key another, different line holds."""
        return self._logs.collisions() + len(self._collided)

    def parked(self) -> dict[str, int]:
        """How many members wait, by reason; what was deleted, or is left out here, does not."""
        counts: Counter[str] = Counter()
        for path, reason, count in self._journal.parked_reasons():
            if reason != TRASHED and self.carries(path):
                counts[reason] += count
        return dict(sorted(counts.items()))


def _as_carried(row: Dataset, body: bytes) -> bytes:
    """A body without a number that it may have brought along; one that is malformed stays as it is."""
    try:
        return datasets.carried(row, body)
    except MalformedRecord:
        return body


def parked_entry(line: ParkedMember) -> Entry:
    """The index entry of a member whose body is in the journal."""
    origin = DeviceId(line.origin) if line.origin else None
    return Entry(Key(line.ts, line.id), line.path, IN_JOURNAL, line.size, origin, 0)


def has_manifest(root: Folder, path: str, row: Dataset) -> bool:
    """Whether a manifest stands beside the log, so that mur takes the directory for a skill."""
    return not row.manifest or any(see(root, datasets.sibling(path, name)) for name in row.manifest)
