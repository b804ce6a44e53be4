"""How long a line takes: from mur's append on one laptop to the line in the other laptop's file.

`python -m bench latency`. Two paired daemons on loopback; the writer does what mur does (flock, one
write, no fsync), the reader polls the peer's file every half millisecond. Beside it what the same disk
takes for one append with fsync, of which fleetsync needs several in a row: the journal's intent, the line,
the counters and their directory.
"""

from __future__ import annotations

import fcntl
import os
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from bench.budgets import Figure
from bench.laptops import Laptop, make_skill, pair, two_laptops, wait
from bench.lines import line

LOG = "skills/deploy/events.jsonl"
SAMPLES = 200
QUIET_SECONDS = 0.3  # more than the shortest time between two pushes of one log
POLL_SECONDS = 0.0005
MINUTE = 60


def measure() -> list[Figure]:
    """Both rows."""
    with two_laptops() as laptops:
        pair(laptops)
        choice = random.Random(2)
        make_skill(laptops.desk.home, "deploy", [line(choice, time.time_ns(), "cli")])
        wait((laptops.travel.home / LOG).exists, "the skill is on both")
        times = [_one_line(laptops.desk, laptops.travel, choice) for _ in range(SAMPLES)]
        floor = [_append_and_fsync(laptops.desk.home.parent / "floor", choice) for _ in range(SAMPLES)]
        staleness = _every_second(laptops.travel, laptops.desk, choice)
    p95, base = _p95(times), statistics.median(floor)
    beside = f"{SAMPLES} samples; a plain append + fsync here: {base:.1f} ms, p95 {_p95(floor):.1f} ms"
    return [
        Figure("append → line visible in the peer's file, median", statistics.median(times), beside),
        Figure("append → line visible in the peer's file, p95", p95, f"{p95 / _p95(floor):.0f} × that fsync"),
        Figure(
            "a log written every second for a minute: worst staleness",
            max(staleness),
            f"{len(staleness)} lines, median {statistics.median(staleness):.0f} ms",
        ),
    ]


def _one_line(writer: Laptop, reader: Laptop, choice: random.Random) -> float:
    """ms until it is there, after a quiet time."""
    time.sleep(QUIET_SECONDS + choice.random() / 10)
    return _until_visible(writer, reader, choice)


def _every_second(writer: Laptop, reader: Laptop, choice: random.Random) -> list[float]:
    """ms of each line of a log that gets one every second."""
    begun, times = time.monotonic(), []
    for second in range(MINUTE):
        time.sleep(max(0.0, begun + second - time.monotonic()))
        times.append(_until_visible(writer, reader, choice))
    return times


def _until_visible(writer: Laptop, reader: Laptop, choice: random.Random) -> float:
    text, there = line(choice, time.time_ns(), "cli"), reader.home / LOG
    before = there.stat().st_size
    begun = time.perf_counter()
    append_as_mur(writer.home / LOG, text)
    wait(_ends_with(there, text, before), "the line is there", poll=POLL_SECONDS)
    return (time.perf_counter() - begun) * 1000


def _ends_with(path: Path, text: bytes, before: int) -> Callable[[], bool]:
    return lambda: path.stat().st_size > before and text in path.read_bytes()[before:]


def append_as_mur(path: Path, text: bytes) -> None:
    """What mur's own writer does: one write under flock, no fsync."""
    with path.open("rb+", buffering=0) as log:
        fcntl.flock(log, fcntl.LOCK_EX)
        log.seek(0, os.SEEK_END)
        log.write(text + b"\n")


def _append_and_fsync(path: Path, choice: random.Random) -> float:
    text = line(choice, time.time_ns(), "cli") + b"\n"
    begun = time.perf_counter()
    with path.open("ab", buffering=0) as log:
        log.write(text)
        os.fsync(log)
    return (time.perf_counter() - begun) * 1000


def _p95(values: list[float]) -> float:
    return statistics.quantiles(values, n=20)[-1]
