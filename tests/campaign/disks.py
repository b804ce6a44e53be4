"""`python -m tests.campaign.disks [STORY]`: disks that fill up, turn read-only, go and come back.

Each story is a fleet whose second laptop has its home or its state on a disk of its own. Rule of the file:
nothing half-applied while it is bad, the trouble named by `status`, and everything well again by itself
once the cause is gone. It mounts, so it runs in a mount namespace of its own (`tests/system/mounts.py`).
The short form is `tests/system/test_disks.py`: the same stories.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from functools import partial

from tests.campaign.verdicts import verify
from tests.system import mounts
from tests.system.fleet import Fleet, Laptop, a_fleet, all_hold, connected, event, events, pair, until
from tests.system.hosts import seconds_until

SETTINGS = "[sync]\nsweep = 2\n"
"""A home that has come back is found by the sweep: seldom less than a minute, by default."""
ROOMY, TIGHT = 32_768, 320  # kB
HEALS_WITHIN = 60.0
"""Seconds: the longest rest between two tries."""


def two_laptops(fleet: Fleet, *, home_on_disk: bool = False) -> tuple[Laptop, Laptop]:
    """Paired and connected; travel's home is on a disk of its own, if asked for."""
    desk, travel = fleet.laptop("desk").skill(), fleet.laptop("travel")
    if home_on_disk:
        mounts.tmpfs(travel.home, ROOMY)
    pair(desk.start(), travel.start())
    connected((desk, travel))
    return desk, travel


def complaint(laptop: Laptop, *words: str) -> str:
    """Wait until `status` says all of these words; how it says them."""

    def said() -> str:
        status = laptop.status()
        told = [alert["detail"] for alert in status["alerts"]] + [p["error"] or "" for p in status["peers"]]
        return next((text for text in told if all(word in text for word in words)), "")

    return until(said, f"{laptop.name} says {' and '.join(words)}: {json.dumps(laptop.status(), indent=1)}")


def only_whole_lines(laptop: Laptop, written: list[bytes]) -> None:
    """The log holds nothing but lines that somebody has written, each at most once."""
    have = laptop.lines()
    assert len(set(have)) == len(have), "a line twice"
    assert set(have) <= set(written), f"half a line: {sorted(set(have) - set(written))[:2]}"


# --- the stories ------------------------------------------------------------------------------


def full_home(fleet: Fleet) -> float:
    """Home is full in the middle of a first sync; then there is room."""
    desk, travel = two_laptops(fleet, home_on_disk=True)
    mounts.resize(travel.home, TIGHT)
    lines = desk.pour(events("desk", 6_000))
    complaint(travel, "events.jsonl", "errno 28")
    only_whole_lines(travel, lines)
    assert travel.run("status").returncode == 3, "it must not call itself converged"
    lines += desk.append(events("desk", 5, start=6_000))
    time.sleep(2)
    only_whole_lines(travel, lines)
    mounts.resize(travel.home, ROOMY)
    took = seconds_until(partial(travel.has_lines, len(lines)), "all lines are there", HEALS_WITHIN * 2)
    verify({desk: lines, travel: []})
    return took


def full_state(fleet: Fleet) -> float:
    """The disk of journal and index is full while lines come in; then there is room."""
    desk, travel = fleet.laptop("desk").skill(), fleet.laptop("travel")
    mounts.tmpfs(travel.state, ROOMY)
    pair(desk.start(), travel.start())
    connected((desk, travel))
    ballast = travel.state / "ballast"
    with ballast.open("wb") as file:
        try:
            while True:
                file.write(bytes(1 << 16))
                file.flush()
        except OSError:
            pass
    lines = desk.pour(events("desk", 6_000))
    complaint(travel, str(travel.state), "full")
    only_whole_lines(travel, lines)
    ballast.unlink()
    took = seconds_until(partial(travel.has_lines, len(lines)), "all lines are there", HEALS_WITHIN * 2)
    verify({desk: lines, travel: []})
    return took


def read_only_home(fleet: Fleet) -> float:
    """Home turns read-only, as a disk with errors does; then it can be written again."""
    desk, travel = two_laptops(fleet, home_on_disk=True)
    mounts.bind(travel.home, travel.home)
    mounts.writable(travel.home, yes=False)
    lines = desk.append(events("desk", 50))
    complaint(travel, "skills/deploy", "errno 30")
    assert travel.lines() == []
    mounts.writable(travel.home, yes=True)
    took = seconds_until(partial(travel.has_lines, len(lines)), "all lines are there", HEALS_WITHIN * 2)
    verify({desk: lines, travel: []})
    return took


def unmounted(fleet: Fleet, *, restart: bool = False) -> float:
    """Home is unmounted: an empty directory is left in its place. Then it is mounted again."""
    desk, travel = fleet.laptop("desk").skill(), fleet.laptop("travel", config=SETTINGS)
    disk = travel.root / "disk"
    mounts.tmpfs(disk, ROOMY)
    mounts.bind(disk, travel.home)
    pair(desk.start(), travel.start())
    connected((desk, travel))
    lines = {desk: desk.append(events("desk", 50)), travel: travel.append(events("travel", 50))}
    all_hold((desk, travel), lines[desk] + lines[travel])
    if restart:
        travel.stop()
    mounts.unmount(travel.home)
    lines[desk].append(desk.append([event("desk", 50)])[0])  # before anything has looked at what is left
    if restart:
        travel.start()
    _says_home_is_gone(travel)
    lines[desk] += desk.append(events("desk", 20, start=51))
    time.sleep(8)  # longer than a directory must be missing to be deleted
    _says_home_is_gone(travel)
    assert list(travel.home.iterdir()) == [], "something was written where home is not"
    assert len(desk.lines()) == len(lines[desk]) + len(lines[travel]), "what the peer has was touched"
    assert desk.status()["alerts"] == []
    mounts.bind(disk, travel.home)
    count = len(lines[desk]) + len(lines[travel])
    took = seconds_until(partial(travel.has_lines, count), "all lines are there", HEALS_WITHIN * 2)
    until(lambda: travel.status()["home"]["state"] == "ok", "home is well again")
    verify(lines)
    lines[travel] += travel.append(events("travel", 5, start=50))
    verify(lines)
    return took


def _says_home_is_gone(laptop: Laptop) -> None:
    def said() -> bool:
        status = laptop.status()
        return status["home"]["state"] in ("missing", "guarded") and bool(status["alerts"])

    until(said, f"it says that home is gone: {json.dumps(laptop.status(), indent=1)}", HEALS_WITHIN * 2)
    assert laptop.run("status").returncode in (3, 5)


STORIES: dict[str, Callable[[Fleet], float]] = {
    "full-home": full_home,
    "full-state": full_state,
    "read-only-home": read_only_home,
    "unmounted": unmounted,
    "unmounted-and-restarted": partial(unmounted, restart=True),
}


def main(names: list[str]) -> int:
    """Tell these stories, or all; how long each took to heal."""
    for name in names or STORIES:
        with a_fleet() as fleet:
            took = STORIES[name](fleet)
        sys.stdout.write(f"| {name} | well again after {took:.1f} s |\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] != ["--here"]:
        told = mounts.apart("tests.campaign.disks", "--here", *sys.argv[1:], seconds=900)
        sys.stdout.write(told.stdout)
        sys.stderr.write(told.stderr)
        sys.exit(told.returncode)
    sys.exit(main(sys.argv[2:]))
