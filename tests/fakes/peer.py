"""A `Peer` that answers from memory, for the server's tests: small enough to read in one go."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import anyio
import msgspec
from anyio.streams.memory import MemoryObjectSendStream

from fleetsync.ports import Group, Head, Outcome, Verdict
from fleetsync.records.names import DeviceId
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

T = TypeVar("T")

HEAD = Head(epoch=b"epoch--8", arrival=100_000, count=100_000, fingerprint=b"fingerprint---16")


def hello_of(device: DeviceId) -> Hello:
    """A hello as a real device of that id would send it."""
    return Hello(
        device=device,
        name="work-laptop",
        protocol_min=1,
        protocol_max=1,
        capabilities=[],
        clock=1_748_000_000_000_000,
        head=HEAD,
        instance=b"instance",
        roster=b"roster-8",
        highest_dot=17,
    )


@dataclass
class FakePeer:
    """Answers every call; remembers what it was offered; `fails` makes the next calls raise."""

    device: DeviceId
    served: list[Batch] = field(default_factory=list)
    offered: list[Batch] = field(default_factory=list)
    wanted: list[Want] = field(default_factory=list)
    covering: bytes | None = None
    fails: Exception | None = None
    breaks_after: int | None = None  # batches, then the stream raises
    open_streams: int = 0
    offering: int = 0
    most_offering: int = 0
    hold_offers: anyio.Event | None = None
    terms: Terms = NO_TERMS

    def __post_init__(self) -> None:
        self.greeting = hello_of(self.device)
        self._listeners: list[MemoryObjectSendStream[Frame]] = []

    async def hello(self, terms: Terms = NO_TERMS) -> Hello:
        """The greeting, which a test may replace."""
        self._maybe_fail()
        self.terms = terms
        return self.greeting

    async def reconcile(self, message: bytes) -> bytes:
        """Something that depends on the message."""
        self._maybe_fail()
        return b"a" + message[:0:-1]

    async def offer(self, batch: Batch) -> Receipt:
        """Remembered; all new, or all superseded by `covering`."""
        self._maybe_fail()
        self.offering += 1
        self.most_offering = max(self.most_offering, self.offering)
        if self.hold_offers is not None:
            await self.hold_offers.wait()
        self.offering -= 1
        self.offered.append(batch)
        bodies = [body for group in batch.groups for body in group.bodies]
        if self.covering is None:
            return Receipt({}, HEAD)
        verdict = Verdict(Outcome.SUPERSEDED, covering=self.covering)
        return Receipt(dict.fromkeys(range(len(bodies)), verdict), HEAD)

    async def roster(self, offer: RosterOffer) -> RosterOffer:
        """The offer back, under this device's name."""
        self._maybe_fail()
        return msgspec.structs.replace(offer, name="work-laptop")

    def items(self, want: Want) -> AbstractAsyncContextManager[AsyncIterator[Batch]]:
        """The batches in `served`, whatever is wanted."""
        self.wanted.append(want)
        return self._stream(self._batches())

    async def _batches(self) -> AsyncGenerator[Batch]:
        self._maybe_fail()
        for number, batch in enumerate(self.served):
            if number == self.breaks_after:
                raise OSError("the disk went away")
            yield batch

    @asynccontextmanager
    async def _stream(self, frames: AsyncGenerator[T]) -> AsyncIterator[AsyncIterator[T]]:
        self.open_streams += 1
        try:
            async with aclosing(frames):
                yield frames
        finally:
            self.open_streams -= 1

    def changes(self) -> AbstractAsyncContextManager[AsyncIterator[Frame]]:
        """A heartbeat, then what `publish` is given."""
        return self._stream(self._changes())

    async def _changes(self) -> AsyncGenerator[Frame]:
        self._maybe_fail()
        send, receive = anyio.create_memory_object_stream[Frame](1000)
        self._listeners.append(send)
        try:
            async with send, receive:
                yield Heartbeat(HEAD)
                async for frame in receive:
                    yield frame
        finally:
            self._listeners.remove(send)

    def publish(self, frame: Frame) -> None:
        """Put a frame into every open change stream."""
        for each in self._listeners:
            each.send_nowait(frame)

    async def aclose(self) -> None:
        """Nothing to drop."""

    def _maybe_fail(self) -> None:
        if self.fails is not None:
            raise self.fails


def line(number: int) -> bytes:
    """A skill event line of the usual length."""
    text = (
        '{"kind":"executed","at":"2025-11-21T08:%02d:%02d.%06dZ","device_id":"cli",'
        '"outcome":"success","duration_ms":%d,"trigger":"manual","exit_code":0,"step":"build"}'
    )
    return (text % (number // 60 % 60, number % 60, number * 7919 % 1_000_000, number % 9000)).encode()


def one_line_batch(number: int = 1) -> Batch:
    """What a push of one appended line consists of."""
    return Batch([Group("skills/deploy-service/events.jsonl", [line(number)])])
