"""The fleet as the engine sees it: the roster to exchange, the milestones to remember, clones to refuse."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable

import anyio
import anyio.to_thread

from fleetsync.devices.trust import Changes, Fleet
from fleetsync.errors import NotFound
from fleetsync.records.names import DeviceId
from fleetsync.wire.messages import RosterOffer

logger = logging.getLogger(__name__)


class FleetRoster:
    """The `RosterBook` of sync over a `Fleet`. `changed` is awaited when there are new records."""

    def __init__(self, fleet: Fleet, name: str, port: int, changed: Callable[[], Awaitable[None]]) -> None:
        self.name = name
        self._fleet = fleet
        self._port = port
        self._changed = changed
        self._hosts: dict[DeviceId, str] = {}

    def met(self, device: DeviceId, host: str) -> None:
        """A device has called from this host: there, at the port it is known by, it can be called."""
        self._hosts[device] = host
        known = next((note.addresses for note in self._fleet.peers() if note.device == device), ())
        port = known[0].rpartition(":")[2] if known else ""
        self._fleet.note_contact(device, time.time(), address=_at(host, int(port)) if port else "")

    def digest(self) -> bytes:
        """See `RosterBook.digest`."""
        return self._fleet.digest()

    def offer(self) -> RosterOffer:
        """See `RosterBook.offer`."""
        records, addresses = self._fleet.offer()
        return RosterOffer(records, addresses, self.name, self._port)

    async def take(self, offer: RosterOffer, sender: DeviceId) -> bool:
        """See `RosterBook.take`; signatures are checked in a child process. What has begun is done to the
        end, whatever becomes of the link that asked: records that are known are never news again.
        """
        with anyio.CancelScope(shield=True):
            changes = await self._take(offer, sender)
        return bool(changes.added or changes.removed)

    async def _take(self, offer: RosterOffer, sender: DeviceId) -> Changes:
        changes = await anyio.to_thread.run_sync(self._fleet.take, offer.records)
        if changes.forged or changes.malformed:
            logger.warning(
                "peer %s offered %d forged and %d malformed roster records: none was believed",
                sender,
                changes.forged,
                changes.malformed,
            )
        self._fleet.note_addresses(offer.addresses)
        host = self._hosts.get(sender)
        address = _at(host, offer.port) if host and offer.port else ""
        self._fleet.note_contact(sender, time.time(), address=address, name=offer.name)
        if changes.new:  # perhaps without consequence here; the next device judges for itself
            await self._changed()
        return changes

    def trusts(self, device: DeviceId) -> bool:
        """See `RosterBook.trusts`."""
        return device in self._fleet.trusted()


class FleetMilestones:
    """The `Milestones` of sync, kept in the fleet's notes."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def known_since(self, device: DeviceId, now: float) -> float:
        """See `Milestones.known_since`; written by the next `Fleet.flush`."""
        try:
            return self._fleet.note_known(device, now)
        except NotFound:
            return now

    def converged_at(self, device: DeviceId) -> float | None:
        """See `Milestones.converged_at`."""
        try:
            return self._fleet.peer(device).last_converged_at
        except NotFound:
            return None

    def converged(self, device: DeviceId, at: float) -> None:
        """See `Milestones.converged`; written by the next `Fleet.flush`."""
        self._fleet.note_converged(device, at)


def _at(host: str, port: int) -> str:
    host = host.removeprefix("::ffff:")  # how a dual-stack socket shows an IPv4 caller
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
