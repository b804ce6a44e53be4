"""Comparing: what this device and one peer hold differently, found by asking the peer.

The sets are reconciled (`merge/reconcile.py`) one message and its answer at a time. Where connections do
not live long it ends early, so that what was found by then can be moved. Nothing is moved here.
"""

from __future__ import annotations

from fleetsync.errors import Unreachable, Unresponsive
from fleetsync.merge.reconcile import Initiator
from fleetsync.ports import Bound
from fleetsync.selection import Selection
from fleetsync.sync.exchange import Difference
from fleetsync.sync.offload import Desk
from fleetsync.sync.stride import Stride
from fleetsync.sync.tally import Tally
from fleetsync.wire.peer import Peer

SHORT_ROUNDS = 32
"""Round trips of comparing in small steps after which what was found is moved before more is looked for."""


async def compare(desk: Desk, peer: Peer, carried: Selection, stride: Stride, tally: Tally) -> Difference:
    """What differs in the part of the set that both carry. Raises what `Peer.reconcile` raises, unless
    something was found before the connection broke: the next look begins with less then.
    """
    found = Difference()
    initiator = Initiator(frame_limit=stride.frame, window=stride.window)
    message: bytes | None = await desk.call(lambda s: initiator.initiate(s.ranges(carried)))
    rounds = 0
    while message is not None and (stride.is_whole or rounds < SHORT_ROUNDS):
        tally.round_trips += 1
        rounds += 1
        try:
            answer = await peer.reconcile(message)
        except (Unreachable, Unresponsive):
            if not found:
                raise
            break
        message = await _advance(desk, initiator, carried, answer, found)
    found.whole = message is None
    return found


async def _advance(
    desk: Desk, initiator: Initiator, carried: Selection, answer: bytes, found: Difference
) -> bytes | None:
    """Take in an answer; the next message, None if there is nothing left to ask."""
    step = await desk.call(lambda s: initiator.receive(s.ranges(carried), answer))
    found.have += step.have
    found.need += step.need
    found.have_spans += [(Bound(*lower), Bound(*upper)) for lower, upper in step.have_spans]
    found.need_spans += [(Bound(*lower), Bound(*upper)) for lower, upper in step.need_spans]
    return step.message
