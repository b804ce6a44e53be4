"""A paired device that is not honest, against a real daemon: it lies, withholds, forges or stalls.

The other device is played in this process: its identity is real, it is paired by code with the daemon
and listens with TLS where the daemon calls it; what it answers is what a test makes it answer.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

import anyio
import msgspec
import pytest
from anyio.to_thread import run_sync

from fleetsync.devices.identity import Identity
from fleetsync.devices.pairing import Party
from fleetsync.devices.seal import signer
from fleetsync.merge import reconcile, register
from fleetsync.merge.register import Dot, Stamp, Version
from fleetsync.ports import END, START, Group, Head
from fleetsync.records.addresses import Address, parse_address
from fleetsync.records.names import DeviceId
from fleetsync.stores.memory import MemoryHome, MemoryStorage
from fleetsync.wire import pairing
from fleetsync.wire.listener import Listener
from fleetsync.wire.messages import (
    NO_TERMS,
    Batch,
    Frame,
    Heartbeat,
    Hello,
    Receipt,
    RosterOffer,
    Terms,
    Want,
)
from fleetsync.wire.server import application
from tests.fakes.devices import make_device
from tests.fakes.peer import hello_of
from tests.fakes.wires import Talk, impostor
from tests.system.fleet import (
    LOG,
    MANIFEST,
    Document,
    Fleet,
    Laptop,
    address_of,
    all_hold,
    event,
    events,
    manifest,
    until,
)

pytestmark = pytest.mark.blocking  # the guard is for the daemon's loop; here commands read and write files

T = TypeVar("T")


@dataclass
class Liar:
    """A device that is truthful until a test says otherwise."""

    identity: Identity
    storage: MemoryStorage
    given: Callable[[list[Group]], list[Group]] = lambda groups: groups
    claimed: Callable[[Head], Head] = lambda head: head
    frames: list[Batch] = field(default_factory=list)
    port: int = 0

    @property
    def device(self) -> DeviceId:
        """Who it is."""
        return self.identity.device

    async def hello(self, terms: Terms = NO_TERMS) -> Hello:
        """Its state, as it claims."""
        greeting = hello_of(self.identity.device)
        head, clock = self.claimed(self.storage.head()), time.time_ns() // 1000
        return msgspec.structs.replace(greeting, head=head, clock=clock, highest_dot=0)

    async def reconcile(self, message: bytes) -> bytes:
        """By the book."""
        return reconcile.respond(self.storage.ranges(), message)

    async def offer(self, batch: Batch) -> Receipt:
        """Everything is new to it."""
        self.storage.apply(batch.groups, self.identity.device)
        return Receipt({}, self.claimed(self.storage.head()))

    async def roster(self, offer: RosterOffer) -> RosterOffer:
        """The same back."""
        return msgspec.structs.replace(offer, name="liar", port=0, addresses={})

    @asynccontextmanager
    async def items(self, want: Want) -> AsyncIterator[AsyncIterator[Batch]]:
        """What was asked for, or what it makes of that."""

        async def batches() -> AsyncIterator[Batch]:
            pages = self.storage.bodies(want.ids) if want.ids else self.storage.between(START, END)
            items = [item for page in pages for item in page]
            groups: dict[str, list[bytes]] = {}
            for item in items:
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


@asynccontextmanager
async def a_liar(directory: Path, laptop: Laptop, lines: Iterable[bytes] = ()) -> AsyncIterator[Liar]:
    """A liar that holds these lines, listens, and is trusted to call; not paired yet."""
    home = MemoryHome()
    home.append(LOG, list(lines))
    identity = make_device(directory, "liar")
    storage = MemoryStorage(identity.device, home, clock=time.time, epoch=b"epoch--1")
    storage.scan([LOG])
    liar = Liar(identity, storage)
    listener = Listener(application(lambda _: liar), identity)
    await listener.start(Address("127.0.0.1", 0))
    listener.trust({DeviceId(laptop.device): certificate_of(laptop)})
    try:
        liar.port = listener.addresses[0].port
        yield liar
    finally:
        await listener.aclose()


def certificate_of(laptop: Laptop) -> bytes:
    """The certificate of a laptop that has been started."""
    return ssl.PEM_cert_to_DER_cert((laptop.state / "identity.crt").read_text())


async def pair_as(identity: Identity, laptop: Laptop, port: int, name: str = "liar") -> None:
    """Pair with a running laptop as a device that listens on this port."""
    me = Party(identity.certificate, name, port, signer(identity.key_path.read_bytes()), lambda _: [])
    with laptop.offering() as process:
        assert process.stdout is not None
        offer = json.loads(await run_sync(process.stdout.readline))
        await pairing.join(me, offer["code"], parse_address(address_of(offer)))
        assert await run_sync(process.wait, 20) == 0


async def eventually(condition: Callable[[], T], what: str) -> T:
    """`until`, while this process goes on playing the other device."""
    return await run_sync(until, condition, what)


def seen(laptop: Laptop) -> Document:
    """How a laptop sees the liar."""
    found: Document = next(peer for peer in laptop.status()["peers"] if peer["name"] == "liar")
    return found


async def the_rest_goes_on(desk: Laptop, travel: Laptop) -> None:
    """Between the honest two a line still arrives at once, both ways."""
    before = travel.lines()
    for laptop, number in ((desk, 900_001), (travel, 900_002)):
        before += laptop.append([event("rest", number)])
        await run_sync(all_hold, (desk, travel), before)


async def test_a_body_that_was_not_asked_for(fleet: Fleet, tmp_path: Path) -> None:
    """Asked for items by id it gives others: none of them is taken, and the liar is named and refused."""
    desk, travel = await run_sync(fleet.pair)
    known = desk.append(events("desk", 30))
    await run_sync(all_hold, (desk, travel), known)
    async with a_liar(tmp_path, desk, [*known, *events("liar", 2)]) as liar:
        liar.given = lambda groups: [Group(LOG, events("forged", 2))]
        await pair_as(liar.identity, desk, liar.port)
        await eventually(lambda: seen(desk)["state"] == "refused", "the liar is refused")
        assert "was not asked for" in seen(desk)["error"]
        assert desk.holds(known)
        assert not seen(desk)["converged"]
        await the_rest_goes_on(desk, travel)


async def test_items_that_are_announced_and_not_given(fleet: Fleet, tmp_path: Path) -> None:
    """What never comes is not converged: after two tries it is an error that says so."""
    desk, travel = await run_sync(fleet.pair)
    known = desk.append(events("desk", 30))
    await run_sync(all_hold, (desk, travel), known)
    async with a_liar(tmp_path, desk, [*known, *events("liar", 2)]) as liar:
        liar.given = lambda groups: []
        await pair_as(liar.identity, desk, liar.port)
        await eventually(lambda: seen(desk)["error"], "an error is told")
        await eventually(lambda: "2 items that it announces" in (seen(desk)["error"] or ""), "and says what")
        [entry] = (await run_sync(partial(desk.ask, "sync", "liar", code=3)))["peers"]
        assert entry["outcome"] == "failed"
        assert not seen(desk)["converged"]
        await the_rest_goes_on(desk, travel)


async def test_a_count_that_does_not_match(fleet: Fleet, tmp_path: Path) -> None:
    """It claims more than it shows when compared: never called converged, and told."""
    desk, travel = await run_sync(fleet.pair)
    known = desk.append(events("desk", 30))
    await run_sync(all_hold, (desk, travel), known)
    async with a_liar(tmp_path, desk, known) as liar:
        liar.claimed = lambda head: msgspec.structs.replace(
            head, count=head.count + 5, fingerprint=b"forged-----print"
        )
        await pair_as(liar.identity, desk, liar.port)
        await run_sync(partial(desk.ask, "sync", "liar", code=3))
        [entry] = (await run_sync(partial(desk.ask, "sync", "liar", code=3)))["peers"]
        assert entry["outcome"] == "failed"
        assert "no proof" in entry["error"]
        assert not seen(desk)["converged"]
        await the_rest_goes_on(desk, travel)


async def test_names_and_sizes_that_nobody_may_send(fleet: Fleet, tmp_path: Path) -> None:
    """Paths out of home, denied files and illegal names are refused one by one and logged with the peer's
    name; an item over 1 MiB likewise; what is good in the same batch is taken.
    """
    desk, travel = await run_sync(fleet.pair)
    good = events("liar", 2)
    bad = [
        "../../outside/events.jsonl",
        "/etc/passwd",
        "skills/../../outside/events.jsonl",
        "skills/Bad Name/events.jsonl",
        "skills/deploy/identity.key",
        "keys/private.key",
        "auth.json",
        "skills/deploy/stats.json",
        "skills/deploy/events.jsonl\0",
    ]
    before = {path for path in desk.root.rglob("*") if desk.state not in path.parents}
    huge = event("huge", 1)[:-1] + b',"output":"' + b"x" * (1 << 20) + b'"}'
    async with a_liar(tmp_path, desk) as liar:
        refused = [Group(path, [event("liar", 7)]) for path in bad]
        liar.frames = [Batch([*refused, Group(LOG, [good[0], huge, b"{no json", good[1]])])]
        await pair_as(liar.identity, desk, liar.port)
        await run_sync(all_hold, (desk, travel), good)
        await eventually(lambda: desk.status()["refused"] == len(bad) + 2, "the others are counted")
        assert f"refused {len(bad) + 2} items of liar" in desk.said()
        after = {path for path in desk.root.rglob("*") if desk.state not in path.parents}
        made = {path.relative_to(desk.home).as_posix() for path in after - before}
        assert made <= {LOG, "skills/deploy/stats.json", "skills/deploy/stats.lock"}
        assert seen(desk)["state"] == "connected"


async def test_a_version_from_the_future_is_held(fleet: Fleet, tmp_path: Path) -> None:
    """A manifest stamped a day ahead is known everywhere and applied nowhere; status says what and whose."""
    desk, travel = await run_sync(fleet.pair)
    present = desk.read(MANIFEST)
    async with a_liar(tmp_path, desk) as liar:
        ahead = time.time_ns() // 1000 + 86_400_000_000
        value = manifest("from tomorrow")
        stamp = Stamp(ahead, ahead, liar.identity.device, register.digest_of(value))
        body = register.encode(Version(Dot(liar.identity.device, ahead), {}, stamp, value))
        liar.frames = [Batch([Group(MANIFEST, [body])])]
        await pair_as(liar.identity, desk, liar.port)
        await eventually(lambda: desk.status()["held"] == travel.status()["held"] == 1, "both hold it")
        for laptop in (desk, travel):
            assert laptop.read(MANIFEST) == present
            [alert] = [alert for alert in laptop.status()["alerts"] if alert["code"] == "held"]
            assert MANIFEST in alert["detail"]
            assert liar.device[:7] in alert["detail"]
            assert alert["next"]
        newer = await run_sync(desk.write, MANIFEST, manifest("of today"))
        await eventually(lambda: travel.read(MANIFEST) == newer, "what is written today is in force")


# --- peers that stall ----------------------------------------------------------------------------------


async def mute(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """Takes the question and never answers."""
    await reader.readuntil(b"\r\n\r\n")
    await asyncio.sleep(300)


async def dribbling(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers one byte a second."""
    await reader.readuntil(b"\r\n\r\n")
    for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + bytes(1000):
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(1)


