"""The network between the laptops: messages are lost, repeated, late, overtaken and cut off.

`Wire` is the `Peer` through which one laptop calls another: real bytes of the codec, carried to the
other's responder and back. What is asked runs in the process of the laptop that answers, so that one
may die without the other. An older laptop's messages lack every field that may be missing. Rule of
the file: it mangles messages and never reads what is in them.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar

import anyio
import msgspec
from anyio.abc import TaskGroup

from fleetsync.errors import FleetsyncError, Unreachable, Unresponsive
from fleetsync.records.names import DeviceId
from fleetsync.wire import codec, statuses
from fleetsync.wire.messages import (
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
from fleetsync.wire.peer import Peer

T = TypeVar("T")
M = TypeVar("M", bound=msgspec.Struct)
Send = Callable[[bytes], Awaitable[None]]
PLAIN = bytes([codec.PLAIN])


@dataclass
class Weather:
    """How bad the network is: shares of messages 0 … 1, delays in seconds."""

    lost: float = 0.0
    repeated: float = 0.0
    cut: float = 0.0  # a stream breaks
    skipped: float = 0.0  # a stream's frame is lost and the stream goes on
    overtaken: float = 0.0  # a stream's frame comes after the next one
    delay: float = 0.002
    late: float = 0.0
    late_by: float = 5.0


@dataclass
class Network:
    """Who can call whom, and how well."""

    dice: random.Random
    weather: Weather = field(default_factory=Weather)
    parted: set[frozenset[DeviceId]] = field(default_factory=set)
    injected: Counter[str] = field(default_factory=Counter)
    hosts: dict[DeviceId, Host | None] = field(default_factory=dict)

    def happens(self, what: str, share: float) -> bool:
        """Whether the weather does this now."""
        if share and self.dice.random() < share:
            self.injected[what] += 1
            return True
        return False

    async def travel(self, one: DeviceId, other: DeviceId) -> None:
        """The way of one message. Raises `Unreachable`, `Unresponsive`."""
        delay = self.weather.delay * (0.5 + self.dice.random())
        if self.happens("late", self.weather.late):
            delay += self.weather.late_by * self.dice.random()
        await anyio.sleep(delay)
        if frozenset((one, other)) in self.parted:
            self.injected["partition"] += 1
            raise Unreachable(f"{other[0]} cannot be reached from {one[0]}")
        if self.happens("lost", self.weather.lost):
            raise Unresponsive(f"{other[0]} does not answer {one[0]}")

    def host(self, device: DeviceId) -> Host:
        """The process that answers for a device; raises `Unreachable` where none runs."""
        found = self.hosts.get(device)
        if found is None:
            raise Unreachable(f"nothing listens on {device[0]}")
        return found


class Host:
    """A running daemon as the network sees it: its calls are carried out in `tasks`."""

    def __init__(self, tasks: TaskGroup, responder: Callable[[DeviceId], Peer], dialect: Dialect) -> None:
        self.dialect = dialect
        self.responder = responder
        self._tasks = tasks

    async def carry_out(self, work: Callable[[], Awaitable[T]]) -> T:
        """The result of what a peer asked for. Raises what a client would: `PeerError`."""
        done, results, failures = anyio.Event(), list[T](), list[FleetsyncError]()

        async def job() -> None:
            try:
                results.append(await work())
            except FleetsyncError as error:
                failures.append(error)
            finally:
                done.set()

        self._tasks.start_soon(job)
        await done.wait()
        if results:
            return results[0]
        if not failures:
            raise Unreachable("the connection was reset")
        error = failures[0]
        raise statuses.error_of(Refusal(error.code, error.message), "the peer")

    @asynccontextmanager
    async def carry_on(self, work: Callable[[Send], Awaitable[None]]) -> AsyncIterator[AsyncIterator[bytes]]:
        """The payloads of a stream that a peer asked for, while it wants them."""
        send, receive = anyio.create_memory_object_stream[bytes](4)
        scope = anyio.CancelScope()
        failures: list[FleetsyncError] = []
        finished = anyio.Event()

        async def job() -> None:
            with send, scope:
                try:
                    await work(send.send)
                    finished.set()
                except FleetsyncError as error:
                    failures.append(error)
                except anyio.BrokenResourceError:
                    pass

        async def payloads() -> AsyncGenerator[bytes]:
            async for payload in receive:
                yield payload
            if failures:
                raise statuses.error_of(Refusal(failures[0].code, failures[0].message), "the peer")
            if not finished.is_set():
                raise Unreachable("the connection was reset")

        self._tasks.start_soon(job)
        try:
            with receive:
                async with aclosing(payloads()) as found:
                    yield found
        finally:
            scope.cancel()


class Wire:
    """The `Peer` through which `caller` calls `callee`."""

    def __init__(self, network: Network, caller: DeviceId, callee: DeviceId, dialect: Dialect) -> None:
        """`dialect` is the caller's."""
        self.device = callee
        self._network = network
        self._caller = caller
        self._dialect = dialect

    async def hello(self, terms: Terms = NO_TERMS) -> Hello:
        """See `Peer`."""
        payload = spoken(terms, self._dialect)
        return await self._ask(lambda peer: peer.hello(codec.decode(payload, Terms)), Hello)

    async def reconcile(self, message: bytes) -> bytes:
        """See `Peer`."""
        return (await self._ask(lambda peer: _octets(peer.reconcile(message)), _Octets)).data

    async def offer(self, batch: Batch) -> Receipt:
        """See `Peer`."""
        payload = spoken(batch, self._dialect)
        return await self._ask(lambda peer: _offer(peer, payload), Receipt)

    async def roster(self, offer: RosterOffer) -> RosterOffer:
        """See `Peer`."""
        return await self._ask(lambda peer: peer.roster(offer), RosterOffer)

    async def aclose(self) -> None:
        """See `Peer`."""

    async def _ask(self, question: Callable[[Peer], Awaitable[M]], kind: type[M]) -> M:
        network, me = self._network, self._caller
        await network.travel(me, self.device)
        host = network.host(self.device)

        async def work() -> bytes:
            answer = await question(host.responder(me))
            return spoken(answer, host.dialect)

        payload = await host.carry_out(work)
        if network.happens("repeated", network.weather.repeated):
            payload = await network.host(self.device).carry_out(work)
        await network.travel(self.device, me)
        return codec.decode_receipt(payload) if kind is Receipt else codec.decode(payload, kind)  # type: ignore[return-value]

    def items(self, want: Want) -> AbstractAsyncContextManager[AsyncIterator[Batch]]:
        """See `Peer`."""

        async def work(send: Send, host: Host) -> None:
            async with host.responder(self._caller).items(want) as batches:
                async for batch in batches:
                    await send(spoken(batch, host.dialect))

        return self._stream(work, codec.decode_batch, live=False)

    def changes(self) -> AbstractAsyncContextManager[AsyncIterator[Frame]]:
        """See `Peer`."""

        async def work(send: Send, host: Host) -> None:
            async with host.responder(self._caller).changes() as frames:
                async for frame in frames:
                    await send(spoken(frame, host.dialect))

        return self._stream(work, codec.decode_frame, live=True)

    @asynccontextmanager
    async def _stream(
        self, work: Callable[[Send, Host], Awaitable[None]], decode: Callable[[bytes], T], *, live: bool
    ) -> AsyncIterator[AsyncIterator[T]]:
        await self._network.travel(self._caller, self.device)
        host = self._network.host(self.device)
        async with (
            host.carry_on(lambda send: work(send, host)) as payloads,
            aclosing(self._arriving(payloads, decode, live=live)) as frames,
        ):
            yield frames

    async def _arriving(
        self, payloads: AsyncIterator[bytes], decode: Callable[[bytes], T], *, live: bool
    ) -> AsyncGenerator[T]:
        network, weather = self._network, self._network.weather
        overtaken: bytes | None = None
        while (payload := await self._next(payloads)) is not None:
            await network.travel(self.device, self._caller)
            if network.happens("cut", weather.cut):
                raise Unreachable("the line was cut")
            if live and network.happens("skipped", weather.skipped):
                continue
            if live and overtaken is None and network.happens("overtaken", weather.overtaken):
                overtaken = payload
                continue
            yield decode(payload)
            if overtaken is not None:
                yield decode(overtaken)
                overtaken = None
            if network.happens("repeated", weather.repeated):
                yield decode(payload)

    async def _next(self, payloads: AsyncIterator[bytes]) -> bytes | None:
        with anyio.move_on_after(SILENCE_SECONDS):
            return await anext(payloads, None)
        raise Unreachable("the stream has been silent for too long")


