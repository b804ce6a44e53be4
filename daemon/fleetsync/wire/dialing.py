"""Reaching one paired device over any of its addresses: TCP, then TLS, then its certificate.

Knows sockets and certificates; knows nothing of HTTP, which sees this as a network backend whose
connections are already encrypted. Rule of the file: an address is a rumour. Attempts are staggered,
the first one at which exactly the expected device answers wins, and what every other one met
is told in the error. Implements docs/protocol.md, "Connection".
"""

# ruff: noqa: ARG002, S610 - httpcore gives the signatures; anyio's `extra` is not Django's

from __future__ import annotations

import asyncio
import errno
import os
import select
import socket
import ssl
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import anyio
import httpcore
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.tls import TLSAttribute, TLSStream

from fleetsync.devices.roster import device_of
from fleetsync.errors import NetworkForbidden, NotTrusted, PeerError, Unreachable
from fleetsync.records.addresses import Address
from fleetsync.records.names import DeviceId
from fleetsync.wire.sockets import ANXIOUS, QUIET, probe, tune

STAGGER_SECONDS = 0.25
ANXIOUS_AFTER_SECONDS = 1.0
"""Of silence where an answer is due."""
BLOCKED_WITHIN_SECONDS = 0.1
"""No route to a host of the own network, known so soon, is macOS refusing rather than the network."""


class Traffic:
    """Bytes of TCP payload, TLS records and handshakes included, over all connections to a peer."""

    def __init__(self) -> None:
        self.bytes_in = 0
        self.bytes_out = 0


class Dialer(httpcore.AsyncNetworkBackend):
    """Connects to one device; `addresses` is asked at each attempt, best first."""

    def __init__(
        self,
        device: DeviceId,
        name: str,
        context: ssl.SSLContext,
        addresses: Callable[[], Sequence[Address]],
        traffic: Traffic,
    ) -> None:
        self.reached: Address | None = None  # where it was found last
        self._device = device
        self._name = name
        self._context = context
        self._addresses = addresses
        self._traffic = traffic

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """A connection to the device, wherever it is found; host, port and options do not matter.

        Raises `NotTrusted` if only other devices answer, `Unreachable` if none does.
        """
        candidates = sorted(self._addresses(), key=lambda address: address != self.reached)
        if not candidates:
            raise Unreachable(f"no address of {self._name} is known")
        race = _Race(self._connect)
        connection = await race.run(candidates)
        if connection is None:
            raise _explain(self._name, race.failures, race.seconds, sys.platform)
        self.reached = race.won_at
        return connection

    async def _connect(self, address: Address) -> Connection:
        raw = await anyio.connect_tcp(address.host, address.port)
        connection = raw.extra(SocketAttribute.raw_socket)
        try:
            tune(connection)
            probe(connection, ANXIOUS)
            encrypted = await self._encrypted(_Counted(raw, self._traffic))
            probe(connection, QUIET)
            return Connection(encrypted)
        except BaseException:
            await anyio.aclose_forcefully(raw)
            raise

    async def _encrypted(self, raw: ByteStream) -> TLSStream:
        stream = await TLSStream.wrap(
            raw, server_side=False, ssl_context=self._context, standard_compatible=False
        )
        certificate = stream.extra(TLSAttribute.peer_certificate_binary)
        if certificate is None or device_of(certificate) != self._device:
            raise ssl.SSLCertVerificationError("another certificate")
        return stream


class _Race:
    """Attempts at several addresses, each starting when the one before has failed or takes long."""

    def __init__(self, connect: Callable[[Address], Any]) -> None:
        self.failures: dict[Address, Exception] = {}
        self.won_at: Address | None = None
        self.seconds = 0.0
        self._connect = connect
        self._connection: Connection | None = None
        self._settled = anyio.Event()

    async def run(self, candidates: Sequence[Address]) -> Connection | None:
        """The connection that was made first, None if none was; the others are closed."""
        began = time.monotonic()
        try:
            async with anyio.create_task_group() as attempts:
                for address in candidates:
                    self._settled = anyio.Event()
                    attempts.start_soon(self._attempt, address, attempts.cancel_scope)
                    with anyio.move_on_after(STAGGER_SECONDS):
                        await self._settled.wait()
        except BaseException:
            if self._connection is not None:  # won at the moment of being given up
                with anyio.CancelScope(shield=True):
                    await self._connection.aclose()
            raise
        self.seconds = time.monotonic() - began
        return self._connection

    async def _attempt(self, address: Address, race: anyio.CancelScope) -> None:
        try:
            connection = await self._connect(address)
        except (OSError, ValueError, anyio.BrokenResourceError, anyio.EndOfStream) as error:
            self.failures[address] = error  # ValueError: no name that could be looked up
        else:
            if self._connection is None:
                self._connection, self.won_at = connection, address
                race.cancel()
            else:
                await connection.aclose()
        self._settled.set()


