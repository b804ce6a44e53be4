"""`HttpPeer`: another device over HTTPS.

Knows HTTP and the messages; where the device is and who it proves to be is `dialing`'s. The only module
that imports httpx. Rule of the file: no foreign exception leaves it, everything has a deadline, what is
read is bounded before it is kept, and a request whose connection breaks before its answer has come is made
again on another one (each may be repeated without harm). Implements docs/protocol.md, "HTTP binding".
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, contextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar, cast

import anyio
import httpcore

# httpx imports its command line, and with it a terminal library, unless it is not to be had: 6 MB.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]

import httpx  # noqa: E402 - only after the line above

from fleetsync.devices.identity import Identity  # noqa: E402
from fleetsync.devices.roster import device_of  # noqa: E402
from fleetsync.errors import (  # noqa: E402
    DishonestPeer,
    MalformedMessage,
    NotTrusted,
    PeerError,
    PeerInTrouble,
    ProtocolMismatch,
    TooLarge,
    UnknownRequest,
    Unreachable,
    Unresponsive,
)
from fleetsync.records.addresses import Address  # noqa: E402
from fleetsync.records.names import DeviceId  # noqa: E402
from fleetsync.wire import codec, tls  # noqa: E402
from fleetsync.wire.allowance import allowance  # noqa: E402
from fleetsync.wire.dialing import Dialer, HungUp, Traffic  # noqa: E402
from fleetsync.wire.messages import (  # noqa: E402
    INSTANCE_HEADER,
    MAX_ENCODED,
    MAX_RECONCILE,
    NO_TERMS,
    PROTOCOL_MAX,
    PROTOCOL_MIN,
    SILENCE_SECONDS,
    Batch,
    Frame,
    Hello,
    Receipt,
    Refusal,
    RosterOffer,
    Terms,
    Want,
)
from fleetsync.wire.statuses import error_of  # noqa: E402

T = TypeVar("T")

MAX_CONNECTIONS = 8
TRIES = 3
"""New connections on which one request may break before it has failed."""
MAX_REFUSAL = 64 << 10
IDLE_SECONDS = 600.0  # less than the listener's, so that this side is the one that lets go


@dataclass(frozen=True)
class Deadlines:
    """In seconds, each for the whole of what it names, and its bytes' `allowance` more."""

    answer: float = 30.0  # connect, ask, and read a small answer or the head of a stream
    offer: float = 120.0  # as above, with the other side writing up to 16 MiB to its disk
    frame: float = 60.0  # from one frame of wanted items to the next
    silence: float = SILENCE_SECONDS  # from one frame of a change stream to the next


def agree(hello: Hello, name: str) -> int:
    """The highest protocol version that both speak. Raises `ProtocolMismatch`, naming both ranges."""
    version = min(hello.protocol_max, PROTOCOL_MAX)
    if version < max(hello.protocol_min, PROTOCOL_MIN):
        raise ProtocolMismatch(
            f"{name} speaks protocol versions {hello.protocol_min} to {hello.protocol_max}, "
            f"this device {PROTOCOL_MIN} to {PROTOCOL_MAX}"
        )
    return version


