"""A child process that dies by SIGKILL at the n-th thing it does to the disk.

It carries out a scenario on a replica and kills itself before, after or in the middle of the n-th
call that changes the disk (`disk_calls.py`).
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

from tests.faults import disk_calls, scenarios


class Fuse:
    """Burns down by one at each point; at zero the process is gone."""

    def __init__(self, points: int) -> None:
        self._left = points

    def burn(self) -> None:
        """One step nearer to the end."""
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


class DeadlyGate:
    """Lets everything pass, with points around and within it."""

    def __init__(self, fuse: Fuse) -> None:
        self._fuse = fuse

    def write(self, call: Callable[..., int], fd: int, data: Any, *rest: Any) -> int:
        """Points before, at a third, and after: what a kill in the page cache leaves."""
        self._fuse.burn()
        third = len(data) // 3
        done = call(fd, data[:third], *rest) if third else 0
        self._fuse.burn()
        offset = (rest[0] + done,) if rest else ()
        done += call(fd, data[done:], *offset)
        self._fuse.burn()
        return done

    def change(self, name: str, call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """A point before and a point after; opening a file is no step of its own."""
        if name == "open":
            return call(*arguments, **named)
        return self._around(functools.partial(call, *arguments, **named))

    def opened(self, connection: sqlite3.Connection, path: str) -> None:
        """Opening a database is no step of its own."""

    def commit(self, connection: sqlite3.Connection, call: Callable[[], sqlite3.Cursor]) -> sqlite3.Cursor:
        """A point before and a point after."""
        cursor: sqlite3.Cursor = self._around(call)
        return cursor

    def _around(self, call: Callable[[], Any]) -> Any:
        self._fuse.burn()
        result = call()
        self._fuse.burn()
        return result


def live(scenario: str, points: int, folder: Path) -> NoReturn:
    """Carry out the scenario in this (forked) process with the fuse lit; never returns."""
    try:
        disk_calls.install(DeadlyGate(Fuse(points)))
        scenarios.SCENARIOS[scenario].act(scenarios.opened(folder))
    except BaseException:  # noqa: BLE001 - a forked child must not run into the test runner
        traceback.print_exc()
        os._exit(1)
    os._exit(0)
