"""The desk: the one place through which the event loop reaches storage.

`Storage` blocks and is not thread-safe. The desk hands its calls, in the order in which they were
asked for, to one worker at a time, and tells its listeners what every change added to the set. It
knows nothing of peers or messages. Rule of the file: a call that has begun is always waited for,
whatever is cancelled meanwhile, so nobody ever sees storage half-way through a call.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Protocol, TypeVar

import anyio
import anyio.to_thread

from fleetsync.ports import Group, Head, Item, Outcome, Storage, Verdict
from fleetsync.records.names import DeviceId
from fleetsync.selection import EVERYTHING, Selection

T = TypeVar("T")

HEADS = 64
"""States of parts of the set that are remembered: a peer may name another part with each hello."""


@dataclass(frozen=True, slots=True)
class News:
    """What one change added: the arrival numbers before < n <= after.

    `origin` is set when every one of them came from that peer.
    """

    before: Head
    after: Head
    origin: DeviceId | None


Listener = Callable[[News], None]


class Worker(Protocol):
    """Whoever carries out calls that block."""

    async def __call__(self, work: Callable[[], T], turn: anyio.CapacityLimiter) -> T:
        """What `work` returns or raises; it runs while `turn` is held, and is waited for."""
        ...


async def in_thread(work: Callable[[], T], turn: anyio.CapacityLimiter) -> T:
    """A worker thread: the event loop goes on meanwhile."""
    return await anyio.to_thread.run_sync(work, limiter=turn)


class Desk:
    """Storage as the event loop sees it; every method may raise `LocalError`.

    `worker` carries out its calls; a simulation has them done in place.
    """

    def __init__(self, storage: Storage, worker: Worker = in_thread) -> None:
        self._storage = storage
        self._worker = worker
        self._turn = anyio.CapacityLimiter(1)
        # asyncio's own cancel() pierces anyio's shield and would free the turn while the thread
        # still works; the lock makes the next call wait for it all the same.
        self._busy = Lock()
        self._heads: dict[Selection, Head] = {}
        self._listeners: list[Listener] = []
        self.stirred: Callable[[], None] = lambda: None
        """Called in the event loop after whatever may have changed what is due, also if it failed."""

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` in the event loop after every change; returns what ends that, idempotent."""
        self._listeners.append(listener)

        def stop() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return stop

    async def call(self, function: Callable[[Storage], T]) -> T:
        """What `function(storage)` returns; it must not change the set."""

        def work() -> T:
            with self._busy:
                return function(self._storage)

        return await self._worker(work, self._turn)

    async def change(self, function: Callable[[Storage], T]) -> T:
        """What `function(storage)` returns; listeners hear of what it added to the set."""
        result, _ = await self._change(function, lambda _: None)
        return result

    async def head(self, carried: Selection = EVERYTHING) -> Head:
        """The state of the set now, or of that part of it; free of charge while nothing changes."""
        head = self._heads.get(carried)
        if head is None:
            head = await self.call(lambda storage: storage.head(carried))
            if len(self._heads) >= HEADS:
                self._heads.clear()
            self._heads[carried] = head
        return head

    async def apply(
        self, groups: Sequence[Group], origin: DeviceId, check: Callable[[], None] = lambda: None
    ) -> tuple[list[Verdict], Head]:
        """`Storage.apply`, and the head right after it.

        `check` runs on the worker first; if it raises, nothing is applied.
        """

        def work(storage: Storage) -> list[Verdict]:
            check()
            return storage.apply(groups, origin)

        def sender(verdicts: list[Verdict]) -> tuple[DeviceId, int]:
            return origin, sum(verdict.outcome is Outcome.NEW for verdict in verdicts)

        return await self._change(work, sender)

    async def scan(self, paths: Sequence[str] | None) -> bool:
        """`Storage.scan`."""
        return await self.change(lambda storage: storage.scan(paths))

    async def settle(self) -> bool:
        """`Storage.settle`."""
        return await self.change(lambda storage: storage.settle())

    async def pages(self, open_pages: Callable[[Storage], Iterator[list[Item]]]) -> AsyncIterator[list[Item]]:
        """The pages of an iterator that storage opens, one call each."""
        iterator = await self.call(open_pages)
        while (page := await self.call(lambda _: next(iterator, None))) is not None:
            yield page

    async def _change(
        self, function: Callable[[Storage], T], sender: Callable[[T], tuple[DeviceId, int] | None]
    ) -> tuple[T, Head]:
        """Run a change; `sender` tells from its result who sent how many new members."""

        def work(storage: Storage) -> tuple[Head, T, Head]:
            return storage.head(), function(storage), storage.head()

        self._heads = {}
        try:
            before, result, after = await self.call(work)
        finally:
            self.stirred()
        self._heads = {EVERYTHING: after}
        if before != after:
            sent = sender(result)
            only = sent is not None and sent[1] == after.arrival - before.arrival
            self._tell(News(before, after, sent[0] if sent and only else None))
        return result, after

    def _tell(self, news: News) -> None:
        for listener in tuple(self._listeners):
            listener(news)
