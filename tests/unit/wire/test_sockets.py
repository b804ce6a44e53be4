"""Addresses as people write them, listening sockets, and an accept loop that never dies."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream

from fleetsync.records.addresses import Address
from fleetsync.wire import sockets
from fleetsync.wire.dialing import ANXIOUS_AFTER_SECONDS, Connection
from fleetsync.wire.sockets import ANXIOUS, QUIET, Acceptor, bind, close_all, tune
from tests.fakes.waiting import eventually


async def test_both_families_are_served_on_one_port():
    """`[::]` answers on IPv4 and IPv6; port 0 is one free port."""
    listening = await bind(Address("::", 0))
    try:
        port = listening[0].getsockname()[1]
        assert port
        for host in ("127.0.0.1", "::1"):
            async with await anyio.connect_tcp(host, port):
                pass
    finally:
        close_all(listening)


async def test_a_host_name_with_several_addresses_gets_one_port(monkeypatch):
    """All addresses of a name listen on the same free port."""

    async def both(*_args, **_kwargs):
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 0, 0, 0)),
        ]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", both)
    listening = await bind(Address("localhost", 0))
    assert len({each.getsockname()[1] for each in listening}) == 1
    assert len(listening) == 2
    close_all(listening)


async def test_a_taken_port_is_an_error_and_leaves_nothing_open():
    """Two listeners cannot share an address; the second is told so."""
    first = await bind(Address("127.0.0.1", 0))
    with pytest.raises(OSError, match=os.strerror(errno.EADDRINUSE)):
        await bind(Address("127.0.0.1", first[0].getsockname()[1]))
    close_all(first)


def test_small_messages_are_not_held_back():
    """An answer of two segments must not wait for the first one's acknowledgement."""
    with socket.socket() as connection:
        tune(connection)
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


@asynccontextmanager
async def accepting(greet, limit=64):
    """An acceptor on a free port of loopback."""
    acceptor = Acceptor(await bind(Address("127.0.0.1", 0)), greet, limit)
    try:
        yield acceptor
    finally:
        await acceptor.aclose()


async def test_an_error_in_one_greeting_does_not_end_the_accepting():
    """The connection after the one that raised is greeted."""
    greeted = []

    async def greet(connection):
        connection.close()
        greeted.append(1)
        raise RuntimeError("no" if len(greeted) == 1 else "no again")

    async with accepting(greet) as acceptor:
        for _ in range(2):
            async with await anyio.connect_tcp(*acceptor.addresses[0]):
                pass
        await eventually(lambda: len(greeted) == 2)


async def test_the_oldest_unfinished_greeting_gives_way():
    """Those who connect and say nothing cannot keep out the one who comes next."""
    outcomes = []

    async def greet(connection):
        try:
            await asyncio.Event().wait()
        finally:
            outcomes.append(connection.fileno())
            connection.close()

    async with accepting(greet, 2) as acceptor:
        clients = [await anyio.connect_tcp(*acceptor.addresses[0]) for _ in range(5)]
        await eventually(lambda: len(outcomes) == 3)
        assert acceptor.pending == 2
    assert acceptor.pending == 0
    for client in clients:
        await client.aclose()


async def test_the_accepting_pauses_when_the_system_has_no_descriptors_left(monkeypatch):
    """At EMFILE it waits and goes on, instead of spinning or dying."""
    monkeypatch.setattr(sockets, "PAUSE_SECONDS", 0.05)
    greeted = []

    async def greet(connection):
        connection.close()
        greeted.append(1)

    class Exhausted(socket.socket):
        attempts = 0

        def accept(self):
            Exhausted.attempts += 1
            if Exhausted.attempts <= 3:
                raise OSError(errno.EMFILE, "too many open files")
            return super().accept()

    plain = (await bind(Address("127.0.0.1", 0)))[0]
    listening = Exhausted(plain.family, plain.type, plain.proto, plain.detach())
    listening.setblocking(False)
    acceptor = Acceptor([listening], greet)
    async with await anyio.connect_tcp(*acceptor.addresses[0]):
        await eventually(lambda: greeted)
    assert 4 <= Exhausted.attempts <= 6
    await acceptor.aclose()


async def test_while_an_answer_is_due_the_other_end_is_probed() -> None:
    """Whoever waits sends nothing, and a middlebox that has forgotten the connection tells only who sends.
    A change stream, where silence means nothing, and a connection that has answered are left in peace.
    """

    def idle(connection: socket.socket) -> int:
        return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)

    async def say(stream: SocketStream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(b"x")
            with suppress(anyio.EndOfStream):
                await stream.receive()

    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as host,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(host.serve, say)
        stream = await anyio.connect_tcp(*host.extra(SocketAttribute.local_address))
        raw = stream.extra(SocketAttribute.raw_socket)
        tune(raw)
        connection = Connection(cast(Any, stream))
        with anyio.move_on_after(1.5 * ANXIOUS_AFTER_SECONDS):
            await connection.read(1)
        assert idle(raw) == QUIET[0]
        tasks.start_soon(connection.read, 1, 30.0)
        await eventually(lambda: idle(raw) == ANXIOUS[0])
        await stream.send(b"ask")
        await eventually(lambda: idle(raw) == QUIET[0])
        await stream.aclose()
        await eventually(lambda: raw.fileno() < 0)
        tasks.cancel_scope.cancel()


async def test_what_is_no_name_of_a_host_cannot_be_listened_on():
    """A slip in `[device] listen` or `[pair] listen` is an error like a port that is taken."""
    with pytest.raises(OSError, match="that is no name of a host"):
        await bind(Address("a..b", 0))
