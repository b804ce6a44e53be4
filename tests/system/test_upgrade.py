"""Real daemons of an earlier commit beside today's: they converge, and today's takes over their state.

The earlier program comes out of this repository's own history; without a history (a source archive)
there is none to test against, and tests/upgrade has its pinned conversations.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.system.fleet import (
    COMMAND,
    MANIFEST,
    Fleet,
    Laptop,
    all_counted,
    all_equal,
    all_hold,
    connected,
    events,
    manifest,
    pair,
    until,
)

ASK = "import fleetsync; print(fleetsync.__file__)"
ROOT = Path(__file__).parents[2]
EARLIER = os.environ.get("FLEETSYNC_EARLIER", "HEAD~1")
"""Which commit the earlier daemons are of."""


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """How a daemon of the earlier commit is launched."""
    got = subprocess.run(
        ["git", "-C", str(ROOT), "archive", EARLIER, "daemon"], capture_output=True, check=False
    )
    if got.returncode != 0:
        pytest.skip(f"no history with {EARLIER}: {got.stderr.decode().strip()}")
    source = tmp_path_factory.mktemp("earlier")
    with tarfile.open(fileobj=io.BytesIO(got.stdout)) as archive:
        archive.extractall(source, filter="data")
    launcher = ["env", f"PYTHONPATH={source}/daemon", sys.executable]
    where = subprocess.run([*launcher, "-c", ASK], capture_output=True, text=True, check=True)
    assert where.stdout.startswith(str(source)), "today's program would be tested against itself"
    return [*launcher, "-m", "fleetsync"]


@pytest.fixture
def paired(fleet: Fleet, earlier: list[str]) -> tuple[Laptop, Laptop]:
    """A daemon of the earlier commit and one of today, paired by today's command, with one skill."""
    old, new = fleet.laptop("old"), fleet.laptop("new")
    old.launcher = earlier
    old.start()
    new.start()
    pair(new, old)
    new.skill()
    until(lambda: old.read(MANIFEST), "the skill has arrived")
    return old, new


def test_an_earlier_daemon_and_todays_converge(paired: tuple[Laptop, Laptop]) -> None:
    """Lines, counts and a manifest cross in both directions."""
    old, new = paired
    connected(paired)
    theirs, mine = old.append(events("old", 40)), new.append(events("new", 40))
    all_hold((old, new), theirs + mine)
    all_counted(new, theirs)
    all_counted(old, mine)
    text = old.write(MANIFEST, manifest("written by the earlier one", updated_at="2030-01-01T00:00:00Z"))
    until(lambda: new.has(MANIFEST, text), "the manifest has arrived")
    all_equal(old, new)


def test_todays_daemon_takes_over_the_state_of_an_earlier_one(paired: tuple[Laptop, Laptop]) -> None:
    """An upgrade in place: nothing is counted again, the pairing stands, and the index is not lost."""
    old, new = paired
    first = new.append(events("new", 30))
    all_hold((old,), first)
    all_counted(old, first)
    old.stop()
    more = new.append(events("new", 10, start=100))
    old.launcher = [COMMAND]
    own = old.append(events("old", 10))
    old.start()
    all_hold((old, new), first + more + own)
    all_counted(old, first + more)
    all_counted(new, own)
    all_equal(old, new)
