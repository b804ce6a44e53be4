"""When changed files are read: soon after a quiet time, steadily while they keep changing.

The watcher only says where to look. The first touch after a quiet time is read within milliseconds;
while files keep changing they are read every push interval, counted from the first touch that has not
been read and never put off by later ones. Rule of the file: trouble with home is remembered and
tried again, and never ends the reading. Implements DESIGN §9 (on change).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection

import anyio

from fleetsync.errors import LocalError
from fleetsync.sync.backoff import Backoff
from fleetsync.sync.offload import Desk
from fleetsync.sync.tempo import Tempo

logger = logging.getLogger(__name__)

TOUCH_SECONDS = 0.01
"""Writers of two calls (a line, then its newline) are let finish."""
FRUITLESS_SECONDS = 0.05
"""The next look after one that found nothing finished."""


class Pace:
    """When to look next; `push` is the push interval in seconds."""

    def __init__(self, push: float) -> None:
        self._push = push
        self._not_before = float("-inf")

    def delay(self, now: float) -> float:
        """Seconds from a first touch now until the look."""
        return max(TOUCH_SECONDS, self._not_before - now)

    def looked(self, now: float, *, fruitful: bool) -> None:
        """A look began at `now`."""
        self._not_before = now + (self._push if fruitful else FRUITLESS_SECONDS)


class Reading:
    """The task that reads what was touched. Create it inside the event loop."""

    def __init__(
        self, desk: Desk, monotonic: Callable[[], float], random: Callable[[], float], tempo: Tempo
    ) -> None:
        self.trouble: LocalError | None = None
        self._desk = desk
        self._monotonic = monotonic
        self._pace = Pace(tempo.push)
        self._backoff = Backoff(random)
        self._settling = Backoff(random)
        self._settle_from = float("-inf")  # monotonic time of the next try
        self._paths: set[str] = set()
        self._everything = False
        self._touched = anyio.Event()
        self._stirred = anyio.Event()
        desk.stirred = self._stir

    def touch(self, paths: Collection[str] | None) -> None:
        """These files (None: any) may have changed; call it in the event loop."""
        self._everything = self._everything or paths is None
        self._paths.update(paths or ())
        self._touched.set()
        self._stir()

    def _stir(self) -> None:
        self._stirred.set()

    async def run(self) -> None:
        """Read what is touched, for ever."""
        while True:
            await self._wait()
            await anyio.sleep(self._pace.delay(self._monotonic()))
            began = self._monotonic()
            fruitful = await self.read()
            self._pace.looked(began, fruitful=fruitful)
            if self.trouble is not None:
                await anyio.sleep(self._backoff.next())
                self.touch(None)

    async def _wait(self) -> None:
        """Until something is touched; what becomes due meanwhile is settled. What a peer brings may be due
        before all else.
        """
        while not self._touched.is_set():
            self._stirred = stirred = anyio.Event()
            due = await self._desk.call(lambda storage: storage.due_in())
            delay = float("inf") if due is None else max(due, self._settle_from - self._monotonic())
            if delay <= 0:
                await self.settle()
                continue
            with anyio.move_on_after(delay):
                await stirred.wait()

    async def settle(self) -> None:
        """Do what has become due."""
        try:
            await self._desk.settle()
        except Exception as error:  # nothing ends the reading
            logger.warning("not settled yet: %s", error, exc_info=not isinstance(error, LocalError))
            self._settle_from = self._monotonic() + self._settling.next()
        else:
            self._settle_from = self._monotonic() + FRUITLESS_SECONDS
            self._settling.reset()

    async def read(self) -> bool:
        """Read what has been touched so far; True if the set changed."""
        paths = None if self._everything else sorted(self._paths)
        self._paths, self._everything = set(), False
        if self._touched.is_set():  # whoever waits for the present one must not wait in vain
            self._touched = anyio.Event()
        try:
            fruitful = await self._desk.scan(paths)
        except LocalError as error:
            self._note(error)
            return False
        except Exception as error:  # a fault of ours
            logger.exception("home cannot be read")
            self._note(LocalError.unexpected(error))
            return False
        if paths is None:
            self._recover()
        return fruitful

    async def read_all(self) -> bool:
        """Read whatever has changed in home; True if the set changed."""
        self._everything = True
        return await self.read()

    def _note(self, error: LocalError) -> None:
        if self.trouble is None or self.trouble.message != error.message:
            logger.error("home cannot be read: %s", error)
        self.trouble = error

    def _recover(self) -> None:
        if self.trouble is not None:
            logger.info("home can be read again")
        self.trouble = None
        self._backoff.reset()
