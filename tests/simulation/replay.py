"""Many seeds, or one of them again: progress, failures with the command that replays them, and a sum.

Hashes of texts must not differ between two runs of a seed, so Python is started anew with
PYTHONHASHSEED=0 where it was not.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from tests.simulation import world
from tests.simulation.bugs import BUGS
from tests.simulation.world import Outcome


@dataclass
class Sum:
    """What many stories were, together."""

    stories: int = 0
    calls: int = 0
    lines: int = 0
    lives: int = 0
    longest: float = 0.0
    injected: Counter[str] = field(default_factory=Counter)
    failed: list[int] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        """One more story."""
        self.stories += 1
        self.calls += outcome.calls
        self.lines += outcome.lines
        self.lives += outcome.lives
        self.longest = max(self.longest, outcome.seconds)
        self.injected.update(outcome.injected)
        if outcome.failure:
            self.failed.append(outcome.seed)

    def __str__(self) -> str:
        faults = ", ".join(f"{count} {what}" for what, count in sorted(self.injected.items()))
        return (
            f"{self.stories} seeds, {len(self.failed)} failed; {self.lines} lines, "
            f"{self.lives} lives of daemons, {self.calls} calls to disks; "
            f"at most {self.longest:.0f} s until equal\nfaults: {faults}"
        )


def main(arguments: Sequence[str]) -> int:
    """Exit code 0 if no story went wrong."""
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.execve(
            sys.executable,
            [sys.executable, "-m", "tests.simulation", *arguments],
            {**os.environ, "PYTHONHASHSEED": "0"},
        )
    options = _options(arguments)
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    _quiet()
    if options.log:
        logging.getLogger("fleetsync").propagate = True
        logging.basicConfig(level=logging.DEBUG, stream=sys.stdout, format="%(name)s: %(message)s")
    if options.bug is not None:
        BUGS[options.bug]()
    if options.seed is not None:
        return _one(options.seed, verbose=options.verbose)
    first, _, last = options.seeds.partition(":")
    return _many(range(int(first), int(last)), options.jobs, stop=options.stop)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--seed", type=int, help="tell the story of one seed")
    what.add_argument("--seeds", metavar="FIRST:LAST", help="tell many, LAST excluded")
    parser.add_argument("--jobs", type=int, default=1, help="processes at once")
    parser.add_argument("--bug", choices=sorted(BUGS), help="put a known bug back in: seeds must fail")
    parser.add_argument("--stop", action="store_true", help="stop at the first seed that fails")
    parser.add_argument("--verbose", action="store_true", help="print the story while it happens")
    parser.add_argument("--log", action="store_true", help="print the daemons' own logs too")
    return parser.parse_args(arguments)


def _one(seed: int, *, verbose: bool) -> int:
    outcome = world.tell(seed, print if verbose else lambda _: None)
    print(f"seed {seed}: {outcome.failure or 'all is well'}")
    return bool(outcome.failure)


def _many(seeds: Sequence[int], jobs: int, *, stop: bool) -> int:
    total, began = Sum(), time.monotonic()
    for outcome in _told(seeds, jobs):
        total.add(outcome)
        if outcome.failure:
            print(f"seed {outcome.seed} FAILED: {outcome.failure.strip().splitlines()[-1]}")
            print(f"  again: python -m tests.simulation --seed {outcome.seed} --verbose", flush=True)
            if stop:
                break
        if total.stories % 1000 == 0:
            print(f"{total.stories} of {len(seeds)} seeds, {time.monotonic() - began:.0f} s", flush=True)
    print(f"{total}\n{time.monotonic() - began:.1f} s", flush=True)
    return bool(total.failed)


def _told(seeds: Iterable[int], jobs: int) -> Iterator[Outcome]:
    if jobs == 1:
        yield from map(_briefly, seeds)
        return
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        yield from pool.imap_unordered(_briefly, seeds, chunksize=4)


def _briefly(seed: int) -> Outcome:
    """The outcome without its story, which is told again when somebody asks."""
    _quiet()
    outcome = world.tell(seed)
    outcome.story.clear()
    return outcome


def _quiet() -> None:
    """The daemons' own logs are many; what is told with a traceback is found by `world.py`."""
    logging.getLogger("fleetsync").propagate = False
