"""What an exchange has done so far, while it runs: counts, steps, refusals, bytes.

Rule of the file: it only counts. Who it is about and what it means is the session's business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

from fleetsync.sync.exchange import Declined, Step, Traffic
from fleetsync.wire.peer import Peer

MAX_DECLINED = 1000
"""Refusals kept with their reasons; a peer that refuses everything need not fill our memory."""


class Counter(Protocol):
    """Bytes on the connections of a peer, since it was made."""

    @property
    def bytes_in(self) -> int:
        """Received."""

    @property
    def bytes_out(self) -> int:
        """Sent."""


@runtime_checkable
class Metered(Protocol):
    """A peer that counts what travels on its connections."""

    @property
    def traffic(self) -> Counter:
        """The count so far."""


class Tally:
    """The running account of one exchange."""

    def __init__(self, peer: Peer, monotonic: Callable[[], float]) -> None:
        self.received = 0
        self.sent = 0
        self.round_trips = 0
        self.declined: list[Declined] = []
        self.held: list[Declined] = []
        self.steps: list[Step] = []
        self._parts: dict[str, Step] = {}
        self._monotonic = monotonic
        self._began = monotonic()
        self._meter = peer.traffic if isinstance(peer, Metered) else None
        self._bytes_in, self._bytes_out = self._read_meter()

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time a step; its count is the items moved in it, or else its round trips."""
        moved, trips, began = self.received + self.sent, self.round_trips, self._monotonic()
        bytes_in, bytes_out = self._read_meter()
        try:
            yield
        finally:
            count = self.received + self.sent - moved or self.round_trips - trips
            in_now, out_now = self._read_meter()
            seconds = self._monotonic() - began
            self.steps.append(Step(name, count, seconds, in_now - bytes_in, out_now - bytes_out))
            self.steps += self._parts.values()
            self._parts.clear()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time what happens again and again inside a step; together it is a step after that one."""
        received, began = self.received, self._monotonic()
        try:
            yield
        finally:
            before = self._parts.get(name, Step(name, 0, 0.0))
            count = before.count + self.received - received
            self._parts[name] = Step(name, count, before.seconds + self._monotonic() - began)

    def decline(self, refusal: Declined) -> None:
        """Note an item that one side would not take."""
        if len(self.declined) < MAX_DECLINED:
            self.declined.append(refusal)

    def hold(self, held: Declined) -> None:
        """Note an item that is taken in here and not applied for now."""
        if len(self.held) < MAX_DECLINED:
            self.held.append(held)

    def seconds(self) -> float:
        """How long it has been going on."""
        return self._monotonic() - self._began

    def traffic(self) -> Traffic:
        """What it has cost so far; 0 bytes where nobody counts them."""
        bytes_in, bytes_out = self._read_meter()
        return Traffic(bytes_in - self._bytes_in, bytes_out - self._bytes_out, self.round_trips)

    def _read_meter(self) -> tuple[int, int]:
        return (self._meter.bytes_in, self._meter.bytes_out) if self._meter else (0, 0)
