"""`Replica`: this device's copy of the set, home plus index plus journal (the `Storage` port).

The set is what is known; home is what is applied. This module joins the parts and says in which order
they act: registers before lines, recovery before everything. It knows nothing of peers but their ids,
and nothing of the network or the event loop.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from fleetsync import datasets
from fleetsync.datasets import Kind
from fleetsync.errors import (
    FileChanged,
    FleetsyncError,
    HomeMissing,
    IndexDamaged,
    LockBusy,
    MalformedRecord,
    NotFound,
    StorageFailed,
)
from fleetsync.files import Folder, ensure_private_dir
from fleetsync.ports import (
    NOT_CARRIED,
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
from fleetsync.records import ed25519, timestamps
from fleetsync.records.names import DeviceId
from fleetsync.records.signatures import Check
from fleetsync.records.timestamps import Timestamp
from fleetsync.replica import alerts, approvals
from fleetsync.replica.allowance import Limits
from fleetsync.replica.counting import STATS, Counting
from fleetsync.replica.edits import REBUILT
from fleetsync.replica.guard import Cause, Guard, Held
from fleetsync.replica.history import History, Why
from fleetsync.replica.index import IN_JOURNAL, Entry, Index
from fleetsync.replica.journal import HistoryEntry, Journal
from fleetsync.replica.keyless import Keyless
from fleetsync.replica.layout import Home, Look, Seen, is_spelled_so, respell
from fleetsync.replica.lines import Lines, directory_exists, parked_entry, see
from fleetsync.replica.logs import Logs
from fleetsync.replica.publishing import Publishing, is_public_file, is_published
from fleetsync.replica.registers import Registers
from fleetsync.replica.shelf import Shelf, is_log
from fleetsync.replica.trash import Trash
from fleetsync.replica.units import Units
from fleetsync.replica.verification import Verification
from fleetsync.replica.versions import Change, Clock, Member, Versions
from fleetsync.selection import EVERYTHING, Selection

MANY = 3
"""More files than this that go back to superseded values at once are a restored home."""
SHOWN = 64
"""Members that are looked at to name some of those that are dated ahead."""
LINES_AT_ONCE = 4096
"""Of one log: what is known of a line while it is applied costs several times its bytes."""
ANOTHER_SPELLING = "the name of another path differs in case alone"
_KEPT = "agent {agent} remembers its approvals there"
_HOME_SEEN = "home-seen"
_SELECTED = "selected"


_Choice = tuple[tuple[str, ...], tuple[str, ...]]
"""Rules and private skills, as the journal keeps them."""


@dataclass(frozen=True)
class Surroundings:
    """What a replica takes from outside: time, randomness, who verifies signatures, and what this device
    has beside home.

    `now` gives µs since 1970; `random` n random bytes; `resolves` says whether a reference to a secret
    (`env:NAME`, `keychain:service/account`) leads to one here, and may block.
    """

    now: Callable[[], int]
    random: Callable[[int], bytes]
    check: Check = ed25519.check
    resolves: Callable[[str], bool] = lambda _reference: True

    def time(self) -> Timestamp:
        """The time as mur writes it."""
        return timestamps.at(self.now() * 1000)

    def token(self) -> str:
        """A name part that nobody else uses."""
        return self.random(8).hex()


class Replica:
    """The `Storage` of a device with a home; blocking and single-threaded."""

    def __init__(
        self,
        home: Path,
        state: Path,
        device: DeviceId,
        around: Surroundings,
        skew: int,
        selection: Selection = EVERYTHING,
    ) -> None:
        """Opens or makes the state below `state`, settles what a crash left; does not scan.

        `skew` is the allowed clock skew in µs, `selection` what this device carries. Raises
        `JournalDamaged`, `StorageFailed`.
        """
        ensure_private_dir(state)
        self.wrote: Callable[[str], None] = lambda _path: None
        """Told, on the thread that called, of every file of home that was written for a peer."""
        self.keeps_others: Callable[[], None] = lambda: None
        """Told, on that thread, when `kept_here` has changed."""
        self._home = Home(home)
        self._around = around
        self._journal = Journal.open(state / "journal.db")
        self._index = _open_index(state / "index.db", around)
        self.history = History(state / "history", self._journal, around.now)
        self._build(state, device, skew)
        self._seen_with = _selection_of(self._journal.get(_SELECTED))  # at the last full scan
        self._wanted = selection
        self._approvals: dict[str, str] = {}
        self._choose()
        self._refused = 0
        self._troubles: dict[str, str] = {}
        self._watched = False
        self._swept: tuple[int, int] | None = None  # the directory that home was when all of it was read last
        self._scanned = False
        self._missing = False
        self._make_home()
        with suppress(HomeMissing), self._home.open() as root:
            self._find_approvals(root)
        self._align()
        self._recover()

    def _build(self, state: Path, device: DeviceId, skew: int) -> None:
        journal, index, around = self._journal, self._index, self._around
        self._versions = Versions(device, journal, Clock(around.now, skew))
        self._registers = Registers(self._versions, journal, self.history, around.token)
        self._counting = Counting(journal, around.time, around.token)
        self._logs = Logs(journal, index)
        self._logs.wrote = self._wrote
        self._shelf = Shelf(self._home, journal, index, self._logs)
        guard = Guard(journal, around.now)
        self._verification = Verification(self._versions, around.check)
        self._lines = Lines(
            journal, index, self._logs, self._shelf, self._versions, self._counting, guard, self._verification
        )
        self._publishing = Publishing(self._versions)
        self._keyless = Keyless()
        self._registers.outlived = self._lines.outlived
        self._registers.follow = self._follow
        self.trash = Trash(state / "trash", journal, around.now, around.token)
        self._units = Units(
            journal,
            index,
            self._logs,
            self._lines,
            self._registers,
            self.history,
            self.trash,
            guard,
            self._follow,
        )

    def _wrote(self, path: str) -> None:
        self.wrote(path)

    # --- opening ----------------------------------------------------------------------------------

    def _make_home(self) -> None:
        """An absent home is made only if it never existed: absence is not a wish."""
        if self._home.exists():
            self._journal.put(_HOME_SEEN, b"1")
        elif self._journal.get(_HOME_SEEN) is None:
            ensure_private_dir(self._home.path)
            self._journal.put(_HOME_SEEN, b"1")

    def _align(self) -> None:
        """The index holds of the journal's members exactly those that are there: a crash, or a transaction
        of the index that was undone, may have come between the two. The files follow with a scan.
        """
        versions = [_version_entry(m) for m in self._versions.all_members()]
        entries = [*versions, *(parked_entry(line) for line in self._journal.parked())]
        members = [entry for entry in entries if self._carries(entry.path)]
        with self._index.transaction():
            for state in self._index.files():
                if not self._carries(state.path):
                    self._logs.gone(state.path)
            self._index.remove(list(self._index.in_journal() - {member.key.id for member in members}))
            self._index.add(members)
        self._aligned = True

    def _recover(self) -> None:
        try:
            root = self._home.open()
        except HomeMissing:
            self._missing = True
            return
        with root, self._indexing():
            self._counting.recover(root)
            self._logs.recover(root)
            self._registers.recover(root)
            self._units.recover(root)
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
                if not self._aligned:
                    self._align()
                yield
        except BaseException:
            self._aligned = False
            self._logs.reload()
            raise

    # --- what is carried ----------------------------------------------------------------------------

    def select(self, selection: Selection) -> bool:
        """See `Storage.select`. The journal keeps what it knows of paths that are left out: what has
        been counted is never counted again, and a file that comes back unchanged is no new version.
        """
        before = self._state()
        self._wanted = selection
        self._choose()
        self._troubles = {path: why for path, why in self._troubles.items() if self._carries(path)}
        with self._indexing():
            self._align()
        self.scan(None)
        return before != self._state()

    @property
    def kept_here(self) -> Collection[str]:
        """Directories of channels that stay on this device whatever is selected (SEMANTICS §7.5)."""
        return self._approvals.keys()

    def _find_approvals(self, root: Folder) -> bool:
        """Whether other channels than before serve as an agent's memory of approvals."""
        found = approvals.remembered(root)
        if found == self._approvals:
            return False
        self._approvals = found
        self._choose()
        self._align()
        self.keeps_others()
        return True

    def _choose(self) -> None:
        selection = self._selection = self._wanted.without(self._approvals)
        self._carries = selection.carries
        self._index.carries = self._lines.carries = selection.carries
        self._registers.sightings.carries = selection.carries
        self._registers.sightings.look_anew()

    def _reads(self, file: str) -> bool:
        """Whether anything may be carried that stands in this file."""
        row = datasets.find_file(file)
        return self._carries(file) or (row is not None and row.parts is not None)

    def _welcome(self, present: Collection[str]) -> None:
        """What was left out at the last full scan and is missing now was not deleted: nobody was looking."""
        if self._seen_with == self._selection:
            return
        for path in self._registers.sightings.present():
            if path not in present and not self._seen_with.carries(path):
                self._registers.sightings.forget(path)
        choice = (self._selection.rules, self._selection.private)
        self._journal.put(_SELECTED, msgspec.msgpack.encode(choice))
        self._seen_with = self._selection

    def _require_carried(self, path: str) -> None:
        if not self._carries(path):
            raise NotFound(
                f"{path} is left out on this device",
                next_step="change [sync] in the configuration, then `fleetsync reload`",
            )

    # --- the set ----------------------------------------------------------------------------------

    def head(self, carried: Selection = EVERYTHING) -> Head:
        """See `Storage.head`."""
        return self._index.head(carried)

    def ranges(self, carried: Selection = EVERYTHING) -> Ranges:
        """See `Storage.ranges`."""
        return self._index.ranges(carried)

    def bodies(self, ids: Sequence[bytes]) -> Iterator[list[Item]]:
        """See `Storage.bodies`."""
        return self._shelf.bodies(ids)

    def between(self, lower: Bound, upper: Bound) -> Iterator[list[Item]]:
        """See `Storage.between`."""
        return self._shelf.between(lower, upper)

    def arrivals(self, after: int, limit_bytes: int) -> list[Arrival]:
        """See `Storage.arrivals`."""
        return self._shelf.arrivals(after, limit_bytes)

    def highest_dot(self, device: DeviceId) -> int:
        """See `Storage.highest_dot`."""
        return self._versions.highest_number(device)

    def learn_dot(self, number: int) -> None:
        """See `Storage.learn_dot`."""
        self._versions.learn_number(number)

    # --- from home --------------------------------------------------------------------------------

    def scan(self, paths: Sequence[str] | None) -> bool:
        """See `Storage.scan`."""
        before = self._state()
        try:
            root = self._home.open()
        except HomeMissing:
            self._missing = True
            return False
        self._missing, self._scanned = False, True
        with root, self._indexing():
            asked = paths is None or any(map(approvals.concern, paths))
            if (asked and self._find_approvals(root)) or paths is None:
                self._sweep(root)
            else:
                self._look_at(root, paths)
                self._make_way(root)
        return before != self._state()

    def _state(self) -> tuple[int, bytes]:
        head = self._index.head()
        return head.arrival, head.fingerprint

    def _sweep(self, root: Folder) -> None:
        """Everything: what changed, what is gone, what was left to do."""
        identity = root.identity()
        seen = [each for each in self._home.walk(root) if self._reads(each.path)]
        self._units.came_back(self._inside(seen))
        self._notice_restored_home(root, seen)
        for each in seen:
            self._scan_quietly(root, each)
        if self._identity_now() != identity:
            return  # home was swapped while it was read: nothing is concluded from what is missing
        present = self._inside(seen)
        for state in self._index.files():  # some may have been made since the walk, by lines set free
            gone = state.path not in present and see(root, state.path) is None
            if gone and self._is_damage(root, state.path):
                self._logs.gone(state.path)
        self._welcome(present)
        self._units.look(root, present, watched=self._watched)
        self._watched = True
        self._swept = identity
        self._registers.edits.home_is_known()
        self._publish(root)
        self._catch_up(root)
        self._keyless.look(root)

    def _inside(self, seen: Sequence[Seen]) -> set[str]:
        """The paths of what is in these files, as far as they have been read."""
        return {path for each in seen for path in self._registers.sightings.inside(each.path)}

    def _publish(self, root: Folder) -> None:
        """Tell the fleet of this device's public keys, and judge by them what came back from it."""
        try:
            self._follow(self._publishing.look(root))
        except MalformedRecord as error:
            self._troubles["agents"] = f"agents: {error}"
        else:
            self._troubles.pop("agents", None)
        self._keys_changed(root)

    def _keys_changed(self, root: Folder) -> None:
        if self._verification.refresh():
            self._lines.unpark_signed(root)

    def _is_damage(self, root: Folder, log: str) -> bool:
        """Whether a missing log is to be refilled, and not for a deletion to judge: its directory stands, or
        it never was the log of anything that could be deleted.
        """
        row = datasets.find(log)
        if row is None or directory_exists(root, log.rpartition("/")[0]):
            return True
        return not any(self._registers.is_present(datasets.sibling(log, name)) for name in row.manifest)

    def _identity_now(self) -> tuple[int, int] | None:
        try:
            with self._home.open() as root:
                return root.identity()
        except HomeMissing:
            return None

    def _look_at(self, root: Folder, paths: Sequence[str]) -> None:
        for path in sorted(filter(self._reads, set(paths)), key=is_log):
            row = datasets.find_file(path)
            if is_public_file(path):
                self._publish(root)
            elif row is not None:
                look = self._see(root, path)
                if look is not None:
                    self._scan_quietly(root, Seen(path, row, look))
                elif row.kind is Kind.LOG and self._is_damage(root, path):
                    self._logs.gone(path)
            elif path.rpartition("/")[2] == STATS:
                self._lines.recount_one(root, datasets.sibling(path, "events.jsonl"))
        self._look_for_keys(root, paths)

    def _look_for_keys(self, root: Folder, paths: Iterable[str]) -> None:
        if any(path.startswith("agents/") for path in paths):
            self._keyless.look(root)

    def _see(self, root: Folder, path: str) -> Look | None:
        """The look of a file, if it is there under this very spelling."""
        if self._versions.spellings.is_spelled_twice(path) and not is_spelled_so(root, path):
            return None
        return see(root, path)

    def _make_way(self, root: Folder) -> None:
        """Of two spellings of one path the smaller stands in home, the other is parked."""
        for path in self._registers.outspelled():
            spelling = self._registers.place_of(path)
            try:
                self._follow(self._registers.put_aside(root, path))
            except FileNotFoundError:
                self._registers.note_gone(path)
            except StorageFailed as error:  # told by `condition`, and tried again
                self._troubles[path] = f"{path}: {error}"
                continue
            if spelling is not None:
                respell(root, spelling)

    def _scan_quietly(self, root: Folder, seen: Seen) -> None:
        """One file's trouble is told by `condition`; it never keeps the others from being read. What was
        minted before it is in the journal, and the index learns of it by being aligned.
        """
        try:
            self._scan_one(root, seen)
        except FileNotFoundError:
            return
        except FleetsyncError as error:
            self._aligned = False
            self._troubles[seen.path] = str(error)
        else:
            self._troubles.pop(seen.path, None)

    def _scan_one(self, root: Folder, seen: Seen) -> None:
        if seen.row.kind is Kind.LOG:
            if self._logs.changed(seen.path, seen.look):
                self._logs.read(root, seen.path, seen.row)
            if self._lines.learnt():
                self._lines.unpark_all(root)
        elif not self._units.guard.stops:
            self._scan_registers(root, seen)

    def _scan_registers(self, root: Folder, seen: Seen) -> None:
        chosen_then = self._seen_with == self._selection or self._seen_with.carries(seen.path)
        watched = self._watched and chosen_then
        changed = self._registers.sightings.changed(seen)
        if changed:
            self._follow(self._registers.edits.scan(root, seen, watched=watched))
        if seen.row.parts is not None:
            self._units.look_into(seen.path, watched=watched)
        if changed or seen.row.parts is not None:
            self._bring_into(root, seen)

    def _bring_into(self, root: Folder, seen: Seen) -> None:
        """What was read from a file may have brought other values to the top."""
        if seen.row.parts is None:
            self._bring(root, seen.path)
            return
        for path in [path for path in self._troubles if datasets.file_of(path) == seen.path]:
            self._troubles.pop(path)
        for path in self._registers.unapplied(seen.path):
            self._bring(root, path)

    def _notice_restored_home(self, root: Folder, seen: Sequence[Seen]) -> None:
        """Many files back at superseded values, or one beside a log that lost lines, are a backup that
        was put back: the current values are applied, and a person is told (SEMANTICS §2.5).
        """
        changed = [s for s in seen if s.row.kind is Kind.REGISTER and self._registers.sightings.changed(s)]
        old = [(each, paths) for each in changed if (paths := self._registers.edits.old_news(root, each))]
        if not old:
            return
        for each in (s for s in seen if s.row.kind is Kind.LOG):
            self._scan_quietly(root, each)
        found = [path for _, paths in old for path in paths]
        if len(found) > MANY or self._logs.shrunk:
            for each, paths in old:
                self._registers.edits.discount(root, each, paths)
            self._units.guard.hold(Cause.RESTORED, found)
        self._logs.shrunk.clear()

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
            if self._swept not in (None, root.identity()):
                self._sweep(
                    root
                )  # an empty mount point is not home: the guard decides before anything is written
            for position in sorted(range(len(groups)), key=lambda p: is_log(groups[p].path)):
                answers[position] = self._apply_group(root, groups[position], origin)
            self._units.take_away(root)
        return [verdict for answer in answers for verdict in answer]

    def _apply_group(self, root: Folder, group: Group, origin: DeviceId) -> list[Verdict]:
        try:
            path, row = datasets.require(group.path)
        except MalformedRecord as error:
            self._refused += len(group.bodies)
            return [Verdict(Outcome.REFUSED, error.message)] * len(group.bodies)
        if not self._carries(path):
            return [Verdict(Outcome.REFUSED, NOT_CARRIED)] * len(group.bodies)
        if row.kind is Kind.REGISTER:
            verdicts = self._apply_versions(root, path, group.bodies, origin)
            self._spend(origin, group.bodies, verdicts)
            return verdicts
        verdicts = []
        for at in range(0, len(group.bodies), LINES_AT_ONCE):
            some = Group(path, group.bodies[at : at + LINES_AT_ONCE])
            taken = self._lines.take(root, path, row, some, origin)
            self._spend(origin, some.bodies, taken)
            verdicts += taken
        if any(verdict.outcome is Outcome.NEW for verdict in verdicts):
            self._revive(root, path, row.manifest)
        return verdicts

    def _spend(self, origin: DeviceId, bodies: Sequence[bytes], verdicts: Sequence[Verdict]) -> None:
        new = [len(b) for b, v in zip(bodies, verdicts, strict=True) if v.outcome is Outcome.NEW]
        if new:
            self._units.guard.allowance.spend(origin, len(new), sum(new))

    def _apply_versions(
        self, root: Folder, path: str, bodies: Sequence[bytes], origin: DeviceId
    ) -> list[Verdict]:
        verdicts: list[Verdict] = []
        # An edit that nobody has seen yet was made without knowing these.
        self._look_at(root, [datasets.file_of(path)])
        for body in bodies:
            try:
                verdict, change = self._versions.take(path, body, origin)
                self._follow(change)
                for member in change.added:
                    self._registers.sightings.arrive(path, member.version.dot)
            except MalformedRecord as error:
                self._refused += 1
                verdict = Verdict(Outcome.REFUSED, error.message)
            verdicts.append(verdict)
        if any(verdict.outcome is Outcome.NEW for verdict in verdicts):
            self._make_way(root)
            if is_published(path):
                self._keys_changed(root)
            else:
                self._bring(root, path)
        return verdicts

    def _revive(self, root: Folder, log: str, manifests: Sequence[str]) -> None:
        """A line that a deletion had not seen brings the skill back (SEMANTICS §3.3)."""
        for name in manifests:
            path = datasets.sibling(log, name)
            current = self._versions.current(path)
            if current is not None and current.value is None:
                self._bring(root, path)

    # --- what follows a change ----------------------------------------------------------------------

    def _bring(self, root: Folder, path: str) -> None:
        """The file becomes the current version; what could not be done now is done by `settle`."""
        if self._units.guard.stops or not self._carries(path) or self._is_withheld(path):
            return
        row = datasets.find(path)
        standing = directory_exists(root, path.rpartition("/")[0])  # else nothing is there to reset
        if row is not None and row.counters and standing and self._registers.is_unapplied(path):
            self._journal.ledger.begin_reset(path)
        try:
            wrote = self._registers.apply(root, path)
        except (FileChanged, LockBusy):
            self._aligned = False
            return
        except MalformedRecord as error:  # a file that cannot be taken apart is never replaced
            self._aligned = False
            self._troubles[path] = f"{path}: {error}"
            return
        except StorageFailed as error:
            self._aligned = False
            self._troubles[path] = f"{path}: {error}"
            raise
        self._troubles.pop(path, None)
        if wrote:
            self.wrote(path)
        self._look_for_keys(root, [path])
        self._registers.keep_losers(path)
        self._reset_counters(root)
        self._lines.unpark_beside(root, path)

    def _is_withheld(self, path: str) -> bool:
        """Whether the current version came from a peer that has brought too much."""
        current = self._versions.current(path)
        origins = [m.stored.origin for m in self._versions.members(path) if m.version is current]
        return any(map(self._units.guard.allowance.withholds, origins))

    def _withheld(self) -> list[str]:
        """Whatever waits because a peer has brought too much."""
        registers = [path for path in self._registers.unapplied() if self._is_withheld(path)]
        return sorted({*registers, *self._lines.flooded()})

    def _reset_counters(self, root: Folder) -> None:
        """Beside every manifest that a peer's has replaced; what cannot be done now stays to be done."""
        for path in self._journal.ledger.resets():
            target = self._registers.target(path)
            try:
                if target is not None and target.value is not None and see(root, path) is not None:
                    self._counting.reset(root, datasets.sibling(path, "events.jsonl"), target.value)
            except (LockBusy, MalformedRecord):
                continue
            self._journal.ledger.finish_reset(path)

    def _catch_up(self, root: Folder) -> None:
        """Do what could not be done before: files, parked lines, counts, directories to take away."""
        for member in self._versions.held_by_our_clock():
            if self._carries(member.stored.path):
                self._mint_anew(member)
        self._make_way(root)
        for path in self._registers.unapplied():
            with suppress(StorageFailed):  # told by `condition`; it never keeps the others from being brought
                self._bring(root, path)
        self._reset_counters(root)
        self._units.take_away(root)
        self._lines.unpark_all(root)
        self._lines.recount(root)

    def _mint_anew(self, member: Member) -> None:
        """The wall clock was set back: an edit of ours need not wait until it is that late again."""
        path, value = member.stored.path, member.version.value
        if value is not None and self._registers.holds(path, value):
            self._follow(self._versions.mint_anew(path, value))
            self._registers.take_as_is(path)

    def settle(self) -> bool:
        """See `Storage.settle`."""
        before = self._state()
        try:
            root = self._home.open()
        except HomeMissing:
            self._missing = True
            return False
        with root, self._indexing():
            self._follow(self._registers.settle(root))
            self._units.settle(root)
            self._units.look_again(root)
            self._catch_up(root)
        return before != self._state()

    def due_in(self) -> float | None:
        """See `Storage.due_in`."""
        return self._units.due_in()

    # --- signatures ---------------------------------------------------------------------------------

    def expect(self, fleet: Iterable[DeviceId]) -> None:
        """The devices whose keys belong here: while one of them has published nothing, no line is
        taken for forged.
        """
        if self._verification.expect(fleet):
            self._judge_again()

    def require_signatures(self, required: bool) -> None:
        """Whether channel lines that are not signed wait; those that waited are written when not."""
        if self._verification.required != required:
            self._verification.required = required
            self._judge_again()

    def _judge_again(self) -> None:
        with suppress(HomeMissing, StorageFailed), self._home.open() as root, self._indexing():
            self._lines.unpark_signed(root)  # what fails is done by the next sweep

    # --- a person's word ----------------------------------------------------------------------------

    def keep_local(self, path: str) -> HistoryEntry:
        """What stands here, in one file or in a directory, becomes new versions that cover all others.

        Returns the newest entry of history: what lost by this. Raises `NotFound`.
        """
        with self._home.open() as root, self._indexing():
            self._require_carried(path)
            values = self._standing(root, path)
            if not values:
                raise NotFound(f"{path} is no file, part of one or directory that syncs as a whole")
            kept = [self._keep_local(root, each, value) for each, value in values.items()]
        return next(iter(self.history.entries(path)), kept[-1])

    def _standing(self, root: Folder, path: str) -> dict[str, bytes]:
        """The values of the registers at or below a path. Raises `MalformedRecord`."""
        found: dict[str, bytes] = {}
        for seen in self._home.walk(root):
            if seen.row.kind is Kind.REGISTER and (_within(seen.path, path) or _within(path, seen.path)):
                folder, name = root.parent_of(seen.path)
                with folder:
                    data = folder.read(name, datasets.MAX_BODY)
                found.update(datasets.contents(seen.row, seen.path, data).values)
        return {each: found[each] for each in found if _within(each, path) and self._carries(each)}

    def _keep_local(self, root: Folder, path: str, value: bytes) -> HistoryEntry:
        self._registers.keep_rivals(path, value)
        self._follow(self._versions.mint_word(path, value, keep_floor=True))
        self._registers.settle_file(root, path)
        digest, now = hashlib.sha256(value).hexdigest(), self._around.now()
        return HistoryEntry(0, path, Why.REPLACED, now, None, self._versions.device, len(value), digest)

    def restore(self, path: str, version: int | None) -> HistoryEntry:
        """Values from history, of one file or the newest of a directory's, become versions that cover
        all others; a directory that was deleted comes back with all that was in it.

        Returns the newest entry of history: what was replaced by this. Raises `NotFound`.
        """
        paths = {path} if datasets.find(path) else {entry.path for entry in self.history.entries(path)}
        chosen = [self.history.value(each, version) for each in sorted(paths)]
        if not chosen:
            raise NotFound(f"history has nothing of {path}", next_step="run `fleetsync history`")
        for entry, _ in chosen:
            self._require_carried(entry.path)
        with self._home.open() as root, self._indexing():
            for entry, raw in chosen:
                value = datasets.require(entry.path)[1].value_of(raw)  # history has whole files too
                self._units.give_back(root, entry.path)
                self._look_at(root, [datasets.file_of(entry.path)])
                self._follow(self._versions.mint_word(entry.path, value, keep_floor=False))
                self._bring(root, entry.path)
            self._sweep(root)
        return next(iter(self.history.entries(path)), chosen[-1][0])

    def rebuild_stats(self, path: str) -> None:
        """The counters beside this log become the fold of all of its lines. Raises `NotFound`."""
        self._require_carried(path)
        with self._home.open() as root:
            entries = [e for e in self._index.of_path(path) if e.offset != IN_JOURNAL]
            if not entries:
                raise NotFound(f"no line of {path} is known here")
            self._counting.rebuild(root, path, self._logs.bodies(root, entries))

    @property
    def guarded(self) -> Held | None:
        """What the guard holds back until a person decides."""
        guard = self._units.guard
        if guard.held is None and guard.allowance.asks and (waiting := self._withheld()):
            return Held(Cause.FLOODED, waiting)
        return guard.held

    def limit(self, limits: Limits) -> None:
        """From now on a peer may bring so much in an hour."""
        self._units.guard.allowance.limits = limits

    def decide(self, *, confirm: bool) -> list[str]:
        """A person's answer to the guard: it was meant, or it is undone. Returns the paths."""
        with self._home.open() as root, self._indexing():
            if self._units.guard.held is None:
                paths, allowance = self._withheld(), self._units.guard.allowance
                allowance.release() if confirm else allowance.decline()
            else:
                paths = self._units.confirm(root) if confirm else self._units.undo()
            self._sweep(root)
        return paths

    # --- how it is ----------------------------------------------------------------------------------

    def condition(self) -> Condition:
        """See `Storage.condition`."""
        told, parked = self._alerts(), self._lines.parked()
        misplaced = self._registers.misplaced()
        if misplaced:
            parked = {**parked, ANOTHER_SPELLING: len(misplaced)}
        held = [member for member in self._versions.held() if self._carries(member.stored.path)]
        oversize = [path for path in self._registers.edits.oversize if self._carries(path)]
        return Condition(
            self._home_state(told),
            parked=sum(parked.values()),
            held=len(held),
            refused=self._refused
            + self._lines.refused
            + len(oversize)
            + len(self._registers.sightings.left_out()),
            malformed=self._logs.malformed(),
            collisions=self._lines.collisions(),
            alerts=[
                *told,
                *map(alerts.held, held),
                *self._dated_ahead(),
                *(alerts.spelled_twice(path, self._registers.place_of(path)) for path in misplaced),
                *self._verification.alerts(),
                *(alerts.needs_key(*each) for each in self._keyless.agents().items()),
                *(alerts.newer_channel(*each) for each in self._registers.newer()),
            ],
            parked_for=parked,
            kept_here={path: _KEPT.format(agent=agent) for path, agent in sorted(self._approvals.items())},
        )

    def _dated_ahead(self) -> Iterator[Alert]:
        """Lines are taken as they come, whatever their date; those that clocks do not explain are told."""
        ranges, horizon = self._index.ranges(), self._versions.clock.horizon()
        first = ranges.lower_bound((horizon + 1, b""))
        ahead = sum(member.version.stamp.hybrid > horizon for member in self._versions.held())
        count = ranges.size() - first - ahead
        if count > 0:
            some = self._index.find([key.id for key in ranges.keys(first, min(first + SHOWN, ranges.size()))])
            lines = [entry for entry in some if is_log(entry.path)]
            yield alerts.dated_ahead(count, sorted({entry.path for entry in lines}))

    def _home_state(self, told: Sequence[Alert]) -> HomeState:
        if self._missing:
            return HomeState.MISSING
        if self.guarded is not None:
            return HomeState.GUARDED
        if not self._scanned:
            return HomeState.SCANNING
        return HomeState.DEGRADED if told else HomeState.OK

    def _alerts(self) -> list[Alert]:
        sightings, unreadable = self._registers.sightings, self._counting.unreadable
        troubles = {**self._troubles, **self._units.stuck, **self._lines.troubles}
        told = [alerts.stats_unreadable(why) for path, why in unreadable.items() if self._carries(path)]
        told += [alerts.file_trouble(reason) for reason in troubles.values()]
        told += [alerts.left_out(path, why) for path, why in sightings.left_out().items()]
        told += [alerts.unusable(*each) for each in self._registers.problems(self._around.resolves)]
        if self.guarded is not None:
            told.append(alerts.guarded(self.guarded))
        if self._missing:
            told.append(alerts.missing(self._home.path))
        return told


# --- small truths ---------------------------------------------------------------------------------


def _selection_of(raw: bytes | None) -> Selection:
    """What was carried at the last full scan; everything, if nothing ever was left out."""
    return EVERYTHING if raw is None else Selection(*msgspec.msgpack.decode(raw, type=_Choice))


def _open_index(path: Path, around: Surroundings) -> Index:
    """The index; a damaged one, or one of another version, begins anew."""
    try:
        return Index.open(path, around.random)
    except IndexDamaged:
        for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
            path.with_name(name).unlink(missing_ok=True)
        return Index.open(path, around.random)


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


def _within(inner: str, outer: str) -> bool:
    """Whether a path is this one or lies below it."""
    return inner == outer or inner.startswith(f"{outer}/")


def _version_entry(member: Member) -> Entry:
    stored = member.stored
    key = Key(max(0, member.version.stamp.hybrid), stored.id)
    origin = DeviceId(stored.origin) if stored.origin else None
    return Entry(key, stored.path, IN_JOURNAL, len(stored.body), origin, 0)
