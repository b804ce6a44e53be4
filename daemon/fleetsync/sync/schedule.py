"""What happens by the clock: sweeps, anti-entropy, purges (DESIGN §9).

APScheduler decides when; a job does nothing but post a word to the engine's stream, so nothing runs
inside the scheduler. Rule of the file: every job has jitter, runs missed in sleep become one run, and
none is ever dropped for being late.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from typing import Protocol

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.base import BaseTrigger

from fleetsync.sync.tempo import Tempo

JITTER = 0.1
"""Of the interval, to either side: the fleet's laptops must not all call at the same second."""


class Due(Enum):
    """What is due."""

    SWEEP = auto()
    EXCHANGE = auto()
    PURGE = auto()


PURGE_SECONDS = 86_400.0
FIRST_PURGE_SECONDS = 600.0
"""After the start: a laptop that is shut down every evening never runs for a day."""


class Timetable(Protocol):
    """What posts `Due` words in time; started and stopped once."""

    def start(self) -> None:
        """Begin."""

    def stop(self) -> None:
        """End; idempotent."""

    def clock_changed(self) -> None:
        """The wall clock was set or the machine slept: nothing waits longer than its interval."""


class Schedule:
    """The running schedule by the clock of the machine; `post` is called in the event loop.

    `start` needs a running loop.
    """

    def __init__(self, post: Callable[[Due], None], tempo: Tempo) -> None:
        intervals = {Due.SWEEP: tempo.sweep, Due.EXCHANGE: tempo.exchange, Due.PURGE: PURGE_SECONDS}
        self._running = False
        self._scheduler = AsyncIOScheduler(timezone="UTC")
        for due, seconds in intervals.items():
            first = FIRST_PURGE_SECONDS if due is Due.PURGE else seconds
            self._scheduler.add_job(
                _job(post, due),
                _Every(seconds),
                id=due.name.lower(),
                next_run_time=_Every(first).get_next_fire_time(None, datetime.now(UTC)),
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

        A clock set back would stall every job until it has caught up, so those begin a new interval.
        What is due sooner stays as it is: on a laptop that sleeps or roams often a daily job would
        never come.
        """
        now = datetime.now(UTC)
        for job in self._scheduler.get_jobs():
            if job.next_run_time > job.trigger.latest(now):
                job.reschedule(job.trigger)
        self._scheduler.wakeup()


class _Every(BaseTrigger):  # type: ignore[misc] # APScheduler has no types
    """Once in so many seconds, give or take the jitter, counted from the present: a first time that was
    fixed while the clock was ahead would have to come again.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.jitter = seconds * JITTER

    def latest(self, now: datetime) -> datetime:
        """The latest time that may come next."""
        return now + timedelta(seconds=self.seconds + self.jitter)

    def get_next_fire_time(self, _previous: datetime | None, now: datetime) -> datetime:
        """When it is due again."""
        return now + timedelta(seconds=self.seconds + random.uniform(-self.jitter, self.jitter))


def _job(post: Callable[[Due], None], due: Due) -> Callable[[], object]:
    async def job() -> None:
        post(due)

    return job
