"""What a daemon costs that has nothing to do: 100,000 events, one paired idle peer, two minutes.

`python -m bench idle`. CPU is the process clock's; wake-ups are the voluntary context switches of all its
threads; both are of the busier of the two daemons. Memory is what is resident at the end: in a daemon
started with its index in place, as at every login, and beside it in the one that has just received all.
"""

from __future__ import annotations

import time

from bench.budgets import Figure
from bench.first_sync import first_sync
from bench.laptops import Laptop, Pair, pair, two_laptops, wait

SETTLE_SECONDS = 20.0
WATCH_SECONDS = 120.0


def measure() -> list[Figure]:
    """The three rows."""
    with two_laptops(counted=True) as laptops:
        pair(laptops)
        first_sync(laptops)
        time.sleep(SETTLE_SECONDS)
        filled = max(each.cost().rss for each in laptops[:2])
        _start_again(laptops)
        time.sleep(SETTLE_SECONDS)
        watched = _watch(laptops.desk, laptops.travel)
    cpu, wakeups, rss = (max(side) for side in zip(*watched, strict=True))
    both = " and ".join(f"{side[0]:.0f}" for side in watched)
    return [
        Figure("idle: CPU per minute", cpu, f"{both} ms over {WATCH_SECONDS:.0f} s"),
        Figure("idle: wake-ups per second", wakeups, "all threads of the busier daemon"),
        Figure("idle: RSS at 100,000 events", rss, f"{filled:.0f} MB right after the first sync"),
    ]


def _start_again(laptops: Pair) -> None:
    for proxy, laptop in zip(laptops.between, laptops[:2], strict=True):
        laptop.stop()
        laptop.start()
        proxy.upstream = laptop.address
    wait(lambda: all(each.converged() for each in laptops[:2]), "both have converged")


def _watch(*laptops: Laptop) -> list[tuple[float, float, float]]:
    """CPU ms per minute, wake-ups per second, MB; of each."""
    before = [each.cost() for each in laptops]
    begun = time.monotonic()
    time.sleep(WATCH_SECONDS)
    seconds = time.monotonic() - begun
    after = [each.cost() for each in laptops]
    return [
        ((b.cpu - a.cpu) * 1000 / seconds * 60, (b.wakeups - a.wakeups) / seconds, b.rss)
        for a, b in zip(before, after, strict=True)
    ]
