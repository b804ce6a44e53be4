"""When changed files are read."""

from __future__ import annotations

import time

import anyio
import pytest

from fleetsync.errors import StorageFailed
from fleetsync.sync import backoff
from fleetsync.sync.reading import FRUITLESS_SECONDS, TOUCH_SECONDS, Pace, Reading
from fleetsync.sync.tempo import Tempo
from tests.fakes.fleet import Laptop, event, log_path
from tests.fakes.waiting import eventually

DEPLOY = log_path("deploy")


def test_after_a_quiet_time_it_looks_at_once():
    """The first touch is read within milliseconds."""
    pace = Pace(Tempo().push)
    assert pace.delay(100.0) == TOUCH_SECONDS
    pace.looked(100.0, fruitful=True)
    assert pace.delay(100.0 + Tempo().push) == TOUCH_SECONDS


def test_while_files_keep_changing_it_looks_every_interval():
    """The next look is one interval after the last one, however late in it the touch comes."""
    pace = Pace(Tempo().push)
    pace.looked(100.0, fruitful=True)
    assert pace.delay(100.02) == pytest.approx(Tempo().push - 0.02)
    assert pace.delay(100.20) == pytest.approx(Tempo().push - 0.20)


def test_a_look_that_found_nothing_finished_is_repeated_soon():
    """A line whose newline comes a moment later does not wait for the whole interval."""
    pace = Pace(Tempo().push)
    pace.looked(100.0, fruitful=False)
    assert pace.delay(100.0) == pytest.approx(FRUITLESS_SECONDS)


async def test_touches_while_it_reads_are_not_lost():
    """A file that changes during the look is looked at again, and the deadline is never put off."""
    laptop = Laptop("a")
    seen: list[list[str] | None] = []
    scan = laptop.storage.scan

    def slow_scan(paths):
        found = scan(paths)
        seen.append(paths)
        time.sleep(0.03)
        return found

    laptop.storage.scan = slow_scan
    reading = Reading(laptop.local.desk, time.monotonic, lambda: 0.5, Tempo())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reading.run)
        laptop.write(DEPLOY, [event(1)])
        reading.touch([DEPLOY])
        await eventually(lambda: seen)
        laptop.write(DEPLOY, [event(2)])
        reading.touch([DEPLOY])
        await eventually(lambda: laptop.storage.head().count == 2)
        tasks.cancel_scope.cancel()
    assert seen == [[DEPLOY], [DEPLOY]]


@pytest.mark.parametrize(
    "error", [StorageFailed("skills/: Permission denied"), ValueError("a fault of ours")]
)
async def test_trouble_is_remembered_and_ends(error: Exception) -> None:
    """Until home can be read again the reason is known; then everything is looked at."""
    laptop = Laptop("a")
    scan = laptop.storage.scan
    broken = True

    def maybe(paths):
        if broken:
            raise error
        assert paths is None
        return scan(paths)

    laptop.storage.scan = maybe
    laptop.write(DEPLOY, [event(1)])
    reading = Reading(laptop.local.desk, time.monotonic, lambda: 0.0, Tempo())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reading.run)
        reading.touch([DEPLOY])
        await eventually(lambda: reading.trouble is not None and str(error) in reading.trouble.message)
        broken = False
        await eventually(lambda: reading.trouble is None)
        tasks.cancel_scope.cancel()
    assert laptop.storage.head().count == 1


@pytest.mark.parametrize(
    "error", [StorageFailed("journal.db: disk I/O error"), ValueError("a fault of ours")]
)
async def test_what_cannot_be_settled_is_tried_less_and_less_often(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """A disk that refuses fills no log with one warning every moment; a touch is read all the same."""
    laptop = Laptop("a")
    tries: list[float] = []

    def refuse() -> bool:
        tries.append(time.monotonic())
        raise error

    monkeypatch.setattr(laptop.storage, "due_in", lambda: 0.0)
    monkeypatch.setattr(laptop.storage, "settle", refuse)
    monkeypatch.setattr(backoff, "FIRST_SECONDS", 0.2)
    reading = Reading(laptop.local.desk, time.monotonic, lambda: 0.5, Tempo())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reading.run)
        await eventually(lambda: len(tries) == 3)
        laptop.write(DEPLOY, [event(1)])
        reading.touch([DEPLOY])
        await eventually(lambda: laptop.storage.head().count == 1)
        tasks.cancel_scope.cancel()
    assert tries[1] - tries[0] >= 0.2
    assert tries[2] - tries[1] >= 0.4
    assert str(error) in caplog.text


async def test_what_a_peer_brings_may_become_due():
    """A version from ahead that arrives while nothing happens here is applied when its time comes."""
    laptop = Laptop("a")
    dues: list[float | None] = [None]
    settled: list[float] = []

    def settle() -> bool:
        settled.append(time.monotonic())
        dues[0] = None
        return False

    laptop.storage.due_in, laptop.storage.settle = lambda: dues[0], settle
    reading = Reading(laptop.local.desk, time.monotonic, lambda: 0.5, Tempo())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reading.run)
        await anyio.wait_all_tasks_blocked()
        dues[0] = 0.0
        await laptop.local.desk.apply([], laptop.device)
        await eventually(lambda: settled)
        tasks.cancel_scope.cancel()


async def test_a_peer_that_never_pauses_puts_nothing_off():
    """What is due is done between two of its batches."""
    laptop = Laptop("a")
    dues: list[float | None] = [0.2]
    settled: list[bool] = []

    def settle() -> bool:
        dues[0] = None
        settled.append(True)
        return False

    async def stream():
        while True:
            await laptop.local.desk.apply([], laptop.device)
            dues[0] = None if settled else max(0.0, (dues[0] or 0.0) - 0.01)
            await anyio.sleep(0.005)

    laptop.storage.due_in, laptop.storage.settle = lambda: dues[0], settle
    reading = Reading(laptop.local.desk, time.monotonic, lambda: 0.5, Tempo())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reading.run)
        tasks.start_soon(stream)
        await eventually(lambda: settled)
        tasks.cancel_scope.cancel()
