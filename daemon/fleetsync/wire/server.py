"""Protocol version 1 as a web application: requests in, calls of a `Peer`, answers out.

Knows HTTP and the messages; knows nothing of storage, trust or TLS: who calls is told by the
listener, and what to answer by the `Peer` that `for_peer` gives for that device. Rule of the file:
every body has a limit and a deadline while it is read, every write has a deadline, and a stream that
fails is cut, never ended, so that half an answer cannot be taken for the whole.
Implements docs/protocol.md, "HTTP binding".
"""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from itertools import pairwise

import anyio
import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from fleetsync.errors import (
    FleetsyncError,
    MalformedMessage,
    NotFound,
    ProtocolMismatch,
    TooLarge,
    Unreachable,
    Unresponsive,
)
from fleetsync.records.names import DeviceId
from fleetsync.wire import codec
from fleetsync.wire.allowance import allowance
from fleetsync.wire.listener import Caller
from fleetsync.wire.messages import (
    INSTANCE_HEADER,
    MAX_ENCODED,
    MAX_RECONCILE,
    MAX_SPANS,
    MAX_WANTED,
    PROTOCOL_MAX,
    PROTOCOL_MIN,
    Frame,
    Refusal,
    RosterOffer,
    Span,
    Terms,
    Want,
)
from fleetsync.wire.peer import Peer
from fleetsync.wire.statuses import status_of

logger = logging.getLogger(__name__)

MAX_OPEN_BATCHES = 2
"""Expanded batches being applied at once, over all peers: each may hold 16 MiB."""
PIECE = 64 << 10
"""A frame leaves in pieces: a slow link that takes one within the deadline is not a reader that is gone."""

_INSTANCE = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True)
class Patience:
    """Deadlines in seconds; bytes add their `allowance`."""

    body: float = 60.0  # for a whole request body
    write: float = 30.0  # for each piece of what was written to find its way into the network


def application(
    for_peer: Callable[[DeviceId], Peer],
    patience: Patience | None = None,
    shown: Callable[[DeviceId, bytes], None] = lambda _device, _instance: None,
) -> Starlette:
    """The application that serves this device to its peers.

    `for_peer` gives what answers a device's calls; it may raise `NotTrusted`. `shown` hears of the
    instance of each that calls; it may raise `ClonedDevice`.
    """
    api = _Api(for_peer, patience or Patience(), shown)
    routes = [
        _route("GET", "/v1/hello", api.hello),
        _route("POST", "/v1/hello", api.greet),
        _route("POST", "/v1/reconcile", api.reconcile),
        _route("POST", "/v1/items/get", api.items),
        _route("POST", "/v1/items", api.offer),
        _route("GET", "/v1/changes", api.changes),
        _route("POST", "/v1/roster", api.roster),
        _route("GET", "/v{version:int}/{rest:path}", _other_version),
        _route("POST", "/v{version:int}/{rest:path}", _other_version),
    ]
    app = Starlette(
        routes=routes,
        exception_handlers={
            FleetsyncError: _refuse_request,
            HTTPException: _refuse_request,
            Exception: _refuse_request,
        },
    )
    app.router.redirect_slashes = False  # nothing but the protocol: no answer leads elsewhere
    return app


def _route(method: str, path: str, endpoint: Callable[[Request], object]) -> Route:
    route = Route(path, endpoint, methods=[method])
    route.methods = {method}  # starlette adds HEAD to GET, and a HEAD of an endless stream is nonsense
    return route


class _Api:
    """One method per request."""

    def __init__(
        self,
        for_peer: Callable[[DeviceId], Peer],
        patience: Patience,
        shown: Callable[[DeviceId, bytes], None],
    ) -> None:
        self._for_peer = for_peer
        self._shown = shown
        self._patience = patience
        self._open_batches = anyio.CapacityLimiter(MAX_OPEN_BATCHES)

    async def hello(self, request: Request) -> Response:
        return _answer(await self._peer(request).hello())

    async def greet(self, request: Request) -> Response:
        terms = codec.decode(await self._body(request), Terms)
        return _answer(await self._peer(request).hello(terms))

    async def reconcile(self, request: Request) -> Response:
        message = await self._body(request, MAX_RECONCILE)
        return Response(await self._peer(request).reconcile(message))

    async def items(self, request: Request) -> Response:
        want = _bounded(codec.decode(await self._body(request), Want))
        return _FrameStream(self._peer(request).items(want), self._patience.write)

    async def offer(self, request: Request) -> Response:
        payload = await self._body(request)
        async with self._open_batches:
            receipt = await self._peer(request).offer(codec.decode_batch(payload))
        return _answer(codec.fitted(receipt))

    async def changes(self, request: Request) -> Response:
        return _FrameStream(self._peer(request).changes(), self._patience.write)

    async def roster(self, request: Request) -> Response:
        offer = codec.decode(await self._body(request), RosterOffer)
        return _answer(await self._peer(request).roster(offer))

    def _peer(self, request: Request) -> Peer:
        device = _caller(request.scope).device
        peer = self._for_peer(device)
        if instance := _instance(request.headers.get(INSTANCE_HEADER, "")):
            self._shown(device, instance)
        return peer

    async def _body(self, request: Request, limit: int = MAX_ENCODED) -> bytes:
        try:
            with anyio.fail_after(self._patience.body) as patience:
                return await _read(request, limit, patience)
        except TimeoutError:
            raise Unresponsive(f"a request body took over {self._patience.body:g} s") from None
        except ClientDisconnect:
            raise Unreachable("the connection broke within a request body") from None


