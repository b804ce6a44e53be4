"""Delays between tries."""

from __future__ import annotations

from fleetsync.sync.backoff import Backoff


def test_delays_double_to_a_minute():
    """1 s, doubling, never above 60 s in the middle of the spread."""
    backoff = Backoff(lambda: 0.5)
    assert [backoff.next() for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]


def test_each_delay_is_spread_by_half():
    """Chance moves a delay by up to half of itself to either side."""
    assert Backoff(lambda: 0.0).next() == 0.5
    assert Backoff(lambda: 1.0).next() == 1.5


def test_news_begin_again():
    """After a reset the next delay is the first one."""
    backoff = Backoff(lambda: 0.5)
    for _ in range(5):
        backoff.next()
    backoff.reset()
    assert backoff.next() == 1
