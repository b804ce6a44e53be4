"""Seeing that the peer conducts an exchange of its own."""

from __future__ import annotations

from fleetsync.sync.rival import DIGESTS_SECONDS, FOLLOWS_SECONDS, IDLE_SECONDS, Rival
from tests.fakes.fleet import FakeTime


def test_comparing_and_moving_are_seen_for_a_moment():
    """Each step counts until it has been silent for a while."""
    clock = FakeTime()
    rival = Rival(clock.monotonic)
    assert not rival.is_active()
    rival.compares()
    assert rival.is_active()
    assert not rival.is_moving()
    rival.offers()
    assert rival.is_moving()
    clock.elapsed += IDLE_SECONDS
    assert not rival.is_active()


def test_what_was_fetched_is_under_way_until_the_next_greeting():
    """A peer that takes its time with what it fetched is still moving it; its hello ends that at once."""
    clock = FakeTime()
    rival = Rival(clock.monotonic)
    rival.fetches()
    clock.elapsed += DIGESTS_SECONDS - 1
    assert rival.is_moving()
    rival.greets()
    assert not rival.is_active()


def test_a_peer_that_stops_reading_what_it_fetches_is_not_waited_for():
    """Its exchange has failed, and is over; one that had fetched nothing was none."""
    clock = FakeTime()
    rival = Rival(clock.monotonic)
    rival.breaks_off()
    assert rival.ended == 0
    rival.fetches()
    rival.breaks_off()
    assert not rival.is_active()
    assert rival.ended == 1


def test_a_peer_that_fetched_and_fell_silent_is_not_waited_for_long():
    """A peer that died in the middle holds nobody up for more than a moment."""
    clock = FakeTime()
    rival = Rival(clock.monotonic)
    rival.fetches()
    clock.elapsed += DIGESTS_SECONDS
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
