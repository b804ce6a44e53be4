"""What sync knows about storage, and nothing more.

Rule of the file: protocols and the values that cross them. A `Storage` is blocking and not
thread-safe; the engine calls it from one worker at a time (`sync/offload.py`). The in-memory
reference is `stores/memory.py`; every implementation passes `tests/contracts/storage.py`.
Shapes and units: timestamps are integer µs since 1970 (0 … 2^64-2), ids are 32 bytes, fingerprints
16 bytes, arrival numbers start at 1 and grow by one per member that became known here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from enum import StrEnum
from typing import Annotated, NamedTuple, Protocol

import msgspec

from fleetsync.records.audits import Run, RunFilter, RunLog, RunStart, RunStats
from fleetsync.records.names import DeviceId
from fleetsync.selection import EVERYTHING, Selection

INFINITY = 2**64 - 1
"""The timestamp above every item; items carry at most INFINITY - 1."""


class Key(NamedTuple):
    """Where an item stands in the order of the set: (timestamp µs, id)."""

    ts: int
    id: bytes


class Bound(NamedTuple):
    """A cut in that order: everything below (ts, id prefix padded with zeros) lies before it."""

    ts: int
    prefix: bytes = b""


START = Bound(0)
END = Bound(INFINITY)


class Item(NamedTuple):
    """One member of the set. `body` is the line (no newline) or the version exactly as authored."""

    key: Key
    path: str
    body: bytes


class Group(msgspec.Struct, frozen=True, array_like=True):
    """Bodies of one path in the order in which they should be applied; the unit of a batch."""

    path: str
    bodies: list[bytes]


class Outcome(StrEnum):
    """What became of one offered body."""

    NEW = "new"
    KNOWN = "known"
    SUPERSEDED = "superseded"
    REFUSED = "refused"


HELD = "its stamp is further ahead than clocks may differ: it is kept and shown, and does not win yet"
"""The reason of a register version that is taken in and held."""


NOT_CARRIED = "this device does not carry it"
"""The reason for which a body of a path that was left out here is refused: no fault of anybody's."""


class Verdict(msgspec.Struct, frozen=True, array_like=True):
    """The answer to one offered body.

    `reason` says why a body was refused, or, of a new one, that it is held. `covering` is the body of
    the register version whose vector covers the offered one (SEMANTICS: answered `superseded`, never an
    error).
    """

    outcome: Outcome
    reason: str = ""
    covering: bytes | None = None


class Head(msgspec.Struct, frozen=True, array_like=True):
    """The state of the set at one instant: what a heartbeat and a hello carry."""

    epoch: Annotated[bytes, msgspec.Meta(max_length=8)]  # random, new whenever arrival numbers start again
    arrival: int  # the highest arrival number given out
    count: int
    fingerprint: Annotated[bytes, msgspec.Meta(max_length=16)]


class Arrival(NamedTuple):
    """A member and how it came here; `origin` is the peer it came from, None for local lines."""

    number: int
    origin: DeviceId | None
    item: Item


class Ranges(Protocol):
    """The ordered set as reconciliation sees it; positions are 0 … size.

    Valid until the next call that changes the storage.
    """

    def size(self) -> int:
        """How many members there are."""

    def key(self, position: int) -> Key:
        """The key at a position in 0 … size-1."""

    def keys(self, start: int, stop: int) -> Sequence[Key]:
        """The keys at start … stop-1, ascending."""

    def lower_bound(self, bound: tuple[int, bytes], start: int = 0) -> int:
        """The first position at or after `start` whose key is not below `bound`."""

    def sum(self, start: int, stop: int) -> int:
        """Σ of the ids in start … stop-1 as little-endian integers, mod 2^256; costs no scan."""

    def snap(self, start: int, stop: int, position: int) -> int:
        """A good place to split start … stop near `position` (a block edge); may be `position`."""


class HomeState(StrEnum):
    """How home is; everything but OK is explained by an alert."""

    OK = "ok"
    SCANNING = "scanning"
    GUARDED = "guarded"
    MISSING = "missing"
    DEGRADED = "degraded"


class Alert(msgspec.Struct, frozen=True):
    """Something a person should know: `next` is the command or act that mends it."""

    code: str
    title: str
    detail: str
    next: str


class Condition(msgspec.Struct, frozen=True):
    """What `status` says about home. `parked_for` counts parked lines by the reason; `kept_here` says of
    directories why they stay on this device.
    """

    state: HomeState
    parked: int
    held: int
    refused: int
    malformed: int
    collisions: int
    alerts: list[Alert]
    parked_for: dict[str, int] = {}
    kept_here: dict[str, str] = {}


