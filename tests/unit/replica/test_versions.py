"""Versions of registers as a device mints them: what their authors knew, and when (SEMANTICS §2)."""

from __future__ import annotations

from pathlib import Path

from fleetsync.ports import Group
from tests.fakes.laptops import SECOND, Laptop
from tests.faults.scenarios import NEWER, NOW, PEER, SKEW, YAML, version_of


def test_an_edit_is_later_than_what_it_replaces_whatever_the_clock_says(tmp_path: Path) -> None:
    """A clock that is set back a little does not make the next edit older: against a deletion that
    nobody watched, which is as old as what it deleted, it would lose.
    """
    laptop = Laptop(tmp_path, "a")
    laptop.make("deploy")
    laptop.now -= 5 * SECOND
    laptop.path(YAML).write_bytes(NEWER)
    laptop.replica.scan(None)
    current = laptop.replica._parts.versions.current(YAML)
    assert current is not None
    assert current.stamp.hybrid > NOW
    laptop.replica.close()


def test_what_lies_ahead_is_applied_when_its_time_comes(tmp_path: Path) -> None:
    """No sweep is waited for; and what comes while something ripens waits for its own time."""
    laptop = Laptop(tmp_path, "a")
    laptop.make("deploy")
    assert laptop.replica.due_in() is None
    ahead = NOW + SKEW + 7 * SECOND
    laptop.replica.apply([Group(YAML, [version_of(NEWER, ahead, {}, ahead)])], PEER)
    assert laptop.replica.condition().held == 1
    assert laptop.replica.due_in() == 7.0
    laptop.now += 7 * SECOND
    assert laptop.replica.due_in() == 0
    laptop.replica.settle()
    assert laptop.path(YAML).read_bytes() == NEWER
    assert laptop.replica.due_in() is None
    laptop.replica.close()


def test_a_clock_that_is_set_back_puts_off_what_had_come(tmp_path: Path) -> None:
    """It is held again, and applied when its time comes again, also after a restart."""
    laptop = Laptop(tmp_path, "a")
    laptop.make("deploy")
    ahead = NOW + SKEW
    laptop.replica.apply([Group(YAML, [version_of(NEWER, ahead, {}, ahead)])], PEER)
    assert laptop.replica.due_in() is None
    laptop.now -= 3600 * SECOND
    first = (3600 * SECOND - SKEW) / SECOND  # the version that was there before
    assert laptop.replica.due_in() == first
    laptop.reopen()
    assert laptop.replica.due_in() == first
    laptop.replica.close()
