"""Clocks that jump and machines that sleep under running daemons: nothing lost, nothing won by mistake."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import pytest

from tests.campaign.verdicts import verify
from tests.system import clocks
from tests.system.fleet import MANIFEST, Fleet, Laptop, connected, events, manifest, pair, until
from tests.system.requirements import require

HOUR = 3600.0
"""Beyond the allowed skew of ten minutes."""
NOTES = "skills/notes/skill.yaml"
"""Edited here, so that no counter is begun anew by an edit."""
SETTINGS = "[sync]\nsweep = 1\n"


@pytest.fixture
def laptops(fleet: Fleet) -> Iterator[tuple[Laptop, Laptop]]:
    """Two connected laptops; the clock of the second can be moved."""
    require(clocks.missing())
    desk = fleet.laptop("desk", config=SETTINGS).skill()
    travel = fleet.laptop("travel", config=SETTINGS)
    pair(desk.start(), travel.start())
    travel.stop()
    clocks.movable(travel)
    travel.start()
    connected((desk, travel))
    until(lambda: travel.read(MANIFEST), "the skill has arrived")
    yield desk, travel
    clocks.move(travel, 0)


def test_a_clock_that_jumps_ahead_wins_nothing_until_it_is_right(laptops: tuple[Laptop, Laptop]) -> None:
    """An edit stamped an hour ahead is held by the others; set right, the same edit goes everywhere. Lines
    travel all the time.
    """
    desk, travel = laptops
    before = desk.write(NOTES, manifest("before", name="notes"))
    until(lambda: travel.has(NOTES, before), "both have what is edited")
    clocks.move(travel, HOUR)
    until(lambda: "slept" in travel.said(), "it notices", 40)
    edited = travel.write(NOTES, manifest("from the future", name="notes"))
    until(lambda: desk.status()["held"] == 1, "the edit is held")
    assert desk.read(NOTES) != edited
    lines = {desk: desk.append(events("desk", 20)), travel: travel.append(events("travel", 20))}
    until(lambda: desk.has_lines(40) and travel.has_lines(40), "lines go both ways")
    clocks.move(travel, 0)
    until(lambda: desk.has(NOTES, edited), "the edit is everywhere", 60)
    until(lambda: desk.status()["held"] == 0, "nothing is held")
    verify(lines)


def test_a_clock_that_falls_back_loses_nothing(laptops: tuple[Laptop, Laptop]) -> None:
    """An edit made an hour "ago" replaces what it was made from: what follows is not decided by clocks."""
    desk, travel = laptops
    first = desk.write(NOTES, manifest("first", name="notes"))
    until(lambda: travel.has(NOTES, first), "both have the first")
    clocks.move(travel, -HOUR)
    second = travel.write(NOTES, manifest("second", name="notes"))
    lines = {desk: desk.append(events("desk", 20)), travel: travel.append(events("travel", 20))}
    until(lambda: desk.has(NOTES, second), "the second is everywhere")
    clocks.move(travel, 0)
    third = desk.write(NOTES, manifest("third", name="notes"))
    until(lambda: travel.has(NOTES, third), "the third is everywhere")
    assert desk.status()["held"] == travel.status()["held"] == 0
    verify(lines)


def test_a_laptop_that_slept_exchanges_as_soon_as_it_wakes(laptops: tuple[Laptop, Laptop]) -> None:
    """Stopped, and the clock a minute on when it goes on: it notices, begins anew and has everything."""
    desk, travel = laptops
    assert travel.process is not None
    travel.process.send_signal(signal.SIGSTOP)
    lines = {desk: desk.append(events("desk", 50)), travel: travel.append(events("travel", 50))}
    time.sleep(2)
    assert not travel.has_lines(100)
    clocks.move(travel, 60)
    travel.process.send_signal(signal.SIGCONT)
    until(lambda: "noticed: slept" in travel.said(), "it notices that it slept", 40)
    until(lambda: desk.has_lines(100) and travel.has_lines(100), "everything is everywhere")
    verify(lines)
    connected((desk, travel))
