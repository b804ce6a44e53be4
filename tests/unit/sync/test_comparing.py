"""What two devices hold differently."""

from __future__ import annotations

from itertools import count

import pytest

from fleetsync.errors import Unreachable
from fleetsync.selection import EVERYTHING
from fleetsync.sync import comparing
from fleetsync.sync.comparing import compare
from fleetsync.sync.exchange import Difference
from fleetsync.sync.responder import Responder
from fleetsync.sync.stride import WHOLE, Stride
from fleetsync.sync.tally import Tally
from fleetsync.wire.peer import Peer
from tests.fakes.fleet import Laptop, event, log_path

DEPLOY = log_path("deploy")
SHORT = Stride(1 / 16)


@pytest.fixture
def a() -> Laptop:
    return Laptop("a")


@pytest.fixture
def b() -> Laptop:
    return Laptop("b")


def scattered(here: Laptop, there: Laptop, members: int, only_there: int) -> None:
    """Much that both hold, and here and there something that only the other one does."""
    shared = [event(number) for number in range(members)]
    here.learn(DEPLOY, shared)
    there.learn(DEPLOY, shared + [event(members + number) for number in range(only_there)])


async def compared(here: Laptop, peer: Peer, stride: Stride = WHOLE) -> tuple[Difference, int]:
    """The difference, and how many round trips it took."""
    tally = Tally(peer, here.time.monotonic)
    found = await compare(here.local.desk, peer, EVERYTHING, stride, tally)
    return found, tally.round_trips


def breaking(peer: Responder, at: int) -> Responder:
    """The same behind a connection that breaks at the n-th comparing message."""
    messages, answer = count(1), peer.reconcile

    async def reconcile(message: bytes) -> bytes:
        if next(messages) >= at:
            raise Unreachable("reset")
        return await answer(message)

    peer.__dict__["reconcile"] = reconcile
    return peer


async def test_nothing_differs_between_equal_sets(a: Laptop, b: Laptop) -> None:
    """One question is enough, and nothing is to be moved."""
    scattered(a, b, members=50, only_there=0)
    found, round_trips = await compared(a, b.as_peer_of(a))
    assert (bool(found), found.whole, round_trips) == (False, True, 1)


async def test_a_connection_that_breaks_later_leaves_what_was_found(a: Laptop, b: Laptop) -> None:
    """Behind a middlebox that ends connections each look must bring something, or none ever ends."""
    a.learn(DEPLOY, [event(number) for number in range(0, 12_000, 2)])
    b.learn(DEPLOY, [event(number) for number in range(1, 12_000, 2)])
    whole, round_trips = await compared(a, b.as_peer_of(a), SHORT)
    assert round_trips > 1
    found, _ = await compared(a, breaking(b.as_peer_of(a), at=round_trips), SHORT)
    assert found
    assert (found.whole, whole.whole) == (False, True)
    assert set(found.need) <= set(whole.need)


async def test_a_connection_that_breaks_before_anything_was_found_is_an_error(a: Laptop, b: Laptop) -> None:
    """There is nothing to move, and the link must learn that the peer is away."""
    scattered(a, b, members=50, only_there=1)
    with pytest.raises(Unreachable):
        await compared(a, breaking(b.as_peer_of(a), at=1))


async def test_small_steps_are_interrupted_to_move_what_they_found(
    a: Laptop, b: Laptop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where connections break, what was found must travel before the next; elsewhere a look is whole."""
    monkeypatch.setattr(comparing, "SHORT_ROUNDS", 1)
    a.learn(DEPLOY, [event(number) for number in range(0, 12_000, 2)])
    b.learn(DEPLOY, [event(number) for number in range(1, 12_000, 2)])
    found, round_trips = await compared(a, b.as_peer_of(a), SHORT)
    assert (round_trips, found.whole) == (1, False)
    found, round_trips = await compared(a, b.as_peer_of(a), WHOLE)
    assert round_trips > 1
    assert found.whole
