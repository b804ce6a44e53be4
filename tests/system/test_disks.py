"""Disks that fill up, turn read-only, go and come back: the stories of `python -m tests.campaign.disks`."""

from __future__ import annotations

import pytest

from tests.campaign import disks
from tests.system import mounts
from tests.system.requirements import require


@pytest.mark.parametrize("story", disks.STORIES)
def test_what_a_disk_does_is_told_and_heals_by_itself(story: str) -> None:
    """Nothing half-applied, nothing deleted, the path named; when the cause is gone, all is well again."""
    require(mounts.missing())
    told = mounts.apart("tests.campaign.disks", "--here", story)
    assert told.returncode == 0, told.stdout + told.stderr
