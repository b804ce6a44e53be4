"""A state directory that was copied: two machines with one key (SEMANTICS §7.3)."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.system.fleet import Fleet, Laptop, all_equal, all_hold, connected, events, until


def copy_of(fleet: Fleet, original: Laptop, name: str) -> Laptop:
    """A second machine with the home and the state directory of the first, which does not run now."""
    twin = fleet.laptop(name)
    shutil.rmtree(twin.home)
    shutil.copytree(original.home, twin.home)
    shutil.copytree(original.state, twin.state, ignore=shutil.ignore_patterns("*.sock", "lock"))
    for path in (twin.state, *(each for each in twin.state.rglob("*") if each.is_dir())):
        Path(path).chmod(0o700)
    return twin


def told(laptop: Laptop) -> bool:
    """Whether `status` tells of a clone."""
    return "cloned-device" in [alert["code"] for alert in laptop.status()["alerts"]]


def test_two_clones_that_live_side_by_side(fleet: Fleet) -> None:
    """The peer of both refuses the second and explains it on both ends; the first goes on as before.
    Once the copy is gone and a person has said so, nothing is left of it.
    """
    desk, travel = fleet.pair()
    lines = desk.append(events("desk", 5))
    all_hold((desk, travel), lines)
    assert travel.stop() == 0
    twin = copy_of(fleet, travel, "twin")
    travel.start()
    connected((desk, travel))
    twin.append(events("twin", 3))
    twin.start()
    assert twin.device == travel.device
    until(lambda: told(desk) and told(twin), "both ends tell of the clone")
    assert twin.peer(desk)["state"] == "refused"
    assert "two machines use the device key" in twin.peer(desk)["error"]
    assert "two machines use the device key" in desk.peer(travel)["error"]
    more = travel.append(events("travel", 4))
    all_hold((desk, travel), lines + more)
    assert desk.is_connected(travel)
    assert not twin.peer(desk)["converged"]
    done = desk.run("doctor")
    assert "pair it again" in done.stdout + done.stderr
    assert twin.stop() == 0
    desk.ask("peers", "resume", "travel")
    assert not told(desk)
    all_equal(desk, travel)
    assert not told(desk)


def test_a_state_directory_that_was_moved_is_no_clone(fleet: Fleet) -> None:
    """It shows a new instance, once, while the old one is gone: that is a new disk, not a second machine."""
    desk, travel = fleet.pair()
    assert travel.stop() == 0
    moved = copy_of(fleet, travel, "moved").start()
    connected((desk, moved))
    lines = moved.append(events("travel", 4))
    all_hold((desk, moved), lines)
    assert not told(desk)
    assert not told(moved)
