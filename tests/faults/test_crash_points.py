"""Kill the process at every step that touches the disk: nothing is lost and nothing counted twice."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.faults import crashing, scenarios
from tests.faults.scenarios import SCENARIOS

STRIDE = 24
"""Crash points are dealt out over this many test cases, so that they run side by side."""


def dies_at(scenario: str, point: int, folder: Path) -> bool:
    """Run the scenario in a child that kills itself at that point; False if it came to its end."""
    child = os.fork()
    if child == 0:
        crashing.live(scenario, point, folder)
    _, status = os.waitpid(child, 0)
    assert status in (0, signal.SIGKILL), f"the child failed: see its traceback above ({status})"
    return status != 0


def set_of(folder: Path) -> tuple[int, bytes]:
    """How many members the set has, and their fingerprint, after a start."""
    replica = scenarios.opened(folder)
    head = replica.head()
    replica.close()
    return head.count, head.fingerprint


@pytest.mark.parametrize("scenario", sorted(SCENARIOS))
@pytest.mark.parametrize("first", range(1, STRIDE + 1))
def test_killed_at_any_step_the_next_start_settles_it(scenario: str, first: int, tmp_path: Path) -> None:
    """After a kill anywhere, opening again and being offered the same once more gives exactly the
    state that an undisturbed run gives: each line once, each count once, manifests whole.
    """
    point, died = first, True
    while died:
        folder = tmp_path / str(point)
        folder.mkdir()
        SCENARIOS[scenario].prepare(folder)
        died = dies_at(scenario, point, folder)
        replica = scenarios.opened(folder)
        SCENARIOS[scenario].act(replica)
        replica.close()
        SCENARIOS[scenario].check(folder)
        point += STRIDE


@pytest.mark.parametrize("scenario", sorted(SCENARIOS))
@pytest.mark.parametrize("first", range(1, STRIDE + 1, 3))
def test_killed_at_any_step_the_index_is_whole(scenario: str, first: int, tmp_path: Path) -> None:
    """The next start knows exactly the set that an index built anew would know: a member that stands in
    the journal or in a file and not in the index would never reach anybody.
    """
    point, died = first, True
    while died:
        folder = tmp_path / str(point)
        folder.mkdir()
        SCENARIOS[scenario].prepare(folder)
        died = dies_at(scenario, point, folder)
        found = set_of(folder)
        for index in (folder / "state").glob("index.db*"):
            index.unlink()
        assert found == set_of(folder)
        point += STRIDE


@pytest.mark.parametrize("scenario", sorted(SCENARIOS))
def test_killed_during_recovery_it_is_settled_by_the_start_after(scenario: str, tmp_path: Path) -> None:
    """A second kill while the first one is being settled changes nothing."""
    for point in range(40, 140, 7):
        folder = tmp_path / str(point)
        folder.mkdir()
        SCENARIOS[scenario].prepare(folder)
        dies_at(scenario, point, folder)
        dies_at(scenario, point // 3, folder)
        replica = scenarios.opened(folder)
        SCENARIOS[scenario].act(replica)
        replica.close()
        SCENARIOS[scenario].check(folder)
