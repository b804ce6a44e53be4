"""What reconciliation and its index cost at a million members, against the budgets of the project.

`python -m bench reconcile` builds two equal indexes in a temporary directory, lets one of them lose
members, and runs whole sessions between the two in one process. CPU is counted per side; "first" is
with cold blocks, "warm" the median of those after it, and the budget is held against the dearer side.
`python -m bench.reconcile MEMBERS` prints more, for another size.
"""

from __future__ import annotations

import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from bench.budgets import Figure
from fleetsync.merge.reconcile import Initiator, respond
from fleetsync.ports import Key
from fleetsync.replica.index import Entry, Index

YEAR = 365 * 86_400 * 1_000_000  # µs
START = 1_748_000_000_000_000
BATCH = 10_000
WARM_RUNS = 9


@dataclass
class Session:
    """One session as measured: CPU in ms, bytes both ways, what was found."""

    asking: float = 0.0
    answering: float = 0.0
    size: int = 0
    rounds: int = 0
    found: list[bytes] = field(default_factory=list)


def entry(number: int, members: int) -> Entry:
    """Member `number` of a year with so many of them."""
    key = Key(START + number * (YEAR // members), sha256(str(number).encode()).digest())
    return Entry(key, f"skills/skill-{number % 200}/events.jsonl", number * 157, 156, None)


def milliseconds(work: Callable[[], object]) -> float:
    """CPU time of `work`."""
    began = time.process_time_ns()
    work()
    return (time.process_time_ns() - began) / 1e6


def reconcile(asking: Index, answering: Index) -> Session:
    """One session."""
    session, initiator = Session(), Initiator()
    began = time.process_time_ns()
    message: bytes | None = initiator.initiate(asking.ranges())
    session.asking += (time.process_time_ns() - began) / 1e6
    while message is not None:
        session.size += len(message)
        session.rounds += 1
        began = time.process_time_ns()
        answer = respond(answering.ranges(), message)
        middle = time.process_time_ns()
        step = initiator.receive(asking.ranges(), answer)
        session.asking += (time.process_time_ns() - middle) / 1e6
        session.answering += (middle - began) / 1e6
        session.size += len(answer)
        session.found += step.have + step.need
        message = step.message
    return session


def fill(path: Path, members: int) -> float:
    """An index with that many members; CPU µs per member."""
    index = Index.open(path, os.urandom)
    spent = 0.0
    for start in range(0, members, BATCH):
        batch = [entry(number, members) for number in range(start, start + BATCH)]
        spent += milliseconds(lambda batch=batch: index.add(batch))  # type: ignore[misc]
    index.close()
    return spent * 1000 / members


def resident() -> float:
    """MB of memory in use by this process."""
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE") / 1e6


def reopen(path: Path) -> tuple[Index, float]:
    """The index and the CPU ms of opening it."""
    began = time.process_time_ns()
    index = Index.open(path, os.urandom)
    index.head()
    return index, (time.process_time_ns() - began) / 1e6


class Cost(NamedTuple):
    """CPU ms of the dearer side, whichever of the two lacks the members: first session, and warm."""

    first: float
    warm: float


def case(name: str, paths: tuple[Path, Path], lost: Sequence[Entry]) -> Cost:
    """Let the asking side, then the answering side, lack `lost`; print a row for each."""
    costs = [_one_way(name, paths, lost, lacking) for lacking in ((0, 1) if lost else (0,))]
    return Cost(max(cost.first for cost in costs), max(cost.warm for cost in costs))


def _one_way(name: str, paths: tuple[Path, Path], lost: Sequence[Entry], lacking: int) -> Cost:
    index, _ = reopen(paths[lacking])
    index.remove([item.key.id for item in lost])
    index.close()
    sides = [reopen(path)[0] for path in paths]
    first = reconcile(*sides)
    warm = [reconcile(*sides) for _ in range(WARM_RUNS)]
    assert {item.key.id for item in lost}.issuperset(first.found)  # the rest lies in spans
    asking, answering = (
        statistics.median(cpu) for cpu in zip(*((s.asking, s.answering) for s in warm), strict=True)
    )
    side = ("asks", "answers")[lacking] if lost else ""
    print(
        f"{name:15} {side:8} {first.rounds:3} {first.size:9,} {first.asking:9.2f} {first.answering:9.2f}"
        f" {asking:9.2f} {answering:9.2f}",
        file=sys.stderr,
    )
    sides[lacking].add(lost)
    for each in sides:
        each.close()
    return Cost(max(first.asking, first.answering), max(asking, answering))


def inserts(path: Path, members: int) -> None:
    """Print what one durable insert and a batch cost, at the end and in the middle of the order."""
    index, opened = reopen(path)
    print(f"open {opened:.1f} ms, resident {resident():.0f} MB; first head included", file=sys.stderr)
    for name, shift in (("at the end", members), ("in the middle", members // 2)):
        ones = [entry(shift + i, members)._replace(path=f"new-{i % 3}") for i in range(300)]
        ones = [one._replace(key=Key(one.key.ts + 1, sha256(one.key.id).digest())) for one in ones]
        single = [milliseconds(lambda one=one: index.add([one])) * 1000 for one in ones[:200]]  # type: ignore[misc]
        batch = milliseconds(lambda ones=ones: index.add(ones[200:])) * 10  # type: ignore[misc]
        print(
            f"insert {name}: single {statistics.median(single):.0f} µs, in a batch {batch:.1f} µs each",
            file=sys.stderr,
        )
        index.remove([one.key.id for one in ones])
    print(f"quick check {milliseconds(index.check):.0f} ms", file=sys.stderr)
    index.close()


def measure(members: int = 1_000_000) -> list[Figure]:
    """The three rows of the budget."""
    with tempfile.TemporaryDirectory() as folder:
        costs = _cases(Path(folder), members)
    names = {"d=0": "d = 0", "scattered d=1": "d = 1", "scattered d=100": "d = 100 scattered"}
    return [
        Figure(
            f"reconcile at N = 1,000,000, {words}: CPU per side",
            costs[name].warm,
            f"{costs[name].first:.2g} ms with cold blocks",
        )
        for name, words in names.items()
    ]


def _cases(folder: Path, members: int) -> dict[str, Cost]:
    paths = folder / "asking.db", folder / "answering.db"
    built = fill(paths[0], members)
    size = paths[0].stat().st_size / 1e6
    print(f"{members:,} members; built with {built:.1f} µs each, {size:.0f} MB", file=sys.stderr)
    shutil.copy(*paths)
    choice = random.Random(1)
    scattered = [entry(number, members) for number in choice.sample(range(members), 1000)]
    tail = [entry(number, members) for number in range(members - 1000, members)]
    inserts(paths[0], members)
    print("\n                lacking  RTT     bytes      first CPU ms         warm CPU ms", file=sys.stderr)
    lost = {
        "d=0": [],
        "tail d=1": tail[-1:],
        "tail d=100": tail[-100:],
        "tail d=1000": tail,
        "scattered d=1": scattered[:1],
        "scattered d=100": scattered[:100],
        "scattered d=1k": scattered,
    }
    costs = {name: case(name, paths, some) for name, some in lost.items()}
    print(f"resident at the end {resident():.0f} MB", file=sys.stderr)
    return costs


if __name__ == "__main__":
    for figure in measure(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000):
        print(f"{figure.value:9.2f} ms  {figure.name}")
