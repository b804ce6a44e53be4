"""The pairing conversation on the network: a listener that lives as long as a code, and a caller.

Knows TLS, HTTP/1.1 and deadlines; what is said and what it proves is `devices/pairing.py`. Rules of the
file: the listener serves this one conversation and nothing else, to anybody, so everything is small,
few and short; a conversation belongs to one connection, and once it has been answered it must end well
or the code is burnt; the caller tries one address, once. Runs in the process of `fleetsync pair`, never
in the daemon. Implements docs/protocol.md, "Pairing".
"""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from socket import socket
from typing import Any

import anyio
import h11
import msgspec
from anyio.abc import ByteStream, SocketStream
from anyio.streams.tls import TLSAttribute, TLSStream

from fleetsync.devices.identity import Identity
from fleetsync.devices.pairing import LIFE_SECONDS, MAX_MESSAGE, Joiner, Offerer, Paired, Party
from fleetsync.devices.words import Entropy, new_code, parse_code
from fleetsync.errors import (
    FleetsyncError,
    MalformedMessage,
    PairingFailed,
    TooLarge,
    Unreachable,
    Unresponsive,
)
from fleetsync.records.addresses import Address
from fleetsync.wire.messages import Refusal
from fleetsync.wire.sockets import Acceptor, bind
from fleetsync.wire.statuses import error_of, status_of

BEGIN, CONFIRM, FINISH = "/v1/pair/begin", "/v1/pair/confirm", "/v1/pair/finish"
MAX_HEADER_BYTES = 4096
MAX_SHOWN = 200  # characters of a stranger's text in a message to a person

_GONE = (OSError, anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError)


@dataclass(frozen=True)
class Limits:
    """Seconds, and a number of connections."""

    life: float = LIFE_SECONDS
    conversation: float = 30.0  # from the connection to the farewell; nobody types in between
    connections: int = 8  # unfinished conversations; then the oldest goes


# --- offering ----------------------------------------------------------------------------------------


class Offering:
    """A code on offer, and the wait for what becomes of it."""

    def __init__(
        self, own: Identity, me: Party, code: str, *, limits: Limits, entropy: Entropy, wall: float
    ) -> None:
        self.code = code
        self.expires_at = wall + limits.life  # seconds since 1970
        self.addresses: list[Address] = []
        self._limits = limits
        self._context = _server_context(own)
        self._offerer = Offerer(me, code, now=anyio.current_time(), life=limits.life, entropy=entropy)
        self._outcome: Paired | PairingFailed | None = None
        self._settled = anyio.Event()

    async def paired(self) -> Paired:
        """The finished pairing. Raises `PairingFailed` when the code is burnt or has expired."""
        with anyio.move_on_after(self._offerer.expires_at - anyio.current_time()):
            await self._settled.wait()
        self._settle(PairingFailed("the code has expired"))
        assert self._outcome is not None, "settled in the line before"
        if isinstance(self._outcome, PairingFailed):
            raise self._outcome
        return self._outcome

    async def greet(self, connection: socket) -> None:
        """Hold the conversation with whoever has connected; closes the connection."""
        try:
            stream = await SocketStream.from_socket(connection)
        except ValueError:  # how anyio says that it has been reset already
            connection.close()
            return
        try:
            remote = connection.getpeername()[0]
            with anyio.move_on_after(self._limits.conversation):
                secured = await TLSStream.wrap(
                    stream, server_side=True, ssl_context=self._context, standard_compatible=False
                )
                await self._converse(_Server(secured), remote)
        except (*_GONE, FleetsyncError):
            pass  # it has gone or has been told why; whether the code is burnt is settled
        finally:
            await anyio.aclose_forcefully(stream)

    async def _converse(self, http: _Server, remote: str) -> None:
        async with http.refusals():
            answer = self._offerer.answer(await http.request(BEGIN), anyio.current_time())
            try:
                self._settle(_reachable(await self._complete(http, answer), remote))
            except FleetsyncError as error:
                self._settle(PairingFailed(error.message))
                raise
            finally:  # a deadline and a lost connection burn the code too
                self._settle(PairingFailed("the other device went away in the middle; the code is burnt"))

    async def _complete(self, http: _Server, answer: bytes) -> Paired:
        """All that follows the answer; whatever is raised in here burns the code."""
        await http.respond(200, answer)
        await http.respond(200, self._offerer.welcome(await http.request(CONFIRM), anyio.current_time()))
        paired = self._offerer.finish(await http.request(FINISH), anyio.current_time())
        await http.respond(200, b"")
        return paired

    def _settle(self, outcome: Paired | PairingFailed) -> None:
        """The first outcome is the outcome."""
        if self._outcome is None:
            self._outcome = outcome
            self._offerer.abandon()
            self._settled.set()


