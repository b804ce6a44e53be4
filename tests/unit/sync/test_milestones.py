"""Remembering when peers converged."""

from __future__ import annotations

from collections.abc import Mapping

from fleetsync.records.names import DeviceId
from fleetsync.sync.milestones import WRITE_SECONDS, Remembered
from tests.fakes.fleet import device_id

P = device_id("p")


def test_told_often_written_seldom():
    """Every time is known at once; at most one a minute is written."""
    written: list[Mapping[DeviceId, float]] = []
    milestones = Remembered({P: 100.0}, written.append)
    for at in (101.0, 130.0, 100.0 + WRITE_SECONDS, 165.0):
        milestones.converged(P, at)
    assert written == [{P: 100.0 + WRITE_SECONDS}]
    assert milestones.converged_at(P) == 165.0


def test_a_clock_set_back_is_written_too():
    """The latest time is kept even if it is smaller."""
    written: list[Mapping[DeviceId, float]] = []
    milestones = Remembered({P: 10_000.0}, written.append)
    milestones.converged(P, 50.0)
    assert written == [{P: 50.0}]


def test_unknown_peers_never_converged():
    """Nothing known is None."""
    assert Remembered({}).converged_at(P) is None


def test_a_peer_is_known_since_it_was_first_asked_for():
    """Whatever happens later."""
    milestones = Remembered({})
    assert [milestones.known_since(P, at) for at in (5.0, 9.0, 2.0)] == [5.0, 5.0, 5.0]
