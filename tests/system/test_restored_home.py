"""A home that comes back from a backup, under real daemons (SEMANTICS §2.5)."""

from __future__ import annotations

import shutil
import signal
from functools import partial

import pytest

from tests.system.fleet import (
    LOG,
    MANIFEST,
    Fleet,
    Laptop,
    all_equal,
    all_hold,
    connected,
    events,
    manifest,
    until,
)

SKILLS = [f"skill-{n}" for n in range(6)]


def put_back(laptop: Laptop) -> None:
    """All of home as it was in the backup, old dates and all; the state directory stays."""
    shutil.rmtree(laptop.home)
    shutil.copytree(laptop.root / "backup", laptop.home)


def newer(name: str) -> bytes:
    """What a manifest became after the backup."""
    return manifest("newer", name=name, version="2.0.0", updated_at="2025-06-01T00:00:00Z")


@pytest.mark.parametrize(
    ("running", "insist"),
    [(False, True), (False, False), (True, False)],
    ids=["confirm-while-down", "undo-while-down", "undo-while-up"],
)
def test_old_files_come_back(fleet: Fleet, running: bool, insist: bool) -> None:
    """Nothing newer is lost on any device: the current values are applied again and the log is refilled.
    `status` ends with 5 and asks; one command insists on what the backup held, another drops it.
    """
    desk, travel = fleet.pair()
    old = {name: travel.skill(name).read(f"skills/{name}/skill.yaml") for name in SKILLS}
    lines = desk.append(events("desk", 10))
    all_hold((desk, travel), lines)
    until(lambda: all(desk.read(f"skills/{name}/skill.yaml") for name in SKILLS), "all skills are there")
    shutil.copytree(travel.home, travel.root / "backup", ignore=shutil.ignore_patterns(".fleetsync"))
    for name in SKILLS:
        desk.write(f"skills/{name}/skill.yaml", newer(name))
    lines += travel.append(events("travel", 10))
    all_hold((desk, travel), lines)
    until(lambda: all(travel.has(f"skills/{n}/skill.yaml", newer(n)) for n in SKILLS), "all are newer")
    all_equal(desk, travel)
    if not running:
        assert travel.stop() == 0
    if (
        running and travel.process is not None
    ):  # a daemon that looks while they come back takes some for edits
        travel.process.send_signal(signal.SIGSTOP)
    put_back(travel)
    if running and travel.process is not None:
        travel.process.send_signal(signal.SIGCONT)
    if not running:
        travel.start()
    travel.run("sync")
    until(lambda: travel.status()["home"]["state"] == "guarded", "it asks", 90)
    travel.ask("status", code=5)
    assert "guard confirm" in travel.run("status").stdout
    held = travel.ask("guard", code=5)
    asked = {f"skills/{name}/skill.yaml" for name in SKILLS} & set(held["paths"])
    assert len(asked) > 3  # a daemon that looks while they come back stops at the fourth
    for laptop in (desk, travel):
        for name in SKILLS:
            until(partial(laptop.has, f"skills/{name}/skill.yaml", newer(name)), f"{name} is newer")
    all_hold((desk, travel), lines)
    assert desk.read(MANIFEST)
    travel.ask("guard", "confirm" if insist else "undo")
    connected((desk, travel))
    wanted = {
        name: old[name] if insist and f"skills/{name}/skill.yaml" in asked else newer(name) for name in SKILLS
    }
    for name in SKILLS:
        for laptop in (desk, travel):
            until(partial(laptop.has, f"skills/{name}/skill.yaml", wanted[name]), f"{name} is as meant")
    all_equal(desk, travel)
    assert travel.holds(lines, LOG)
    travel.ask("guard")
