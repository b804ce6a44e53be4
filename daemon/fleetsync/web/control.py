"""The daemon's HTTP API for this user's own commands, on a Unix socket in the state directory.

It turns requests into calls of `Daemon` and answers into JSON; it decides nothing and knows nothing
of the command line. Rule of the file: every request is one row of the route table, every refusal is
the document of CLI.md (`{"error": …}`) with its status from `STATUSES`, and streams are one JSON
document a line whose last line is the result or an error. Who may ask is settled before, by the
file system (`web/listener.py`). Implements DESIGN §10.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from fleetsync.devices.notes import Direction
from fleetsync.errors import FleetsyncError, LocalError, NotFound, PeerError, SafetyStop, UserError
from fleetsync.records.names import parse_path
from fleetsync.web.daemon import Daemon, Document, Paired

MAX_BODY = 1 << 20  # a finished pairing with a large roster is some 100 KB
BODY_SECONDS = 5.0

STATUSES: dict[type[FleetsyncError], int] = {
    NotFound: 404,
    UserError: 400,
    SafetyStop: 409,
    PeerError: 502,
    LocalError: 503,
    FleetsyncError: 500,
}
"""Error class → HTTP status; the nearest class counts."""

_log = logging.getLogger(__name__)


class Order(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a request; what a person typed stands in here, never in the request's path."""


class PeerOrder(Order, frozen=True):
    """The body of `POST /peers/pause`, `resume` and `remove`."""

    peer: str


class Rename(Order, frozen=True):
    """The body of `POST /peers/rename`."""

    peer: str
    name: str


class DirectionOrder(Order, frozen=True):
    """The body of `POST /peers/direction`."""

    peer: str
    direction: Direction


class SkillOrder(Order, frozen=True):
    """The body of `POST /stats/rebuild`."""

    skill: str


class SyncOrder(Order, frozen=True):
    """The body of `POST /sync`."""

    peer: str | None = None
    wait: float | None = None
    dry_run: bool = False


class FileOrder(Order, frozen=True):
    """The body of `POST /restore` and `POST /keep-local`."""

    path: str
    version: int | None = None


class GuardOrder(Order, frozen=True):
    """The body of `POST /guard`."""

    confirm: bool


Body = TypeVar("Body")
Endpoint = Callable[[Request], Awaitable[Response]]


# --- the application -----------------------------------------------------------------------------


def control_app(daemon: Daemon) -> Starlette:
    """The routes over one daemon; usable without a socket through an ASGI transport."""
    api = _Api(daemon)
    routes = [
        ("GET", "/status", api.status),
        ("GET", "/peers", api.peers),
        ("POST", "/peers/pause", api.pause),
        ("POST", "/peers/resume", api.resume),
        ("POST", "/peers/rename", api.rename),
        ("POST", "/peers/direction", api.direct),
        ("POST", "/peers/remove", api.remove),
        ("POST", "/adopt", api.adopt),
        ("POST", "/sync", api.sync),
        ("POST", "/restore", api.restore),
        ("POST", "/keep-local", api.keep_local),
        ("GET", "/guard", api.guarded),
        ("POST", "/guard", api.decide),
        ("POST", "/stats/rebuild", api.rebuild_stats),
        ("POST", "/reload", api.reload),
        ("POST", "/stop", api.stop),
    ]
    app = Starlette(
        routes=[Route(path, _answering(endpoint), methods=[verb]) for verb, path, endpoint in routes],
        exception_handlers={HTTPException: _unknown_request},
    )
    app.router.redirect_slashes = False  # a refusal is a document, and no answer leads elsewhere
    return app


