"""mur's own writers at full speed beside the daemon, on both sides: no line lost, doubled, glued or torn."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from tests.system.fleet import LOG, Fleet, Laptop, all_counted, all_equal, event, events, until

HERE = Path(__file__).parent
COMPILER = shutil.which("cc")


def python_writer(laptop: Laptop, author: str, count: int, *style: str) -> subprocess.Popen[bytes]:
    """A writer in Python, begun."""
    command = [
        sys.executable,
        "-m",
        "tests.system.mur_writer",
        str(laptop.home / LOG),
        author,
        str(count),
        *style,
    ]
    return subprocess.Popen(command, cwd=HERE.parents[1])


@pytest.fixture
def c_writer(tmp_path: Path) -> Path:
    """The writer in C, compiled."""
    if COMPILER is None:
        pytest.skip("there is no C compiler")
    program = tmp_path / "mur_writer"
    subprocess.run([COMPILER, "-O2", "-o", program, HERE / "mur_writer.c"], check=True)
    return program


def every_line_once(laptops: tuple[Laptop, ...], authors: dict[str, int]) -> None:
    """Wait until each log has every event of every author, and then see that it has each once, whole."""
    total = sum(authors.values())
    expected = sorted(event(author, number) for author, count in authors.items() for number in range(count))
    for laptop in laptops:
        until(partial(laptop.has_lines, total), f"{laptop.name} has {total} lines", 60)
        assert sorted(laptop.lines()) == expected
        assert all(json.loads(line) for line in laptop.lines())


def test_locking_writers_on_both_sides(fleet: Fleet, c_writer: Path) -> None:
    """A C and a Python program write under flock on either side while both daemons apply and push."""
    desk, travel = fleet.pair()
    authors = {"desk-c": 4000, "desk-py": 1500, "travel-c": 4000, "travel-py": 1500}
    writers = []
    for laptop in (desk, travel):
        writers.append(subprocess.Popen([c_writer, laptop.home / LOG, f"{laptop.name}-c", "4000"]))
        writers.append(python_writer(laptop, f"{laptop.name}-py", 1500))
    assert [writer.wait(60) for writer in writers] == [0] * 4
    every_line_once((desk, travel), authors)
    for here, there in ((desk, "travel"), (travel, "desk")):
        all_counted(here, events(f"{there}-c", 4000) + events(f"{there}-py", 1500))
    all_equal(desk, travel)
    assert desk.status()["malformed"] == travel.status()["malformed"] == 0


def test_a_writer_without_locks(fleet: Fleet) -> None:
    """An old mur takes no lock and writes line and newline apart: the daemon's batches never glue to it."""
    desk, travel = fleet.pair()
    writers = [python_writer(laptop, laptop.name, 1500, "old") for laptop in (desk, travel)]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    every_line_once((desk, travel), {"desk": 1500, "travel": 1500})
    all_counted(desk, events("travel", 1500))
    all_counted(travel, events("desk", 1500))
    all_equal(desk, travel)


def test_a_daemon_killed_beside_full_speed_writers(fleet: Fleet, c_writer: Path) -> None:
    """Writers do not stop for a daemon that dies; whatever it was appending then is settled beside them."""
    desk, travel = fleet.pair()
    authors: dict[str, int] = {}
    for round_, victim in enumerate((travel, desk, travel)):
        writers = []
        for laptop in (desk, travel):
            authors[f"{laptop.name}-{round_}"] = 3000
            command = [str(c_writer), str(laptop.home / LOG), f"{laptop.name}-{round_}", "3000"]
            writers.append(subprocess.Popen(command))
        other = desk if victim is travel else travel
        mark = f'"{other.name}-{round_}"'.encode()
        until(partial(victim.mentions, mark), "the other's lines come")
        victim.kill()
        victim.start()
        assert [writer.wait(60) for writer in writers] == [0, 0]
    every_line_once((desk, travel), authors)
    for here, there in ((desk, travel), (travel, desk)):
        remote = [
            line for author in authors if author.startswith(there.name) for line in events(author, 3000)
        ]
        all_counted(here, remote)
