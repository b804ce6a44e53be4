"""Who goes first when two devices begin an exchange with each other at the same time.

Both would move the same items, and the second mover only wastes the bytes. So whoever finds the
other one already moving waits; when both are only comparing, the smaller device id goes first. It
is a courtesy without messages: when it fails, items are sent twice and arrive once.
"""

from __future__ import annotations

from collections.abc import Callable

IDLE_SECONDS = 0.5
"""Silence after which the other's exchange counts as over."""
DIGESTS_SECONDS = 15.0
"""How long the other may work on what it fetched without a word: much of it waits in the connection."""
FOLLOWS_SECONDS = 1.0
"""An offer this soon after the last step belongs to an exchange, a later one is live push."""

NEVER = float("-inf")


class Rival:
    """What is seen of the exchange that one peer conducts with this device."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self.ended = 0
        """How many of its exchanges have come to an end, for all that can be seen from here."""
        self._monotonic = monotonic
        self._compared = NEVER
        self._moved = NEVER
        self._fetched = NEVER

    def greets(self) -> None:
        """It asked how things stand: what it fetched before has arrived, or it tries once more."""
        self.ended += self._fetched != NEVER
        self._fetched = NEVER

    def compares(self) -> None:
        """It sent a reconciliation message."""
        self._compared = self._monotonic()

    def fetches(self) -> None:
        """It is being given items that it asked for; it says hello once it has taken them in."""
        self._moved = self._fetched = self._monotonic()

    def breaks_off(self) -> None:
        """It stopped reading what it asked for: that exchange has failed, and nobody digests anything."""
        self.greets()
        self._moved = NEVER

    def offers(self) -> None:
        """It gave items."""
        now = self._monotonic()
        if now - max(self._compared, self._moved) < FOLLOWS_SECONDS:
            self._moved = now

    def is_moving(self) -> bool:
        """Whether it moves items now."""
        now = self._monotonic()
        return now - self._moved < IDLE_SECONDS or now - self._fetched < DIGESTS_SECONDS

    def is_active(self) -> bool:
        """Whether it compares or moves now."""
        return self.is_moving() or self._monotonic() - self._compared < IDLE_SECONDS