@asynccontextmanager
async def offer(
    own: Identity,
    me: Party,
    listen: Address,
    *,
    limits: Limits | None = None,
    entropy: Entropy = os.urandom,
    wall: Callable[[], float] = time.time,
) -> AsyncIterator[Offering]:
    """Offer a fresh code, and listen for whoever types it until the block ends.

    Raises `OSError` if the address cannot be had, `IllegalName` for an unusable device name.
    """
    limits = limits or Limits()
    offering = Offering(own, me, new_code(entropy), limits=limits, entropy=entropy, wall=wall())
    acceptor = Acceptor(await bind(listen), offering.greet, limits.connections)
    offering.addresses = acceptor.addresses
    try:
        yield offering
    finally:
        await acceptor.aclose()


# --- joining -----------------------------------------------------------------------------------------


async def join(
    me: Party, code: str, at: Address, *, limits: Limits | None = None, entropy: Entropy = os.urandom
) -> Paired:
    """Pair with the device that offers `code` at this address: one attempt, which may burn the code.

    Raises `UserError` for what is no code, `Unreachable`, `Unresponsive`, `PairingFailed` for a wrong
    code, another `PeerError` for what the other side did.
    """
    code = parse_code(code)
    try:
        with anyio.fail_after((limits or Limits()).conversation):
            return await _join(me, code, at, entropy)
    except TimeoutError as error:
        raise Unresponsive(f"what listens at {at} does not answer in time") from error


async def _join(me: Party, code: str, at: Address, entropy: Entropy) -> Paired:
    stream = await _connect(at)
    try:
        certificate = stream.extra(TLSAttribute.peer_certificate_binary)  # noqa: S610 - anyio's, not Django's
        joiner = Joiner(me, code, certificate or b"", entropy=entropy)
        http = _Client(stream, str(at))
        confirm = joiner.confirm(await http.post(BEGIN, joiner.begin))
        farewell, paired = joiner.finish(await http.post(CONFIRM, confirm))
        await http.post(FINISH, farewell)
        return _reachable(paired, at.host)
    except _GONE as error:
        raise PairingFailed(f"what listens at {at} hung up; is the code still shown there?") from error
    finally:
        await anyio.aclose_forcefully(stream)


async def _connect(at: Address) -> TLSStream:
    try:
        raw = await anyio.connect_tcp(at.host, at.port)
    except OSError as error:
        raise Unreachable(f"nothing answers at {at}: {error.strerror or error}") from error
    try:
        return await TLSStream.wrap(
            raw, server_side=False, ssl_context=_client_context(), standard_compatible=False
        )
    except BaseException as error:
        await anyio.aclose_forcefully(raw)
        if isinstance(error, _GONE):  # TLS errors are OSErrors
            raise PairingFailed(f"what listens at {at} does not offer a pairing") from error
        raise


# --- TLS and addresses -------------------------------------------------------------------------------


def _server_context(own: Identity) -> ssl.SSLContext:
    """Shows this device's certificate and asks for none: strangers are who this is for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = 0
    context.load_cert_chain(own.certificate_path, own.key_path)
    return context


def _client_context() -> ssl.SSLContext:
    """Believes no certificate. TLS proves that the other end holds its key, the code whose it is."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _reachable(paired: Paired, host: str) -> Paired:
    """With the address of the other device's daemon: where it was met, on the port it names."""
    if not paired.port:
        return paired
    with suppress(ValueError):  # a host name is no address
        address = ip_address(host)
        host = str((isinstance(address, IPv6Address) and address.ipv4_mapped) or address)
    return paired._replace(addresses=(str(Address(host, paired.port)),))


