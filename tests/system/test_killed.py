"""Daemons killed with SIGKILL in the middle of things: afterwards each line once, each count once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from tests.system.fleet import (
    MANIFEST,
    Fleet,
    Laptop,
    all_counted,
    all_equal,
    all_hold,
    events,
    fold,
    manifest,
    pair,
    until,
)

SKILLS = [f"skill-{number}" for number in range(10)]
EACH = 1000


def log_of(skill: str) -> str:
    """Where a skill's events are."""
    return f"skills/{skill}/events.jsonl"


def arriving(laptop: Laptop, more_than: int) -> Callable[[], bool]:
    """Whether a laptop has more bytes of logs than that."""
    return lambda: sum(len(laptop.read(log_of(skill))) for skill in SKILLS) > more_than


def a_history(laptop: Laptop) -> dict[str, list[bytes]]:
    """Ten thousand events in ten skills."""
    found = {}
    for number, skill in enumerate(SKILLS):
        laptop.write(f"skills/{skill}/skill.yaml", manifest("old", name=skill))
        found[skill] = laptop.pour(events(laptop.name, EACH, number * EACH), log_of(skill))
    return found


@pytest.mark.parametrize("victim", ["travel", "desk", "both"])
def test_killed_during_the_first_sync(fleet: Fleet, victim: str) -> None:
    """The receiver, the giver, or both die twice while the first sync runs; then it is finished."""
    desk, travel = fleet.laptop("desk"), fleet.laptop("travel")
    written = a_history(desk)
    pair(desk.start(), travel.start())
    victims = [laptop for laptop in (desk, travel) if victim in (laptop.name, "both")]
    total = sum(len(desk.read(log_of(skill))) for skill in SKILLS)
    stopped_in_the_middle = 0
    for share in (0.05, 0.5):
        until(arriving(travel, int(total * share)), "the first sync has begun")
        for laptop in victims:
            laptop.kill()
        stopped_in_the_middle += not arriving(travel, total - 1000)()
        for laptop in victims:
            laptop.start()
    assert stopped_in_the_middle > 0
    for skill, lines in written.items():
        all_hold((desk, travel), lines, log_of(skill))
        all_counted(travel, lines, f"skills/{skill}/stats.json")
        assert not desk.read(f"skills/{skill}/stats.json")
    all_equal(desk, travel)


@pytest.mark.parametrize("victim", ["writer", "reader"])
def test_killed_during_push_and_apply(fleet: Fleet, victim: str) -> None:
    """Under steady writing the pushing or the applying daemon dies six times, at whatever it is doing."""
    desk, travel = fleet.pair()
    target = desk if victim == "writer" else travel
    written: list[bytes] = []
    for round_ in range(6):
        before = len(travel.lines())
        for start in range(0, 200, 20):
            written += desk.append(events("desk", 20, round_ * 200 + start))
        until(partial(travel.has_lines, before + 1), "something has arrived")
        target.kill()
        target.start()
    all_hold((desk, travel), written)
    all_counted(travel, written)
    all_equal(desk, travel)
    assert desk.read(MANIFEST) == travel.read(MANIFEST)


def test_killed_on_both_sides_while_both_write(fleet: Fleet) -> None:
    """Lines travel both ways while now one, now the other is killed; mur goes on writing meanwhile."""
    desk, travel = fleet.pair()
    lines: dict[Laptop, list[bytes]] = {desk: [], travel: []}
    for start in range(0, 1200, 100):
        target = (desk, travel)[start // 100 % 2]
        for laptop in lines:
            lines[laptop] += laptop.append(events(laptop.name, 50, start))
        target.kill()
        for laptop in lines:
            lines[laptop] += laptop.append(events(laptop.name, 50, start + 50))
        target.start()
    all_hold(lines, lines[desk] + lines[travel])
    all_counted(desk, lines[travel])
    all_counted(travel, lines[desk])
    all_equal(desk, travel)


def test_mur_counts_in_between(fleet: Fleet) -> None:
    """What mur itself adds to stats.json between two kills is kept: only the peer's lines are ours."""
    desk, travel = fleet.pair()
    lines = desk.append(events("desk", 10))
    all_counted(travel, lines)
    travel.kill()
    stored = travel.read("skills/deploy/stats.json").decode()
    assert '"usage_count": 10' in stored
    travel.write(
        "skills/deploy/stats.json", stored.replace('"usage_count": 10', '"usage_count": 17').encode()
    )
    more = desk.append(events("desk", 10, start=10))
    travel.start()
    expected = fold(lines + more)
    expected["usage_count"] += 7
    until(lambda: travel.counted() == expected, "seven of mur's uses and twenty of the peer's")
