"""Versions of registers as a device mints them: what their authors knew, and when (SEMANTICS §2)."""

from __future__ import annotations

from pathlib import Path

from tests.faults.scenarios import NEWER, NOW, YAML
from tests.unit.replica.test_deletions import SECOND, Laptop


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