class HttpPeer:
    """A paired device that is called over HTTPS; implements `Peer`.

    Needs no opening; after `aclose` the next call connects again. `instance` is this device's own, which
    every call shows. `traffic` counts all bytes on its
    TCP connections; `reached` is the address at which it answered last.
    """

    def __init__(
        self,
        certificate: bytes,
        own: Identity,
        addresses: Callable[[], Sequence[Address]],
        *,
        name: str = "",
        instance: bytes = b"",
        deadlines: Deadlines | None = None,
    ) -> None:
        self._headers = {INSTANCE_HEADER: instance.hex()} if instance else {}
        self._device = device_of(certificate)
        self._name = name or self._device[:7]
        self.traffic = Traffic()
        self._deadlines = deadlines or Deadlines()
        context = tls.client_context(own, certificate)
        self._dialer = Dialer(self._device, self._name, context, addresses, self.traffic)
        self._client: httpx.AsyncClient | None = None
        self._version = PROTOCOL_MIN

    @property
    def device(self) -> DeviceId:
        """Who it is: the hash of the certificate that it must present."""
        return self._device

    @property
    def reached(self) -> Address | None:
        """The address at which it answered last, None if it never did."""
        return self._dialer.reached

    async def hello(self, terms: Terms = NO_TERMS) -> Hello:
        """Its state now, and agreement on a protocol version. See `Peer.hello`."""
        # The path of this one request is the same in all versions: agreement begins with it.
        hello = codec.decode(await self._greeted(terms), Hello)
        if hello.device != self._device:
            raise DishonestPeer(f"{self._name} claims to be {hello.device[:52]}")
        self._version = agree(hello, self._name)
        return hello

    async def _greeted(self, terms: Terms) -> bytes:
        if terms != NO_TERMS:
            with suppress(UnknownRequest):  # it is older than terms
                return await self._ask("POST", "/v1/hello", codec.encode(terms))
        return await self._ask("GET", "/v1/hello")

    async def reconcile(self, message: bytes) -> bytes:
        """See `Peer.reconcile`."""
        if len(message) > MAX_RECONCILE:
            raise TooLarge(f"a reconciliation message of {len(message)} bytes")
        return await self._ask("POST", self._path("reconcile"), message, limit=MAX_RECONCILE)

    async def offer(self, batch: Batch) -> Receipt:
        """See `Peer.offer`."""
        body = codec.encode(batch)
        answer = await self._ask("POST", self._path("items"), body, seconds=self._deadlines.offer)
        return codec.decode_receipt(answer)

    async def roster(self, offer: RosterOffer) -> RosterOffer:
        """See `Peer.roster`."""
        return codec.decode(await self._ask("POST", self._path("roster"), codec.encode(offer)), RosterOffer)

    def items(self, want: Want) -> AbstractAsyncContextManager[AsyncIterator[Batch]]:
        """See `Peer.items`; more than `MAX_WANTED` ids or `MAX_SPANS` spans are refused there."""
        return aclosing(self._items(want))

    def changes(self) -> AbstractAsyncContextManager[AsyncIterator[Frame]]:
        """See `Peer.changes`; `Unresponsive` after a silence of `SILENCE_SECONDS`."""
        return aclosing(self._frames("GET", self._path("changes"), b"", self._deadlines.silence, due=False))

    async def aclose(self) -> None:
        """Drop its connections; idempotent."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    # --- how a request is made ---------------------------------------------------------------------

    def _path(self, request: str) -> str:
        return f"/v{self._version}/{request}"

    async def _ask(
        self, method: str, path: str, body: bytes = b"", *, limit: int = MAX_ENCODED, seconds: float = 0
    ) -> bytes:
        seconds = (seconds or self._deadlines.answer) + allowance(len(body))
        with self._translated(), anyio.fail_after(seconds) as patience:

            async def answered(attempt: _Attempt) -> bytes:
                async with aclosing(await self._start(attempt, method, path, body, due=True)) as answer:
                    return await _whole(answer, limit, patience)

            return await self._persist(answered)

    async def _items(self, want: Want) -> AsyncGenerator[Batch]:
        path, body = self._path("items/get"), codec.encode(want)
        async with aclosing(self._frames("POST", path, body, self._deadlines.frame)) as frames:
            async for frame in frames:
                if isinstance(frame, Batch):
                    yield frame

    async def _frames(
        self, method: str, path: str, body: bytes, seconds: float, *, due: bool = True
    ) -> AsyncGenerator[Frame]:
        async def begun(attempt: _Attempt) -> tuple[_Payloads, bytes | None]:
            with anyio.fail_after(self._deadlines.answer + allowance(len(body))):
                payloads = _Payloads(await self._start(attempt, method, path, body, due=due))
            try:
                return payloads, await payloads.next(seconds)
            except BaseException:
                await payloads.aclose()
                raise

        with self._translated():
            payloads, payload = await self._persist(begun)
            async with aclosing(payloads):
                while payload is not None:
                    yield codec.decode_frame(payload)
                    payload = await payloads.next(seconds)
                payloads.finish()

    async def _start(
        self, attempt: _Attempt, method: str, path: str, body: bytes, *, due: bool
    ) -> httpx.Response:
        """The answer to a request, with its body still to come; `due` if the peer has no reason to be silent.
        Raises what the peer refused.
        """
        answer = await attempt.client.send(
            httpx.Request(
                method,
                f"http://peer{path}",
                headers=self._headers,
                content=body or None,
                extensions={
                    "trace": attempt.trace,
                    "timeout": {"read": self._deadlines.answer if due else None},
                },
            ),
            stream=True,
        )
        if answer.status_code == 200:
            return answer
        async with aclosing(answer):
            raise await self._refused(answer)

    async def _persist(self, ask: Callable[[_Attempt], Awaitable[T]]) -> T:
        """Ask until there is an answer, or `TRIES` new connections have broken.

        A kept connection may break without counting: the peer may have closed it meanwhile, and where each
        carries only so many bytes, those of the requests before count too.
        """
        client = self._client = self._client or _client(self._dialer)
        broken: list[httpcore.NetworkError] = []
        while True:
            attempt = _Attempt(client)
            try:
                return await ask(attempt)
            except httpcore.NetworkError as error:
                if client is not self._client:
                    raise Unreachable(f"the connections to {self._name} were dropped") from error
                broken += [error] * attempt.is_fresh
                # A refusing host hangs up, but where the request had come by then its system resets.
                if len(broken) == TRIES and any(isinstance(each, HungUp) for each in broken):
                    raise NotTrusted(
                        f"{self._name} closed the connection without a word: not trusted by that peer?"
                    ) from error
                if len(broken) == TRIES:
                    raise

    async def _refused(self, answer: httpx.Response) -> PeerError:
        try:
            return error_of(codec.decode(await _whole(answer, MAX_REFUSAL), Refusal), self._name)
        except (MalformedMessage, TooLarge):
            return PeerInTrouble(f"{self._name} answers with HTTP status {answer.status_code}")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (TimeoutError, httpcore.TimeoutException) as error:
            raise Unresponsive(f"{self._name} did not answer in time") from error
        except httpcore.ProtocolError as error:
            raise MalformedMessage(f"{self._name} breaks the rules of HTTP: {error}") from error
        except httpcore.NetworkError as error:
            raise Unreachable(f"the connection to {self._name} broke: {error}") from error


class _Attempt:
    """Whether a request had to open a connection: that decides what a lost one means."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client
        self.is_fresh = False

    async def trace(self, event: str, _: object) -> None:
        if event == "connection.connect_tcp.complete":
            self.is_fresh = True


