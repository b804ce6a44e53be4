"""One exchange with one peer: greet, compare, move, prove (DESIGN §3, SEMANTICS §6.1).

The cut is what either side held when they compared. It is proven once every needed item was applied
here (new, known or superseded) and every offered one acknowledged there; items that appear meanwhile
are live push's concern. Equal fingerprints at the greeting prove it in one round trip. A session
never raises for what a peer or the disk did: that is how its `Exchange` ends. Rule of the file: the
conversation only; what is on the wire, in storage and in the engine is elsewhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial

import anyio

from fleetsync.devices.notes import Direction
from fleetsync.errors import (
    DishonestPeer,
    FleetsyncError,
    NotProven,
    NotTrusted,
    ProtocolMismatch,
    Unreachable,
    Unresponsive,
)
from fleetsync.ports import NOT_CARRIED, Head, Outcome, Storage, Verdict
from fleetsync.records.names import DeviceId
from fleetsync.sync import transfer
from fleetsync.sync.accord import Accord
from fleetsync.sync.asked import Asked
from fleetsync.sync.comparing import compare
from fleetsync.sync.exchange import (
    WHOLE_SET,
    Declined,
    Difference,
    Ending,
    Exchange,
    Heads,
)
from fleetsync.sync.local import LocalDevice
from fleetsync.sync.rival import IDLE_SECONDS, Rival
from fleetsync.sync.stride import WHOLE, Stride
from fleetsync.sync.tally import Tally
from fleetsync.wire.messages import NO_TERMS, PROTOCOL_MAX, PROTOCOL_MIN, Batch, Hello, Receipt, Want
from fleetsync.wire.peer import Peer
from fleetsync.wire.statuses import shown

PASSES = 3
"""How often is looked again for items that were announced and did not come."""
PATIENCE_SECONDS = 120.0
"""How long the peer's own exchange is waited for before both go on at once."""


