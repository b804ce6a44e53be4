"""The link to one peer: one task that keeps the two of them equal for as long as it can be reached.

A visit is an exchange, then the peer's change stream until it breaks; meanwhile new members are
offered to a peer that keeps no stream to this device, and a heartbeat that does not match is followed
up. Between visits it rests (backoff). Rule of the file: one exchange at a time with one peer, and
whatever a peer does or fails to do stays inside its link. Implements DESIGN §9.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

import anyio

from fleetsync.devices.notes import Direction
from fleetsync.errors import (
    ClonedDevice,
    DishonestPeer,
    FleetsyncError,
    NotProven,
    NotTrusted,
    Paused,
    ProtocolMismatch,
    Unreachable,
    Unresponsive,
)
from fleetsync.ports import NOT_CARRIED, Group, Head, Outcome
from fleetsync.sync import transfer
from fleetsync.sync.accord import Accord
from fleetsync.sync.backoff import Backoff
from fleetsync.sync.exchange import Ending, Exchange
from fleetsync.sync.local import LocalDevice
from fleetsync.sync.milestones import Milestones
from fleetsync.sync.push import Outbox
from fleetsync.sync.responder import Responder
from fleetsync.sync.rival import Rival
from fleetsync.sync.rounds import Rounds
from fleetsync.sync.session import Session
from fleetsync.sync.standing import Standing
from fleetsync.sync.stride import WHOLE
from fleetsync.sync.views import PeerState, PeerView
from fleetsync.wire.messages import Batch, Heartbeat
from fleetsync.wire.peer import Peer

logger = logging.getLogger(__name__)

STEADY_SECONDS = 30.0
"""A visit that lasted so long was a success: the next try comes soon."""

_REFUSED = (NotTrusted, ClonedDevice, ProtocolMismatch, DishonestPeer)
_AWAY = (Unreachable, Unresponsive)


@dataclass(frozen=True, slots=True)
class PeerSettings:
    """What a person decided about a peer."""

    name: str
    direction: Direction = Direction.BOTH
    paused: bool = False


class Link:
    """Everything about one peer; `run` is its task. Create it inside the event loop.

    `rounds` keeps the record of its exchanges.
    """

    def __init__(
        self,
        local: LocalDevice,
        peer: Peer,
        settings: PeerSettings,
        *,
        milestones: Milestones,
        rounds: Rounds,
    ) -> None:
        self.settings = settings
        self.device = peer.device
        self.accord = Accord()
        self.outbox = Outbox(local.desk, peer.device, local.monotonic, self.accord)
        self.outbox.direction = settings.direction
        self.rival = Rival(local.monotonic)
        self._local = local
        self._peer = peer
        self._standing = Standing(local, self.accord, self.outbox, self.rival, milestones)
        self._rounds = rounds
        self._backoff = Backoff(local.random)
        self._turn = anyio.Lock()
        self._talks: set[anyio.CancelScope] = set()  # exchanges under way, or waiting for their turn
        self._visit_scope = anyio.CancelScope()
        self._resting: anyio.CancelScope | None = None
        self._in_a_hurry = False
        self._following = False
        self._error: FleetsyncError | None = None
        self._called, self._caller = b"", b""  # the instance that answers, and the one that calls
        self._clone: ClonedDevice | None = None
        self._last: Exchange | None = None
        self._stride = WHOLE
        self._since = milestones.known_since(peer.device, local.wall())

    # --- what others ask of it ---------------------------------------------------------------------

    @property
    def direction(self) -> Direction:
        """Which way items may travel."""
        return self.settings.direction

    def responder(self) -> Responder:
        """What answers this peer's calls; raises `Paused`."""
        self.require_open()
        return Responder(self._local, self)

    def require_open(self) -> None:
        """Raises `Paused` while it is."""
        if self.settings.paused:
            raise Paused(f"syncing with this device is paused on {self._local.card.name}")

    async def exchange(self) -> Exchange:
        """Have an exchange that begins now, or as soon as the running one is over. A person who decides
        otherwise meanwhile ends it, whoever asked for it.
        """
        with anyio.CancelScope() as talk:
            self._talks.add(talk)
            try:
                return await self._exchange_in_turn()
            finally:
                self._talks.discard(talk)
        ended = Unreachable(f"the exchange with {self.settings.name} was ended by a decision about it")
        return Exchange(self.device, Ending.FAILED, error=ended)

    async def _exchange_in_turn(self) -> Exchange:
        async with self._turn:
            with self._rounds.exchange(self.device) as conclude:
                result = await self._session().run()
                conclude(result)
            self._conclude(result)
        return result

    async def refresh(self) -> None:
        """The regular exchange with a peer that can be reached; to the others their rest leads back."""
        if self._following:
            await self._safely(self.exchange)

    async def tell_roster(self) -> None:
        """The roster has changed, and an exchange begins with it: have one, or make the peer that can
        only call begin one.
        """
        if self._following:
            await self._safely(self.exchange)
        else:
            self.outbox.end_stream()

    async def preview(self) -> Exchange:
        """What an exchange would move."""
        async with self._turn:
            return await self._session().preview()

    def hurry(self) -> None:
        """Begin the next visit without a rest."""
        self._backoff.reset()
        self._in_a_hurry = True
        if self._resting is not None:
            self._resting.cancel()

    async def change(self, settings: PeerSettings) -> None:
        """Follow what a person decided; what was agreed before is dropped."""
        if settings == self.settings:
            return
        talks_anew = (settings.paused, settings.direction) != (self.settings.paused, self.settings.direction)
        self.settings = settings
        self.outbox.direction = settings.direction
        if talks_anew:
            self._end_talks()
            await self.drop()

    async def drop(self) -> None:
        """Drop the connections both ways and begin again at once."""
        self._visit_scope.cancel()
        self.outbox.end_stream()
        await self._peer.aclose()
        self.hurry()

    async def close(self) -> None:
        """Let go of the peer for good."""
        self._end_talks()
        self.outbox.end_stream()
        self.outbox.close()
        await self._peer.aclose()

    def _end_talks(self) -> None:
        for talk in tuple(self._talks):
            talk.cancel()

    def view(self) -> PeerView:
        """How it is with this peer, for `status`."""
        proven_at = self._standing.converged_at
        return PeerView(
            device=self.device,
            name=self.settings.name,
            state=self._state(),
            direction=self.direction,
            cut_proven=self._standing.cut_proven,
            unsent_seconds=self.outbox.age() if self._last or proven_at else None,
            converged_at=proven_at,
            known_since=self._since,
            remote=self._standing.remote,
            clock_offset=self._last.clock_offset if self._last else None,
            error=self._clone or self._error,
            tempo=self._local.tempo,
            excluded=self.accord.theirs.rules,
        )

    def _state(self) -> PeerState:
        if self.settings.paused:
            return PeerState.PAUSED
        if self._following or self.outbox.streaming:
            return PeerState.CONNECTED
        if isinstance(self._error, _REFUSED):
            return PeerState.REFUSED
        return PeerState.OFFLINE if isinstance(self._error, _AWAY) else PeerState.CONNECTING

    # --- which of its instances (SEMANTICS §7.3) -----------------------------------------------------

    def shown(self, instance: bytes) -> None:
        """A call comes from this instance of the peer; raises `ClonedDevice`."""
        if instance != self._caller:
            self._meet(instance, self._called if self._following else b"")
            self._caller = instance

    def _met(self, instance: bytes) -> None:
        self._meet(instance, b"")
        self._called = instance

    def _meet(self, instance: bytes, other: bytes) -> None:
        """The connections that are open now show what lives beside it; whoever came first goes on."""
        live = {each for each in (other, self._caller if self.outbox.streaming else b"") if each}
        try:
            self._local.meet(self.device, instance, live)
        except ClonedDevice as error:
            self._clone = error
            raise

    def forget_clone(self) -> None:
        """A person has dealt with it."""
        self._clone = None
        if isinstance(self._error, ClonedDevice):
            self._error = None
            self.hurry()

    # --- what its calls tell (responder.Caller) ------------------------------------------------------

    def heard(self, *, opening: bool) -> None:
        """It called. A peer that was away or did not trust this device may be asked again."""
        if opening and self._resting is not None and isinstance(self._error, (*_AWAY, NotTrusted)):
            self.hurry()

    def told_equal(self, head: Head) -> None:
        """It says that both sets are equal now, or as equal as they may become."""
        self._standing.told_equal(head)

    def missed(self) -> None:
        """What it gave is not here."""
        self._standing.missed()

    async def common_head(self) -> Head:
        """Of the part of this device's set that the peer carries too."""
        return await self._standing.common_head()

    # --- the task ------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Visit and rest, for ever; returns only by cancellation."""
        while True:
            began = self._local.monotonic()
            if not self.settings.paused:
                with anyio.CancelScope() as self._visit_scope:
                    await self._safely(self._visit)
            if self._local.monotonic() - began > STEADY_SECONDS:
                self._backoff.reset()
            await self._rest()

    async def _rest(self) -> None:
        if not self._in_a_hurry:
            delay = float("inf") if self.settings.paused else self._backoff.next()
            with anyio.move_on_after(delay) as self._resting:
                await anyio.sleep_forever()
            self._resting = None
        self._in_a_hurry = False

    async def _safely(self, work: Callable[[], Awaitable[object]]) -> None:
        try:
            await work()
        except FleetsyncError as error:
            self._error = error
            logger.info("peer %s: %s", self.settings.name, error)
        except Exception as error:
            self._error = FleetsyncError.unexpected(error)
            logger.exception("peer %s", self.settings.name)

    async def _visit(self) -> None:
        await self._exchange_or_fail()
        failures: list[Exception] = []
        async with anyio.create_task_group() as tasks:
            for work in (self._follow, self._push, self._standing.wait_for_calm, self._settle_doubts):
                tasks.start_soon(_until_it_fails, work, tasks.cancel_scope, failures)
        raise failures[0]

    async def _follow(self) -> None:
        """Read the peer's change stream."""
        first = True
        try:
            async with self._peer.changes() as frames:
                async for frame in frames:
                    self._following = True
                    if not isinstance(self._error, NotProven):
                        self._error = None
                    if isinstance(frame, Heartbeat):
                        await self._standing.match(frame.head, first=first)
                        first = False
                    else:
                        await self._take(frame)
        finally:
            self._following = False
        raise Unreachable(f"{self.settings.name} ended its change stream")

    async def _take(self, batch: Batch) -> None:
        if not self.direction.receives:
            return
        try:
            verdicts, _ = await self._local.desk.apply(batch.groups, self.device)
        except FleetsyncError:
            self.missed()
            raise
        transfer.note_named(self.accord, self._local.selection, batch, verdicts)
        refused = [verdict.reason for verdict in verdicts if verdict.outcome is Outcome.REFUSED]
        if set(refused) - {NOT_CARRIED}:
            self.missed()
            logger.warning("refused %d items of %s: %s", len(refused), self.settings.name, refused[0])

    async def _push(self) -> None:
        """Offer what is new while the peer keeps no change stream to this device."""
        while True:
            event = self.outbox.next_event()
            page = None if self.outbox.streaming else await self.outbox.take()
            if page is not None and page.skipped:
                await self._exchange_or_fail()
                self.outbox.sent(replace(page, skipped=False))
            elif page is not None and page.groups:
                await self._offer(Batch(page.groups))
                self.outbox.sent(page)
            else:
                if page is not None:
                    self.outbox.sent(page)
                if page is None or page.is_last:
                    await event.wait()

    async def _offer(self, batch: Batch) -> None:
        covering: list[Group] = transfer.covering_versions(batch, await self._peer.offer(batch))
        if covering and self.direction.receives:
            await self._local.desk.apply(covering, self.device)

    async def _settle_doubts(self) -> None:
        while True:
            await self._standing.doubted()
            await self._exchange_or_fail()

    # --- what an exchange means ------------------------------------------------------------------------

    def _session(self) -> Session:
        return Session(
            self._local,
            self._peer,
            direction=self.direction,
            accord=self.accord,
            previous=self._last,
            stride=self._stride,
            rival=self.rival,
            tell=not self.outbox.streaming,
            name=self.settings.name,
            met=self._met,
        )

    async def _exchange_or_fail(self) -> None:
        result = await self.exchange()
        if result.error is not None and not isinstance(result.error, NotProven):
            raise result.error

    def _conclude(self, result: Exchange) -> None:
        """Draw the conclusions of an exchange."""
        _log(self.settings.name, result)
        self._error = result.error
        if result.opening is None:
            return
        if result.received or result.sent:
            self._backoff.reset()  # what passed stays, even if the connection broke then: go on soon
        self._last = result
        self._standing.conclude(result.opening, result)
        if self._standing.cut_proven:
            self._stride = WHOLE
            if self._resting is not None:
                self.hurry()  # it can be reached: begin a visit
        elif isinstance(result.error, _AWAY):
            self._stride = self._stride.shorter()


async def _until_it_fails(
    work: Callable[[], Awaitable[None]], scope: anyio.CancelScope, failures: list[Exception]
) -> None:
    """Run one part of a visit; its end is the end of the visit."""
    try:
        await work()
    except Exception as failure:  # noqa: BLE001 - raised again by `_visit`
        failures.append(failure)
        scope.cancel()


def _log(name: str, result: Exchange) -> None:
    level = logging.WARNING if result.ending in (Ending.PARTIAL, Ending.FAILED) else logging.DEBUG
    if result.ending is Ending.CONVERGED and (result.received or result.sent):
        level = logging.INFO
    logger.log(
        level,
        "exchange with %s: %s, received %d, sent %d, %.2f s%s",
        name,
        result.ending,
        result.received,
        result.sent,
        result.seconds,
        f": {result.error}" if result.error else "",
    )
