"""Seeing that the peer conducts an exchange of its own."""

from __future__ import annotations

from fleetsync.sync.rival import FOLLOWS_SECONDS, IDLE_SECONDS, Rival
from tests.fakes.fleet import FakeTime


def test_comparing_and_moving_are_seen_for_a_moment():
    """Each step counts until it has been silent for a while."""
    clock = FakeTime()
    rival = Rival(clock.monotonic)
    assert not rival.is_active()
    rival.compares()
    assert rival.is_active()
    assert not rival.is_moving()
    rival.fetches()
    assert rival.is_moving()
    clock.elapsed += IDLE_SECONDS
    assert not rival.is_active()


def test_offers_belong_to_an_exchange_only_when_they_follow_one():
    """Live push by offers looks like the moving of an exchange and is none."""
    clock = FakeTime()
    rival = Rival(clock.monotonic)
    rival.offers()
    assert not rival.is_moving()
    rival.compares()
    rival.offers()
    assert rival.is_moving()
    clock.elapsed += FOLLOWS_SECONDS
    rival.offers()
    assert not rival.is_moving()
