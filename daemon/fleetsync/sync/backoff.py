"""How long to wait before the next try: 1 s, doubling to 60 s, each ±50 % (DESIGN §9).

Randomness is an argument; nothing here waits.
"""

from __future__ import annotations

from collections.abc import Callable

FIRST_SECONDS = 1.0
LONGEST_SECONDS = 60.0
SPREAD = 0.5


class Backoff:
    """The delays of one thing that keeps failing; `random` gives 0 … 1."""

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._delay = FIRST_SECONDS

    def next(self) -> float:
        """Seconds to wait now; the next answer is twice as long."""
        delay, self._delay = self._delay, min(2 * self._delay, LONGEST_SECONDS)
        return delay * (1 - SPREAD + 2 * SPREAD * self._random())

    def reset(self) -> None:
        """It worked, or there is news of it: begin again."""
        self._delay = FIRST_SECONDS
