"""What commands ask of the running daemon (the `Daemon` port of `web/`), each handed to the part that
answers it. Decides nothing itself.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress

import anyio
import anyio.to_thread
import msgspec

from fleetsync import __version__
from fleetsync.app.house import House
from fleetsync.devices import notary
from fleetsync.devices.notes import Direction
from fleetsync.errors import NotFound
from fleetsync.records.names import DeviceId, ReplicaPath, require_name
from fleetsync.sync import status as documents
from fleetsync.sync.exchange import Ending
from fleetsync.sync.status import Device
from fleetsync.web.daemon import Document, Paired
from fleetsync.web.documents import history_document

SELECTED_BY = ("datasets", "include", "exclude", "private")
"""The keys of `[sync]` that say what this device carries."""
RETRY_SECONDS = 0.5
"""Between two tries of `sync --wait`."""
SIGN_SECONDS = 10.0
"""Between two signs of life of a long exchange: whoever waits would take silence for the daemon's end."""


class Commands:
    """The front desk of a house."""

    def __init__(self, house: House) -> None:
        self._house = house

    async def status(self) -> Document:
        """See `Daemon.status`."""
        view = await self._house.engine.view()
        addresses: dict[DeviceId, list[str]] = {}
        for peer in view.peers:
            with suppress(NotFound):  # it is being removed
                addresses[peer.device] = self._house.addresses(peer.device)
        me = Device(
            self._house.device,
            self._house.name,
            __version__,
            self._house.listen,
            str(self._house.settings.home),
        )
        document = documents.status_document(me, view, addresses, time.time())
        sync = self._house.settings.config.sync
        document["selection"] = {name: list(map(str, getattr(sync, name))) for name in SELECTED_BY}
        document["alerts"] += map(msgspec.to_builtins, self._house.alerts())
        return document

    async def peers(self) -> Sequence[Document]:
        """See `Daemon.peers`."""
        peers: list[Document] = (await self.status())["peers"]
        return peers

    async def pause(self, peer: str) -> Document:
        """See `Daemon.pause`."""
        device = self._house.fleet.find(peer).device
        await anyio.to_thread.run_sync(self._house.fleet.pause, device)
        await self._house.engine.pause(device)
        return await self._peer_document(device)

    async def resume(self, peer: str) -> Document:
        """See `Daemon.resume`."""
        device = self._house.fleet.find(peer).device
        await anyio.to_thread.run_sync(self._house.fleet.resume, device)
        await self._house.engine.resume(device)
        return await self._peer_document(device)

    async def rename(self, peer: str, name: str) -> Document:
        """See `Daemon.rename`."""
        device = self._house.fleet.find(peer).device
        note = await anyio.to_thread.run_sync(self._house.fleet.rename, device, name)
        await self._house.engine.rename(device, note.title)
        return await self._peer_document(device)

    async def direct(self, peer: str, direction: Direction) -> Document:
        """See `Daemon.direct`."""
        device = self._house.fleet.find(peer).device
        await anyio.to_thread.run_sync(self._house.fleet.direct, device, direction)
        await self._house.engine.redirect(device, direction)
        return await self._peer_document(device)

    async def remove(self, peer: str) -> Document:
        """See `Daemon.remove`."""
        device = self._house.fleet.find(peer).device
        document = await self._peer_document(device)
        sign = notary.signer(await anyio.to_thread.run_sync(self._house.identity.key))
        await anyio.to_thread.run_sync(self._house.fleet.remove, device, sign)
        await self._house.trust_changed()
        return document

    async def adopt(self, paired: Paired) -> Document:
        """See `Daemon.adopt`."""
        note = await anyio.to_thread.run_sync(
            self._house.fleet.pair, paired.certificate, paired.name, paired.addresses, paired.records
        )
        await self._house.engine.remove_peer(note.device)
        await self._house.trust_changed()
        return await self._peer_document(note.device)

    async def _peer_document(self, device: DeviceId) -> Document:
        found = [document for document in await self.peers() if document["id"] == device]
        if not found:
            raise NotFound(f"{device[:7]} is no peer of this device")
        return found[0]

    async def sync(self, peer: str | None, wait: float | None) -> AsyncIterator[Document]:
        """See `Daemon.sync`."""
        deadline = time.monotonic() + (wait or 0)
        device = self._house.fleet.find(peer).device if peer else None
        while True:
            # A task of its own: whoever asked may go away, and the exchange goes on.
            exchanging = asyncio.ensure_future(self._house.engine.sync_now(device))
            while not (await asyncio.wait([exchanging], timeout=SIGN_SECONDS))[0]:
                yield {}
            exchanges = exchanging.result()
            if all(e.ending is Ending.CONVERGED for e in exchanges) or time.monotonic() >= deadline:
                break
            await anyio.sleep(RETRY_SECONDS)
        yield {"peers": [self._named(documents.exchange_document(exchange)) for exchange in exchanges]}

    async def dry_run(self, peer: str | None) -> Document:
        """See `Daemon.dry_run`."""
        device = self._house.fleet.find(peer).device if peer else None
        exchanges = await self._house.engine.sync_now(device, dry_run=True)
        return {"peers": [self._named(documents.preview_document(exchange)) for exchange in exchanges]}

    def _named(self, document: Document) -> Document:
        """A document about a peer, with its name for people unless it was removed meanwhile."""
        with suppress(NotFound):
            return {**document, "name": self._house.fleet.peer(document["id"]).title}
        return document

    async def restore(self, path: ReplicaPath, version: int | None) -> Document:
        """See `Daemon.restore`."""
        return history_document(
            await self._house.desk.change(lambda _: self._house.replica.restore(path, version))
        )

    async def keep_local(self, path: ReplicaPath) -> Document:
        """See `Daemon.keep_local`."""
        return history_document(await self._house.desk.change(lambda _: self._house.replica.keep_local(path)))

    async def guarded(self) -> Document:
        """See `Daemon.guarded`."""
        held = await self._house.desk.call(lambda _: self._house.replica.guarded)
        return {"cause": held.cause if held else None, "paths": held.paths if held else []}

    async def decide(self, confirm: bool) -> Document:
        """See `Daemon.decide`."""
        document = await self.guarded()
        await self._house.desk.change(lambda _: self._house.replica.decide(confirm=confirm))
        return document

    async def rebuild_stats(self, skill: str) -> None:
        """See `Daemon.rebuild_stats`."""
        log = f"skills/{require_name('skill', skill)}/events.jsonl"
        await self._house.desk.change(lambda _: self._house.replica.rebuild_stats(log))

    async def reload(self) -> None:
        """See `Daemon.reload`."""
        await self._house.reload()

    async def stop(self) -> None:
        """See `Daemon.stop`."""
        self._house.stopped.set()
