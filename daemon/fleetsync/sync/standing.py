"""How this device stands with one peer: what was proven equal, and what a heartbeat leaves in doubt.

An exchange proves, and so does a heartbeat that matches. One that does not match is a doubt, which counts
once nothing is under way that would explain it. Rule of the file: it tells of doubts and settles none; only
an exchange does. Implements SEMANTICS §6.1 (proof) and DESIGN §9 (heartbeats).
"""

from __future__ import annotations

import anyio

from fleetsync.devices.notes import Direction
from fleetsync.ports import Head
from fleetsync.sync.accord import Accord
from fleetsync.sync.exchange import Ending, Exchange, Heads
from fleetsync.sync.local import LocalDevice
from fleetsync.sync.milestones import Milestones
from fleetsync.sync.push import Outbox
from fleetsync.sync.rival import Rival

DOUBT_SECONDS = 0.25
"""How long a heartbeat that does not match may take to come true by itself."""
CALM_SECONDS = 0.75
"""Since the last change here: before that, what differs may still be under way."""
RESTED_SECONDS = 2.0
"""Since the last change here: by then a peer that has changed too has told how it stands."""


class Standing:
    """What is proven with the peer of this outbox, and what is doubted. Create it inside the event loop."""

    def __init__(
        self, local: LocalDevice, accord: Accord, outbox: Outbox, rival: Rival, milestones: Milestones
    ) -> None:
        self.cut_proven = False
        self.remote: Head | None = None
        """The peer's set as it was told last."""
        self._local = local
        self._accord = accord
        self._outbox = outbox
        self._rival = rival
        self._milestones = milestones
        self._compared: tuple[bytes, int] | None = None  # epoch and arrival there that were compared last
        self._doubted = anyio.Event()
        self._uneasy = anyio.Event()

    @property
    def converged_at(self) -> float | None:
        """When the cut was last proven, seconds since 1970."""
        return self._milestones.converged_at(self._outbox.peer)

    @property
    def is_one_way(self) -> bool:
        """Whether items travel in one direction only: then the sets need never match."""
        return self._outbox.direction is not Direction.BOTH or self._accord.is_one_way

    async def common_head(self) -> Head:
        """Of the part of this device's set that the peer carries too."""
        return await self._local.desk.head(self._accord.theirs)

    # --- proof ---------------------------------------------------------------------------------------

    def conclude(self, opening: Heads, result: Exchange) -> None:
        """What an exchange that began with these heads means."""
        heads = result.closing or opening
        self.remote = heads.remote
        self.cut_proven = result.ending is Ending.CONVERGED
        if result.closing is not None:
            self._compared = opening.remote.epoch, opening.remote.arrival
            self._outbox.advance(opening.local)
        if self.cut_proven:
            self._prove(heads if heads.equal else opening)

    def told_equal(self, head: Head) -> None:
        """The peer says that both sets are equal now, or as equal as they may become."""
        theirs = self.remote if self.is_one_way else None
        self._prove(Heads(head, theirs or head))

    def missed(self) -> None:
        """What the peer gave is not here: whatever was proven before says nothing of that."""
        self.cut_proven = False

    def _prove(self, heads: Heads) -> None:
        """The peer has all that `heads.local` stands for, and the other way round."""
        self.cut_proven = True
        self.remote = heads.remote
        self._outbox.advance(heads.local)
        self._milestones.converged(self._outbox.peer, self._local.wall())

    # --- doubt ---------------------------------------------------------------------------------------

    async def match(self, head: Head, *, first: bool) -> None:
        """Hold a heartbeat against this device's set; `first` of a stream tells what came before it."""
        self.remote = head
        heads = Heads(await self.common_head(), head)
        if heads.equal:
            self._prove(heads)
        elif self.is_one_way:
            if first and self._may_lack(head):
                self.doubt()
        elif first or self._is_calm(CALM_SECONDS):
            self.doubt()
        else:
            self._uneasy.set()

    def doubt(self) -> None:
        """The sets may differ."""
        self._doubted.set()

    async def doubted(self) -> None:
        """Wait for a difference that does not come true by itself."""
        while True:
            await self._doubted.wait()
            await anyio.sleep(DOUBT_SECONDS)
            self._doubted = anyio.Event()  # before looking: a doubt that arises meanwhile is another one
            if self.remote is not None and await self.differs(self.remote):
                return

    async def wait_for_calm(self) -> None:
        """For ever: doubt what could not be judged when it was told, for the next heartbeat may be far."""
        while True:
            await self._uneasy.wait()
            while not self._is_calm(RESTED_SECONDS):  # noqa: ASYNC110 - nothing announces that nothing happens
                await anyio.sleep(DOUBT_SECONDS)
            self._uneasy = anyio.Event()
            self.doubt()

    async def differs(self, remote: Head) -> bool:
        """Whether an exchange with a peer whose set is this would move anything."""
        if self.is_one_way:
            return self._may_lack(remote)
        return not Heads(await self.common_head(), remote).equal

    def _may_lack(self, remote: Head) -> bool:
        """Whether a peer from which items only come held some, as its stream began, that no exchange has
        compared. No fingerprint tells: one way only, the sets need never match.
        """
        receives = self._outbox.direction.receives and self._accord.gives
        return receives and self._compared != (remote.epoch, remote.arrival)

    def _is_calm(self, seconds: float) -> bool:
        """Whether nothing is under way, or has been for so long, that would explain a difference."""
        sending = self._outbox.age() > 0 and not self._outbox.left_to_exchange
        return not sending and not self._rival.is_active() and self._outbox.unchanged_for() > seconds
