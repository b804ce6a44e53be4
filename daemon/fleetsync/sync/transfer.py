"""Moving items: what storage holds as batches, and questions cut to size.

Register versions go before lines, because a line waits for its manifest; within a path the order is
that of storage. Rule of the file: never more than a page of bodies in memory, however much there is
to move. Implements docs/protocol.md, "Items".
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from functools import lru_cache
from typing import TypeVar

import anyio

from fleetsync import datasets
from fleetsync.datasets import Kind
from fleetsync.errors import FleetsyncError, MalformedMessage
from fleetsync.ports import NOT_CARRIED, Bound, Group, Item, Outcome, Storage, Verdict
from fleetsync.selection import EVERYTHING, Selection
from fleetsync.sync.accord import Accord
from fleetsync.sync.offload import Desk
from fleetsync.sync.stride import WHOLE, Stride
from fleetsync.wire import codec
from fleetsync.wire.messages import MAX_SPANS, Batch, Receipt, Span, Want

T = TypeVar("T")
Cut = tuple[Bound, Bound]
"""All members with lower ≤ key < upper."""

APPLY_BYTES = 3 << 19
"""Bodies applied at once when there are so many; as many again are read ahead meanwhile."""
SLICE_IDS = 4096
"""Ids looked up at a time; their bodies come in pages."""


async def read(
    desk: Desk,
    ids: Sequence[bytes],
    spans: Sequence[Cut],
    carried: Selection = EVERYTHING,
    stride: Stride = WHOLE,
) -> AsyncGenerator[Batch]:
    """Everything of these ids and spans that is a member, as batches as full as they may be; only what
    is `carried` where it goes.
    """
    rest: list[Group] = []
    async for whole in _pages(desk, ids, spans):
        page = [item for item in whole if carried.carries(item.path)]
        if not page:
            continue
        *full, last = codec.batches([*rest, *codec.grouped(page)], stride.batch)
        for batch in full:
            yield batch
        rest = last.groups
    if rest:
        yield Batch(rest)


async def _pages(desk: Desk, ids: Sequence[bytes], spans: Sequence[Cut]) -> AsyncIterator[list[Item]]:
    """Pages with something in them: spans first, since they are the bulk."""
    for lower, upper in spans:
        async for page in desk.pages(_between(lower, upper)):
            if page:
                yield page
    async for page in _pages_by_id(desk, ids):
        if page:
            yield page


def _between(lower: Bound, upper: Bound) -> Callable[[Storage], Iterator[list[Item]]]:
    return lambda storage: storage.between(lower, upper)


def _by_id(ids: Sequence[bytes]) -> Callable[[Storage], Iterator[list[Item]]]:
    return lambda storage: storage.bodies(ids)


async def _pages_by_id(desk: Desk, ids: Sequence[bytes]) -> AsyncIterator[list[Item]]:
    if len(ids) <= SLICE_IDS:
        async for page in desk.pages(_by_id(ids)):
            yield page
        return
    for registers in (True, False):
        for some in _slices(ids, SLICE_IDS):
            async for page in desk.pages(_by_id(some)):
                yield [item for item in page if is_register(item.path) is registers]


def note_named(accord: Accord, selection: Selection, batch: Batch, verdicts: Sequence[Verdict]) -> None:
    """The peer gave what is not carried here, and so has named it itself."""
    for path, verdict in zip(paths_of(batch), verdicts, strict=True):
        if verdict.reason == NOT_CARRIED:
            accord.named(selection, path)


def paths_of(batch: Batch) -> list[str]:
    """The path of each body, by its position in the batch."""
    return [group.path for group in batch.groups for _ in group.bodies]


def covering_versions(batch: Batch, receipt: Receipt) -> list[Group]:
    """The versions that a receipt sends back for superseded ones; raises `MalformedMessage`."""
    paths = paths_of(batch)
    if not all(0 <= position < len(paths) for position in receipt.exceptions):
        raise MalformedMessage("a receipt speaks of items that were not offered")
    return [
        Group(paths[position], [verdict.covering])
        for position, verdict in receipt.exceptions.items()
        if verdict.outcome is Outcome.SUPERSEDED and verdict.covering is not None
    ]


async def merged(batches: AsyncGenerator[Batch]) -> AsyncGenerator[Batch]:
    """The same bodies in larger batches: applying has its price each time, however much there is.

    What came before the source failed comes before its error: behind a middlebox that cuts every
    connection after so many bytes there would be no end otherwise.
    """
    groups: list[Group] = []
    size = 0
    failure: FleetsyncError | None = None
    async with aclosing(batches):
        try:
            async for batch in batches:
                size += _join(groups, batch)
                if size >= APPLY_BYTES:
                    yield Batch(groups)
                    groups, size = [], 0
        except FleetsyncError as error:
            failure = error
    if groups:
        yield Batch(groups)
    if failure is not None:
        raise failure


def _join(groups: list[Group], batch: Batch) -> int:
    """Put a batch behind these groups; how many bytes it has."""
    for group in batch.groups:
        if groups and groups[-1].path == group.path:
            groups[-1].bodies.extend(group.bodies)
        else:
            groups.append(group)
    return sum(len(body) for group in batch.groups for body in group.bodies)


@lru_cache(maxsize=8192)
def is_register(path: str) -> bool:
    """Whether the members of this path are versions of a register."""
    row = datasets.find(path)
    return row is not None and row.kind is Kind.REGISTER


def wants(ids: Sequence[bytes], stride: Stride = WHOLE) -> Iterator[Want]:
    """Questions for these ids, each small enough to be asked and answered."""
    for some in _slices(ids, stride.ids):
        yield Want(list(some))


def span_wants(spans: Sequence[Cut]) -> Iterator[Want]:
    """Questions for these spans, each small enough to be asked."""
    for some in _slices(spans, MAX_SPANS):
        yield Want([], [Span(lower.ts, lower.prefix, upper.ts, upper.prefix) for lower, upper in some])


def _slices(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]


@asynccontextmanager
async def ahead(source: AsyncGenerator[T]) -> AsyncIterator[AsyncIterator[T]]:
    """The same elements, one of them read ahead while the last is being worked on; closes `source`."""
    send, receive = anyio.create_memory_object_stream[T](1)
    failures: list[Exception] = []

    async def pump() -> None:
        try:
            with send:
                async for element in source:
                    await send.send(element)
        except Exception as failure:  # noqa: BLE001 - raised again where the elements are read
            failures.append(failure)
        finally:
            # In this task and in no other: what the source holds open was entered here.
            with anyio.CancelScope(shield=True):
                await source.aclose()

    async def elements() -> AsyncIterator[T]:
        async for element in receive:
            yield element
        if failures:
            raise failures[0]

    # What the reader raises must leave the task group as itself, not inside an ExceptionGroup.
    raised: Exception | None = None
    with receive:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pump)
            try:
                yield elements()
            except Exception as error:  # noqa: BLE001 - raised again below
                raised = error
            tasks.cancel_scope.cancel()
    if raised is not None:
        raise raised
