"""Since when each peer is one and when it last converged: what must survive a restart.

Staleness is counted in days and laptops restart daily, so the engine asks for the last time known
and tells new ones. Rule of the file: told often, written seldom.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from fleetsync.records.names import DeviceId

WRITE_SECONDS = 60.0
"""A time is written at most this often for one peer."""


class Milestones(Protocol):
    """Wall times, seconds since 1970, at which each peer was met and a cut with it last proven."""

    def known_since(self, device: DeviceId, now: float) -> float:
        """When it became a peer: now, if nobody ever asked."""

    def converged_at(self, device: DeviceId) -> float | None:
        """The last time, None if it never happened."""

    def converged(self, device: DeviceId, at: float) -> None:
        """It happened again; returns at once, writing may come later."""


class Remembered:
    """Milestones in memory; `write` is given all of them when one is worth keeping."""

    def __init__(
        self,
        known: Mapping[DeviceId, float],
        write: Callable[[Mapping[DeviceId, float]], None] = lambda _: None,
    ) -> None:
        self._since: dict[DeviceId, float] = {}
        self._known = dict(known)
        self._written = dict(known)
        self._write = write

    def known_since(self, device: DeviceId, now: float) -> float:
        """The first time it was asked for."""
        return self._since.setdefault(device, now)

    def converged_at(self, device: DeviceId) -> float | None:
        """The last time."""
        return self._known.get(device)

    def converged(self, device: DeviceId, at: float) -> None:
        """It happened again."""
        self._known[device] = at
        if abs(at - self._written.get(device, float("-inf"))) >= WRITE_SECONDS:
            self._written = dict(self._known)
            self._write(self._written)
