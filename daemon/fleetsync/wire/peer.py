"""`Peer`: another device, as an exchange sees it.

Implemented twice: `wire/client.py` over HTTPS, `sync/responder.py` in process, so that two engines
can be joined without a socket. Every call has a deadline of its own and raises `PeerError` for what
the other device did and `LocalError` (in process only) for what its storage could not do. Calls on
one `Peer` may run concurrently. The messages are in `wire/messages.py`, the transactions in
docs/protocol.md.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from fleetsync.records.names import DeviceId
from fleetsync.wire.messages import NO_TERMS, Batch, Frame, Hello, Receipt, RosterOffer, Terms, Want


class Peer(Protocol):
    """One paired device that can be called."""

    @property
    def device(self) -> DeviceId:
        """Who it is, proven by its certificate."""

    async def hello(self, terms: Terms = NO_TERMS) -> Hello:
        """Its state now, as far as both carry it by `terms`, which count until the next hello.

        A peer that knows nothing of terms answers as if there were none. Raises `NotTrusted`,
        `Unreachable`, `ProtocolMismatch`.
        """

    async def reconcile(self, message: bytes) -> bytes:
        """One Negentropy V1 message, answered; both at most 1 MiB."""

    def items(self, want: Want) -> AbstractAsyncContextManager[AsyncIterator[Batch]]:
        """The wanted bodies as batches; the iterator ends after the last one.

        Ids that are no members there are silently left out; a broken stream raises, never ends.
        """

    async def offer(self, batch: Batch) -> Receipt:
        """Give it bodies; it answers what became of each."""

    def changes(self) -> AbstractAsyncContextManager[AsyncIterator[Frame]]:
        """Batches and heartbeats as they appear there, from now on, until closed or broken.

        The first frame is a heartbeat. Lines that came from this device are not sent back.
        """

    async def roster(self, offer: RosterOffer) -> RosterOffer:
        """Swap rosters: it takes what it may believe and answers with all that it knows."""

    async def aclose(self) -> None:
        """Drop its connections; idempotent."""
