"""What happens by the clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import anyio
import pytest

from fleetsync.sync.schedule import PURGE_SECONDS, Due, Schedule
from fleetsync.sync.tempo import Tempo
from tests.fakes.waiting import eventually


class YearAhead(datetime):
    """A clock that is a year ahead."""

    @classmethod
    def now(cls, tz=None):
        return datetime.now(tz) + timedelta(days=365)


@pytest.fixture
async def schedule():
    posted: list[Due] = []
    schedule = Schedule(posted.append, Tempo())
    schedule.start()
    yield schedule, posted
    schedule.stop()
    schedule.stop()


def jobs(schedule):
    return {job.id: job for job in schedule._scheduler.get_jobs()}


def until_next(schedule, name):
    return (jobs(schedule)[name].next_run_time - datetime.now(UTC)).total_seconds()


async def test_nothing_is_dropped_and_nothing_piles_up(schedule):
    """Every job runs once after sleep, however late, never twice at a time, with jitter."""
    found = jobs(schedule[0])
    assert set(found) == {due.name.lower() for due in Due}
    for job in found.values():
        assert (job.coalesce, job.misfire_grace_time, job.max_instances) == (True, None, 1)
        assert job.trigger.jitter > 0


async def test_a_run_missed_in_sleep_is_made_once(schedule):
    """Three sweeps missed become one."""
    schedule, posted = schedule
    late = datetime.now(UTC) - timedelta(seconds=3 * Tempo().sweep)
    jobs(schedule)["sweep"].modify(next_run_time=late)
    await eventually(lambda: posted)
    await anyio.sleep(0.05)
    assert posted == [Due.SWEEP]


async def test_a_clock_set_back_stalls_nothing(monkeypatch):
    """A daemon that was started while the clock was a year ahead sweeps within an interval of its being
    set right.
    """
    posted: list[Due] = []
    with monkeypatch.context() as ahead:
        ahead.setattr("fleetsync.sync.schedule.datetime", YearAhead)
        schedule = Schedule(posted.append, Tempo())
        schedule.start()
    try:
        assert until_next(schedule, "sweep") > 86_400
        schedule.clock_changed()
        assert 0 < until_next(schedule, "sweep") <= Tempo().sweep * 1.2
        assert 0 < until_next(schedule, "exchange") <= Tempo().exchange * 1.2
    finally:
        schedule.stop()


async def test_sleep_and_roaming_put_nothing_off(schedule):
    """What was missed in sleep is made up for, and what is due soon stays due: a daily purge comes on a
    laptop that sleeps every night and changes networks all day.
    """
    schedule, posted = schedule
    jobs(schedule)["purge"].modify(next_run_time=datetime.now(UTC) + timedelta(seconds=30))
    schedule.clock_changed()
    assert until_next(schedule, "purge") <= 30
    jobs(schedule)["purge"].modify(next_run_time=datetime.now(UTC) - timedelta(hours=8))
    schedule.clock_changed()
    await eventually(lambda: posted == [Due.PURGE])
    assert until_next(schedule, "purge") > 0.8 * PURGE_SECONDS


async def test_a_purge_does_not_wait_for_a_daemon_that_runs_for_a_day(schedule):
    """A laptop that is shut down every evening purges too."""
    assert until_next(schedule[0], "purge") < 3600


async def test_a_clock_set_forward_by_decades_is_one_run(schedule):
    """A machine that starts in 1970 and hears of the true time does not count the sweeps in between."""
    schedule, posted = schedule
    jobs(schedule)["sweep"].modify(next_run_time=datetime(1970, 1, 1, tzinfo=UTC))
    await eventually(lambda: posted == [Due.SWEEP])
    assert 0 < until_next(schedule, "sweep") <= Tempo().sweep * 1.2
