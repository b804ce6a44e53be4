"""A working day in seconds: the short form of `python -m tests.campaign.soak`."""

from __future__ import annotations

import sys

import pytest

from tests.campaign import soak


@pytest.mark.skipif(sys.platform != "linux", reason="what a process costs is read from /proc")
def test_a_day_costs_no_more_at_its_end() -> None:
    """Open descriptors, threads and the index's bytes an item are flat over a day, and nothing is lost.

    Memory and the journal settle too late for a day of seconds: the long form judges them.
    """
    for laptop, figures in soak.run(seconds=8, lines=40).items():
        for each in figures:
            if each.what.startswith(("open", "threads", "index")):
                assert each.holds, f"{laptop}: {each}"
