"""`Database`: what the hand-written SQL of the stores runs on, SQLite or PostgreSQL.

The same text serves both: parameters are `?`, texts compare byte by byte, numbers are 64 bits, and
`TEXT`, `BIGINT` and `DOUBLE PRECISION` mean the same. Rule of the file: a transaction is a function,
so that it can be run again from its beginning when the database asks for that; it must do nothing
but SQL. Everything that a driver raises becomes `DuplicateRecord`, `BrokenReference` or
`StorageFailed` here. Implements docs/stores.md, "One SQL, two databases".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from fleetsync.errors import LocalError

T = TypeVar("T")

Row = tuple[Any, ...]
Execute = Callable[[str, Sequence[Any]], list[Row]]
"""Runs one statement with its parameters; the rows that it gives back, none for most writes."""


class BrokenReference(LocalError):
    """A record speaks of another one that is not there."""

    code = "broken-reference"


class Database(Protocol):
    """One database; calls block, may come from any thread, and are carried out one after the other.

    A connection that was lost is made again by the next call.
    """

    for_update: str
    """Ends a SELECT inside `write` whose rows nobody else may change before the end."""

    def read(self, statement: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """The rows of one SELECT."""

    def write(self, work: Callable[[Execute], T]) -> T:
        """What `work(execute)` returns, all of its statements together or none.

        Writers do not see each other's half-done work; `work` is run again where the database
        settles a conflict between two by undoing one. If the connection is lost at the very end,
        `StorageFailed` leaves open whether the work counts.
        """

    def migrating(self, work: Callable[[Execute], T]) -> T:
        """As `write`, while no other process does the same."""

    def close(self) -> None:
        """Release; idempotent."""


def marks(values: Sequence[Any]) -> str:
    """`?, ?, …` for so many values."""
    return ", ".join("?" * len(values))
