"""From the start of the daemon to its ready line, with 1,000,000 events that are indexed and unchanged.

`python -m bench start`. The first start indexes them; each of the next ones opens the databases, checks the
journal, looks at every file's size and times, and says that it is ready. Beside it an empty home.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from bench.budgets import Figure
from bench.first_sync import fill
from bench.laptops import Laptop

SKILLS, EVENTS = 200, 1_000_000
RUNS = 5


def measure() -> list[Figure]:
    """The row of this group."""
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fleetsync-bench-")))
        empty, full = Laptop("empty", root), Laptop("full", root)
        for laptop in (empty, full):
            stack.callback(laptop.stop)
        fill(full.home, SKILLS, EVENTS)
        indexing, _ = _start(full)
        assert full.items == EVENTS + SKILLS
        again = [_start(full) for _ in range(RUNS)]
        _start(empty)
        floor = statistics.median(_start(empty)[0] for _ in range(RUNS))
    seconds = statistics.median(wall for wall, _ in again)
    cpu = statistics.median(cpu for _, cpu in again)
    beside = f"{RUNS} starts, CPU {cpu:.2f} s; an empty home {floor:.2f} s; the first scan {indexing:.0f} s"
    return [Figure("start with 1,000,000 indexed, unchanged events → ready", seconds, beside)]


def _start(laptop: Laptop) -> tuple[float, float]:
    """Seconds until the ready line, wall and CPU."""
    os.sync()
    begun = time.monotonic()
    laptop.start()
    seconds = time.monotonic() - begun
    cpu = laptop.cost().cpu
    laptop.stop()
    return seconds, cpu
