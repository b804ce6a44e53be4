"""Every state that a model can reach within its bounds, the nearest ones first.

A model says where it begins, what can happen next, and what is wrong with a state. States with one key
are one state, which is where symmetry is used: the key of devices that are alike knows no order. The
first state with something wrong ends the search, and since that goes breadth first, the trace that led
to it is a shortest one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

S = TypeVar("S")


class Model(Protocol[S]):
    """What is explored."""

    def beginnings(self) -> Iterable[tuple[str, S]]:
        """The states to begin with, and what to call them."""

    def key(self, state: S) -> Hashable:
        """What the model can tell states apart by."""

    def steps(self, state: S) -> Iterator[tuple[str, S]]:
        """Everything that can happen in a state: in words, and what it leads to."""

    def wrong(self, state: S, *, final: bool) -> str | None:
        """Which rule a state breaks, in words; `final` says that nothing can happen any more."""


@dataclass(frozen=True)
class Found:
    """What a search has seen. `trace` is the way to a broken rule, None if no rule is broken."""

    states: int
    steps: int
    depth: int
    complete: bool
    trace: list[str] | None

    def __str__(self) -> str:
        """For people: the counts, and the trace one step a line."""
        reach = "all of them" if self.complete else "stopped at the limit"
        head = f"{self.states} states, {self.steps} steps, depth {self.depth} ({reach})"
        if self.trace is None:
            return f"{head}: no rule is broken"
        return "\n".join([f"{head}: a rule is broken", *(f"  {n}. {s}" for n, s in enumerate(self.trace))])


class _Search(Generic[S]):
    """One search; remembers of every state how it was reached."""

    def __init__(self, model: Model[S], most: int) -> None:
        self._model = model
        self._most = most
        self._came: dict[Hashable, tuple[Hashable | None, str, int]] = {}
        self._ahead: deque[tuple[Hashable, S]] = deque()
        self._steps = 0
        self._depth = 0

    def run(self) -> Found:
        for name, state in self._model.beginnings():
            self._meet(self._model.key(state), state, None, name, 0)
        while self._ahead and len(self._came) < self._most:
            key, state = self._ahead.popleft()
            broken = self._look_around(key, state)
            if broken is not None:
                return self._found([*self._way(key), broken])
        return self._found(None)

    def _look_around(self, here: Hashable, state: S) -> str | None:
        depth = self._came[here][2]
        self._depth = max(self._depth, depth)
        moved = False
        for name, after in self._model.steps(state):
            self._steps += 1
            key = self._model.key(after)
            if key != here:
                moved = True
                self._meet(key, after, here, name, depth + 1)
        return self._model.wrong(state, final=not moved)

    def _meet(self, key: Hashable, state: S, before: Hashable | None, name: str, depth: int) -> None:
        if key not in self._came:
            self._came[key] = before, name, depth
            self._ahead.append((key, state))

    def _way(self, key: Hashable) -> list[str]:
        way: list[str] = []
        at: Hashable | None = key
        while at is not None:
            at, name, _ = self._came[at]
            way.append(name)
        return way[::-1]

    def _found(self, trace: list[str] | None) -> Found:
        return Found(len(self._came), self._steps, self._depth, not self._ahead, trace)


def explore(model: Model[S], *, most: int = 10_000_000) -> Found:
    """Search until a rule is broken, everything is seen, or `most` states are known."""
    return _Search(model, most).run()
