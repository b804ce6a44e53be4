"""How much one peer may bring in an hour before a person is asked (SEMANTICS §7.6).

Counts whole batches, never single items, and in memory: a restart begins a new hour. That a peer is
over its limit is remembered in the journal until a person decides, but only once there is something
to withhold. It knows numbers and devices, not what was brought.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from fleetsync.replica.journal import Journal

HOUR = 3_600_000_000
"""µs."""
_WITHHELD = "withheld-peers"


@dataclass(frozen=True)
class Limits:
    """What one peer may bring in an hour: new items, and bytes of their bodies."""

    items: int = 10_000_000
    bytes: int = 8 << 30


@dataclass
class _Spent:
    since: int
    items: int = 0
    bytes: int = 0


class Allowance:
    """The allowances of all peers; `now` gives µs since 1970."""

    def __init__(self, journal: Journal, now: Callable[[], int]) -> None:
        self.limits = Limits()
        self._journal = journal
        self._now = now
        self._spent: dict[str, _Spent] = {}
        raw = journal.get(_WITHHELD)
        self._withheld = msgspec.msgpack.decode(raw, type=dict[str, bool]) if raw else {}  # device → asked

    def spend(self, peer: str, items: int, size: int) -> None:
        """So many new items of so many bytes have come from a peer."""
        spent = self._spent.get(peer)
        if spent is None or not 0 <= self._now() - spent.since < HOUR:
            spent = self._spent[peer] = _Spent(self._now())
        spent.items += items
        spent.bytes += size

    def withholds(self, peer: str | None) -> bool:
        """Whether what comes from this peer waits for a person; to be asked when there is something."""
        if peer is not None and peer not in self._withheld and self._is_over(peer):
            self._withheld[peer] = True
            self._save()
        return peer in self._withheld

    def _is_over(self, peer: str) -> bool:
        spent = self._spent.get(peer)
        if spent is None or not 0 <= self._now() - spent.since < HOUR:
            return False
        return spent.items > self.limits.items or spent.bytes > self.limits.bytes

    @property
    def asks(self) -> bool:
        """Whether there is a peer about which nobody has decided."""
        return any(self._withheld.values())

    def release(self) -> None:
        """It was meant: nothing waits any more, and a new hour begins for all."""
        self._withheld.clear()
        self._spent.clear()
        self._save()

    def decline(self) -> None:
        """It was not meant: what these peers bring goes on waiting, and nobody is asked again."""
        self._withheld = dict.fromkeys(self._withheld, False)
        self._save()

    def _save(self) -> None:
        self._journal.put(_WITHHELD, msgspec.msgpack.encode(self._withheld))
