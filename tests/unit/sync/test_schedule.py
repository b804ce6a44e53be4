"""What happens by the clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import anyio
import pytest

from fleetsync.sync.schedule import Due, Schedule
from fleetsync.sync.tempo import Tempo
from tests.fakes.waiting import eventually


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


async def test_a_clock_set_back_stalls_nothing(schedule):
    """After the clock was set back by a day the next sweep is still within its interval."""
    schedule = schedule[0]
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    jobs(schedule)["sweep"].modify(next_run_time=tomorrow)
    schedule.clock_changed()
    wait = (jobs(schedule)["sweep"].next_run_time - datetime.now(UTC)).total_seconds()
    assert 0 < wait <= Tempo().sweep * 1.2
