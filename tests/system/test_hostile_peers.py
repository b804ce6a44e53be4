"""A paired device that is not honest, against a real daemon: it lies, stalls, hangs up or forges time.

The other device is played in this process: its identity is real, it is paired by code with the daemon,
and it listens with TLS where the daemon expects it; what it answers is what a test makes it answer.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import anyio
import msgspec
import pytest
from anyio.to_thread import run_sync

from fleetsync import datasets
from fleetsync.devices.identity import Identity
from fleetsync.devices.pairing import Party
from fleetsync.devices.seal import signer
from fleetsync.merge import reconcile, register
from fleetsync.merge.register import Dot, Stamp, Version
from fleetsync.ports import Group, Head
from fleetsync.stores.memory import MemoryHome, MemoryStorage
from fleetsync.wire import codec, pairing, tls
from fleetsync.wire.client import HttpPeer
from fleetsync.wire.listener import Listener
from fleetsync.wire.messages import Batch, Frame, Heartbeat, Hello, Receipt, RosterOffer, Want
from fleetsync.wire.server import application
from fleetsync.wire.sockets import Address, parse_address
from tests.fakes.devices import make_device
from tests.fakes.peer import hello_of
from tests.fakes.wires import Talk, impostor
from tests.system.fleet import (
    LOG,
    MANIFEST,
    Fleet,
    Laptop,
    address_of,
    all_hold,
    connected,
    event,
    events,
    manifest,
    pair,
    until,
)

# Commands and files of the laptops are waited for in this process's loop: the guard against that is for
# the daemon's loop, not for the test's.
pytestmark = pytest.mark.blocking


@dataclass
class Liar:
    """A device with this set, that answers every question truthfully until a test overrides one."""

    identity: Identity
    storage: MemoryStorage
    given: Callable[[list[Group]], list[Group]] = lambda groups: groups
    claimed: Callable[[Head], Head] = lambda head: head
    frames: list[Batch] = field(default_factory=list)
    offered: list[Batch] = field(default_factory=list)

    @property
    def device(self) -> str:
        """Who it is."""
        return self.identity.device

    async def hello(self) -> Hello:
        """Its state, as it claims."""
        head = self.claimed(self.storage.head())
        clock = time.time_ns() // 1000
        return msgspec.structs.replace(hello_of(self.identity.device), head=head, clock=clock, highest_dot=0)

    async def reconcile(self, message: bytes) -> bytes:
        """By the book."""
        return reconcile.respond(self.storage.ranges(), message)

    async def offer(self, batch: Batch) -> Receipt:
        """Everything is new to it, and nothing is kept."""
        self.offered.append(batch)
        return Receipt({}, self.claimed(self.storage.head()))

    async def roster(self, offer: RosterOffer) -> RosterOffer:
        """The same back."""
        return msgspec.structs.replace(offer, name="liar")

    @asynccontextmanager
    async def items(self, want: Want) -> AsyncIterator[AsyncIterator[Batch]]:
        """All of its set, or what it makes of it, whatever is asked for."""

        async def batches() -> AsyncIterator[Batch]:
            groups: dict[str, list[bytes]] = {}
            for page in self.storage.between(*_EVERYTHING):
                for item in page:
                    groups.setdefault(item.path, []).append(item.body)
            yield Batch(self.given([Group(path, bodies) for path, bodies in groups.items()]))

        yield batches()

    @asynccontextmanager
    async def changes(self) -> AsyncIterator[AsyncIterator[Frame]]:
        """A heartbeat, what it has prepared, and silence."""

        async def frames() -> AsyncIterator[Frame]:
            yield Heartbeat(self.claimed(self.storage.head()))
            for frame in self.frames:
                yield frame
            await anyio.sleep_forever()

        yield frames()

    async def aclose(self) -> None:
        """Nothing to drop."""
