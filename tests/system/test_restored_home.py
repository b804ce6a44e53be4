"""A home that comes back from a backup, under real daemons (SEMANTICS §2.5)."""

from __future__ import annotations

import json
import shutil
from functools import partial

import pytest

from tests.system.fleet import (
    LOG,
    MANIFEST,
    Document,
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


def asks(laptop: Laptop) -> Document:
    """What `guard` waits for, if it does."""
    document: Document = json.loads(laptop.run("guard", "--json").stdout)
    return document


@pytest.mark.parametrize(
    ("running", "insist"),
    [(False, True), (False, False), (True, True), (True, False)],
    ids=["confirm-while-down", "undo-while-down", "confirm-while-up", "undo-while-up"],
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
    put_back(travel)
    if not running:
        travel.start()
    travel.run("sync")
    asked = {f"skills/{name}/skill.yaml" for name in SKILLS}
    until(lambda: asked <= set(asks(travel)["paths"]), "it asks about all of them", 90)
    assert asks(travel)["cause"] == "restored"
    travel.ask("status", code=5)
    assert "guard confirm" in travel.run("status").stdout
    for laptop in (desk, travel):
        for name in SKILLS:
            until(partial(laptop.has, f"skills/{name}/skill.yaml", newer(name)), f"{name} is newer")
    all_hold((desk, travel), lines)
    assert desk.read(MANIFEST)
    travel.ask("guard", "confirm" if insist else "undo")
    connected((desk, travel))
    wanted = old if insist else {name: newer(name) for name in SKILLS}
    for name in SKILLS:
        for laptop in (desk, travel):
            until(partial(laptop.has, f"skills/{name}/skill.yaml", wanted[name]), f"{name} is as meant")
    all_equal(desk, travel)
    assert travel.holds(lines, LOG)
    travel.ask("guard")
