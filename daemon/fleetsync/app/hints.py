"""From the watcher's threads into the event loop: one wake-up per batch of hints."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable


class Hints:
    """Collects touched paths until the loop comes round; create it inside the loop."""

    def __init__(self, touched: Callable[[frozenset[str] | None], None]) -> None:
        self._touched = touched
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._waiting: set[str] = set()
        self._everything = False
        self._posted = False

    def post(self, paths: frozenset[str] | None) -> None:
        """Called from any thread; None means that anything may have changed."""
        with self._lock:
            self._everything = self._everything or paths is None
            self._waiting |= paths or frozenset()
            if self._posted or self._loop.is_closed():
                return
            self._posted = True
        self._loop.call_soon_threadsafe(self._deliver)

    def everything(self) -> None:
        """The same as `post(None)`."""
        self.post(None)

    def _deliver(self) -> None:
        with self._lock:
            paths = None if self._everything else frozenset(self._waiting)
            self._waiting, self._everything, self._posted = set(), False, False
        self._touched(paths)
