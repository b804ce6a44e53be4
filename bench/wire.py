"""What goes over the wire between two real daemons, counted by TCP proxies in the middle.

`python -m bench wire`. "All included" means all: TLS records both ways, the batch, the heartbeats that
follow it in both directions, and whatever else the two say to each other until they are quiet again.
The bytes that `fleetsync sync` reports must be those of the proxies.
"""

from __future__ import annotations

import random
import statistics
import time

from bench.budgets import Figure
from bench.laptops import Pair, make_skill, pair, two_laptops, wait
from bench.latency import LOG, append_as_mur
from bench.lines import line

SAMPLES = 20
QUIET_SECONDS = 1.5
"""Nothing more is said after a line by then; the next heartbeat by the clock is half a minute away."""


def measure() -> list[Figure]:
    """The rows of this group."""
    with two_laptops(counted=True) as laptops:
        pair(laptops)
        choice = random.Random(3)
        make_skill(laptops.desk.home, "deploy", [line(choice, time.time_ns(), "cli")])
        wait((laptops.travel.home / LOG).exists, "the skill is on both")
        costs = [_one_line(laptops, choice) for _ in range(SAMPLES)]
        exchanges = [_no_change(laptops) for _ in range(SAMPLES)]
    trips, sizes = zip(*exchanges, strict=True)
    return [
        Figure(
            "bytes on the wire for one appended line, kept connection, all included",
            statistics.median(size for size, _ in costs),
            f"{SAMPLES} lines, most {max(size for size, _ in costs)} B;"
            f" the line itself {statistics.mean(length for _, length in costs):.0f} B",
        ),
        Figure("no-change exchange, round trips", max(trips), f"most of {SAMPLES}"),
        Figure(
            "no-change exchange, bytes",
            statistics.median(sizes),
            f"most {max(sizes)} B, when the connection had to be made anew",
        ),
    ]


def _quiet(laptops: Pair) -> int:
    """The bytes so far, once no more come."""
    before = -1
    while before != laptops.bytes():
        before = laptops.bytes()
        time.sleep(QUIET_SECONDS)
    return before


def _one_line(laptops: Pair, choice: random.Random) -> tuple[int, int]:
    """Bytes between the two, and of the line."""
    before, text = _quiet(laptops), line(choice, time.time_ns(), "cli")
    append_as_mur(laptops.desk.home / LOG, text)
    wait(lambda: text in (laptops.travel.home / LOG).read_bytes(), "the line is there")
    return _quiet(laptops) - before, len(text)


def _no_change(laptops: Pair) -> tuple[int, int]:
    """Round trips and bytes."""
    before = laptops.bytes()
    (exchange,) = laptops.desk.ask("sync", "--wait", "20")["peers"]
    said, counted = exchange["bytes_in"] + exchange["bytes_out"], laptops.bytes() - before
    if said != counted:
        raise AssertionError(f"the daemon reports {said} bytes, the proxies counted {counted}")
    return exchange["round_trips"], counted
