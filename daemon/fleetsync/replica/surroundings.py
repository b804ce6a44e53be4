"""What a replica takes from outside: time, randomness, and what this device has beside home."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fleetsync.records import ed25519, timestamps
from fleetsync.records.signatures import Check
from fleetsync.records.timestamps import Timestamp


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
