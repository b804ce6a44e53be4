"""Connections that do not live long: each is reset after so many bytes, as some middleboxes do.

What has passed must stay, and what one connection can carry must pass.
"""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio
import httpcore
import pytest
from anyio.abc import SocketAttribute, SocketStream

from fleetsync.errors import NotTrusted, Unreachable
from fleetsync.records.addresses import Address
from fleetsync.sync.exchange import Ending
from fleetsync.sync.responder import Responder
from fleetsync.sync.session import Session
from fleetsync.sync.stride import WHOLE
from fleetsync.wire.client import HttpPeer
from fleetsync.wire.dialing import HungUp
from fleetsync.wire.listener import Listener
from fleetsync.wire.server import application
from tests.fakes.devices import make_device
from tests.fakes.fleet import Laptop, event, log_path, make_local

DEPLOY = log_path("deploy")
ABORTIVE = (socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
"""Closing a socket resets the connection."""


class Middlebox:
    """Leads to one address, and resets each connection both ways after so many bytes in all."""

    def __init__(self, upstream: Address, budget: int) -> None:
        self._upstream = upstream
        self._budget = budget
        self.resets = 0

    async def lead(self, near: SocketStream) -> None:
        """One connection, to its end."""
        left = self._budget
        async with near, await anyio.connect_tcp(*self._upstream) as far, anyio.create_task_group() as pipes:

            async def pipe(source: SocketStream, target: SocketStream) -> None:
                nonlocal left
                with suppress(anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                    while left > 0:
                        data = await source.receive(min(left, 16_384))
                        left -= len(data)
                        await target.send(data)
                if left <= 0:
                    for end in (near, far):
                        end.extra(SocketAttribute.raw_socket).setsockopt(*ABORTIVE)
                pipes.cancel_scope.cancel()

            pipes.start_soon(pipe, near, far)
            pipes.start_soon(pipe, far, near)
        self.resets += left <= 0


class Pair:
    """Two devices with much that the other lacks; `near` calls `far` through the middlebox."""

    def __init__(self, near: Laptop, far: Laptop, peer: HttpPeer, middlebox: Middlebox) -> None:
        self.near, self.far, self.peer, self.middlebox = near, far, peer, middlebox


@asynccontextmanager
async def a_pair(directory, budget: int) -> AsyncIterator[Pair]:
    """The two, with a listener on loopback between them."""
    server, caller = make_device(directory, "server"), make_device(directory, "caller")
    near, far = Laptop("a"), Laptop("b")
    local, known = make_local(server.device, far.storage, far.time), far.caller(near)
    listener = Listener(application(lambda _: Responder(local, known)), server)
    await listener.start(Address("127.0.0.1", 0))
    listener.trust({caller.device: caller.certificate})
    middlebox = Middlebox(listener.addresses[0], budget)
    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as host,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(host.serve, middlebox.lead)
        at = Address(*host.extra(SocketAttribute.local_address)[:2])
        peer = HttpPeer(server.certificate, caller, lambda: [at], name="far")
        try:
            yield Pair(near, far, peer, middlebox)
        finally:
            await peer.aclose()
            await listener.aclose()
            tasks.cancel_scope.cancel()


def noise(author: str, count: int) -> list[bytes]:
    """Events with 64 bytes that nothing compresses."""
    dice = random.Random(author)
    return [
        event(number, author)[:-1] + f',"note":"{dice.randbytes(64).hex()}"}}'.encode()
        for number in range(count)
    ]


@pytest.mark.parametrize(
    ("budget", "mine", "theirs"),
    [(500_000, 6000, 6000), (500_000, 20_000, 1), (500_000, 1, 20_000), (70_000, 3000, 3000)],
)
async def test_one_exchange_outlives_many_connections(tmp_path, budget, mine, theirs):
    """Where each connection is reset after so many bytes, much more than that passes in few exchanges: after
    one that broke the steps of the next are shorter.
    """
    async with a_pair(tmp_path, budget) as pair:
        pair.near.learn(DEPLOY, noise("near", mine))
        pair.far.learn(DEPLOY, noise("far", theirs))
        stride, result = WHOLE, None
        for _ in range(6):
            result = await Session(pair.near.local, pair.peer, stride=stride).run()
            if result.ending is Ending.CONVERGED:
                break
            stride = stride.shorter() if result.error else stride
        assert result.ending is Ending.CONVERGED
        assert pair.near.lines(DEPLOY) == pair.far.lines(DEPLOY)
        assert len(pair.near.lines(DEPLOY)) == mine + theirs
        assert pair.middlebox.resets > 0


@pytest.mark.parametrize("budget", [100, 1500, 2500, 3000, 3500, 4000])
async def test_a_reset_is_not_taken_for_a_refusal(tmp_path, budget):
    """Wherever a connection is reset, before or after the handshake: that says nothing about trust."""
    async with a_pair(tmp_path, budget) as pair:
        pair.near.learn(DEPLOY, noise("near", 100))
        for _ in range(3):
            result = await Session(pair.near.local, pair.peer).run()
            assert type(result.error) in (Unreachable, type(None))
        assert pair.middlebox.resets > 0


RESET, HUNG_UP = httpcore.ReadError("it was reset"), HungUp("it was closed")


@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        ([HUNG_UP, HUNG_UP, HUNG_UP], NotTrusted),
        ([RESET, HUNG_UP, HUNG_UP], NotTrusted),
        ([HUNG_UP, RESET, RESET], NotTrusted),
        ([RESET, RESET, RESET], httpcore.ReadError),
    ],
)
async def test_resets_among_them_do_not_hide_a_refusal(tmp_path, broken, expected):
    """A host that refuses hangs up, but where the request has come by then its system resets instead."""
    own, other = make_device(tmp_path, "own"), make_device(tmp_path, "other")
    peer, left = HttpPeer(other.certificate, own, list), iter(broken)

    async def ask(attempt):
        attempt.is_fresh = True
        raise next(left)

    with pytest.raises(expected):
        await peer._persist(ask)
    await peer.aclose()