class _Octets(msgspec.Struct, frozen=True, array_like=True):
    """A reconciliation message on the wire."""

    data: bytes


async def _octets(answer: Awaitable[bytes]) -> _Octets:
    return _Octets(await answer)


async def _offer(peer: Peer, payload: bytes) -> Receipt:
    return codec.fitted(await peer.offer(codec.decode_batch(payload)))


class Dialect(StrEnum):
    """Which version of fleetsync a laptop runs, as far as its messages show it."""

    OLDER = "older"  # optional fields are missing
    SAME = "same"
    NEWER = "newer"  # there are fields that nobody here knows


def spoken(message: msgspec.Struct, dialect: Dialect) -> bytes:
    """The payload as that version would write it."""
    if dialect is Dialect.SAME:
        return codec.encode(message)
    if isinstance(message, Hello):
        older, newer = dialect is Dialect.OLDER, dialect is Dialect.NEWER
        message = msgspec.structs.replace(
            message, protocol_min=PROTOCOL_MIN - older, protocol_max=PROTOCOL_MAX + newer
        )
    values = msgspec.msgpack.decode(msgspec.msgpack.encode(message), strict=False)
    if dialect is Dialect.NEWER:
        return PLAIN + msgspec.msgpack.encode([*values, "what a later version has to say"])
    tagged = type(message).__struct_config__.tag is not None
    required = sum(field.required for field in msgspec.structs.fields(message))
    return PLAIN + msgspec.msgpack.encode(values[: required + tagged])
