"""The short form: 300 stories, the same story told twice, and known bugs that must be found."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.bugs import BUGS

ROOT = Path(__file__).parents[2]
SEEDS, SHARES = 300, 6
"""So many stories, dealt out over so many tests that run side by side."""
SEARCH = 120
"""Stories within which every known bug must show."""


def simulation(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command as a person runs it: stories change what `os` does, which no test may meet."""
    command = [sys.executable, "-m", "tests.simulation", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={**os.environ}, check=False)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("share", range(SHARES))
def test_whatever_happens_all_is_well_in_the_end(share: int) -> None:
    """Laptops that were killed, cut off, full, lied to by their disks and wrong about the time become
    equal, have every line that anybody still had, count exactly, and lose nothing that a person wrote.
    """
    size = SEEDS // SHARES
    result = simulation("--seeds", f"{share * size}:{(share + 1) * size}")
    assert result.returncode == 0, result.stdout + result.stderr


def test_a_seed_tells_the_same_story_every_time() -> None:
    """A failing seed is worth something only if it fails again."""
    for seed in ("24", "62"):
        first, second = (simulation("--seed", seed, "--verbose") for _ in range(2))
        assert first.returncode == 0
        assert first.stdout == second.stdout


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("bug", sorted(BUGS))
def test_a_known_bug_is_found(bug: str) -> None:
    """With the bug put back in, a story goes wrong."""
    result = simulation("--seeds", f"0:{SEARCH}", "--bug", bug, "--stop")
    assert result.returncode == 1
    assert "1 failed" in result.stdout, result.stdout + result.stderr
