"""A child process that dies by SIGKILL at the n-th thing it does to the disk.

It carries out a scenario on a replica and kills itself before, after or in the middle of the n-th
call that changes the disk. Nothing in the product knows of this: the operating system's calls are
wrapped here, from outside.
"""

from __future__ import annotations

import functools
import os
import signal
import sqlite3
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from fleetsync import files
from tests.faults import scenarios


class Fuse:
    """Burns down by one at each point; at zero the process is gone."""

    def __init__(self, points: int) -> None:
        self._left = points

    def burn(self) -> None:
        """One step nearer to the end."""
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def around(fuse: Fuse, call: Callable[..., Any]) -> Callable[..., Any]:
    """The call with a point before and a point after."""

    def wrapped(*arguments: Any, **named: Any) -> Any:
        fuse.burn()
        result = call(*arguments, **named)
        fuse.burn()
        return result

    return wrapped


def torn(fuse: Fuse, write: Callable[..., int]) -> Callable[..., int]:
    """A write with points before, at a third, and after: what a kill in the page cache leaves."""

    def wrapped(fd: int, data: Any, *rest: Any) -> int:
        fuse.burn()
        third = len(data) // 3
        done = write(fd, data[:third], *rest) if third else 0
        fuse.burn()
        offset = (rest[0] + done,) if rest else ()
        done += write(fd, data[done:], *offset)
        fuse.burn()
        return done

    return wrapped


def arm(fuse: Fuse) -> None:
    """Wrap every call by which the program can change the disk."""
    os.write = torn(fuse, os.write)
    os.pwrite = torn(fuse, os.pwrite)
    for name in ("fsync", "rename", "unlink", "rmdir", "mkdir", "link", "fchmod"):
        setattr(os, name, around(fuse, getattr(os, name)))
    files._rename_with = around(fuse, files._rename_with)
    connect = sqlite3.connect

    class Connection(sqlite3.Connection):
        def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
            if sql != "COMMIT":
                return super().execute(sql, *arguments)
            fuse.burn()
            cursor = super().execute(sql)
            fuse.burn()
            return cursor

    setattr(sqlite3, "connect", functools.partial(connect, factory=Connection))  # noqa: B010 - mypy would object


def live(scenario: str, points: int, folder: Path) -> NoReturn:
    """Carry out the scenario in this (forked) process with the fuse lit; never returns."""
    try:
        arm(Fuse(points))
        scenarios.SCENARIOS[scenario].act(scenarios.opened(folder))
    except BaseException:  # noqa: BLE001 - a forked child must not run into the test runner
        traceback.print_exc()
        os._exit(1)
    os._exit(0)
