"""What one device may bring in an hour, under real daemons (SEMANTICS §7.6)."""

from __future__ import annotations

from functools import partial

from tests.system.fleet import MANIFEST, Fleet, Laptop, all_equal, all_hold, connected, events, pair, until


def knows(laptop: Laptop, items: int) -> bool:
    """Whether the set has so many members."""
    return bool(laptop.status()["home"]["items"] == items)


def test_a_flood_waits_for_one_command(fleet: Fleet) -> None:
    """Beyond `[limits]` what comes is parked: `status` ends with 5 and asks, the sets are equal all the
    same, and `guard confirm` lets it in. A reload with higher limits keeps it from being asked again.
    """
    desk = fleet.laptop("desk").start()
    travel = fleet.laptop("travel", config="[limits]\nitems = 50\n").start()
    pair(desk, travel)
    desk.skill()
    until(lambda: travel.read(MANIFEST), "the skill has arrived")
    connected((desk, travel))
    lines = desk.append(events("desk", 40))
    all_hold((desk, travel), lines)
    for start in (40, 60, 80):
        lines += desk.append(events("desk", 20, start=start))
        until(partial(knows, travel, len(lines) + 1), "it is known there, applied or parked")
    all_equal(desk, travel)
    assert travel.status()["home"]["state"] == "guarded"
    travel.ask("status", code=5)
    assert "guard confirm" in travel.run("status").stdout
    assert travel.ask("guard", code=5)["cause"] == "flooded"
    assert not travel.holds(lines)
    assert travel.status()["parked"] == len(lines) - len(travel.lines())
    travel.configure("[limits]\nitems = 5000\n")
    travel.ask("reload")
    travel.ask("guard", "confirm")
    lines += desk.append(events("desk", 200, start=100))
    all_hold((desk, travel), lines)
    assert travel.status()["parked"] == 0
    travel.ask("guard")
