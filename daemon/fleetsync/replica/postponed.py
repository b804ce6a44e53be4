"""What could not be written now, and when to try again: soon, then twice as late each time.

A full disk, a lock that another program holds, a file that keeps changing: nobody tells when such a
thing is over. Remembers paths and times, does nothing itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

FIRST, MOST = 1_000_000, 60_000_000
"""µs until the first try, and between tries at most."""


class Postponed:
    """Of one home; `now` gives µs since 1970."""

    def __init__(self, now: Callable[[], int]) -> None:
        self._now = now
        self._paths: set[str] = set()
        self._since = 0
        self._delay = FIRST

    def add(self, path: str) -> None:
        """It could not be done at this path."""
        if not self._paths:
            self._since, self._delay = self._now(), FIRST
        self._paths.add(path)

    def done(self, path: str) -> None:
        """It could."""
        self._paths.discard(path)

    @contextmanager
    def tried(self) -> Iterator[None]:
        """Everything is tried within: what is not added again is done, the next time is later."""
        before, delay, self._paths = self._paths, self._delay, set()
        try:
            yield
        except BaseException:
            self._paths |= before
            raise
        finally:
            if before and self._paths:
                self._since, self._delay = self._now(), min(2 * delay, MOST)

    def due_in(self) -> float | None:
        """Seconds until the next try; None if nothing waits for one."""
        if not self._paths:
            return None
        waited = self._now() - self._since
        return max(0, self._delay - waited) / 1e6 if waited >= 0 else 0.0  # the clock was set back