async def deaf(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Reads nothing at all."""
    transport = writer.transport
    assert isinstance(transport, asyncio.Transport)
    transport.pause_reading()
    await asyncio.sleep(300)


@pytest.mark.slow
async def test_peers_that_stall(fleet: Fleet, tmp_path: Path) -> None:
    """One never answers, one sends a byte a second, one does not read: each is given up by its deadline and
    named, and all the time the honest two go on at once, commands answer, and SIGTERM ends it in time.
    """
    desk, travel = await run_sync(fleet.pair)
    talks: dict[str, Talk] = {"mute": mute, "dribbling": dribbling, "deaf": deaf}
    async with AsyncExitStack() as stack:
        for name, talk in talks.items():
            identity = make_device(tmp_path, name)
            address = await stack.enter_async_context(impostor(identity, certificate_of(desk), talk))
            await pair_as(identity, desk, address.port, name)
        for number in range(3):
            began = time.monotonic()
            line = desk.append([event("desk", number)])[0]
            await eventually(partial(travel.mentions, line), "the line has arrived")
            assert time.monotonic() - began < 3

        def errors() -> dict[str, str]:
            return {peer["name"]: peer["error"] or "" for peer in desk.status()["peers"]}

        await run_sync(partial(until, lambda: all(errors()[name] for name in talks), "they are given up", 60))
        for name in talks:
            assert name in errors()[name]
        assert errors()["travel"] == ""
        await the_rest_goes_on(desk, travel)
        began = time.monotonic()
        assert await run_sync(desk.stop) == 0
        assert time.monotonic() - began < 2
