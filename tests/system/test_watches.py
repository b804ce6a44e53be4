"""A machine on which no more files can be watched: the daemon starts, finds changes late, and says why."""

from __future__ import annotations

import pytest

from tests.campaign import watches
from tests.system.fleet import Fleet, all_hold, connected, event, events, pair, until
from tests.system.requirements import require

SETTINGS = "[sync]\nsweep = 1\n"


@pytest.mark.parametrize(
    ("most_watches", "most_instances"), [(100, 0), (1, 10), (6, 10)], ids=["no-instance", "one", "a-few"]
)
def test_where_nothing_more_can_be_watched_the_sweep_finds_it(
    fleet: Fleet, most_watches: int, most_instances: int
) -> None:
    """No hint comes for most directories: what is written there is found all the same, counted once, and
    `status` and `doctor` name the limit.
    """
    require(watches.missing())
    desk, travel = fleet.laptop("desk").skill(), fleet.laptop("travel", config=SETTINGS)
    travel.inside = watches.limited(most_watches, most_instances)
    pair(desk.start(), travel.start())
    connected((desk, travel))
    skills = [f"skill-{number}" for number in range(8)]
    for skill in skills:
        travel.skill(skill)
    for skill in skills:
        lines = travel.append([event("travel", 1)], f"skills/{skill}/events.jsonl")
        all_hold((desk, travel), lines, f"skills/{skill}/events.jsonl")
    lines = desk.append(events("desk", 5))
    all_hold((desk, travel), lines)
    until(lambda: "not-watched" in [alert["code"] for alert in travel.status()["alerts"]], "it is said")
    said = travel.run("doctor").stdout
    assert "max_user_watches" in said, said
