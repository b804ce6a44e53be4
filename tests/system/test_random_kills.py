"""Daemons killed at random instants, in five scenes: the short form of `python -m tests.campaign.kills`."""

from __future__ import annotations

import pytest

from tests.campaign import kills

EACH = {"push and apply": 6, "both at once": 6, "first sync": 5, "index rebuild": 4, "pairing": 2}


@pytest.mark.parametrize("scene", kills.SCENES)
def test_nothing_is_lost_or_doubled_whenever_a_daemon_is_killed(scene: str) -> None:
    """Each line once on both devices, counters exact, sets equal, no temporary and no intent left."""
    toll = kills.Toll()
    kills.run(scene, f"short {scene}", EACH[scene], toll)
    assert toll.total >= EACH[scene]
