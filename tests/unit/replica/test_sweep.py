"""Reading all of home: what it costs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fleetsync.selection import EVERYTHING
from tests.faults.scenarios import LOCAL, MANIFEST
from tests.unit.replica.test_deletions import Laptop


@pytest.fixture
def laptop(tmp_path: Path) -> Iterator[Laptop]:
    """A laptop with an empty home."""
    laptop = Laptop(tmp_path, "a")
    yield laptop
    laptop.replica.close()


def make(laptop: Laptop, count: int) -> None:
    for number in range(count):
        directory = laptop.path(f"skills/skill-{number}")
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "skill.yaml").write_bytes(MANIFEST)
        (directory / "events.jsonl").write_bytes(LOCAL[0] + b"\n")
    laptop.replica.scan(None)


def asked_in_a_sweep(laptop: Laptop) -> int:
    """How often it is asked whether a path is carried."""
    sightings = laptop.replica._parts.registers.sightings
    asked: list[str] = []

    def carries(path: str) -> bool:
        asked.append(path)
        return EVERYTHING.carries(path)

    sightings.carries = carries
    laptop.replica.scan(None)
    return len(asked)


def test_a_sweep_costs_in_proportion_to_the_files(laptop: Laptop) -> None:
    """Twice as many skills are not four times the work."""
    make(laptop, 20)
    few = asked_in_a_sweep(laptop)
    make(laptop, 40)
    assert 0 < asked_in_a_sweep(laptop) <= 2 * few
