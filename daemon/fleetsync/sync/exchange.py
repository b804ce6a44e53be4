"""What an exchange is made of, as values: which way it goes, what it did, how it ended.

Nothing here talks to anyone. The words are those of CLI.md (`sync`) and SEMANTICS §6.1: *converged*
means that the cut was proven, *partial* that everything arrived but something was refused or not
proven, *failed* that it broke off, *unreachable* that it never began.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from fleetsync.errors import FleetsyncError
from fleetsync.ports import Bound, Head
from fleetsync.records.names import DeviceId

RECEIVE_ONLY, SEND_ONLY = "receive-only", "send-only"
"""Capabilities in a hello: the device only takes from, or only gives to, the one that asked."""


class Ending(StrEnum):
    """How an exchange ended."""

    CONVERGED = "converged"
    PARTIAL = "partial"
    FAILED = "failed"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class Step:
    """One step of an exchange: how many items (or messages, for reconciling) in how many seconds.

    Bytes are those on the wire while it lasted; 0 where nobody counts them.
    """

    name: str
    count: int
    seconds: float
    bytes_in: int = 0
    bytes_out: int = 0


@dataclass(frozen=True, slots=True)
class Declined:
    """An item that one side would not take; `by` is the device that refused it."""

    path: str
    by: DeviceId
    reason: str


@dataclass(frozen=True, slots=True)
class Traffic:
    """What an exchange cost on the wire: bytes and round trips."""

    bytes_in: int = 0
    bytes_out: int = 0
    round_trips: int = 0


@dataclass(frozen=True, slots=True)
class Heads:
    """The state of both sets as far as one device knew them at one instant."""

    local: Head
    remote: Head

    @property
    def equal(self) -> bool:
        """Whether the two sets were the same."""
        here, there = self.local, self.remote
        return (here.count, here.fingerprint) == (there.count, there.fingerprint)


@dataclass(frozen=True, slots=True)
class Exchange:
    """One conversation with one peer, as it went; see `ending` first."""

    peer: DeviceId
    ending: Ending
    received: int = 0
    sent: int = 0
    traffic: Traffic = Traffic()
    seconds: float = 0.0
    error: FleetsyncError | None = None
    refused: tuple[Declined, ...] = ()
    held: tuple[Declined, ...] = ()  # taken in here, but not applied for now
    steps: tuple[Step, ...] = ()
    opening: Heads | None = None
    closing: Heads | None = None
    one_way: bool = False  # by agreement items travelled in one direction only
    clock_offset: float | None = None  # peer's wall clock minus ours, seconds
    would_receive: Mapping[str, int] = field(default_factory=dict)  # dry run: path → items
    would_send: Mapping[str, int] = field(default_factory=dict)

    @property
    def reached(self) -> bool:
        """Whether the peer answered at all."""
        return self.opening is not None


WHOLE_SET = b"\x61\x00\x00\x01"
"""How a Negentropy V1 message begins that is nothing but one fingerprint, of the whole set.

A device that knows the sets to be equal sends it to a peer that cannot find out by itself, because
it can be called but cannot call: the answer is of no interest, the question tells.
"""


@dataclass(slots=True)
class Difference:
    """What reconciling found: ids and spans that this device lacks (`need`) or has alone (`have`). `whole`
    is False if there may be more.
    """

    have: list[bytes] = field(default_factory=list)
    need: list[bytes] = field(default_factory=list)
    have_spans: list[tuple[Bound, Bound]] = field(default_factory=list)
    need_spans: list[tuple[Bound, Bound]] = field(default_factory=list)
    whole: bool = True

    def limited(self, *, receives: bool, sends: bool) -> Difference:
        """The part of it that may travel."""
        return Difference(
            have=self.have if sends else [],
            need=self.need if receives else [],
            have_spans=self.have_spans if sends else [],
            need_spans=self.need_spans if receives else [],
            whole=self.whole,
        )

    def __bool__(self) -> bool:
        return bool(self.have or self.need or self.have_spans or self.need_spans)
