"""What happens by the clock: sweeps, anti-entropy, purges (DESIGN §9).

APScheduler decides when; a job does nothing but post a word to the engine's stream, so nothing runs
inside the scheduler. Rule of the file: every job has jitter, runs missed in sleep become one run, and
none is ever dropped for being late.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import Protocol

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.interval import IntervalTrigger

from fleetsync.sync.tempo import Tempo

JITTER = 0.1
"""Of the interval, to either side: the fleet's laptops must not all call at the same second."""


class Due(Enum):
    """What is due."""

    SWEEP = auto()
    EXCHANGE = auto()
    PURGE = auto()


PURGE_SECONDS = 86_400.0


class Timetable(Protocol):
    """What posts `Due` words in time; started and stopped once."""

    def start(self) -> None:
        """Begin."""

    def stop(self) -> None:
        """End; idempotent."""

    def clock_changed(self) -> None:
        """The wall clock was set or the machine slept: begin new intervals."""


class Schedule:
    """The running schedule by the clock of the machine; `post` is called in the event loop.

    `start` needs a running loop.
    """

    def __init__(self, post: Callable[[Due], None], tempo: Tempo) -> None:
        intervals = {Due.SWEEP: tempo.sweep, Due.EXCHANGE: tempo.exchange, Due.PURGE: PURGE_SECONDS}
        self._running = False
        self._scheduler = AsyncIOScheduler(timezone="UTC")
        for due, seconds in intervals.items():
            self._scheduler.add_job(
                _job(post, due),
                IntervalTrigger(seconds=int(seconds), jitter=int(seconds * JITTER), timezone="UTC"),
                id=due.name.lower(),
                coalesce=True,
                misfire_grace_time=None,
                max_instances=1,
            )

    def start(self) -> None:
        """Begin."""
        self._scheduler.start()
        self._running = True

    def stop(self) -> None:
        """End; idempotent."""
        if self._running:
            self._running = False
            self._scheduler.shutdown(wait=False)

    def clock_changed(self) -> None:
        """The wall clock was set or the machine slept: look again what is due.

        A clock set back would stall every job until it has caught up, so all begin a new interval.
        """
        for job in self._scheduler.get_jobs():
            job.reschedule(job.trigger)
        self._scheduler.wakeup()


def _job(post: Callable[[Due], None], due: Due) -> Callable[[], object]:
    async def job() -> None:
        post(due)

    return job
