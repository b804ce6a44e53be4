"""Two daemons as a person has them: apart and together, what either wrote is on both, counted once."""

from __future__ import annotations

import threading

from tests.system.fleet import (
    LOG,
    MANIFEST,
    Fleet,
    all_counted,
    all_equal,
    all_hold,
    connected,
    events,
    manifest,
    pair,
    until,
)


def test_what_was_written_before_pairing_is_on_both_after(fleet: Fleet) -> None:
    """Both have written into the same log before they knew of each other: union, and exact counters."""
    desk, travel = fleet.laptop("desk").skill(), fleet.laptop("travel").skill()
    mine, theirs = desk.append(events("desk", 40)), travel.append(events("travel", 30))
    offered, taken = pair(desk.start(), travel.start())
    assert offered["paired"]["words"] == taken["paired"]["words"]
    assert (offered["paired"]["id"], taken["paired"]["id"]) == (travel.device, desk.device)
    all_hold((desk, travel), mine + theirs)
    all_counted(desk, theirs)
    all_counted(travel, mine)
    all_equal(desk, travel)
    assert desk.read(MANIFEST) == travel.read(MANIFEST)


def test_both_append_to_the_same_log_together(fleet: Fleet) -> None:
    """While both write at the same time nothing is lost, doubled or counted twice."""
    desk, travel = fleet.pair()
    lines = {laptop: events(laptop.name, 400) for laptop in (desk, travel)}
    writers = [threading.Thread(target=laptop.append, args=(lines[laptop],)) for laptop in lines]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    all_hold(lines, lines[desk] + lines[travel])
    all_counted(desk, lines[travel])
    all_counted(travel, lines[desk])
    all_equal(desk, travel)


def test_both_append_while_apart(fleet: Fleet) -> None:
    """Paused on one side, both go on writing; resumed, both have everything at once."""
    desk, travel = fleet.pair()
    assert desk.ask("peers", "pause", "travel")["peer"]["state"] == "paused"
    mine, theirs = desk.append(events("desk", 50)), travel.append(events("travel", 60))
    until(lambda: desk.status()["home"]["items"] == 51, "desk has seen its own")
    until(lambda: travel.status()["home"]["items"] == 61, "travel has seen its own")
    assert desk.holds(mine)
    assert travel.holds(theirs)
    desk.ask("peers", "resume", "travel")
    all_hold((desk, travel), mine + theirs)
    all_counted(desk, theirs)
    all_counted(travel, mine)
    connected((desk, travel))


def test_one_side_is_offline_for_ten_thousand_events(fleet: Fleet) -> None:
    """A laptop that comes back gets all it missed, gives what it wrote meanwhile, and counts each once."""
    desk, travel = fleet.pair()
    assert travel.stop() == 0
    until(lambda: desk.peer(travel)["state"] != "connected", "desk has noticed")
    theirs = travel.append(events("travel", 25))
    mine = desk.pour(events("desk", 5_000)) + desk.pour(events("desk", 5_000, start=5_000))
    until(lambda: desk.status()["home"]["items"] == 10_001, "desk has seen its own")
    travel.start()
    all_hold((desk, travel), mine + theirs)
    all_counted(travel, mine)
    all_counted(desk, theirs)
    all_equal(desk, travel)


def test_both_restart_and_find_each_other(fleet: Fleet) -> None:
    """Trust, addresses and all that is known survive a restart of both; nothing moves again."""
    desk, travel = fleet.pair()
    lines = desk.append(events("desk", 20))
    all_hold((desk, travel), lines)
    assert (desk.stop(), travel.stop()) == (0, 0)
    sizes = len(desk.read(LOG)), len(travel.read(LOG))
    travel.start()
    desk.start()
    connected((desk, travel))
    assert (len(desk.read(LOG)), len(travel.read(LOG))) == sizes
    all_counted(travel, lines)
    more = travel.append(events("travel", 5))
    all_hold((desk, travel), lines + more)


def test_a_new_skill_appears_whole(fleet: Fleet) -> None:
    """mur lists any directory without a manifest as broken: one from a peer never appears without."""
    desk, travel = fleet.pair()
    seen_bare = False
    for number in range(20):
        name = f"skill-{number}"
        log = f"skills/{name}/events.jsonl"
        lines = desk.append(events("desk", 10, start=number * 10), log)
        desk.write(f"skills/{name}/skill.yaml", manifest("new", name=name))

        def arrived(log: str = log, lines: list[bytes] = lines) -> bool:
            nonlocal seen_bare
            for skill in (travel.home / "skills").iterdir():
                seen_bare = seen_bare or not (skill / "skill.yaml").exists()
            return travel.holds(lines, log)

        until(arrived, f"{name} is on travel")
    assert not seen_bare
    all_equal(desk, travel)
