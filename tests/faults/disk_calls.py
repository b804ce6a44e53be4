"""Every call by which the program can change the disk, led through one gate.

The operating system's calls are wrapped from outside: nothing in the product knows of it. Whoever
tests death, full disks or power loss is a `Gate`. Rule of the file: it knows which calls there are,
and nothing of what may happen at them; a new kind of call in `files.py` is one name here.
"""

from __future__ import annotations

import functools
import os
import sqlite3
from collections.abc import Callable
from typing import Any, Protocol

from fleetsync import files

WRITES = ("write", "pwrite")
CHANGES = ("fsync", "rename", "unlink", "rmdir", "mkdir", "link", "fchmod", "open", "ftruncate")
RENAME_WITH = "rename_with"
COMMIT = "commit"


class Gate(Protocol):
    """Stands between the program and the disk."""

    def write(self, call: Callable[..., int], fd: int, data: Any, *rest: Any) -> int:
        """`os.write`, or `os.pwrite` with its offset."""

    def change(self, name: str, call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """Any other call: one of `CHANGES`, `RENAME_WITH`."""

    def opened(self, connection: sqlite3.Connection, path: str) -> None:
        """A database was opened."""

    def commit(self, connection: sqlite3.Connection, call: Callable[[], sqlite3.Cursor]) -> sqlite3.Cursor:
        """A COMMIT of one of the databases."""


def install(gate: Gate) -> Callable[[], None]:
    """Lead all calls through the gate; returns what takes it away again."""
    before = {name: getattr(os, name) for name in (*WRITES, *CHANGES)}
    renaming, connect = files._rename_with, sqlite3.connect
    for name in WRITES:
        setattr(os, name, functools.partial(gate.write, before[name]))
    for name in CHANGES:
        setattr(os, name, functools.partial(gate.change, name, before[name]))
    files._rename_with = functools.partial(gate.change, RENAME_WITH, renaming)

    class Connection(sqlite3.Connection):
        def __init__(self, database: Any, *arguments: Any, **named: Any) -> None:
            super().__init__(database, *arguments, **named)
            gate.opened(self, str(database))

        def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
            perform = functools.partial(super().execute, sql, *arguments)
            return gate.commit(self, perform) if sql == "COMMIT" else perform()

    setattr(sqlite3, "connect", functools.partial(connect, factory=Connection))  # noqa: B010 - mypy would object

    def restore() -> None:
        for name, call in before.items():
            setattr(os, name, call)
        files._rename_with = renaming
        setattr(sqlite3, "connect", connect)  # noqa: B010 - the same

    return restore