class Storage(Protocol):
    """This device's copy of the set: membership, bodies, arrival order.

    All calls block and may raise `LocalError`; after an exception nothing of the call counts.
    """

    def select(self, selection: Selection) -> bool:
        """Members are from now on those of the paths that it carries; True if the set changed.

        Files stay where they are. What ceases to be a member leaves no trace in the set, what becomes
        one again is the member that it was; bodies of other paths are refused as `NOT_CARRIED`.
        """

    def head(self, carried: Selection = EVERYTHING) -> Head:
        """The state of the set now, or of the part of it that is carried elsewhere too.

        O(1) for the whole set, else the number of paths.
        """

    def ranges(self, carried: Selection = EVERYTHING) -> Ranges:
        """The set, or that part of it, in key order, for one reconciliation message."""

    def bodies(self, ids: Sequence[bytes]) -> Iterator[list[Item]]:
        """The members with these ids, as pages like those of `between`, less ids that are no members."""

    def between(self, lower: Bound, upper: Bound) -> Iterator[list[Item]]:
        """All members with lower ≤ key < upper as pages of at most 1 MiB of bodies.

        Register versions come first, then lines grouped by path, each path in key order. Members
        that appear while iterating may be missed; members removed meanwhile are left out. The
        caller may interleave other calls between pages.
        """

    def apply(self, groups: Sequence[Group], origin: DeviceId) -> list[Verdict]:
        """Take bodies from a peer: one verdict per body, in order.

        Idempotent. NEW means durable: the body is in its file or in the journal and survives a
        crash from here on. Raises `LocalError` (disk full, …) with nothing half-applied that the
        next start does not settle.
        """

    def arrivals(self, after: int, limit_bytes: int) -> list[Arrival]:
        """Members with a higher arrival number, oldest first, at least one if there is any."""

    def scan(self, paths: Sequence[str] | None) -> bool:
        """Look at these paths of home (None = everything) and take in what is new.

        True if the set changed. Paths that name no dataset are ignored; never raises for what a
        file contains (that is counted and shown by `condition`).
        """

    def condition(self) -> Condition:
        """How home is, for `status`; cheap."""

    def highest_dot(self, device: DeviceId) -> int:
        """The highest version number of that device known here, 0 if none."""

    def learn_dot(self, number: int) -> None:
        """A peer knows versions of this device up to `number`: mint above it."""

    def settle(self) -> bool:
        """Do what has become due: retry pending counts, re-check swapped files, release
        held versions. True if the set changed.
        """

    def due_in(self) -> float | None:
        """Seconds until `settle` has something to decide, None if nothing waits but for the sweep."""

    def close(self) -> None:
        """Flush and release; idempotent."""


class RunStore(Protocol):
    """The audit of runs: what every exchange and every skill run left behind.

    All calls block, are atomic, may come from several threads and from several processes at once,
    and may raise `LocalError` (nothing of the call counts then, but for a purge, which has done part
    of its work). Texts that no store can hold raise `MalformedRecord`. Times are µs since 1970;
    *newest first* is by start, then id, descending; *oldest first* the same ascending. Limits that
    are not positive yield nothing and offsets below 0 are 0, where nothing else is said. The
    in-memory reference is `stores/run_memory.py`; all pass `tests/contracts/runs.py`.
    """

    def initialize(self) -> None:
        """Create or migrate the schema. Idempotent; to be called before anything else."""

    def start_run(self, start: RunStart) -> None:
        """Insert a run as `running`; one that is never finished stays so. Raises `DuplicateRecord`."""

    def finish_run(self, run_id: str, stats: RunStats) -> None:
        """Note how a run ended; of two calls the last wins, whole. Raises `NotFound`."""

    def append_log(self, entry: RunLog) -> None:
        """Add an entry to a run's log.

        Raises `DuplicateRecord` if the run has one of that sequence, `NotFound` if there is no run.
        """

    def get_run(self, run_id: str) -> Run:
        """The run. Raises `NotFound`."""

    def list_logs_by_run(self, run_id: str) -> list[RunLog]:
        """The log of a run in the order of its sequence; nothing for a run that is not there."""

    def list_runs_by_skill(self, skill_id: str, limit: int) -> list[Run]:
        """The runs of a skill but dry ones, newest first."""

    def list_runs_by_skill_paginated(
        self, skill_id: str, offset: int, limit: int, include_dry_run: bool
    ) -> list[Run]:
        """A page of the runs of a skill, newest first."""

    def count_runs_by_skill(self, skill_id: str, include_dry_run: bool) -> int:
        """How many runs all pages of `list_runs_by_skill_paginated` hold."""

    def list_runs_by_caller(self, caller_id: str, limit: int) -> list[Run]:
        """The runs of a caller, dry ones too, newest first."""

    def list_runs_filtered(self, wanted: RunFilter, offset: int, limit: int) -> list[Run]:
        """A page of the runs that the filter admits, newest first; a limit outside 1 … 500 means 50."""

    def count_runs_filtered(self, wanted: RunFilter) -> int:
        """How many runs the filter admits."""

    def purge_older_than(self, time: int) -> int:
        """Remove the runs that started before `time`, and their logs; how many runs those were."""

    def purge_beyond(self, keep: int) -> int:
        """Remove all but the `keep` newest runs, and their logs; how many runs those were."""

    def list_children_by_parent(self, run_id: str) -> list[Run]:
        """The runs inside a run, oldest first; an empty id matches nothing."""

    def walk_parent_chain(self, run_id: str) -> list[Run]:
        """The run after its parents, the root first; nothing if it is not there.

        At most the 32 nearest; a parent that is not there, or is in the chain already, ends it.
        """

    def list_finished_runs_before(self, cutoff: int, limit: int) -> list[Run]:
        """Runs that finished before `cutoff`, by finish and id ascending; never running ones."""

    def last_run_by_skills(self, skill_ids: Collection[str], include_failed: bool) -> dict[str, Run]:
        """Skill → its newest `ok` run, or its newest of any status but dry; without, no entry.

        Asks the database nothing if there are no skills.
        """

    def close(self) -> None:
        """Release; idempotent."""
