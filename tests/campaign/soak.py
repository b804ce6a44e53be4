"""`python -m tests.campaign.soak --minutes 10`: a working day of 24 hours, compressed, and what it costs.

Two paired daemons live through a day of 24 "hours": each has mur appending on both sides, edits of
manifests, new and deleted skills, pauses and exchanges by command, a daemon that is stopped and started.
Rule of the file: memory, file descriptors, threads and the bytes of index and journal for each item are
measured every hour; those of the last third may not exceed those of the second by more than the limits
below, and at the end nothing is lost. The short form is `tests/system/test_soak.py`.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple

from tests.campaign.verdicts import verify
from tests.system.fleet import Fleet, Laptop, a_fleet, events, manifest, until

HOURS = 24
MEMORY_GROWTH = 1.10
"""RSS of the last third over that of the second."""
DESCRIPTOR_GROWTH = 4
"""More open files and threads: connections come and go."""
BYTES_PER_ITEM_GROWTH = 1.25
"""Of index.db and journal.db, their WAL included; a page is shared by many items."""


class Sample(NamedTuple):
    """One laptop at the end of an hour."""

    megabytes: float  # resident
    descriptors: int
    threads: int
    items: int
    index_bytes: float  # for each item
    journal_bytes: float  # for each item


def sample(laptop: Laptop) -> Sample:
    """Measure one laptop's daemon."""
    assert laptop.process is not None
    process = Path(f"/proc/{laptop.process.pid}")
    fields = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    items = int(laptop.status()["home"]["items"])
    return Sample(
        int(fields["VmRSS"].split()[0]) / 1024,
        len(list((process / "fd").iterdir())),
        int(fields["Threads"]),
        items,
        size(laptop.state, "index.db") / items,
        size(laptop.state, "journal.db") / items,
    )


def size(state: Path, name: str) -> int:
    """Bytes of a database and of what goes with it."""
    return sum(path.stat().st_size for path in state.glob(f"{name}*"))


class Day:
    """What happens in the hours of a day, on two laptops that are connected."""

    def __init__(self, fleet: Fleet, seed: int, lines: int) -> None:
        self.laptops = fleet.pair()
        self.written: dict[Laptop, list[bytes]] = {laptop: [] for laptop in self.laptops}
        self._random = random.Random(seed)
        self._lines = lines

    def hour(self, number: int, seconds: float) -> None:
        """One hour in so many seconds."""
        ends = time.monotonic() + seconds
        for laptop in self.laptops:
            self._work(laptop, number)
        if number % 6 == 5:
            self.laptops[0].run("sync")
            self.laptops[1].run("peers", "pause", "desk")
            self._work(self.laptops[1], number)
            self.laptops[1].run("peers", "resume", "desk")
        time.sleep(max(0.0, ends - time.monotonic()))

    def _work(self, laptop: Laptop, number: int) -> None:
        before = len(self.written[laptop])
        for start in range(0, self._lines, 10):
            self.written[laptop] += laptop.append(events(laptop.name, 10, before + start))
        laptop.write("skills/notes/skill.yaml", manifest(f"{laptop.name} {number}", name="notes"))
        passing = f"skills/passing-{laptop.name}-{self._random.randrange(3)}/skill.yaml"
        laptop.write(passing, manifest(f"{number}", name="passing"))

    def measure(self) -> list[Sample]:
        """Every laptop, once both have all lines."""
        count = sum(map(len, self.written.values()))
        for laptop in self.laptops:
            until(partial(laptop.has_lines, count), f"{laptop.name} has all lines")
        return [sample(laptop) for laptop in self.laptops]


class Flatness(NamedTuple):
    """A figure in the second and in the last third of the day, and how much more it may be."""

    what: str
    before: float
    after: float
    limit: float

    @property
    def holds(self) -> bool:
        """Whether it is flat."""
        return self.after <= self.limit


def judge(samples: list[Sample]) -> list[Flatness]:
    """What must be flat for one laptop."""
    third = len(samples) // 3
    second, last = samples[third : 2 * third], samples[2 * third :]

    def flat(name: str, field: str, factor: float = 1.0, more: float = 0.0) -> Flatness:
        before, after = (median(getattr(each, field) for each in some) for some in (second, last))
        return Flatness(name, before, after, before * factor + more)

    return [
        flat("memory, MB", "megabytes", MEMORY_GROWTH, 1.0),
        flat("open descriptors", "descriptors", more=DESCRIPTOR_GROWTH),
        flat("threads", "threads", more=DESCRIPTOR_GROWTH),
        flat("index.db, bytes an item", "index_bytes", BYTES_PER_ITEM_GROWTH),
        flat("journal.db, bytes an item", "journal_bytes", BYTES_PER_ITEM_GROWTH),
    ]


def run(seconds: float, lines: int, seed: int = 1) -> dict[str, list[Flatness]]:
    """The whole day in so many seconds, each laptop appending so many lines an hour; by laptop."""
    with a_fleet() as fleet:
        day = Day(fleet, seed, lines)
        taken: list[list[Sample]] = []
        for number in range(HOURS):
            day.hour(number, seconds / HOURS)
            taken.append(day.measure())
        verify(day.written)
        return {
            laptop.name: judge([each[place] for each in taken]) for place, laptop in enumerate(day.laptops)
        }


def main() -> int:
    """The day in its long form, as rows of a table; 1 if something is not flat."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--lines", type=int, default=500, help="on each laptop, each hour")
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    judged = run(chosen.minutes * 60, chosen.lines, chosen.seed)
    rows = [(name, each) for name, figures in judged.items() for each in figures]
    sys.stdout.write("| laptop | what | second third | last third | at most |\n|---|---|---|---|---|\n")
    for name, each in rows:
        figures = f"{each.before:.1f} | {each.after:.1f} | {each.limit:.1f}"
        sys.stdout.write(f"| {name} | {each.what} | {figures} |{'' if each.holds else ' GREW'}\n")
    return int(not all(each.holds for _, each in rows))


if __name__ == "__main__":
    sys.exit(main())