class Session:
    """One exchange; use `run` once.

    `accord` is what has been heard of the peer, `previous` the exchange before this one, `stride` how much
    one request may have, `rival` the exchange that the peer may be conducting with this device at the same
    time. `tell` lets the peer know of equal sets when it has no other way to learn of it. `name` is how
    errors call the peer. `met` hears of its instance and may raise `ClonedDevice`.
    """

    def __init__(
        self,
        local: LocalDevice,
        peer: Peer,
        *,
        direction: Direction = Direction.BOTH,
        accord: Accord | None = None,
        previous: Exchange | None = None,
        stride: Stride = WHOLE,
        rival: Rival | None = None,
        tell: bool = False,
        name: str = "",
        met: Callable[[bytes], None] | None = None,
    ) -> None:
        self._local = local
        self._desk = local.desk
        self._peer = peer
        self._direction = direction
        self._accord = accord or Accord()
        self._previous = previous
        self._stride = stride
        self._rival = rival
        self._tell = tell
        self._name = name or peer.device
        self._met = met or (lambda instance: local.meet(peer.device, instance, ()))
        self._tally = Tally(peer, local.monotonic)
        self._opening: Heads | None = None
        self._clock_offset: float | None = None
        self._missing: set[bytes] = set()  # announced by the peer, asked for, not here
        self._left_out = False  # something was offered that is carried on one side only
        self._proven = True

    async def run(self) -> Exchange:
        """Have the exchange; returns how it ended."""
        try:
            closing = await self._converse()
        except FleetsyncError as error:
            return self._failed(error)
        return self._finished(closing)

    async def preview(self) -> Exchange:
        """Find out what `run` would move, and move nothing."""
        try:
            heads = await self._greet()
            found = Difference() if heads.equal else await self._compare()
            wants = [*transfer.span_wants(found.need_spans), *transfer.wants(found.need)]
            would_receive = await self._count(self._wanted(wants))
            would_send = await self._count(self._having(found))
        except FleetsyncError as error:
            return self._failed(error)
        ending = Ending.PARTIAL if would_receive or would_send else Ending.CONVERGED
        return replace(
            self._exchange(ending), closing=heads, would_receive=would_receive, would_send=would_send
        )

    # --- the conversation ------------------------------------------------------------------------

    async def _converse(self) -> Heads:
        heads = await self._greet()
        if not heads.equal:
            heads = await self._reconcile(heads)
        if self._tell and (heads.equal or (self._is_one_way and self._proven)):
            await self._tell_equal(heads.remote)
        return heads

    async def _reconcile(self, heads: Heads) -> Heads:
        heads, found = await self._look(heads)
        if found is None:
            return heads
        holds = True  # what was compared is what may travel, still
        for left in reversed(range(PASSES)):
            heard = self._accord.heard
            await self._move(found)
            with self._tally.step("prove"):
                hello = await self._ask_hello()
                heads = Heads(await self._desk.head(self._accord.theirs), hello.head)
            holds = heard == self._accord.heard
            if heads.equal or (holds and (self._is_proven(found) or self._tally.declined)) or not left:
                break
            found = await self._compare()
            self._missing &= set(found.need)
        self._proven = heads.equal or (holds and self._is_proven(found) and not self._is_unmoved(heads))
        return heads

    def _is_unmoved(self, closing: Heads) -> bool:
        """Whether both sets still differ just as they did: then what was acknowledged is not there."""
        excused = self._is_one_way or self._left_out
        return not excused and self._opening is not None and _state(self._opening) == _state(closing)

    def _is_proven(self, found: Difference) -> bool:
        """Whether all that differed is known to have arrived; of a span only a new look can tell."""
        return found.whole and not (self._missing or self._tally.declined or found.need_spans)

    async def _gave_way(self) -> bool:
        """Wait for the peer's own exchange to end if it goes first (`rival.py`)."""
        rival = self._rival
        if rival is None:
            return False
        first = self._local.card.device < self._peer.device
        waited, ended = 0.0, rival.ended
        while (
            waited < PATIENCE_SECONDS
            and rival.ended == ended  # one that fails and begins again is not waited for
            and (rival.is_moving() if first else rival.is_active())
        ):
            await anyio.sleep(IDLE_SECONDS)
            waited += IDLE_SECONDS
        return waited > 0

    async def _look(self, heads: Heads) -> tuple[Heads, Difference | None]:
        """What differs while the peer's own exchange stands still; None once nothing does."""
        if await self._gave_way() and (heads := await self._greet()).equal:
            return heads, None
        ended = self._rivals_ended()
        found = await self._compare()
        if await self._gave_way() or self._rivals_ended() != ended:
            heads = await self._greet()
            return heads, None if heads.equal else await self._compare()
        return heads, found

    def _rivals_ended(self) -> int:
        """How many exchanges of the peer are over: what was compared before one ended is outdated."""
        return 0 if self._rival is None else self._rival.ended

    @property
    def _receives(self) -> bool:
        return self._direction.receives and self._accord.gives

    @property
    def _sends(self) -> bool:
        return self._direction.sends and self._accord.takes

    @property
    def _is_one_way(self) -> bool:
        return not (self._receives and self._sends)

    async def _tell_equal(self, head: Head) -> None:
        """The peer's own fingerprint back: it has all that it should have, and so has this device."""
        self._tally.round_trips += 1
        await self._peer.reconcile(WHOLE_SET + head.fingerprint)

    # --- greet -----------------------------------------------------------------------------------

    async def _greet(self) -> Heads:
        with self._tally.step("hello"):
            hello = await self._ask_hello()
            self._check(hello)
            if hello.roster != self._local.roster.digest():
                await self._swap_rosters()
            heads = Heads(await self._desk.call(lambda s: self._learn(s, hello)), hello.head)
        self._opening = self._opening or heads
        return heads

    async def _ask_hello(self) -> Hello:
        self._tally.round_trips += 1
        asked, told = self._local.wall(), self._accord.told
        terms = self._accord.terms(self._local.selection, self._direction)
        hello = await (self._peer.hello() if terms == NO_TERMS else self._peer.hello(terms))
        self._clock_offset = hello.clock / 1e6 - (asked + self._local.wall()) / 2
        self._accord.said = self._local.selection, self._direction
        self._accord.hear_answer(hello.excluded, hello.capabilities, told=told)
        return hello

    def _check(self, hello: Hello) -> None:
        """Raises `DishonestPeer`, `ProtocolMismatch`, `ClonedDevice`."""
        if hello.device != self._peer.device:
            raise DishonestPeer(f"{self._name} calls itself {hello.device}")
        if hello.protocol_min > PROTOCOL_MAX or hello.protocol_max < PROTOCOL_MIN:
            raise ProtocolMismatch(
                f"{hello.name} speaks protocol versions {hello.protocol_min} to {hello.protocol_max}, "
                f"this device {PROTOCOL_MIN} to {PROTOCOL_MAX}"
            )
        self._met(hello.instance)

    async def _swap_rosters(self) -> None:
        self._tally.round_trips += 1
        roster = self._local.roster
        await roster.take(await self._peer.roster(roster.offer()), self._peer.device)
        if not roster.trusts(self._peer.device):
            raise NotTrusted(f"{self._name} has been removed from the fleet")

    def _learn(self, storage: Storage, hello: Hello) -> Head:
        if hello.highest_dot > storage.highest_dot(self._local.card.device):
            storage.learn_dot(hello.highest_dot)
        return storage.head(self._accord.theirs)

    # --- compare -----------------------------------------------------------------------------------

    async def _compare(self) -> Difference:
        with self._tally.step("reconcile"):
            found = await compare(self._desk, self._peer, self._accord.theirs, self._stride, self._tally)
        return found.limited(receives=self._receives, sends=self._sends)

    # --- move --------------------------------------------------------------------------------------

    async def _move(self, found: Difference) -> None:
        if found.need or found.need_spans:
            with self._tally.step("fetch"):
                await self._fetch(found)
        if found.have or found.have_spans:
            with self._tally.step("offer"):
                await self._offer(found)

    async def _fetch(self, found: Difference) -> None:
        wants = transfer.span_wants(found.need_spans)
        async with transfer.ahead(transfer.merged(self._wanted(wants))) as batches:
            async for batch in batches:
                await self._take(batch, lambda: None)
        asked = Asked(self._name, self._local.identify, found.need)
        self._missing = asked.missing
        while not await self._fetched(asked, [each for each in found.need if each in asked.missing]):
            pass

    async def _fetched(self, asked: Asked, ids: Sequence[bytes]) -> bool:
        """Ask for these ids; False if the stream was cut after some had come: the rest is asked for again."""
        before, wants = len(asked.missing), transfer.wants(ids, self._stride)
        try:
            async with transfer.ahead(transfer.merged(self._wanted(wants))) as batches:
                async for batch in batches:
                    await self._take(batch, partial(asked.check, batch.groups))
        except (Unreachable, Unresponsive):
            if len(asked.missing) == before:
                raise
            return False
        return True

    async def _wanted(self, wants: Iterable[Want]) -> AsyncGenerator[Batch]:
        for want in wants:
            self._tally.round_trips += 1
            async with self._peer.items(want) as batches:
                async for batch in batches:
                    yield batch

    async def _take(self, batch: Batch, check: Callable[[], None]) -> None:
        with self._tally.part("apply"):
            verdicts, _ = await self._desk.apply(batch.groups, self._peer.device, check)
            self._tally.received += sum(verdict.outcome is Outcome.NEW for verdict in verdicts)
        transfer.note_named(self._accord, self._local.selection, batch, verdicts)
        refused = [(i, verdict) for i, verdict in enumerate(verdicts) if verdict.outcome is Outcome.REFUSED]
        self._note_refused(batch, refused, by=self._local.card.device)
        for path, verdict in zip(transfer.paths_of(batch), verdicts, strict=True):
            if verdict.outcome is Outcome.NEW and verdict.reason:
                self._tally.hold(Declined(path, self._local.card.device, verdict.reason))

    def _having(self, found: Difference) -> AsyncGenerator[Batch]:
        return transfer.read(self._desk, found.have, found.have_spans, self._accord.theirs, self._stride)

    async def _offer(self, found: Difference) -> None:
        async with transfer.ahead(self._having(found)) as batches:
            async for batch in batches:
                self._tally.round_trips += 1
                await self._acknowledge(batch, await self._peer.offer(batch))

    async def _acknowledge(self, batch: Batch, receipt: Receipt) -> None:
        covering = transfer.covering_versions(batch, receipt)
        count = sum(len(group.bodies) for group in batch.groups)
        self._tally.sent += count - len(receipt.exceptions)
        refused = [(i, v) for i, v in receipt.exceptions.items() if v.outcome is Outcome.REFUSED]
        self._note_refused(batch, refused, by=self._peer.device)
        if covering and self._receives:
            await self._desk.apply(covering, self._peer.device)

    def _note_refused(self, batch: Batch, refused: Iterable[tuple[int, Verdict]], *, by: DeviceId) -> None:
        paths = transfer.paths_of(batch)
        for position, verdict in refused:
            if verdict.reason == NOT_CARRIED:
                self._left_out = True
            else:
                self._tally.decline(Declined(shown(paths[position]), by, shown(verdict.reason)))

    async def _count(self, source: AsyncGenerator[Batch]) -> dict[str, int]:
        """Items by path."""
        counts: Counter[str] = Counter()
        async with aclosing(source) as batches:
            async for batch in batches:
                for group in batch.groups:
                    counts[group.path] += len(group.bodies)
        return dict(counts)

    # --- how it ended ------------------------------------------------------------------------------

    def _exchange(self, ending: Ending, error: FleetsyncError | None = None) -> Exchange:
        tally = self._tally
        return Exchange(
            peer=self._peer.device,
            ending=ending,
            received=tally.received,
            sent=tally.sent,
            traffic=tally.traffic(),
            seconds=tally.seconds(),
            error=error,
            refused=tuple(tally.declined),
            held=tuple(tally.held),
            steps=tuple(tally.steps),
            opening=self._opening,
            one_way=self._is_one_way,
            clock_offset=self._clock_offset,
        )

    def _failed(self, error: FleetsyncError) -> Exchange:
        never_met = isinstance(error, Unreachable) and self._opening is None
        return self._exchange(Ending.UNREACHABLE if never_met else Ending.FAILED, error)

    def _finished(self, closing: Heads) -> Exchange:
        if self._proven:
            return replace(self._exchange(Ending.CONVERGED), closing=closing)
        unproven = replace(self._exchange(Ending.PARTIAL), closing=closing)
        if self._previous is None or not is_stuck(self._previous, unproven):
            return unproven
        return replace(unproven, ending=Ending.FAILED, error=NotProven(self._complaint()))

    def _complaint(self) -> str:
        reasons = [f"{refusal.path}: {refusal.reason}" for refusal in self._tally.declined[:3]]
        if self._missing or not reasons:
            reasons.append(f"{len(self._missing) or 'some'} items that it announces and does not give")
        return f"nothing new, and no proof again with {self._name}: {'; '.join(reasons)}"


def is_stuck(before: Exchange, after: Exchange) -> bool:
    """Whether two exchanges without proof lie one after the other with nothing new on either side."""
    if before.ending is Ending.CONVERGED or before.closing is None or after.opening is None:
        return False
    return _state(before.closing) == _state(after.opening)


def _state(heads: Heads) -> tuple[bytes, bytes]:
    return heads.local.fingerprint, heads.remote.fingerprint
