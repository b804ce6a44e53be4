"""The versions of all registers: which are members, which one counts, and minting new ones.

Knows the journal and the clock, no files. What is minted, and by which stamp and vector, is the whole
of SEMANTICS §2 that needs a clock; what covers what and who wins is `merge/register.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from fleetsync import datasets
from fleetsync.errors import JournalDamaged, MalformedRecord
from fleetsync.merge import register
from fleetsync.merge.register import Dot, Floor, Stamp, Version
from fleetsync.ports import HELD, Key, Outcome, Verdict
from fleetsync.records.names import DeviceId
from fleetsync.replica.journal import Journal, StoredVersion
from fleetsync.replica.spellings import Spellings

_HYBRID, _NUMBER = "hybrid-clock", "highest-number"
MAX_LISTED = 8192
"""Ids that a floor lists at most; beyond that the floor itself is raised to the latest of them."""


@dataclass(frozen=True)
class Clock:
    """What versions need to know of time: µs since 1970, and how far a stamp may lie ahead."""

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


class Versions:
    """All members of all registers; single-threaded."""

    def __init__(self, device: DeviceId, journal: Journal, clock: Clock) -> None:
        self.device = device
        self.clock = clock
        self._journal = journal
        self._members: dict[str, list[Member]] = {}
        for stored in journal.versions():
            self._members.setdefault(stored.path, []).append(Member(stored, _version_of(stored)))
        self.spellings = Spellings(self._members)
        self.ripened(clock.horizon())

    # --- the set --------------------------------------------------------------------------------

    def paths(self) -> Collection[str]:
        """Every path that has a version."""
        return self._members.keys()

    def members(self, path: str) -> list[Member]:
        """The versions that are members at a path."""
        return self._members.get(path, [])

    def all_members(self) -> list[Member]:
        """Every version in the set."""
        return [member for members in self._members.values() for member in members]

    def current(self, path: str) -> Version | None:
        """The version that counts now; its value is None if the register is gone."""
        return register.current([m.version for m in self.members(path)], self.clock.horizon())

    def ripe(self, path: str) -> list[Version]:
        """The versions at a path whose time has come."""
        horizon = self.clock.horizon()
        return [m.version for m in self.members(path) if not register.is_held(m.version, horizon)]

    def held(self) -> list[Member]:
        """Members whose time has not come."""
        horizon = self.clock.horizon()
        return [m for m in self.all_members() if register.is_held(m.version, horizon)]

    def ripens_in(self) -> float | None:
        """Seconds until the time of a version comes that is held, or was when `ripened` was told; None if
        there is none.
        """
        if self.clock.horizon() < self._judged:  # the clock was set back: what had ripened is held again
            self.ripened(self.clock.horizon())
        if self._ripening is None:
            return None
        return max(0, self._ripening - self.clock.horizon()) / 1e6

    def ripened(self, horizon: int) -> None:
        """All that was not held at this horizon has been applied."""
        times = (register.ripens_at(member.version) for member in self.all_members())
        self._judged, self._ripening = horizon, min((time for time in times if time > horizon), default=None)

    def held_by_our_clock(self) -> list[Member]:
        """Our own members that lie ahead: they were minted before the wall clock was set back."""
        return [member for member in self.held() if member.version.dot.device == self.device]

    def take(self, path: str, body: bytes, origin: DeviceId) -> tuple[Verdict, Change]:
        """Make a peer's version a member. Raises `MalformedRecord`."""
        identity = datasets.identify(path, body).id
        version = register.decode(body)
        members = self.members(path)
        if any(m.stored.id == identity for m in members):
            return Verdict(Outcome.KNOWN), NOTHING
        covering = next((m for m in members if register.covers(m.version, version)), None)
        if covering is not None:
            return Verdict(Outcome.SUPERSEDED, covering=covering.stored.body), NOTHING
        held = register.is_held(version, self.clock.horizon())
        member = Member(StoredVersion(identity, path, body, origin), version)
        observed = None if held else version.stamp.hybrid
        return Verdict(Outcome.NEW, HELD if held else ""), self._admit(member, observed)

    def _admit(self, member: Member, observed: int | None = None, minted: int | None = None) -> Change:
        """Make it a member; `observed` is the hybrid time to which our clock catches up with it, `minted`
        its number if it is our own. What is remembered here follows what the journal has committed.
        """
        path = member.stored.path
        covered = [m for m in self.members(path) if register.covers(member.version, m.version)]
        with self._journal.transaction():
            if minted is not None:
                self._journal.put_number(_NUMBER, minted)
            if observed is not None:
                self._observe(observed)
            self._journal.add_version(member.stored, [m.stored.id for m in covered])
            self._journal.note_superseded(path, [m.version.stamp.digest for m in covered])
        if path not in self._members:
            self.spellings.add(path)
        kept = [m for m in self.members(path) if m not in covered]
        self._members[path] = [*kept, member]
        if register.is_held(member.version, self._judged):
            first = register.ripens_at(member.version)
            self._ripening = first if self._ripening is None else min(first, self._ripening)
        return Change([member], covered)

    # --- minting --------------------------------------------------------------------------------

    def mint_first(self, path: str, value: bytes, time: int) -> Change:
        """A file seen for the first time: made in knowledge of nothing, at `time` (µs)."""
        return self._mint(path, value, [], time, None)

    def mint_edit(
        self,
        path: str,
        value: bytes,
        unread: Collection[Version],
        unseen: int | None = None,
        *,
        ahead: Collection[Version] = (),
    ) -> Change:
        """An edit made in knowledge of all whose time has come but `unread`, and of those `ahead`;
        `unseen` is the file's mtime (µs) if nobody watched. The edit inherits what a deletion before it
        had put aside.
        """
        ripe = [*self.ripe(path), *ahead]
        known = [version for version in ripe if version not in unread]
        hybrid = self.tick() if unseen is None else max([unseen, *(v.stamp.hybrid + 1 for v in known)])
        return self._mint(path, value, known, hybrid, _joined_floor(ripe), unread=unread)

    def mint_word(self, path: str, value: bytes, *, keep_floor: bool) -> Change:
        """A person's word: covers all there is, held versions too. Restoring clears the floor.

        Its time is the time at which it was spoken, not the value's own, and no earlier than that of
        anything it decides about: so it also wins over what was made elsewhere before it.
        """
        known = [m.version for m in self.members(path)]
        hybrid, floor = self.tick(), _joined_floor(known) if keep_floor else None
        earliest = max([hybrid, *(version.stamp.effective for version in self.ripe(path))])
        return self._mint(path, value, known, hybrid, floor, earliest)

    def mint_anew(self, path: str, value: bytes) -> Change:
        """An edit whose stamp lay too far ahead, made again by the clock as it is now."""
        known = [m.version for m in self.members(path)]
        return self._mint(path, value, known, self.tick(), _joined_floor(known))

    def mint_gone(
        self,
        path: str,
        lines: Iterable[Key],
        *,
        watched: bool,
        unread: Collection[Version] = (),
        ahead: Collection[Version] = (),
    ) -> Change:
        """The register is gone. `lines` are the keys of the log beside it: the floor covers them all.

        Who deleted had not seen `unread`, but those that lie `ahead`. A deletion that nobody watched knows
        nothing (SEMANTICS §2.4): any edit elsewhere survives it.
        """
        ripe = [*self.ripe(path), *ahead]
        if not ripe:
            return NOTHING
        current = max(ripe, key=lambda version: version.stamp)
        hybrid = self.tick() if watched else current.stamp.hybrid + 1
        effective = hybrid if watched else current.stamp.effective
        stamp = Stamp(effective, hybrid, self.device, register.GONE_DIGEST)
        known = [version for version in ripe if version not in unread]
        vector = register.known_vector(known, unread) if watched else {}
        floor = _floor_over(hybrid, lines)
        dot = self._dot(hybrid, vector)
        return self._author(path, Version(dot, vector, stamp, None, floor, current.value))

    def _mint(
        self,
        path: str,
        value: bytes,
        known: list[Version],
        hybrid: int,
        floor: Floor | None,
        earliest: int = 0,
        unread: Collection[Version] = (),
    ) -> Change:
        row = datasets.require(path)[1]
        effective = register.effective_time(row.updated_at(value), hybrid, self.clock.skew)
        effective = max(effective, earliest)
        stamp = Stamp(effective, hybrid, self.device, register.digest_of(value))
        vector = register.known_vector(known, unread)
        return self._author(path, Version(self._dot(hybrid, vector), vector, stamp, value, floor))

    def _author(self, path: str, version: Version) -> Change:
        body = register.encode(version)
        stored = StoredVersion(datasets.identify(path, body).id, path, body, None)
        held = register.is_held(version, self.clock.horizon())
        observed = None if held else version.stamp.hybrid
        return self._admit(Member(stored, version), observed, minted=version.dot.n)

    def _dot(self, hybrid: int, vector: Mapping[str, int]) -> Dot:
        """Above every number of this device that anybody can know, a restored journal's too, and not
        below any number that the version covers.
        """
        own = max(self._journal.number(_NUMBER), vector.get(self.device, 0)) + 1
        return Dot(self.device, max([own, hybrid, self.clock.now(), *vector.values()]))

    # --- numbers and the hybrid clock -----------------------------------------------------------------

    def highest_number(self, device: DeviceId) -> int:
        """The highest version number of that device in the set; our own from the journal."""
        own = self._journal.number(_NUMBER) if device == self.device else 0
        vectors = (m.version.vector.get(device, 0) for m in self.all_members())
        dots = (m.version.dot.n for m in self.all_members() if m.version.dot.device == device)
        return max(own, 0, *vectors, *dots)

    def learn_number(self, number: int) -> None:
        """Mint above this from now on. Numbers are times: one from far ahead is a lie, not a fact."""
        if self._journal.number(_NUMBER) < number <= self.clock.horizon():
            self._journal.put_number(_NUMBER, number)

    def tick(self) -> int:
        """The hybrid clock, moved on; begins again if the wall clock was set back beyond the skew."""
        hybrid = max(self.clock.now(), self._journal.number(_HYBRID) + 1)
        if hybrid > self.clock.horizon():
            hybrid = self.clock.now()
        self._journal.put_number(_HYBRID, hybrid)
        return hybrid

    def _observe(self, hybrid: int) -> None:
        if hybrid > self._journal.number(_HYBRID):
            self._journal.put_number(_HYBRID, hybrid)


def _version_of(stored: StoredVersion) -> Version:
    try:
        return register.decode(stored.body)
    except (MalformedRecord, TypeError) as error:
        raise JournalDamaged(f"the journal's version of {stored.path} is damaged: {error}") from error


def _joined_floor(versions: Iterable[Version]) -> Floor | None:
    """What all of these deletions had seen together."""
    floors = [version.floor for version in versions if version.floor is not None]
    if not floors:
        return None
    top = max(floor.ts for floor in floors)
    return Floor(top, sorted({identity for floor in floors for identity in floor.above}))


def _floor_over(ts: int, lines: Iterable[Key]) -> Floor:
    above = sorted(key for key in lines if key.ts > ts)
    if len(above) > MAX_LISTED:
        return Floor(above[-1].ts, [])
    return Floor(ts, [key.id for key in above])
