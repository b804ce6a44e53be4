"""This device as one peer may use it: `Peer` in process.

The server calls it for every request of that peer, and tests join two engines with it. What a peer
may ask is bounded by the wire below and by the direction agreed for it; everything that touches
storage goes over the desk, one call for each message. Rule of the file: nothing is kept between two
requests. Implements docs/protocol.md, "Transactions".
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Protocol

from fleetsync.devices.notes import Direction
from fleetsync.errors import FleetsyncError, Paused
from fleetsync.merge import reconcile
from fleetsync.ports import NOT_CARRIED, Bound, Head, Outcome, Verdict
from fleetsync.records.names import DeviceId
from fleetsync.sync import changes, transfer
from fleetsync.sync.accord import Accord
from fleetsync.sync.exchange import WHOLE_SET
from fleetsync.sync.local import LocalDevice
from fleetsync.sync.push import Outbox
from fleetsync.sync.rival import Rival
from fleetsync.wire.messages import NO_TERMS, Batch, Frame, Hello, Receipt, RosterOffer, Terms, Want


class Caller(Protocol):
    """What the engine knows of the device that calls."""

    @property
    def device(self) -> DeviceId:
        """Who calls."""

    @property
    def direction(self) -> Direction:
        """Which way items may travel between it and this device."""

    @property
    def accord(self) -> Accord:
        """What has been heard of it."""

    @property
    def outbox(self) -> Outbox:
        """What it has not been sent yet."""

    @property
    def rival(self) -> Rival:
        """The exchange that it conducts with this device."""

    def require_open(self) -> None:
        """Raises `Paused` once a person has paused it."""

    def heard(self, *, opening: bool) -> None:
        """It called; `opening` when that is how a conversation begins."""

    def told_equal(self, head: Head) -> None:
        """It said that its set equals this device's at `head`."""

    def missed(self) -> None:
        """Something that it gave could not be taken in."""


class Responder:
    """Answers one device; cheap to make, one for each request or many."""

    def __init__(self, local: LocalDevice, caller: Caller) -> None:
        self._local = local
        self._caller = caller

    @property
    def device(self) -> DeviceId:
        """This device, which is the peer of the one that calls."""
        return self._local.card.device

    async def hello(self, terms: Terms = NO_TERMS) -> Hello:
        """The state of this device's set now, as far as the caller carries it too."""
        self._caller.heard(opening=True)
        self._caller.rival.greets()
        accord, caller = self._caller.accord, self._caller.device
        accord.hear(terms.excluded, terms.capabilities)
        head, dot = await self._local.desk.call(lambda s: (s.head(accord.theirs), s.highest_dot(caller)))
        accord.said = self._local.selection, self._caller.direction
        return self._local.hello(head, dot, accord.terms(*accord.said))

    async def reconcile(self, message: bytes) -> bytes:
        """One message of an initiator, answered."""
        self._caller.heard(opening=False)
        carried = self._caller.accord.theirs
        head = await self._local.desk.head(carried)
        if message == WHOLE_SET + head.fingerprint:
            self._caller.told_equal(head)
        else:
            self._caller.rival.compares()
        return await self._local.desk.call(lambda s: reconcile.respond(s.ranges(carried), message))

    @asynccontextmanager
    async def items(self, want: Want) -> AsyncIterator[AsyncIterator[Batch]]:
        """The wanted bodies as batches."""
        self._caller.heard(opening=False)
        async with aclosing(self._batches(want)) as batches:
            yield batches

    async def _batches(self, want: Want) -> AsyncGenerator[Batch]:
        if not self._caller.direction.sends:
            return
        spans = [(Bound(s.lower_ts, s.lower_prefix), Bound(s.upper_ts, s.upper_prefix)) for s in want.spans]
        carried = self._caller.accord.theirs
        rival, complete = self._caller.rival, False
        try:
            async for batch in transfer.read(self._local.desk, want.ids, spans, carried):
                self._caller.require_open()
                if not self._caller.direction.sends:
                    raise Paused("this device only receives")
                rival.fetches()
                yield batch
            complete = True
        finally:
            if not complete:
                rival.breaks_off()

    async def offer(self, batch: Batch) -> Receipt:
        """Take bodies; what became of each."""
        self._caller.heard(opening=False)
        self._caller.rival.offers()
        desk, carried = self._local.desk, self._caller.accord.theirs
        if not self._caller.direction.receives:
            count = sum(len(group.bodies) for group in batch.groups)
            refusal = Verdict(Outcome.REFUSED, "this device only sends")
            return Receipt(dict.fromkeys(range(count), refusal), await desk.head(carried))
        try:
            verdicts, _ = await desk.apply(batch.groups, self._caller.device)
        except FleetsyncError:
            self._caller.missed()
            raise
        transfer.note_named(self._caller.accord, self._local.selection, batch, verdicts)
        if any(v.outcome is Outcome.REFUSED and v.reason != NOT_CARRIED for v in verdicts):
            self._caller.missed()
        if not self._caller.direction.sends:
            verdicts = [Verdict(verdict.outcome, verdict.reason) for verdict in verdicts]  # nothing of ours
        exceptions = {i: v for i, v in enumerate(verdicts) if v.outcome is not Outcome.NEW}
        return Receipt(exceptions, await desk.head(carried))

    @asynccontextmanager
    async def changes(self) -> AsyncIterator[AsyncIterator[Frame]]:
        """Batches and heartbeats from now on; at its end at once for a caller that last heard other terms."""
        self._caller.heard(opening=True)
        async with aclosing(self._frames()) as frames:
            yield frames

    async def _frames(self) -> AsyncGenerator[Frame]:
        local, said = self._local, self._caller.accord.said
        if said is None or said == (local.selection, self._caller.direction):
            async with aclosing(changes.frames(self._caller.outbox, local.monotonic, local.random)) as frames:
                async for frame in frames:
                    yield frame

    async def roster(self, offer: RosterOffer) -> RosterOffer:
        """Take what may be believed; answer with all that is known."""
        self._caller.heard(opening=False)
        await self._local.roster.take(offer, self._caller.device)
        return self._local.roster.offer()

    async def aclose(self) -> None:
        """Nothing to drop."""