def _caller(scope: Scope) -> Caller:
    caller = scope["state"]["caller"]
    assert isinstance(caller, Caller)
    return caller


def _instance(text: str) -> bytes:
    """The caller's instance; empty if it shows none."""
    if not text:
        return b""
    if _INSTANCE.fullmatch(text) is None:
        raise MalformedMessage("an instance that is not 16 hexadecimal digits")
    return bytes.fromhex(text)


async def _read(request: Request, limit: int, patience: anyio.CancelScope) -> bytes:
    if int(request.headers.get("content-length", 0)) > limit:
        raise TooLarge(f"a request body over the limit of {limit} bytes")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        patience.deadline += allowance(len(chunk))
        if len(body) > limit:
            raise TooLarge(f"a request body over the limit of {limit} bytes")
    return bytes(body)


def _bounded(want: Want) -> Want:
    if len(want.ids) > MAX_WANTED or len(want.spans) > MAX_SPANS:
        raise TooLarge(f"more than {MAX_WANTED} ids or {MAX_SPANS} spans in one request")
    if any(len(each) != 32 for each in want.ids):
        raise MalformedMessage("an id that is not 32 bytes long")
    # A question of kilobytes must not be answered by the whole set some thousand times over.
    if len({*want.ids}) < len(want.ids) or _overlap(want.spans):
        raise MalformedMessage("an id or a part of a span that is asked for twice")
    return want


def _overlap(spans: list[Span]) -> bool:
    bounds = sorted(
        (
            (span.lower_ts, span.lower_prefix.ljust(32, b"\0")),
            (span.upper_ts, span.upper_prefix.ljust(32, b"\0")),
        )
        for span in spans
    )
    return any(lower < upper for (_, upper), (lower, _) in pairwise(bounds))


def _answer(message: msgspec.Struct) -> Response:
    return Response(codec.encode(message))


async def _other_version(request: Request) -> Response:
    version = request.path_params["version"]
    if PROTOCOL_MIN <= version <= PROTOCOL_MAX:
        raise HTTPException(404)
    raise ProtocolMismatch(
        f"protocol version {version} was asked for; this device speaks {PROTOCOL_MIN} to {PROTOCOL_MAX}"
    )


async def _refuse_request(_: Request, error: Exception) -> Response:
    return _refusal(error)


def _refusal(error: Exception) -> Response:
    """The answer to a request that failed; what is no error of ours is not told to the other side."""
    if isinstance(error, HTTPException):
        return _answered(404, NotFound.code, "there is no such request in this protocol")
    if isinstance(error, FleetsyncError):
        return _answered(status_of(error), error.code, error.message)
    return _answered(500, FleetsyncError.code, "an internal error; its log says more")


def _answered(status: int, code: str, message: str) -> Response:
    return Response(codec.encode(Refusal(code, message)), status_code=status)


def _pieces(data: bytes) -> list[bytes]:
    """The data as it is written; nothing is written as nothing."""
    return [data[at : at + PIECE] for at in range(0, len(data), PIECE)] or [data]


class _FrameStream(Response):
    """Frames as they come, until the source ends (the stream ends), fails (it is cut) or nobody reads."""

    def __init__(
        self, source: AbstractAsyncContextManager[AsyncIterator[Frame]], write_seconds: float
    ) -> None:
        self._source = source
        self._write_seconds = write_seconds
        self._started = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_until_gone, receive, tasks.cancel_scope)
            try:
                await self._pour(send)
            except Exception as error:  # noqa: BLE001 - whatever it is, the stream must not end well
                await self._fail(error, scope, receive, send)
            tasks.cancel_scope.cancel()

    async def _pour(self, send: Send) -> None:
        async with self._source as frames:
            async for frame in frames:
                await self._write(send, codec.frame(codec.encode(frame)))
        await self._write(send, b"")  # returns once the last frame has left the buffer
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _write(self, send: Send, data: bytes) -> None:
        try:
            for piece in _pieces(data):
                with anyio.fail_after(self._write_seconds):
                    if not self._started:
                        self._started = True
                        await send({"type": "http.response.start", "status": 200, "headers": []})
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
        except TimeoutError:
            raise Unresponsive(f"it read nothing for {self._write_seconds:g} s") from None

    async def _fail(self, error: Exception, scope: Scope, receive: Receive, send: Send) -> None:
        caller = _caller(scope)
        if isinstance(error, FleetsyncError):
            logger.info("a stream to %s was cut: %s", caller.device, error)
        else:
            logger.error("a stream to %s failed", caller.device, exc_info=error)
        if not self._started:
            await _refusal(error)(scope, receive, send)
            return
        caller.hang_up()
        await anyio.sleep_forever()  # until `_until_gone` sees it


async def _until_gone(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
