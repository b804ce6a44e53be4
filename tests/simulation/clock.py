"""Virtual time: an event loop that never waits and always does the same things in the same order.

When nothing is ready the loop does not sleep; it moves its clock to the next timer. Tasks and cancel
scopes are kept in sets by asyncio and anyio, and sets go by address: here they go by number. Rule of
the file: whatever differs between two runs of one seed is mended here and nowhere else.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import selectors
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableSet
from typing import Any, TypeVar

import anyio
from anyio._backends import _asyncio as anyio_asyncio

T = TypeVar("T")

START = 1_790_000_000.0
"""When every story begins, seconds since 1970: 2026-09-21."""
IDLE_TURNS = 20_000
"""Turns of the loop without a pause after which time moves on by itself: something is polling."""


class Stuck(Exception):
    """Nothing is ready and no timer is set: the story waits for what can never happen."""


class Loop(asyncio.SelectorEventLoop):
    """An event loop whose time passes only when there is nothing left to do."""

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__(_Skipping(self))
        self._clock_resolution = 1e-6
        numbers = itertools.count()
        self.set_task_factory(lambda loop, work, **named: _Numbered(next(numbers), work, loop=loop, **named))

    def time(self) -> float:
        """Seconds since the story began."""
        return self.now


class _Skipping(selectors.SelectSelector):
    """Never waits for a file; lets the time pass instead."""

    def __init__(self, loop: Loop) -> None:
        super().__init__()
        self._loop = loop
        self._turns = 0

    def select(self, timeout: float | None = None) -> list[Any]:
        """Nothing is ever ready; the time is now later."""
        if timeout is None:
            raise Stuck("nothing will ever happen again")
        self._turns = 0 if timeout > 0 else self._turns + 1
        self._loop.now += timeout if self._turns < IDLE_TURNS else 0.001
        return []


class _Numbered(asyncio.Task[Any]):
    """A task whose place in a set does not depend on where it lies in memory."""

    def __init__(self, number: int, *arguments: Any, **named: Any) -> None:
        self._number = number
        super().__init__(*arguments, **named)

    def __hash__(self) -> int:
        return self._number


class _Ordered(MutableSet[Any]):
    """A set in order of insertion."""

    def __init__(self, things: Iterable[Any] = ()) -> None:
        self._things = dict.fromkeys(things)

    def __contains__(self, thing: object) -> bool:
        return thing in self._things

    def __iter__(self) -> Iterator[Any]:
        return iter(self._things)

    def __len__(self) -> int:
        return len(self._things)

    def add(self, thing: Any) -> None:
        """See `set.add`."""
        self._things[thing] = None

    def discard(self, thing: Any) -> None:
        """See `set.discard`."""
        self._things.pop(thing, None)

    def remove(self, thing: Any) -> None:
        """See `set.remove`."""
        del self._things[thing]


def play(story: Callable[[], Awaitable[T]]) -> T:
    """Tell a story from beginning to end in no time, the same way whenever it is told."""
    collecting = gc.isenabled()
    gc.disable()  # when a generator is finalised must not depend on what was told before
    vars(anyio_asyncio)["set"] = _Ordered
    try:
        return anyio.run(story, backend="asyncio", backend_options={"loop_factory": Loop})
    finally:
        del vars(anyio_asyncio)["set"]
        if collecting:
            gc.enable()