def _explain(name: str, failures: Mapping[Address, Exception], seconds: float, platform: str) -> PeerError:
    """What a person should know about a device that was found at no address."""
    causes = {address: _cause(error) for address, error in failures.items()}
    text = "; ".join(f"{address}: {_reason(error)}" for address, error in causes.items())
    if any(isinstance(error, ssl.SSLCertVerificationError) for error in causes.values()):
        return NotTrusted(f"{name} was not found; {text}")
    no_route = any(getattr(error, "errno", None) == errno.EHOSTUNREACH for error in causes.values())
    if platform == "darwin" and no_route and seconds < BLOCKED_WITHIN_SECONDS:
        return NetworkForbidden(f"{name} cannot be reached; {text}")
    return Unreachable(f"{name} cannot be reached; {text}")


def _cause(error: BaseException) -> BaseException:
    """What the system said; anyio wraps it, for a name with several addresses in a group."""
    cause = error.__cause__
    if isinstance(cause, BaseExceptionGroup):
        cause = cause.exceptions[0]
    return cause if isinstance(error, OSError) and isinstance(cause, OSError) else error


def _reason(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return "another device answers there"
    if isinstance(error, ssl.SSLError):
        return f"what answers there is not fleetsync ({error.reason or error})"
    if isinstance(error, anyio.BrokenResourceError | anyio.EndOfStream):
        return "it hung up during the handshake"
    if isinstance(error, socket.gaierror) or not isinstance(error, OSError) or not error.errno:
        return str(error).lower()
    return os.strerror(error.errno).lower()


class _Counted(ByteStream):
    """A TCP stream that counts what passes."""

    def __init__(self, stream: ByteStream, traffic: Traffic) -> None:
        self._stream = stream
        self._traffic = traffic

    async def receive(self, max_bytes: int = 65536) -> bytes:
        data = await self._stream.receive(max_bytes)
        self._traffic.bytes_in += len(data)
        return data

    async def send(self, item: bytes) -> None:
        self._traffic.bytes_out += len(item)
        await self._stream.send(item)

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def aclose(self) -> None:
        await self._stream.aclose()

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return self._stream.extra_attributes


class HungUp(httpcore.ReadError):
    """The connection was closed in order before a single byte had come over it.

    So it looks to a caller whose certificate is refused: in TLS 1.3 its own handshake is over before
    the other side judges it. A reset looks otherwise, and says nothing about trust.
    """


class Connection(httpcore.AsyncNetworkStream):
    """An encrypted connection as the HTTP client sees it.

    Its end is an error here: our peers announce where each answer ends, so an end that was not
    announced is always a connection lost.
    """

    def __init__(self, stream: TLSStream) -> None:
        self._stream = stream
        self._ended: type[httpcore.ReadError] = HungUp

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Some bytes; the caller has the deadline, and `timeout` only says that an answer is due. Raises
        `httpcore.ReadError`, or `HungUp`, at the end.
        """
        try:
            with self._anxious() if timeout is not None else nullcontext():
                data = await self._stream.receive(max_bytes)
        except anyio.EndOfStream as error:
            raise self._ended("it was closed") from error
        except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            raise httpcore.ReadError(_breakage(error)) from error
        self._ended = httpcore.ReadError
        return data

    @contextmanager
    def _anxious(self) -> Iterator[None]:
        """Whoever waits for an answer sends nothing, and so would not learn that the connection is gone."""
        connection = self._stream.extra(SocketAttribute.raw_socket)
        loop = asyncio.get_running_loop()
        timer = loop.call_later(ANXIOUS_AFTER_SECONDS, probe, connection, ANXIOUS)
        due = timer.when()
        try:
            yield
        finally:
            timer.cancel()
            if loop.time() >= due:
                probe(connection, QUIET)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """All of the bytes; the caller has the deadline. Raises `httpcore.WriteError`."""
        if not buffer:
            return
        try:
            await self._stream.send(buffer)
        except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            raise httpcore.WriteError(_breakage(error)) from error

    async def aclose(self) -> None:
        """Drop the connection."""
        await self._stream.aclose()

    def get_extra_info(self, info: str) -> Any:
        """`is_readable`: whether a quiet connection has something to say, which can only be its end."""
        if info == "is_readable":
            return _readable(self._stream.extra(SocketAttribute.raw_socket))
        return None


def _breakage(error: BaseException) -> str:
    reset = isinstance(error, ConnectionResetError) or isinstance(error.__cause__, ConnectionResetError)
    return "it was reset" if reset else str(error) or "it was closed"


def _readable(connection: socket.socket) -> bool:
    if connection.fileno() < 0:
        return True
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(0))
