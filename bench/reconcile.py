"""What reconciliation and its index cost at a million members, against the budgets of the project.

`python bench/reconcile.py [MEMBERS]` builds two equal indexes in a temporary directory, lets one of
them lose members, and runs whole sessions between the two in one process. CPU is counted per side;
"first" is with cold blocks, "warm" the median of those after it. Budgets in brackets: must / good.
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


def case(name: str, paths: tuple[Path, Path], lost: Sequence[Entry], budget: str) -> None:
    """Let the asking side, then the answering side, lack `lost`; print one row for each."""
    for lacking, side in zip(paths, ("asks", "answers"), strict=True):
        index, _ = reopen(lacking)
        index.remove([item.key.id for item in lost])
        index.close()
        asking, answering = (reopen(path)[0] for path in paths)
        first = reconcile(asking, answering)
        warm = [reconcile(asking, answering) for _ in range(WARM_RUNS)]
        assert {item.key.id for item in lost}.issuperset(first.found)
        print(
            f"{name:15} {side if lost else '':8} {first.rounds:3} {first.size:9,}"
            f" {first.asking:9.2f} {first.answering:9.2f}"
            f" {statistics.median(s.asking for s in warm):9.2f}"
            f" {statistics.median(s.answering for s in warm):9.2f}   {budget}"
        )
        (asking if side == "asks" else answering).add(lost)
        asking.close()
        answering.close()
        if not lost:
            return


def inserts(path: Path, members: int) -> None:
    """Print what one durable insert and a batch cost, at the end and in the middle of the order."""
    index, opened = reopen(path)
    print(f"open {opened:.1f} ms, resident {resident():.0f} MB; first head included")
    for name, shift in (("at the end", members), ("in the middle", members // 2)):
        ones = [entry(shift + i, members)._replace(path=f"new-{i % 3}") for i in range(300)]
        ones = [one._replace(key=Key(one.key.ts + 1, sha256(one.key.id).digest())) for one in ones]
        single = [milliseconds(lambda one=one: index.add([one])) * 1000 for one in ones[:200]]  # type: ignore[misc]
        batch = milliseconds(lambda ones=ones: index.add(ones[200:])) * 10  # type: ignore[misc]
        print(f"insert {name}: single {statistics.median(single):.0f} µs, in a batch {batch:.1f} µs each")
        index.remove([one.key.id for one in ones])
    print(f"quick check {milliseconds(index.check):.0f} ms")
    index.close()


def main(members: int) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        paths = Path(folder, "asking.db"), Path(folder, "answering.db")
        print(f"{members:,} members; built with {fill(paths[0], members):.1f} µs each, ", end="")
        print(f"{paths[0].stat().st_size / 1e6:.0f} MB")
        shutil.copy(*paths)
        choice = random.Random(1)
        scattered = [entry(number, members) for number in choice.sample(range(members), 1000)]
        tail = [entry(number, members) for number in range(members - 1000, members)]
        inserts(paths[0], members)
        print("\n                lacking  RTT     bytes      first CPU ms         warm CPU ms")
        case("d=0", paths, [], "[0.5 / 0.2 ms]")
        case("tail d=1", paths, tail[-1:], "[600 B, 1 RTT]")
        case("tail d=100", paths, tail[-100:], "[3.9 kB, 1 RTT]")
        case("tail d=1000", paths, tail, "")
        case("scattered d=1", paths, scattered[:1], "[2 / 1 ms]")
        case("scattered d=100", paths, scattered[:100], "[60 / 30 ms, 183 / 107 kB]")
        case("scattered d=1k", paths, scattered, "[150 ms]")
        print(f"resident at the end {resident():.0f} MB")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
