"""Three daemons: in a line whose ends cannot reach each other, and in a triangle; trust by introduction.

The ends of the line listen on loopback addresses of their own, and nobody is ever told these: what
others learn of a caller is 127.0.0.1, where nothing listens at that port.
"""

from __future__ import annotations

import socket
from functools import partial

import pytest

from tests.system.fleet import (
    LOG,
    STATS,
    Fleet,
    Laptop,
    all_counted,
    all_equal,
    all_hold,
    connected,
    events,
    pair,
    until,
)


def _can_listen(host: str) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((host, 0))
        except OSError:
            return False
    return True


needs_loopbacks = pytest.mark.skipif(
    not _can_listen("127.0.0.2"), reason="this system has only one loopback address"
)


def a_line(fleet: Fleet) -> tuple[Laptop, Laptop, Laptop]:
    """a - b - c, paired along the line and running."""
    a, b = fleet.laptop("anna", "127.0.0.2:0").start(), fleet.laptop("bert").start()
    c = fleet.laptop("cleo", "127.0.0.3:0").start()
    pair(b, a)
    pair(b, c)
    return a, b, c


@needs_loopbacks
def test_in_a_line_everything_goes_through_the_middle(fleet: Fleet) -> None:
    """The ends never meet, and what either writes is on all three, counted once by each of the others."""
    a, b, c = a_line(fleet)
    a.skill()
    lines = {laptop: laptop.append(events(laptop.name, 30)) for laptop in (a, c)}
    lines[b] = b.append(events("bert", 20))
    everything = [line for written in lines.values() for line in written]
    all_hold((a, b, c), everything)
    for laptop in (a, b, c):
        all_counted(laptop, [line for line in everything if line not in lines[laptop]])
    all_equal(a, b, c)
    until(lambda: a.peer(c), "anna has heard of cleo")
    assert a.peer(c)["state"] != "connected"
    assert a.peer(c)["last_converged_at"] is None


@needs_loopbacks
def test_at_the_ends_of_a_line_live_lines_arrive_at_once(fleet: Fleet) -> None:
    """With the middle connected to both, a line written at one end is at the other within two seconds."""
    a, b, c = a_line(fleet)
    a.skill()
    connected((a, b), (b, c))
    until(lambda: c.read("skills/deploy/skill.yaml"), "the skill is at the other end")
    written: list[bytes] = []
    for number in range(10):
        here, there = (a, c) if number % 2 else (c, a)
        written += here.append(events(here.name, 1, start=number))
        until(partial(there.holds, written), "the line is at the other end", seconds=2)


@needs_loopbacks
def test_the_line_heals_when_its_middle_comes_back(fleet: Fleet) -> None:
    """Both ends write while the middle is away; nothing arrives before, everything after."""
    a, b, c = a_line(fleet)
    a.skill()
    mine = a.append(events("anna", 10))
    all_hold((a, b, c), mine)
    assert b.stop() == 0
    mine += a.append(events("anna", 200, start=10))
    theirs = c.append(events("cleo", 200))
    until(lambda: a.status()["home"]["items"] == 211, "anna has seen her own")
    until(lambda: c.status()["home"]["items"] == 211, "cleo has seen her own")
    assert len(c.lines()) == 210
    b.start()
    all_hold((a, b, c), mine + theirs)
    all_counted(b, mine + theirs)
    all_counted(a, theirs)
    all_counted(c, mine)


def test_a_friend_of_a_friend_is_a_friend(fleet: Fleet) -> None:
    """Paired along a line, all three trust each other; the ends find each other without a command,
    and then need the middle no more.
    """
    a, b, c = (fleet.laptop(name).start() for name in ("anna", "bert", "cleo"))
    pair(a, b)
    pair(b, c)
    a.skill()
    connected((a, b), (b, c), (a, c))
    assert a.peer(c)["name"] == "cleo"
    until(lambda: c.read("skills/deploy/skill.yaml"), "the skill is everywhere")
    assert b.stop() == 0
    lines = a.append(events("anna", 15)) + c.append(events("cleo", 15))
    all_hold((a, c), lines)


def test_in_a_triangle_nothing_arrives_or_counts_twice(fleet: Fleet) -> None:
    """Three writers at once, everybody connected with everybody: each line has two ways to each laptop."""
    laptops = a, b, c = tuple(fleet.laptop(name).start() for name in ("anna", "bert", "cleo"))
    pair(a, b)
    pair(b, c)
    a.skill()
    connected((a, b), (b, c), (a, c))
    until(lambda: b.read("skills/deploy/skill.yaml") and c.read("skills/deploy/skill.yaml"), "the skill")
    lines: dict[Laptop, list[bytes]] = {laptop: [] for laptop in laptops}
    for start in range(0, 300, 10):
        for laptop in laptops:
            lines[laptop] += laptop.append(events(laptop.name, 10, start))
    everything = [line for written in lines.values() for line in written]
    all_hold(laptops, everything)
    for laptop in laptops:
        all_counted(laptop, [line for line in everything if line not in lines[laptop]])
    all_equal(*laptops)
    assert len({tuple(sorted(laptop.lines(LOG))) for laptop in laptops}) == 1
    assert all(laptop.read(STATS) for laptop in laptops)


def test_a_removal_travels_through_the_fleet(fleet: Fleet) -> None:
    """Removed by one, a device is removed by all, whoever vouched for it; the others stay connected."""
    a, b, c = (fleet.laptop(name).start() for name in ("anna", "bert", "cleo"))
    pair(a, b)
    pair(b, c)
    a.skill()
    connected((a, b), (b, c), (a, c))
    a.ask("peers", "remove", "cleo")
    until(lambda: not b.peer(c), "bert has heard that cleo is removed")
    lines = a.append(events("anna", 5))
    all_hold((a, b), lines)
    until(lambda: c.peer(b)["state"] == c.peer(a)["state"] == "refused", "cleo is told that it is refused")
    assert c.lines() == []
