"""Two paired devices on loopback: a real listener with a fake peer behind it, and real callers."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import anyio
from anyio.abc import ByteStream
from anyio.streams.tls import TLSStream

from fleetsync.devices.identity import Identity
from fleetsync.records.addresses import Address
from fleetsync.wire import tls
from fleetsync.wire.client import Deadlines, HttpPeer
from fleetsync.wire.listener import Limits, Listener
from fleetsync.wire.server import Patience, application
from tests.fakes.devices import make_device
from tests.fakes.peer import FakePeer

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Wire:
    """One device that serves, and everything needed to call it."""

    directory: Path
    server: Identity
    caller: Identity
    fake: FakePeer
    listener: Listener

    @property
    def address(self) -> Address:
        """Where the serving device listens."""
        return self.listener.addresses[0]

    def stranger(self) -> Identity:
        """A device that nobody knows."""
        return make_device(self.directory, f"stranger{len(list(self.directory.iterdir()))}")

    @asynccontextmanager
    async def peer(
        self, identity: Identity | None = None, *addresses: Address, **deadlines: float
    ) -> AsyncIterator[HttpPeer]:
        """The serving device as another one sees it."""
        peer = HttpPeer(
            self.server.certificate,
            identity or self.caller,
            lambda: addresses or (self.address,),
            name="laptop",
            deadlines=Deadlines(**deadlines),
        )
        try:
            yield peer
        finally:
            await peer.aclose()

    @asynccontextmanager
    async def raw(self, identity: Identity | None = None) -> AsyncIterator[TLSStream]:
        """An encrypted connection of a paired device that may say anything on it."""
        context = tls.client_context(identity or self.caller, self.server.certificate)
        async with await encrypted(self.address, context) as stream:
            yield stream


async def encrypted(address: Address, context: ssl.SSLContext) -> TLSStream:
    """A TLS connection as that context makes it."""
    raw = await anyio.connect_tcp(*address)
    try:
        return await TLSStream.wrap(raw, server_side=False, ssl_context=context, standard_compatible=False)
    except BaseException:
        await anyio.aclose_forcefully(raw)
        raise


@asynccontextmanager
async def wire(
    directory: Path, limits: Limits | None = None, patience: Patience | None = None
) -> AsyncIterator[Wire]:
    """A listening device that trusts one caller."""
    server, caller = make_device(directory, "server"), make_device(directory, "caller")
    fake = FakePeer(server.device)
    listener = Listener(application(lambda _: fake, patience), server, limits)
    await listener.start(Address("127.0.0.1", 0))
    listener.trust({caller.device: caller.certificate})
    try:
        yield Wire(directory, server, caller, fake, listener)
    finally:
        await listener.aclose()


async def read_until_closed(stream: ByteStream, seconds: float = 5.0) -> bytes:
    """All that comes before the other side closes or resets; `TimeoutError` if it does neither."""
    data = b""
    with anyio.fail_after(seconds):
        while True:
            try:
                data += await stream.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError, OSError):
                return data


@asynccontextmanager
async def impostor(identity: Identity, trusted: bytes, talk: Talk) -> AsyncIterator[Address]:
    """A TLS server of a paired device that speaks whatever `talk(reader, writer)` does."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.CancelledError):
            await talk(reader, writer)
        writer.transport.abort()

    context = tls.server_context(identity, [trusted])
    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context)
    try:
        yield Address(*server.sockets[0].getsockname()[:2])
    finally:
        server.close()
