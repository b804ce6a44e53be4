"""Clocks that can be moved under a running daemon: libfaketime reads the offset from a file, anew each time.

Only the wall clock is moved, not the monotonic one: that is what a clock set by hand looks like, and what
sleep looks like (time has passed that nobody lived through). The times of files stay true.
"""

from __future__ import annotations

import glob
import sys

from tests.system.fleet import Laptop

PLACES = ("/usr/lib/*/faketime/libfaketimeMT.so.1", "/usr/lib/faketime/libfaketimeMT.so.1")


def missing() -> str | None:
    """What this machine lacks for it; None if nothing."""
    if sys.platform != "linux":
        return "libfaketime is used on Linux alone"
    return None if _library() else "libfaketime is not installed (faketime)"


def _library() -> str:
    return next((found for place in PLACES for found in glob.glob(place)), "")  # noqa: PTH207 - one pattern each


def movable(laptop: Laptop) -> None:
    """From its next start on this laptop's clock can be moved."""
    move(laptop, 0)
    laptop.extra = {
        "LD_PRELOAD": _library(),
        "FAKETIME_TIMESTAMP_FILE": str(laptop.root / "clock"),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",
    }


def move(laptop: Laptop, seconds: float) -> None:
    """Its wall clock is so far ahead of the true time from now on."""
    fresh = laptop.root / "clock.new"
    fresh.write_text(f"{seconds:+.1f}\n")
    fresh.rename(laptop.root / "clock")