async def _whole(answer: httpx.Response, limit: int, patience: anyio.CancelScope | None = None) -> bytes:
    body = bytearray()
    async for chunk in answer.aiter_raw():
        body += chunk
        if patience is not None:
            patience.deadline += allowance(len(chunk))
        if len(body) > limit:
            raise TooLarge(f"an answer over the limit of {limit} bytes")
    return bytes(body)


class _Payloads:
    """An answer read as a stream of frames; to be closed."""

    def __init__(self, answer: httpx.Response) -> None:
        self._answer = answer
        self._chunks = cast(AsyncGenerator[bytes], answer.aiter_raw())
        self._reader = codec.FrameReader()

    async def next(self, seconds: float) -> bytes | None:
        """The next complete payload, None at the end of the stream; a byte a second buys no time."""
        with anyio.fail_after(seconds) as patience:
            while (payload := self._reader.next()) is None:
                chunk = await anext(self._chunks, None)
                if chunk is None:
                    return None
                patience.deadline += allowance(len(chunk))
                self._reader.feed(chunk)
            return payload

    def finish(self) -> None:
        """The stream has ended; raises `MalformedMessage` if it ended within a frame."""
        self._reader.finish()

    async def aclose(self) -> None:
        """Drop what is still to come."""
        async with aclosing(self._answer):
            await self._chunks.aclose()


# --- httpx on connections of our own ---------------------------------------------------------------


def _client(dialer: Dialer) -> httpx.AsyncClient:
    # No timeout of httpx's: each deadline here is for a whole answer or frame, not for one read.
    return httpx.AsyncClient(transport=_Transport(dialer), trust_env=False, timeout=None)  # noqa: S113


class _Transport(httpx.AsyncBaseTransport):
    """httpx's own transport, but for the dialer, which it has no parameter for."""

    def __init__(self, dialer: Dialer) -> None:
        self._pool = httpcore.AsyncConnectionPool(
            max_connections=MAX_CONNECTIONS,
            keepalive_expiry=IDLE_SECONDS,
            network_backend=dialer,
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        answer = await self._pool.handle_async_request(
            httpcore.Request(
                method=request.method,
                url=str(request.url),
                headers=request.headers.raw,
                content=request.stream,
                extensions=request.extensions,
            )
        )
        return httpx.Response(answer.status, headers=answer.headers, stream=_Body(answer))

    async def aclose(self) -> None:
        await self._pool.aclose()


class _Body(httpx.AsyncByteStream):
    def __init__(self, answer: httpcore.Response) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._answer.aiter_stream():
            yield chunk

    async def aclose(self) -> None:
        await self._answer.aclose()
