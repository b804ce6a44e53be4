"""The port on which paired devices call: mutual TLS in front of an ASGI application.

Knows certificates and connections; knows neither requests nor storage. Rule of the file: nobody
unpaired gets a byte. The handshake accepts the certificates of paired devices only, the fingerprint is
looked up again when the connection is made, and a device that is no longer trusted loses its live
connections at once. uvicorn lends its bounded HTTP/1.1 protocol class, not its server: that one
wakes ten times a second. Implements docs/protocol.md, "Connection".
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.server import ServerState

from fleetsync.devices.identity import Identity
from fleetsync.devices.roster import device_of
from fleetsync.records.addresses import Address
from fleetsync.records.names import DeviceId
from fleetsync.wire import tls
from fleetsync.wire.sockets import Acceptor, Greet, bind

logger = logging.getLogger(__name__)

MAX_HEADER_BYTES = 8192
ASGIApp = Callable[
    [
        MutableMapping[str, Any],
        Callable[[], Awaitable[MutableMapping[str, Any]]],
        Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ],
    Awaitable[None],
]


@dataclass(frozen=True)
class Limits:
    """Deadlines in seconds, and counts of connections."""

    handshake: float = 10.0
    header: float = 30.0  # from the first byte of a request, or from the handshake, to its last header
    idle: float = 900.0  # longer than two anti-entropy intervals, so that a quiet pair stays connected
    closing: float = 5.0  # for the last bytes, and the other side's goodbye, once a connection closes
    farewell: float = 0.5  # what requests under way get when the listener closes
    unfinished: int = 64  # connections that have not finished their handshake; then the oldest goes
    per_device: int = 16  # connections of one device; then its oldest goes


@dataclass(frozen=True)
class Caller:
    """Who makes a request: the application finds it as `scope["state"]["caller"]`."""

    device: DeviceId
    hang_up: Callable[[], None]


class Listener:
    """Serves an application to exactly the devices it is told to trust; initially to nobody."""

    def __init__(
        self,
        app: ASGIApp,
        own: Identity,
        limits: Limits | None = None,
        met: Callable[[DeviceId, str], None] = lambda _device, _host: None,
    ) -> None:
        """`met` is told of every new connection: who called, and from which host."""
        self.limits = limits or Limits()
        self._met = met
        self._own = own
        self._trusted: frozenset[DeviceId] = frozenset()
        self._context = tls.server_context(own, [])
        self._live: dict[DeviceId, list[_Connection]] = {}
        self._config = _config(app, self.limits)
        self._state = ServerState()
        self._acceptor: Acceptor | None = None

    async def start(self, listen: Address) -> None:
        """Begin to accept. Raises `OSError` if the address cannot be had."""
        greet: Greet = self._shake_hands
        self._acceptor = Acceptor(await bind(listen), greet, self.limits.unfinished)

    @property
    def addresses(self) -> list[Address]:
        """Where it listens; empty before `start` and after `aclose`."""
        return self._acceptor.addresses if self._acceptor else []

    @property
    def callers(self) -> dict[DeviceId, int]:
        """The devices that are connected now, and by how many connections."""
        return {device: len(connections) for device, connections in self._live.items()}

    def trust(self, certificates: Mapping[DeviceId, bytes]) -> None:
        """From now on trust exactly these devices (certificates in DER).

        Others that are connected are cut off before this returns; nobody else notices.
        """
        self._trusted = frozenset(certificates)
        for device in self._live.keys() - self._trusted:
            for connection in self._live.pop(device):
                connection.hang_up()
        # Last, since it reads files: without a descriptor to spare nobody new is let in, and nobody stays.
        self._context = tls.server_context(self._own, certificates.values())

    async def aclose(self) -> None:
        """Stop accepting, let requests under way finish for a moment, then cut them; idempotent."""
        if self._acceptor is not None:
            await self._acceptor.aclose()
        for connection in self._connections():
            if not connection.transport.is_closing():
                connection.shutdown()
        await self._tasks_done(self.limits.farewell)
        for connection in self._connections():
            connection.hang_up()
        await self._tasks_done(self.limits.farewell)
        for task in self._state.tasks:
            task.cancel()

    def _connections(self) -> list[_Connection]:
        return [connection for connections in self._live.values() for connection in connections]

    async def _tasks_done(self, seconds: float) -> None:
        if self._state.tasks:
            await asyncio.wait(self._state.tasks, timeout=seconds)

    async def _shake_hands(self, connection: socket.socket) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: _Connection(self._config, self._state, self),
                connection,
                ssl=self._context,
                ssl_handshake_timeout=self.limits.handshake,
                ssl_shutdown_timeout=self.limits.closing,
            )
        except BaseException as error:  # noqa: BLE001 - raised again, without what hangs on it
            # asyncio goes on with a handshake that is given up before it has begun; this ends it.
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            # Its frames hold the error and the error its frames: half a megabyte for every stranger,
            # until the collector comes by, which is seldom (`app/serve.py`).
            raise error.with_traceback(None) from None

    def admit(self, device: DeviceId, connection: _Connection) -> bool:
        """Take note of a new connection; False if the device has lost its trust meanwhile."""
        if device not in self._trusted:
            return False
        others = self._live.setdefault(device, [])
        others.append(connection)
        if len(others) > self.limits.per_device:
            others.pop(0).hang_up()
        self._met(device, str(connection.transport.get_extra_info("peername")[0]))
        return True

    def dismiss(self, device: DeviceId, connection: _Connection) -> None:
        """The connection is gone."""
        left = [other for other in self._live.get(device, []) if other is not connection]
        if left:
            self._live[device] = left
        else:
            self._live.pop(device, None)


def _config(app: ASGIApp, limits: Limits) -> uvicorn.Config:
    config = uvicorn.Config(
        app,
        http=_Connection,
        ws="none",
        lifespan="off",
        loop="none",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=limits.idle,  # type: ignore[arg-type] # passed on to call_later as it is
        h11_max_incomplete_event_size=MAX_HEADER_BYTES,
    )
    config.load()
    return config


class _Connection(H11Protocol):
    """One connection of one paired device.

    uvicorn bounds the size of a request's head and the idle time between requests, but not the time
    that a head may take, nor that of a body nobody waits for any more: `_head_due` does.
    """

    def __init__(self, config: uvicorn.Config, state: ServerState, listener: Listener) -> None:
        super().__init__(config, state, {})
        self._listener = listener
        self._device = DeviceId("")
        self._head_due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._device = device_of(transport.get_extra_info("ssl_object").getpeercert(True))
        if not self._listener.admit(self._device, self):
            transport.abort()
            return
        self.app_state = {"caller": Caller(self._device, self.hang_up)}
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_arrived()
        self._unset_keepalive_if_required()
        self._listener.dismiss(self._device, self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        try:
            super().data_received(data)
        except h11.LocalProtocolError:  # broken framing while the answer is already on its way
            self.hang_up()
            return
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or cycle.response_complete:
            self._expect_head()
        else:
            self._head_arrived()

    def hang_up(self) -> None:
        """Cut the connection now, whatever is under way on it."""
        self.transport.abort()

    def _expect_head(self) -> None:
        # Armed by the first byte only: a byte a second must not buy more time.
        if self._head_due is None and not self.transport.is_closing():
            self._head_due = self.loop.call_later(self._listener.limits.header, self.hang_up)

    def _head_arrived(self) -> None:
        if self._head_due is not None:
            self._head_due.cancel()
            self._head_due = None
