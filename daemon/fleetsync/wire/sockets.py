"""Listening sockets, and accepting connections without ever stopping.

Knows nothing of TLS, HTTP or devices. Rule of the file: whoever can reach the port can send anything,
so unfinished greetings are few, the oldest gives way, and neither an exhausted system nor an error in
one greeting ends the accepting. Nothing here wakes up by itself. Implements docs/protocol.md,
"Connection".
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from fleetsync.records.addresses import Address

logger = logging.getLogger(__name__)

BACKLOG = 128
ACCEPT_BURST = 32
PAUSE_SECONDS = 1.0
"""After a failed accept: no descriptors or no memory, which waiting may mend and hurrying cannot."""
DEAD_AFTER_SECONDS = 90

Probing = tuple[int, int, int]
"""Seconds of silence before the first TCP keep-alive probe and between probes; how many may be lost."""
QUIET: Probing = (60, 10, 3)
ANXIOUS: Probing = (1, 5, 9)
"""While an answer is awaited: a middlebox that has forgotten the connection tells only who sends."""

Greet = Callable[[socket.socket], Awaitable[None]]


async def bind(listen: Address) -> list[socket.socket]:
    """Listening sockets for an address: both IP families for `::`, every address of a host name.

    With port 0 all of them get the same free port. Raises `OSError`, with nothing left open.
    """
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(
            listen.host, listen.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except UnicodeError as error:  # a name with an empty part, or one that is too long
        raise OSError(errno.EINVAL, "that is no name of a host") from error
    sockets: list[socket.socket] = []
    try:
        for family, where in dict.fromkeys((entry[0], entry[4]) for entry in found):
            port = sockets[0].getsockname()[1] if sockets else listen.port
            sockets.append(_listening(family, (where[0], port, *where[2:])))
    except OSError:
        close_all(sockets)
        if listen.host == "::":  # a system without IPv6
            return await bind(Address("0.0.0.0", listen.port))  # noqa: S104 - asked for all interfaces
        raise
    return sockets


def _listening(family: int, where: tuple[object, ...]) -> socket.socket:
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(where[0] != "::"))
        listening.bind(where)
        listening.listen(BACKLOG)
        listening.setblocking(False)
    except OSError:
        listening.close()
        raise
    return listening


def close_all(sockets: Sequence[socket.socket]) -> None:
    """Close them; idempotent."""
    for each in sockets:
        each.close()


def tune(connection: socket.socket) -> None:
    """Send small messages at once, and notice within about 90 s that the other end is gone or asleep."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # without it, 40 ms an answer
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    _set(connection, TCP_USER_TIMEOUT=DEAD_AFTER_SECONDS * 1000)
    probe(connection, QUIET)


def probe(connection: socket.socket, probing: Probing) -> None:
    """Ask the other end from now on so often whether it is there; of one that is gone, reading tells."""
    idle, interval, count = probing
    with suppress(OSError):
        _set(connection, TCP_KEEPINTVL=interval, TCP_KEEPCNT=count)
        _set(connection, TCP_KEEPIDLE=idle, TCP_KEEPALIVE=idle)  # macOS has the second name for it


def _set(connection: socket.socket, **options: int) -> None:
    for name, value in options.items():
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


class Acceptor:
    """Accepts on listening sockets and greets each connection in a task of its own.

    `greet` owns the socket it is given and closes it, whether it returns, raises or is cancelled.
    """

    def __init__(self, sockets: Sequence[socket.socket], greet: Greet, pending_limit: int = 64) -> None:
        self._sockets = list(sockets)
        self._greet = greet
        self._pending_limit = pending_limit
        self._pending: dict[asyncio.Task[None], socket.socket | None] = {}  # oldest first
        self._leaving: dict[asyncio.Task[None], socket.socket | None] = {}  # cancelled, not yet gone
        self._pauses: dict[socket.socket, asyncio.TimerHandle] = {}
        self._loop = asyncio.get_running_loop()
        for listening in self._sockets:
            self._loop.add_reader(listening, self._accept, listening)

    @property
    def addresses(self) -> list[Address]:
        """Where it listens."""
        return [Address(*listening.getsockname()[:2]) for listening in self._sockets]

    @property
    def pending(self) -> int:
        """Connections whose greeting is not finished."""
        return len(self._pending)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(ACCEPT_BURST):
            try:
                connection, _ = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._pause(listening, error)
                return
            self._begin(connection)

    def _pause(self, listening: socket.socket, error: OSError) -> None:
        logger.warning("cannot accept connections: %s; trying again in %g s", error, PAUSE_SECONDS)
        self._loop.remove_reader(listening)
        self._pauses[listening] = self._loop.call_later(PAUSE_SECONDS, self._resume, listening)

    def _resume(self, listening: socket.socket) -> None:
        del self._pauses[listening]
        self._loop.add_reader(listening, self._accept, listening)

    def _begin(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        task = self._loop.create_task(self._greeting(connection))
        self._pending[task] = connection
        task.add_done_callback(self._finished)
        if len(self._pending) > self._pending_limit:
            self._give_up(next(iter(self._pending)))

    def _give_up(self, task: asyncio.Task[None]) -> None:
        """Cancel a greeting; each new one in a burst must make another old one go."""
        self._leaving[task] = self._pending.pop(task)
        task.cancel()

    def _finished(self, task: asyncio.Task[None]) -> None:
        never_greeted = (self._pending if task in self._pending else self._leaving).pop(task)
        if never_greeted is not None:
            never_greeted.close()

    async def _greeting(self, connection: socket.socket) -> None:
        task = asyncio.current_task()
        assert task is not None
        (self._pending if task in self._pending else self._leaving)[task] = None
        try:
            tune(connection)
            await self._greet(connection)
        except OSError as error:
            logger.debug("a connection was not accepted: %s", error)
        except Exception:
            logger.exception("greeting a connection failed")

    async def aclose(self) -> None:
        """Stop accepting and drop the unfinished greetings; idempotent."""
        for listening in self._sockets:
            self._loop.remove_reader(listening)
        for pause in self._pauses.values():
            pause.cancel()
        self._pauses.clear()
        close_all(self._sockets)
        self._sockets.clear()
        for task in list(self._pending):
            self._give_up(task)
        await asyncio.gather(*self._leaving, return_exceptions=True)
