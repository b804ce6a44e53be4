"""Reading all of home: what it costs, and what goes away while it is read."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fleetsync.errors import FileChanged, LockBusy, StorageFailed
from fleetsync.files import Folder
from fleetsync.ports import Group, Outcome
from fleetsync.replica.appending import Appending
from fleetsync.replica.keyless import Keyless
from fleetsync.replica.layout import STAGING
from fleetsync.replica.swaps import Swaps
from fleetsync.selection import EVERYTHING
from tests.fakes.laptops import Laptop
from tests.faults.scenarios import LOCAL, MANIFEST, NOW, PEER, REMOTE, version_of


@pytest.fixture
def laptop(tmp_path: Path) -> Iterator[Laptop]:
    """A laptop with an empty home."""
    laptop = Laptop(tmp_path, "a")
    yield laptop
    laptop.replica.close()


def make(laptop: Laptop, count: int) -> None:
    for number in range(count):
        directory = laptop.path(f"skills/skill-{number}")
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "skill.yaml").write_bytes(MANIFEST)
        (directory / "events.jsonl").write_bytes(LOCAL[0] + b"\n")
    laptop.replica.scan(None)


def asked_in_a_sweep(laptop: Laptop) -> int:
    """How often it is asked whether a path is carried."""
    sightings = laptop.replica._parts.registers.sightings
    asked: list[str] = []

    def carries(path: str) -> bool:
        asked.append(path)
        return EVERYTHING.carries(path)

    sightings.carries = carries
    laptop.replica.scan(None)
    return len(asked)


def test_a_sweep_costs_in_proportion_to_the_files(laptop: Laptop) -> None:
    """Twice as many skills are not four times the work."""
    make(laptop, 20)
    few = asked_in_a_sweep(laptop)
    make(laptop, 40)
    assert 0 < asked_in_a_sweep(laptop) <= 2 * few


def test_a_directory_that_goes_while_it_is_filled_keeps_nothing_else_waiting(
    laptop: Laptop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its manifest alone was missing and was about to be put back; what is gone with it is decided later."""
    make(laptop, 2)
    fill = Swaps.fill

    def fill_too_late(self: Swaps, root: Folder, folder: Folder, name: str, data: bytes) -> bool:
        shutil.rmtree(laptop.path("skills/skill-0"))
        return fill(self, root, folder, name, data)

    for number in range(2):
        laptop.path(f"skills/skill-{number}/skill.yaml").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(Swaps, "fill", fill_too_late)
        laptop.pass_time(6)
    assert not laptop.path("skills/skill-0").exists()
    assert laptop.replica.due_in() is not None
    laptop.pass_time(6)
    assert laptop.path("skills/skill-1/skill.yaml").read_bytes() == MANIFEST


def test_a_directory_that_goes_while_its_lines_are_written_is_looked_at_again(
    laptop: Laptop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines that waited for a manifest wait for the next one."""
    log = "skills/skill-0/events.jsonl"
    laptop.replica.apply([Group(log, list(REMOTE))], PEER)
    append = Appending.append

    def append_in_vain(_self: Appending, *_args: Any, **_kwargs: Any) -> None:
        raise LockBusy(log)

    def append_too_late(self: Appending, *args: Any, **kwargs: Any) -> None:
        shutil.rmtree(laptop.path("skills/skill-0"))
        append(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Appending, "append", append_in_vain)
        make(laptop, 1)
        patch.setattr(Appending, "append", append_too_late)
        laptop.replica.settle()
    assert not laptop.path(log).exists()
    make(laptop, 1)
    assert set(REMOTE) <= set(laptop.path(log).read_bytes().split(b"\n"))


def test_what_goes_at_the_worst_moment_is_named_and_tried_again(
    laptop: Laptop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing that a file does ends the reading of home as something nobody expected."""
    make(laptop, 1)

    def look_too_late(self: Keyless, root: Folder) -> None:
        root.enter("skills/skill-0/gone").close()

    monkeypatch.setattr(Keyless, "look", look_too_late)
    with pytest.raises(FileChanged, match=r"home/skills/skill-0/gone"):
        laptop.replica.scan(None)


@pytest.mark.parametrize("gone", ["skill.yaml", ""])
def test_what_finds_no_place_again_and_again_leaves_nothing_behind(
    laptop: Laptop, monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    """A directory may refuse a file for days, and each try is staged anew."""
    make(laptop, 1)

    def refuse(self: Folder, _name: str, target: Folder, target_name: str) -> bool:
        raise StorageFailed(target.at(target_name))

    monkeypatch.setattr(Folder, "move_into_place", refuse)
    if gone:
        laptop.path("skills/skill-0").joinpath(gone).unlink()
    else:
        fresh = version_of(MANIFEST, 1, {}, NOW)
        with pytest.raises(StorageFailed):
            laptop.replica.apply([Group("skills/new/skill.yaml", [fresh])], PEER)
    for _ in range(3):
        laptop.pass_time(60)
    assert "file-trouble" in {alert.code for alert in laptop.replica.condition().alerts}
    assert list(laptop.path(STAGING).iterdir()) == []


def test_counters_that_cannot_be_written_keep_nothing_else_waiting(laptop: Laptop) -> None:
    """A lock that a program run by another user left behind: told, and counted once it is mended."""
    make(laptop, 2)
    lock = laptop.path("skills/skill-0/stats.lock")
    lock.mkdir()
    for number in range(2):
        log = f"skills/skill-{number}/events.jsonl"
        assert {v.outcome for v in laptop.replica.apply([Group(log, list(REMOTE))], PEER)} == {Outcome.NEW}
        assert set(REMOTE) <= set(laptop.path(log).read_bytes().split(b"\n"))
    laptop.path("skills/skill-1/stats.json").unlink()
    laptop.pass_time(60)
    assert laptop.path("skills/skill-1/stats.json").exists()
    assert not laptop.path("skills/skill-0/stats.json").exists()
    assert "stats.lock" in str(laptop.replica.condition().alerts)
    lock.rmdir()
    laptop.pass_time(60)
    assert laptop.path("skills/skill-0/stats.json").exists()
    assert laptop.replica.condition().alerts == []
