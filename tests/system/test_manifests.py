"""`skill.yaml` on two laptops: conflicts, what becomes of the loser, a person's word, editors' habits."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.system.fleet import (
    MANIFEST,
    Document,
    Fleet,
    Laptop,
    all_equal,
    events,
    manifest,
    until,
)


def both_have(value: bytes, *laptops: Laptop) -> None:
    """Wait until this manifest stands on all of them."""
    for laptop in laptops:
        until(partial(laptop.has, MANIFEST, value), f"{value[-30:]!r} on {laptop.name}")


def in_history(laptop: Laptop) -> list[Document]:
    """What a laptop keeps of the manifest, newest first."""
    entries: list[Document] = laptop.ask("history", MANIFEST)["entries"]
    return entries


def parted(desk: Laptop, travel: Laptop, mine: bytes, theirs: bytes) -> None:
    """Both change the manifest while they do not talk to each other, and then they do again."""
    desk.ask("peers", "pause", "travel")
    for laptop, value in ((desk, mine), (travel, theirs)):
        before = laptop.status()["home"]["fingerprint"]
        laptop.write(MANIFEST, value)
        until(partial(laptop.has_moved, before), "it is seen")
    desk.ask("peers", "resume", "travel")
    all_equal(desk, travel)


def test_a_conflict_has_one_winner_and_keeps_the_loser(fleet: Fleet) -> None:
    """Edited apart, the same version wins on both; the other is in history, whole, and can be restored."""
    desk, travel = fleet.pair()
    mine, theirs = manifest("from desk"), manifest("from travel")
    parted(desk, travel, mine, theirs)
    both_have(theirs, desk, travel)  # neither has updated_at: the later edit wins
    keeper, entry = next(
        (laptop, entry)
        for laptop in (desk, travel)
        for entry in in_history(laptop)
        if entry["kind"] == "lost-conflict"
    )
    assert set(entry) == {"path", "version", "kind", "at", "stamp", "from_device", "size", "sha256"}
    assert (entry["path"], entry["size"]) == (MANIFEST, len(mine))
    restored = keeper.ask("restore", MANIFEST, "--version", str(entry["version"]))
    assert restored["path"] == MANIFEST
    both_have(mine, desk, travel)
    all_equal(desk, travel)
    assert any(entry["size"] == len(theirs) for entry in in_history(keeper))


def test_the_later_updated_at_wins_whoever_wrote_last(fleet: Fleet) -> None:
    """Where both versions carry `updated_at`, that decides, not the time at which the file was written."""
    desk, travel = fleet.pair()
    newer = manifest("newer", updated_at="2025-06-02T00:00:00Z")
    older = manifest("older, written later", updated_at="2025-06-01T00:00:00Z")
    parted(desk, travel, newer, older)
    both_have(newer, desk, travel)


def test_restore_without_a_number_takes_the_newest(fleet: Fleet) -> None:
    """An edit made on one laptop can be undone on the other, and the undoing wins on both."""
    desk, travel = fleet.pair()
    first = travel.read(MANIFEST)
    second = desk.write(MANIFEST, manifest("second"))
    both_have(second, desk, travel)
    travel.ask("restore", MANIFEST)
    both_have(first, desk, travel)
    assert [entry["kind"] for entry in in_history(travel)] == ["replaced", "replaced"]
    assert travel.ask("restore", "skills/none/skill.yaml", code=1)["error"]["code"] == "not-found"
    assert travel.ask("restore", "../outside", code=2)["error"]["code"] == "usage"


def test_keep_local_wins_everywhere(fleet: Fleet) -> None:
    """A person who says that this device is right is obeyed on all, though the other edit was later."""
    desk, travel = fleet.pair()
    desk.ask("peers", "pause", "travel")
    mine, theirs = manifest("earlier, but right"), manifest("later")
    for laptop, value in ((desk, mine), (travel, theirs)):
        before = laptop.status()["home"]["fingerprint"]
        laptop.write(MANIFEST, value)
        until(partial(laptop.has_moved, before), "it is seen")
    assert desk.ask("keep-local", "skills/deploy")["path"] == MANIFEST
    desk.ask("peers", "resume", "travel")
    both_have(mine, desk, travel)
    all_equal(desk, travel)
    assert any(entry["size"] == len(theirs) for laptop in (desk, travel) for entry in in_history(laptop))
    assert desk.ask("keep-local", "skills/none", code=1)["error"]["code"] == "not-found"


def in_place(path: Path, value: bytes) -> None:
    """Truncate and write, as many editors do."""
    with path.open("r+b") as file:
        file.truncate()
        for start in range(0, len(value), 40):
            file.write(value[start : start + 40])
            file.flush()


def by_rename(path: Path, value: bytes) -> None:
    """A temporary beside it, renamed over it."""
    fresh = path.with_name("skill.yaml.swp")
    fresh.write_bytes(value)
    fresh.rename(path)


def by_unlink(path: Path, value: bytes) -> None:
    """The old file is moved aside, a new one created, the old one removed."""
    aside = path.rename(path.with_name("skill.yaml~"))
    path.write_bytes(value)
    aside.unlink()


@pytest.mark.parametrize("save", [in_place, by_rename, by_unlink])
def test_however_an_editor_saves(fleet: Fleet, save: Callable[[Path, bytes], None]) -> None:
    """Ten edits in a row, saved as editors do: the last one is on both in the end, and whole all the time."""
    desk, travel = fleet.pair()
    values = [manifest(f"edit {number} " + "x" * 400) for number in range(10)]
    whole = {*values, travel.read(MANIFEST)}
    for number, value in enumerate(values):
        save(desk.home / MANIFEST, value)
        if number % 3 == 2:
            both_have(value, desk, travel)
        assert travel.read(MANIFEST) in whole
    both_have(values[-1], desk, travel)
    all_equal(desk, travel)


def test_an_edit_keeps_the_files_mode(fleet: Fleet) -> None:
    """Replacing a file leaves its permissions as the person here has set them."""
    desk, travel = fleet.pair()
    (travel.home / MANIFEST).chmod(0o640)
    value = desk.write(MANIFEST, manifest("new"))
    both_have(value, travel)
    assert (travel.home / MANIFEST).stat().st_mode & 0o777 == 0o640


def test_edits_in_turn_are_no_conflict(fleet: Fleet) -> None:
    """Each edit made in knowledge of the other replaces it; nothing is ever called a lost conflict."""
    desk, travel = fleet.pair()
    for number in range(4):
        laptop = (desk, travel)[number % 2]
        value = laptop.write(MANIFEST, manifest(f"edit {number}"))
        both_have(value, desk, travel)
    kinds = {entry["kind"] for laptop in (desk, travel) for entry in in_history(laptop)}
    assert kinds == {"replaced"}


def test_a_new_manifest_resets_the_counters_as_mur_does(fleet: Fleet) -> None:
    """A peer's manifest with another digest: usage begins at zero, then its lines count again."""
    desk, travel = fleet.pair()
    desk.append(events("desk", 5))
    until(lambda: travel.counted()["usage_count"] == 5, "five are counted")
    value = desk.write(MANIFEST, manifest("changed", version="2.0.0"))
    both_have(value, travel)
    until(lambda: travel.counted()["usage_count"] == 0, "the counters are reset")
    desk.append(events("desk", 3, start=5))
    until(lambda: travel.counted()["usage_count"] == 3, "three are counted")
    assert travel.ask("stats", "deploy")["stored"]["skill_version"] == "2.0.0"
