"""`fleetsync doctor` beside a real daemon: faults that only two devices can have between them."""

from __future__ import annotations

import shutil
import sys

import pytest

from tests.system.fleet import Document, Fleet, Laptop, until

LATER_PROTOCOL = """
from fleetsync.wire import messages
messages.PROTOCOL_MIN = messages.PROTOCOL_MAX = 9
from fleetsync.cli import main
raise SystemExit(main())
"""


def _finding(laptop: Laptop, name: str) -> Document:
    [found] = [check for check in laptop.ask("doctor", code=1)["checks"] if check["name"] == name]
    return dict(found)


def test_a_peer_of_an_incompatible_version(fleet: Fleet) -> None:
    """Both versions are named, and the next step is the upgrade; the older device goes on by itself."""
    desk, travel = fleet.pair()
    travel.stop()
    travel.launcher = [sys.executable, "-c", LATER_PROTOCOL]
    travel.start()
    until(lambda: desk.status()["peers"][0]["error_code"] == "protocol-mismatch", "the mismatch is seen")
    found = _finding(desk, "peers")
    assert not found["ok"]
    assert "travel speaks protocol versions 9 to 9, this device 1 to 1" in found["detail"]
    assert found["next"] == "upgrade the older of the two"


@pytest.mark.skipif(shutil.which("faketime") is None, reason="needs faketime")
def test_a_peer_whose_clock_is_off(fleet: Fleet) -> None:
    """An hour ahead: the peer is named with the difference, and the next step sets the clock."""
    desk, travel = fleet.pair()
    travel.stop()
    travel.launcher = ["faketime", "-f", "+3600s", *travel.launcher]
    travel.start()
    until(lambda: (desk.status()["peers"][0]["clock_offset_seconds"] or 0) > 3000, "the offset is measured")
    found = _finding(desk, "clock")
    assert not found["ok"]
    assert "travel +3" in found["detail"]
    assert "timedatectl" in found["next"]


def test_a_peer_that_is_on_without_its_daemon(fleet: Fleet) -> None:
    """Nothing listens at its address: told apart from a laptop that sleeps."""
    desk, travel = fleet.pair()
    travel.stop()
    until(lambda: desk.status()["peers"][0]["state"] in ("offline", "connecting"), "it is missed")
    found = _finding(desk, "reachability")
    assert not found["ok"]
    assert "travel: a machine at 127.0.0.1" in found["detail"]
    assert found["next"] == "run `fleetsync doctor` on travel"