# --- HTTP/1.1, bounded ---------------------------------------------------------------------------------


class _Http:
    """One connection's messages, in either role; whatever is not HTTP is `MalformedMessage`."""

    def __init__(self, stream: ByteStream, role: type[Any]) -> None:
        self._stream = stream
        self._state = h11.Connection(role, max_incomplete_event_size=MAX_HEADER_BYTES)

    async def send(self, *events: Any) -> None:
        await self._stream.send(b"".join(self._state.send(event) or b"" for event in events))

    async def head(self, kind: type[Any]) -> Any:
        """The next request or response; the connection's end is `EndOfStream`."""
        event = await self._event()
        if not isinstance(event, kind):
            raise anyio.EndOfStream
        return event

    async def body(self) -> bytes:
        body = b""
        while isinstance(event := await self._event(), h11.Data):
            body += event.data
            if len(body) > MAX_MESSAGE:
                raise TooLarge("a pairing message is larger than any may be")
        return body

    async def _event(self) -> Any:
        try:
            while (event := self._state.next_event()) is h11.NEED_DATA:
                self._state.receive_data(await self._stream.receive(4096))
        except h11.RemoteProtocolError as error:
            raise MalformedMessage(f"not HTTP/1.1: {error}") from error
        return event

    def next_cycle(self) -> None:
        try:
            self._state.start_next_cycle()
        except h11.LocalProtocolError as error:
            raise MalformedMessage("the conversation takes one connection") from error


class _Server(_Http):
    """The listener's side."""

    def __init__(self, stream: ByteStream) -> None:
        super().__init__(stream, h11.SERVER)

    async def request(self, path: str) -> bytes:
        """The body of the next request, which must be this one."""
        if self._state.our_state is not h11.IDLE:
            self.next_cycle()
        head = await self.head(h11.Request)
        if (head.method, head.target) != (b"POST", path.encode()):
            raise MalformedMessage(f"expected POST {path}")
        return await self.body()

    async def respond(self, status: int, body: bytes) -> None:
        headers = [("content-length", str(len(body))), ("content-type", "application/msgpack")]
        response = h11.Response(status_code=status, headers=headers)
        await self.send(response, h11.Data(data=body), h11.EndOfMessage())

    @asynccontextmanager
    async def refusals(self) -> AsyncIterator[None]:
        """Tell the other side why, where it still can be told."""
        try:
            yield
        except FleetsyncError as error:
            status = 409 if isinstance(error, PairingFailed) else status_of(error)
            with suppress(*_GONE, h11.LocalProtocolError):
                await self.respond(status, msgspec.msgpack.encode(Refusal(error.code, error.message)))
            raise


class _Client(_Http):
    """The caller's side; `name` is what it calls the other in errors."""

    def __init__(self, stream: ByteStream, name: str) -> None:
        super().__init__(stream, h11.CLIENT)
        self._name = name

    async def post(self, path: str, body: bytes) -> bytes:
        """The body of the answer; raises what the other side refused with."""
        if self._state.our_state is not h11.IDLE:
            self.next_cycle()
        headers = [("host", "fleetsync"), ("content-length", str(len(body)))]
        request = h11.Request(method="POST", target=path, headers=headers)
        await self.send(request, h11.Data(data=body), h11.EndOfMessage())
        head = await self.head(h11.Response)
        answer = await self.body()
        if head.status_code != 200:
            raise _refused(answer, self._name)
        return answer


def _refused(answer: bytes, name: str) -> FleetsyncError:
    try:
        said = msgspec.msgpack.decode(answer, type=Refusal)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return MalformedMessage(f"what listens at {name} does not offer a pairing")
    text = "".join(c for c in said.message[:MAX_SHOWN] if c.isprintable())
    if said.code == PairingFailed.code:
        return PairingFailed(f"{name} answers: {text}")
    return error_of(Refusal(said.code, text), name)
