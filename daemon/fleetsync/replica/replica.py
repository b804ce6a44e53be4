"""`Replica`: this device's copy of the set, home plus index plus journal (the `Storage` port).

The set is what is known; home is what is applied. This module opens home and says who acts in which
order: recovery before everything, `sweep` for what changes here, `receiving` for what comes, `orders` for
a person's word, `bringing` after each of them. It knows nothing of peers but their ids, and nothing of the
network or the event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from fleetsync.errors import HomeMissing, StorageFailed
from fleetsync.files import Folder, ensure_private_dir
from fleetsync.ports import Arrival, Bound, Condition, Group, Head, Item, Ranges, Verdict
from fleetsync.records.names import DeviceId
from fleetsync.replica.allowance import Limits
from fleetsync.replica.bringing import Bringing
from fleetsync.replica.guard import Held
from fleetsync.replica.journal import HistoryEntry
from fleetsync.replica.orders import Orders
from fleetsync.replica.parts import Parts
from fleetsync.replica.receiving import Receiving
from fleetsync.replica.report import Report
from fleetsync.replica.surroundings import Surroundings
from fleetsync.replica.sweep import Sweep
from fleetsync.selection import EVERYTHING, Selection

_HOME_SEEN = "home-seen"


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
        self._parts = parts = Parts(home, state, device, around, skew)
        self._bringing = Bringing(parts)
        self._sweep = Sweep(parts, self._bringing)
        self._receiving = Receiving(parts, self._bringing, self._sweep)
        self._orders = Orders(parts, self._bringing, self._sweep)
        self.history, self.trash = parts.history, parts.trash
        self._scanned = False
        self._missing = False
        parts.carried.choose(selection)
        self._make_home()
        with suppress(HomeMissing), parts.home.open() as root:
            parts.carried.find_approvals(root)
        parts.members.begin()
        self._recover()

    def hear(self, *, wrote: Callable[[str], None], keeps_others: Callable[[], None]) -> None:
        """Tell, on the thread that calls, of every file of home that is written for a peer, and when
        `kept_here` has changed.
        """
        self._bringing.wrote = wrote
        self._parts.carried.changed = keeps_others

    def _make_home(self) -> None:
        """An absent home is made only if it never existed: absence is not a wish."""
        home, journal = self._parts.home, self._parts.journal
        if home.exists():
            journal.put(_HOME_SEEN, b"1")
        elif journal.get(_HOME_SEEN) is None:
            ensure_private_dir(home.path)
            journal.put(_HOME_SEEN, b"1")

    def _recover(self) -> None:
        parts = self._parts
        with self._at_home() as root:
            if root is None:
                return
            parts.counting.recover(root)
            parts.appending.recover(root)
            parts.registers.recover(root)
            parts.units.recover(root)
            for seen in parts.home.walk(root):
                if seen.row.stats is not None:
                    parts.counting.sweep(root, seen.path.rpartition("/")[0])

    @contextmanager
    def _at_home(self) -> Iterator[Folder | None]:
        """Home, opened, and one transaction of the index; None while home is missing."""
        try:
            root = self._parts.home.open()
        except HomeMissing:
            self._missing = True
            yield None
            return
        with root, self._parts.members.indexing():
            yield root

    def close(self) -> None:
        """Release the databases; idempotent."""
        self._parts.index.close()
        self._parts.journal.close()

    # --- the set ----------------------------------------------------------------------------------

    def head(self, carried: Selection = EVERYTHING) -> Head:
        """See `Storage.head`."""
        return self._parts.index.head(carried)

    def ranges(self, carried: Selection = EVERYTHING) -> Ranges:
        """See `Storage.ranges`."""
        return self._parts.index.ranges(carried)

    def bodies(self, ids: Sequence[bytes]) -> Iterator[list[Item]]:
        """See `Storage.bodies`."""
        return self._parts.shelf.bodies(ids)

    def between(self, lower: Bound, upper: Bound) -> Iterator[list[Item]]:
        """See `Storage.between`."""
        return self._parts.shelf.between(lower, upper)

    def arrivals(self, after: int, limit_bytes: int) -> list[Arrival]:
        """See `Storage.arrivals`."""
        return self._parts.shelf.arrivals(after, limit_bytes)

    def highest_dot(self, device: DeviceId) -> int:
        """See `Storage.highest_dot`."""
        return self._parts.versions.highest_number(device)

    def learn_dot(self, number: int) -> None:
        """See `Storage.learn_dot`."""
        self._parts.versions.learn_number(number)

    # --- what changes it ----------------------------------------------------------------------------

    def scan(self, paths: Sequence[str] | None) -> bool:
        """See `Storage.scan`."""
        before = self._parts.members.state()
        renewed = self._parts.members.renew_index()
        with self._at_home() as root:
            if root is None:
                return False
            self._missing, self._scanned = False, True
            self._sweep.read(root, None if renewed else paths)
        return before != self._parts.members.state()

    def apply(self, groups: Sequence[Group], origin: DeviceId) -> list[Verdict]:
        """See `Storage.apply`."""
        with self._parts.home.open() as root, self._parts.members.indexing():
            return self._receiving.take(root, groups, origin)

    def settle(self) -> bool:
        """See `Storage.settle`."""
        before = self._parts.members.state()
        with self._at_home() as root:
            if root is None:
                return False
            horizon = self._parts.versions.clock.horizon()
            self._sweep.settle(root)
            self._parts.members.follow(self._parts.registers.settle(root))
            self._parts.units.settle(root)
            self._parts.units.look_again(root)
            self._bringing.catch_up(root)
            self._parts.versions.ripened(horizon)
        return before != self._parts.members.state()

    def due_in(self) -> float | None:
        """See `Storage.due_in`."""
        if self._missing:
            return None  # nothing can be decided before a scan has found home again
        parts = self._parts
        due = (
            parts.units.due_in(),
            parts.postponed.due_in(),
            parts.versions.ripens_in(),
            self._sweep.due_in(),
        )
        return min((each for each in due if each is not None), default=None)

    # --- settings -----------------------------------------------------------------------------------

    def select(self, selection: Selection) -> bool:
        """See `Storage.select`. The journal keeps what it knows of paths that are left out: what has
        been counted is never counted again, and a file that comes back unchanged is no new version.
        """
        before = self._parts.members.state()
        self._parts.carried.choose(selection)
        self._bringing.overlook(selection)
        with self._parts.members.indexing():
            pass  # which aligns it
        self.scan(None)
        return before != self._parts.members.state()

    @property
    def kept_here(self) -> Collection[str]:
        """Directories of channels that stay on this device whatever is selected (SEMANTICS §7.5)."""
        return self._parts.carried.kept_here.keys()

    def limit(self, limits: Limits) -> None:
        """From now on a peer may bring so much in an hour."""
        self._parts.guard.allowance.limits = limits

    def expect(self, fleet: Iterable[DeviceId]) -> None:
        """The devices whose keys belong here: while one of them has published nothing, no line is
        taken for forged.
        """
        if self._parts.verification.expect(fleet):
            self._judge_again()

    def require_signatures(self, required: bool) -> None:
        """Whether channel lines that are not signed wait; those that waited are written when not."""
        if self._parts.verification.required != required:
            self._parts.verification.required = required
            self._judge_again()

    def _judge_again(self) -> None:
        with suppress(StorageFailed), self._at_home() as root:
            if root is not None:
                self._parts.lines.unpark_signed(root)  # what fails is done by the next sweep

    # --- a person's word ----------------------------------------------------------------------------

    def keep_local(self, path: str) -> HistoryEntry:
        """See `Orders.keep_local`."""
        return self._orders.keep_local(path)

    def restore(self, path: str, version: int | None) -> HistoryEntry:
        """See `Orders.restore`."""
        return self._orders.restore(path, version)

    def rebuild_stats(self, path: str) -> None:
        """See `Orders.rebuild_stats`."""
        self._orders.rebuild_stats(path)

    @property
    def guarded(self) -> Held | None:
        """See `Orders.guarded`."""
        return self._orders.guarded

    def decide(self, *, confirm: bool) -> list[str]:
        """See `Orders.decide`."""
        return self._orders.decide(confirm=confirm)

    # --- how it is ----------------------------------------------------------------------------------

    def condition(self) -> Condition:
        """See `Storage.condition`."""
        report = Report(
            self._parts,
            self._bringing,
            self._receiving,
            self.guarded,
            missing=self._missing,
            scanned=self._scanned,
        )
        return report.condition()
