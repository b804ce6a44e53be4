"""`MemoryStorage`: the `Storage` port in its smallest form, to be read as its specification.

Home is a dict of files; the set is a dict of items. Everything known is applied at once: it refuses
to know locks, torn writes, parking, history and counters, which are the replica's trade. What must
survive a restart is in `MemoryHome`; a new `MemoryStorage` over the same home is a restarted device.
Rule of the file: obvious before fast. Passes `tests/contracts/storage.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar, cast

from fleetsync import datasets
from fleetsync.datasets import Kind
from fleetsync.errors import MalformedRecord, PeerError
from fleetsync.merge import register
from fleetsync.merge.fingerprint import MODULUS, fingerprint, id_number, id_sum
from fleetsync.merge.ranges import ListRanges
from fleetsync.merge.register import Dot, Stamp, Version
from fleetsync.ports import (
    HELD,
    NOT_CARRIED,
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
from fleetsync.records.names import DeviceId
from fleetsync.selection import EVERYTHING, Selection

T = TypeVar("T")

PAGE_BYTES = 1 << 20
ALLOWED_SKEW = 600 * 1_000_000  # µs


@dataclass
class MemoryHome:
    """What a restart does not lose: the files, the register versions, the highest number minted."""

    files: dict[str, bytes] = field(default_factory=dict)
    versions: dict[str, dict[bytes, Version]] = field(default_factory=dict)
    """Path → body → version: the ones that no other covers."""
    minted: int = 0

    def append(self, path: str, lines: Sequence[bytes]) -> None:
        """Add lines to a log, never gluing them to one that is still being written."""
        content = self.files.get(path, b"")
        glue = b"\n" if content and not content.endswith(b"\n") else b""
        self.files[path] = content + glue + b"".join(line + b"\n" for line in lines)


class MemoryStorage:
    """The set of one device, in memory.

    `clock` gives wall time in seconds since 1970; `epoch` is 8 random bytes.
    """

    def __init__(
        self,
        device: DeviceId,
        home: MemoryHome,
        *,
        clock: Callable[[], float],
        epoch: bytes,
        selection: Selection = EVERYTHING,
    ) -> None:
        self._device = device
        self._home = home
        self._clock = clock
        self._epoch = epoch
        self._items: dict[bytes, Item] = {}
        self._arrivals: list[Arrival] = []
        self._total = 0
        self._ranges: Ranges | None = None
        self._selection = selection
        self._read: dict[str, int] = {}  # log → bytes of it already taken in
        self._collisions = 0
        self._malformed: set[tuple[str, bytes]] = set()
        self._insert_versions()
        self.scan(None)

    # --- what the set is ---------------------------------------------------------------------

    def select(self, selection: Selection) -> bool:
        """Members are those of the paths that it carries."""
        before = self.head()
        self._selection = selection
        for item in [item for item in self._items.values() if not selection.carries(item.path)]:
            self._remove(item.key)
            self._read.pop(item.path, None)
        self._insert_versions()
        self.scan(None)
        return self.head() != before

    def _insert_versions(self) -> None:
        for path, versions in self._home.versions.items():
            for body in versions if self._selection.carries(path) else ():
                if datasets.identify(path, body).id not in self._items:
                    self._insert(path, body, None)

    def head(self, carried: Selection = EVERYTHING) -> Head:
        """The state of the set now, or of the part of it in these paths."""
        total, count = self._total, len(self._items)
        if not carried.is_everything:
            ids = [item.key.id for item in self._items.values() if carried.carries(item.path)]
            total, count = id_sum(ids), len(ids)
        return Head(self._epoch, len(self._arrivals), count, fingerprint(total, count))

    def ranges(self, carried: Selection = EVERYTHING) -> Ranges:
        """The set, or the part of it in these paths, in key order."""
        if not carried.is_everything:
            some = [item.key for item in self._items.values() if carried.carries(item.path)]
            return cast(Ranges, ListRanges(some))
        if self._ranges is None:
            # Reconciliation takes keys for the pairs that they are.
            self._ranges = cast(Ranges, ListRanges(item.key for item in self._items.values()))
        return self._ranges

    def bodies(self, ids: Sequence[bytes]) -> Iterator[list[Item]]:
        """The members with these ids, registers first, in pages."""
        return _in_pages(self._items[each] for each in dict.fromkeys(ids) if each in self._items)

    def between(self, lower: Bound, upper: Bound) -> Iterator[list[Item]]:
        """All members with lower ≤ key < upper, registers first, in pages."""
        return _in_pages(item for item in self._items.values() if lower <= item.key < upper)

    def arrivals(self, after: int, limit_bytes: int) -> list[Arrival]:
        """Members with a higher arrival number, oldest first."""
        members = (a for a in self._arrivals[after:] if a.item.key.id in self._items)
        return next(_pages(members, limit_bytes, lambda arrival: arrival.item.body), [])

    # --- what comes in -----------------------------------------------------------------------

    def apply(self, groups: Sequence[Group], origin: DeviceId) -> list[Verdict]:
        """Take bodies from a peer: one verdict per body, in order."""
        verdicts: list[Verdict] = []
        for group in groups:
            known = [self._take(group.path, body, origin) for body in group.bodies]
            self._write_new(group, known)
            verdicts += known
        return verdicts

    def scan(self, paths: Sequence[str] | None) -> bool:
        """Take in what the files say that the set does not know yet."""
        before = self.head()
        for path in sorted(self._home.files) if paths is None else paths:
            row = datasets.find(path)
            if row is not None and path in self._home.files and self._selection.carries(path):
                self._scan_log(path) if row.kind is Kind.LOG else self._scan_register(path)
        return self.head() != before

    def settle(self) -> bool:
        """Apply held versions whose time has come; the set itself never changes by that."""
        for path in self._home.versions:
            if self._selection.carries(path):
                self._write_current(path, self._clock())
        return False

    def due_in(self) -> float | None:
        """Nothing waits here."""
        return None

    # --- the rest ----------------------------------------------------------------------------

    def condition(self) -> Condition:
        """How home is."""
        return Condition(
            state=HomeState.OK,
            parked=0,
            held=sum(register.is_held(v, self._horizon(self._clock())) for v in self._all_versions()),
            refused=0,
            malformed=len(self._malformed),
            collisions=self._collisions,
            alerts=[],
        )

    def highest_dot(self, device: DeviceId) -> int:
        """The highest version number of that device known here."""
        known = max((v.dot.n for v in self._all_versions() if v.dot.device == device), default=0)
        vectors = max((v.vector.get(device, 0) for v in self._all_versions()), default=0)
        return max(known, vectors, self._home.minted if device == self._device else 0)

    def learn_dot(self, number: int) -> None:
        """Mint above `number`."""
        self._home.minted = max(self._home.minted, number)

    def close(self) -> None:
        """Nothing to release."""

    # --- logs: set union ---------------------------------------------------------------------

    def _scan_log(self, path: str) -> None:
        content = self._home.files[path]
        start = self._read.get(path, 0)
        if start > len(content):
            start = 0  # it shrank: read it again
        end = self._read[path] = content.rfind(b"\n") + 1  # what follows is a line still being written
        for line in content[start:end].split(b"\n"):
            if line:
                self._take_own_line(path, line)

    def _take_own_line(self, path: str, line: bytes) -> None:
        try:
            known = self._items.get(datasets.identify(path, line).id)
        except (MalformedRecord, PeerError):
            self._malformed.add((path, line))
            return
        if known is None:
            self._insert(path, line, None)
        elif known.body != line:
            self._collisions += 1

    def _take(self, path: str, body: bytes, origin: DeviceId) -> Verdict:
        try:
            key = datasets.identify(path, body)
        except (MalformedRecord, PeerError) as refusal:
            return Verdict(Outcome.REFUSED, refusal.message)
        if not self._selection.carries(path):
            return Verdict(Outcome.REFUSED, NOT_CARRIED)
        if known := self._items.get(key.id):
            self._collisions += known.body != body
            return Verdict(Outcome.KNOWN)
        if _is_register(path):
            return self._take_version(path, body, origin)
        self._insert(path, body, origin)
        return Verdict(Outcome.NEW)

    def _write_new(self, group: Group, verdicts: Sequence[Verdict]) -> None:
        """Put into home what the set has just learnt; the next scan reads it and finds it known."""
        if not any(verdict.outcome is Outcome.NEW for verdict in verdicts):
            return
        if _is_register(group.path):
            self._write_current(group.path, self._clock())
            return
        pairs = zip(group.bodies, verdicts, strict=True)
        self._home.append(group.path, [body for body, v in pairs if v.outcome is Outcome.NEW])

    # --- registers: uncovered versions ---------------------------------------------------------

    def _take_version(self, path: str, body: bytes, origin: DeviceId) -> Verdict:
        if path in self._home.files:
            self._scan_register(path)  # an edit that nobody has seen yet is not written over
        version = register.decode(body)
        for known_body, known in self._home.versions.get(path, {}).items():
            if register.covers(known, version):
                return Verdict(Outcome.SUPERSEDED, covering=known_body)
        self._keep_version(path, body, version, origin)
        held = register.is_held(version, self._horizon(self._clock()))
        return Verdict(Outcome.NEW, HELD if held else "")

    def _scan_register(self, path: str) -> None:
        """Mint a version when the file holds something else than the applied value."""
        value = self._home.files[path]
        live = list(self._home.versions.get(path, {}).values())
        applied = register.current(live, self._horizon(self._clock()))
        if applied is not None and applied.value == value:
            return
        version = self._mint(path, value, live)
        self._keep_version(path, register.encode(version), version, None)

    def _mint(self, path: str, value: bytes, live: Iterable[Version]) -> Version:
        vector = register.known_vector(live)
        self._home.minted = max([self._home.minted, *vector.values()]) + 1
        now = int(self._clock() * 1e6)
        row = datasets.find(path)
        own_time = row.updated_at(value) if row else None
        effective = register.effective_time(own_time, now, ALLOWED_SKEW)
        stamp = Stamp(effective, now, self._device, register.digest_of(value))
        return Version(Dot(self._device, self._home.minted), vector, stamp, value)

    def _keep_version(self, path: str, body: bytes, version: Version, origin: DeviceId | None) -> None:
        kept = self._home.versions.setdefault(path, {})
        for old_body in [b for b, v in kept.items() if register.covers(version, v)]:
            del kept[old_body]
            self._remove(datasets.identify(path, old_body))
        kept[body] = version
        self._insert(path, body, origin)

    def _write_current(self, path: str, now: float) -> None:
        row = datasets.find(path)
        if row is not None and row.published:
            return  # no file of home
        current = register.current(self._home.versions[path].values(), self._horizon(now))
        if current is not None and current.value is not None:
            self._home.files[path] = current.value

    def _all_versions(self) -> Iterator[Version]:
        for versions in self._home.versions.values():
            yield from versions.values()

    @staticmethod
    def _horizon(now: float) -> int:
        return int(now * 1e6) + ALLOWED_SKEW

    # --- membership --------------------------------------------------------------------------

    def _insert(self, path: str, body: bytes, origin: DeviceId | None) -> None:
        key = datasets.identify(path, body)
        item = Item(key, path, body)
        self._items[key.id] = item
        self._arrivals.append(Arrival(len(self._arrivals) + 1, origin, item))
        self._total = (self._total + id_number(key.id)) % MODULUS
        self._ranges = None

    def _remove(self, key: Key) -> None:
        del self._items[key.id]
        self._total = (self._total - id_number(key.id)) % MODULUS
        self._ranges = None


def _is_register(path: str) -> bool:
    row = datasets.find(path)
    return row is not None and row.kind is Kind.REGISTER


def _in_pages(members: Iterable[Item]) -> Iterator[list[Item]]:
    ordered = sorted(members, key=lambda item: (not _is_register(item.path), item.path, item.key))
    return _pages(ordered, PAGE_BYTES, lambda item: item.body)


def _pages(members: Iterable[T], limit_bytes: int, body: Callable[[T], bytes]) -> Iterator[list[T]]:
    """Cut into pages of at most that many bytes of bodies, at least one member each."""
    page: list[T] = []
    room = limit_bytes
    for member in members:
        room -= len(body(member))
        if page and room < 0:
            yield page
            page, room = [], limit_bytes - len(body(member))
        page.append(member)
    if page:
        yield page