class _Api:
    """One method per route: read the request, call the daemon, answer with its document."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon

    async def status(self, _request: Request) -> Response:
        return _answer(await self._daemon.status())

    async def peers(self, _request: Request) -> Response:
        return _answer({"peers": list(await self._daemon.peers())})

    async def pause(self, request: Request) -> Response:
        return _answer({"peer": await self._daemon.pause((await _body(request, PeerOrder)).peer)})

    async def resume(self, request: Request) -> Response:
        return _answer({"peer": await self._daemon.resume((await _body(request, PeerOrder)).peer)})

    async def rename(self, request: Request) -> Response:
        order = await _body(request, Rename)
        return _answer({"peer": await self._daemon.rename(order.peer, order.name)})

    async def direct(self, request: Request) -> Response:
        order = await _body(request, DirectionOrder)
        return _answer({"peer": await self._daemon.direct(order.peer, order.direction)})

    async def remove(self, request: Request) -> Response:
        return _answer({"peer": await self._daemon.remove((await _body(request, PeerOrder)).peer)})

    async def adopt(self, request: Request) -> Response:
        return _answer({"peer": await self._daemon.adopt(await _body(request, Paired))})

    async def sync(self, request: Request) -> Response:
        order = await _body(request, SyncOrder)
        if order.dry_run:
            return _answer(await self._daemon.dry_run(order.peer))
        return StreamingResponse(
            _lines(self._daemon.sync(order.peer, order.wait)), media_type="application/x-ndjson"
        )

    async def restore(self, request: Request) -> Response:
        order = await _body(request, FileOrder)
        return _answer(await self._daemon.restore(parse_path(order.path), order.version))

    async def keep_local(self, request: Request) -> Response:
        order = await _body(request, FileOrder)
        return _answer(await self._daemon.keep_local(parse_path(order.path)))

    async def guarded(self, _request: Request) -> Response:
        return _answer(await self._daemon.guarded())

    async def decide(self, request: Request) -> Response:
        return _answer(await self._daemon.decide((await _body(request, GuardOrder)).confirm))

    async def rebuild_stats(self, request: Request) -> Response:
        await self._daemon.rebuild_stats((await _body(request, SkillOrder)).skill)
        return _answer({})

    async def reload(self, _request: Request) -> Response:
        await self._daemon.reload()
        return _answer({})

    async def stop(self, _request: Request) -> Response:
        await self._daemon.stop()
        return _answer({})


def _answer(document: object, status: int = 200) -> Response:
    return Response(_encoded(document), status, media_type="application/json")


def _encoded(document: object) -> bytes:
    """A document as JSON; bytes of a file's name that are no text are escaped."""
    try:
        return msgspec.json.encode(document)
    except UnicodeEncodeError:
        return json.dumps(msgspec.to_builtins(document)).encode()


def _refusal(error: FleetsyncError) -> Response:
    status = next(STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES)
    return _answer({"error": error.document()}, status)


def _unexpected(error: Exception) -> FleetsyncError:
    """A bug, in words: the traceback goes to the log, its last line to the person."""
    _log.error("a request on the control socket failed", exc_info=error)
    return FleetsyncError(
        f"the daemon stumbled: {type(error).__name__}: {error}",
        next_step="please report this with the daemon's log",
    )


def _answering(endpoint: Endpoint) -> Endpoint:
    """The endpoint with every exception turned into its document."""

    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except FleetsyncError as error:
            return _refusal(error)
        except Exception as error:  # noqa: BLE001  (a bug in one request must not cost the connection)
            return _refusal(_unexpected(error))

    return answer


async def _unknown_request(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    unknown = UserError(
        f"this daemon does not know {request.method} {request.url.path}",
        next_step="restart the daemon: it is older or newer than this command",
    )
    return _answer({"error": unknown.document()}, status)


async def _body(request: Request, kind: type[Body]) -> Body:
    """The request's JSON body as `kind`; raises `UserError` if it is late, too long or not that."""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            raw = await _bounded(request)
    except TimeoutError:
        raise UserError(f"the request took longer than {BODY_SECONDS:.0f} s to arrive") from None
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.DecodeError as error:
        raise UserError(f"the request makes no sense: {error}") from None


async def _bounded(request: Request) -> bytes:
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > MAX_BODY:
            raise UserError(f"a request may have {MAX_BODY} bytes")
    return bytes(raw)


async def _lines(documents: AsyncIterator[Document]) -> AsyncIterator[bytes]:
    """A stream as lines; what goes wrong half-way is its last line."""
    try:
        async for document in documents:
            yield _encoded(document) + b"\n"
    except FleetsyncError as error:
        yield _encoded({"error": error.document()}) + b"\n"
    except Exception as error:  # noqa: BLE001  (the same, half-way through a stream)
        yield _encoded({"error": _unexpected(error).document()}) + b"\n"
