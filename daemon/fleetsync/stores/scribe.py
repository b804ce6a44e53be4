"""How operations reach a store without anyone failing or waiting because of it.

`Spool` does them in order and keeps what the store cannot take now (disk full, connection lost),
up to `MOST` of them, for a later try; it says so once, and once when all is well again. `Scribe` is a
spool in a thread of its own, for those who must never wait: the event loop. Rule of the file: nothing
that a store does leaves it.
"""

from __future__ import annotations

import logging
import queue
import time
from collections import deque
from collections.abc import Callable
from threading import Lock, Thread

from fleetsync.errors import BrokenConfig, DuplicateRecord, FleetsyncError, LocalError, NotFound
from fleetsync.ports import RunStore
from fleetsync.stores.recorder import Operation

logger = logging.getLogger(__name__)

MOST = 10_000
"""Operations kept while a store cannot take them; then the oldest go."""
RETRY_SECONDS = 5.0
"""Between two tries of a store that failed."""


class Spool:
    """Operations on their way to the store that `opened` gives. May be used from several threads.

    `opened` is called when the store is first needed, and again after it failed.
    """

    def __init__(
        self, opened: Callable[[], RunStore], *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._opened = opened
        self._monotonic = monotonic
        self._store: RunStore | None = None
        self._waiting: deque[Operation] = deque()
        self._lost = 0
        self._trouble: FleetsyncError | None = None
        self._not_before = float("-inf")
        self._lock = Lock()

    @property
    def trouble(self) -> FleetsyncError | None:
        """Why the store takes nothing now, None if it does."""
        return self._trouble

    def write(self, operation: Operation) -> None:
        """Do this after all that waits, now or when the store can; never raises."""
        with self._lock:
            self._waiting.append(operation)
            if len(self._waiting) > MOST:
                self._waiting.popleft()
                self._lost += 1
            if self._monotonic() >= self._not_before:
                self._drain()

    def retry(self) -> float | None:
        """Try again what waits, if it is time to; the seconds until then, None if nothing waits."""
        with self._lock:
            if self._waiting and self._monotonic() >= self._not_before:
                self._drain()
            return max(0.0, self._not_before - self._monotonic()) if self._waiting else None

    def close(self) -> None:
        """Try once more what waits, and release the store; idempotent."""
        with self._lock:
            self._drain()
            if self._store is not None:
                self._store.close()
                self._store = None

    def _drain(self) -> None:
        try:
            while self._waiting:
                self._do(self._waiting[0])
                self._waiting.popleft()
        except (LocalError, BrokenConfig) as error:
            self._failed(error)
        else:
            self._well()

    def _do(self, operation: Operation) -> None:
        """One operation; raises `LocalError`, `BrokenConfig` if it may succeed later."""
        try:
            if self._store is None:
                self._store = self._opened()
            operation(self._store)
        except (DuplicateRecord, NotFound) as error:
            # After trouble: it was done by a try whose answer was lost, or its run was lost or purged.
            logger.log(logging.DEBUG if self._trouble else logging.WARNING, "audit: %s", error)
        except (LocalError, BrokenConfig):
            raise
        except FleetsyncError as error:
            logger.warning("audit: an entry was refused: %s", error)
        except Exception:
            logger.exception("audit: an entry was lost")

    def _failed(self, error: FleetsyncError) -> None:
        if self._trouble is None:
            logger.warning("runs are not recorded for now, everything else goes on: %s", error)
        self._trouble = error
        self._not_before = self._monotonic() + RETRY_SECONDS

    def _well(self) -> None:
        if self._trouble is not None:
            logger.info("runs are recorded again; %d entries were lost", self._lost)
        self._trouble, self._lost, self._not_before = None, 0, float("-inf")


class Scribe:
    """A spool in its own thread: `write` returns at once. Begins with `start`, ends with `close`.

    The thread is a daemon: a database that hangs never keeps the process alive.
    """

    def __init__(self, opened: Callable[[], RunStore]) -> None:
        self._spool = Spool(opened)
        self._inbox: queue.SimpleQueue[Operation | None] = queue.SimpleQueue()
        self._thread = Thread(target=self._work, name="fleetsync-scribe", daemon=True)

    @property
    def trouble(self) -> FleetsyncError | None:
        """Why the store takes nothing now, None if it does."""
        return self._spool.trouble

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def write(self, operation: Operation) -> None:
        """Have this done in its turn; never waits, never raises."""
        if self._inbox.qsize() < MOST:  # more than that only while a database hangs
            self._inbox.put(operation)

    def close(self, patience: float = 1.0) -> None:
        """Write what waits, if the store takes it within `patience` seconds. Blocks; idempotent."""
        self._inbox.put(None)
        if self._thread.ident is not None:
            self._thread.join(patience)

    def _work(self) -> None:
        pause: float | None = None
        while True:
            try:
                operation = self._inbox.get(timeout=pause)
            except queue.Empty:
                pass
            else:
                if operation is None:
                    break
                self._spool.write(operation)
            pause = self._spool.retry()
        self._spool.close()
