"""What a device leaves out: files stay, nothing is deleted, and what comes back is what it was.

Each test is one of the traces that would lose, double or resurrect something (SEMANTICS §1.4).
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleetsync.errors import NotFound
from fleetsync.merge import register
from fleetsync.ports import END, NOT_CARRIED, START, Group, Item, Outcome, Verdict
from fleetsync.replica.replica import Replica
from fleetsync.replica.surroundings import Surroundings
from fleetsync.selection import EVERYTHING, Selection
from tests.faults.scenarios import (
    LOCAL,
    LOG,
    MANIFEST,
    ME,
    NEWER,
    NOW,
    PEER,
    REMOTE,
    SKEW,
    YAML,
    make_home,
    version_of,
)

WITHOUT_DEPLOY = Selection(("skills/deploy",))
WITHOUT_LOGS = Selection(("skills/*/events.jsonl",))
SECOND = 1_000_000


class Laptop:
    """A home on disk and its replica, started with some selection."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = NOW
        self.replica = self._open(EVERYTHING)

    def _open(self, selection: Selection) -> Replica:
        around = Surroundings(lambda: self.now, os.urandom)
        replica = Replica(self.folder / "home", self.folder / "state", ME, around, SKEW, selection)
        replica.scan(None)
        return replica

    def restart(self, selection: Selection) -> None:
        self.replica.close()
        self.replica = self._open(selection)

    def path(self, name: str) -> Path:
        return self.folder / "home" / name

    def give(self, path: str, *bodies: bytes) -> list[Verdict]:
        return self.replica.apply([Group(path, list(bodies))], PEER)

    def members(self) -> list[Item]:
        return [item for page in self.replica.between(START, END) for item in page]

    def version(self) -> register.Version:
        [item] = [item for item in self.members() if item.path == YAML]
        return register.decode(item.body)

    def pass_time(self, seconds: int) -> None:
        self.replica.scan(None)
        self.now += seconds * SECOND
        self.replica.scan(None)
        self.replica.settle()

    def stats(self) -> dict[str, int]:
        found: dict[str, int] = json.loads(self.path("skills/deploy/stats.json").read_text())
        return found


@pytest.fixture
def laptop(tmp_path: Path) -> Iterator[Laptop]:
    """A laptop with a skill, its own lines and a peer's."""
    make_home(tmp_path)
    made = Laptop(tmp_path)
    made.give(LOG, *REMOTE[:10])
    yield made
    made.replica.close()


def test_what_is_left_out_is_no_member_and_its_files_stay(laptop: Laptop) -> None:
    """The set is as if it had never been there; nothing in home is touched."""
    before = {path: path.read_bytes() for path in laptop.path("skills/deploy").iterdir()}
    assert laptop.replica.select(WITHOUT_DEPLOY)
    assert laptop.members() == []
    assert laptop.replica.head().count == 0
    assert {path: path.read_bytes() for path in laptop.path("skills/deploy").iterdir()} == before
    assert not laptop.replica.select(WITHOUT_DEPLOY)


def test_it_is_refused_without_being_an_error(laptop: Laptop) -> None:
    """A peer that offers it hears why; nothing is counted as refused and nothing is written."""
    laptop.replica.select(WITHOUT_DEPLOY)
    before = laptop.path(LOG).read_bytes()
    refusal = Verdict(Outcome.REFUSED, NOT_CARRIED)
    assert laptop.give(LOG, *REMOTE[10:12]) == [refusal] * 2
    assert laptop.give(YAML, version_of(NEWER, 1, {}, NOW - 5)) == [refusal]
    assert laptop.path(LOG).read_bytes() == before
    assert laptop.replica.condition().refused == 0


def test_what_changes_there_is_not_looked_at(laptop: Laptop) -> None:
    """Edits and lines of a path that is left out stay on this device."""
    laptop.replica.select(WITHOUT_DEPLOY)
    laptop.path(YAML).write_bytes(NEWER)
    with laptop.path(LOG).open("ab") as log:
        log.write(REMOTE[20] + b"\nnot json\n")
    assert not laptop.replica.scan([LOG, YAML])
    assert not laptop.replica.scan(None)
    assert laptop.replica.condition().malformed == 0


@pytest.mark.parametrize("down", [False, True])
def test_what_comes_back_untouched_is_what_it_was(laptop: Laptop, down: bool) -> None:
    """The same members, not one version more, whether the choice was made while it ran or not."""
    before = {item.key for item in laptop.members()}
    for selection in (WITHOUT_DEPLOY, EVERYTHING):
        laptop.restart(selection) if down else laptop.replica.select(selection)
    assert {item.key for item in laptop.members()} == before
    laptop.pass_time(60)
    assert {item.key for item in laptop.members()} == before


@pytest.mark.parametrize("down", [False, True])
def test_what_was_removed_meanwhile_comes_back_and_was_not_deleted(laptop: Laptop, down: bool) -> None:
    """Somebody made room on a device that leaves a skill out: no other device may lose it by that."""
    known = laptop.version()
    laptop.replica.select(WITHOUT_DEPLOY)
    if down:
        laptop.restart(WITHOUT_DEPLOY)
    shutil.rmtree(laptop.path("skills/deploy"))
    laptop.pass_time(60)
    laptop.restart(EVERYTHING) if down else laptop.replica.select(EVERYTHING)
    laptop.pass_time(60)
    assert laptop.version() == known
    assert laptop.path(YAML).read_bytes() == MANIFEST
    assert laptop.replica.guarded is None
    assert laptop.give(LOG, *LOCAL, *REMOTE[:10]) == [Verdict(Outcome.NEW)] * 15


def test_what_went_just_before_is_no_deletion(laptop: Laptop) -> None:
    """A skill seen missing for three seconds when it is left out leaves no tombstone behind."""
    shutil.rmtree(laptop.path("skills/deploy"))
    laptop.pass_time(3)
    laptop.replica.select(WITHOUT_DEPLOY)
    assert laptop.replica.due_in() is None
    laptop.pass_time(60)
    laptop.replica.select(EVERYTHING)
    laptop.pass_time(60)
    assert laptop.version().value == MANIFEST


def test_a_deletion_that_was_due_is_forgotten_though_home_is_away(laptop: Laptop) -> None:
    """Home vanishes as the choice is made: what was missing before is not deleted when home is back."""
    shutil.rmtree(laptop.path("skills/deploy"))
    laptop.pass_time(3)
    home, away = laptop.path("."), laptop.folder / "away"
    home.rename(away)
    laptop.replica.select(WITHOUT_DEPLOY)
    away.rename(home)
    laptop.now += 60 * SECOND
    laptop.replica.settle()
    laptop.replica.select(EVERYTHING)
    assert laptop.version().value == MANIFEST


def test_a_manifest_that_is_left_out_is_not_revived(laptop: Laptop) -> None:
    """A line that outlives a deletion brings the skill back only where its manifest is carried."""
    vector = register.known_vector([laptop.version()])
    stamp = register.Stamp(NOW, NOW, PEER, register.GONE_DIGEST)
    dot = register.Dot(PEER, max(vector.values()) + 1)
    gone = register.Version(dot, vector, stamp, None, register.Floor(0, []), MANIFEST)
    laptop.path(LOG).unlink()
    laptop.replica.select(Selection(("**", "!skills/*/skill.yaml")))
    laptop.give(YAML, register.encode(gone))
    assert not laptop.path(YAML).exists()
    laptop.replica.select(Selection(("skills/*/skill.yaml",)))
    laptop.give(LOG, *REMOTE[:3])
    assert not laptop.path(YAML).exists()
    laptop.replica.select(EVERYTHING)
    assert laptop.path(YAML).read_bytes() == MANIFEST


def test_an_edit_made_meanwhile_was_made_in_knowledge_of_the_last_version_seen(laptop: Laptop) -> None:
    """It is an edit that nobody watched: its time is the file's, not that of the new choice."""
    known = laptop.version()
    laptop.replica.select(WITHOUT_DEPLOY)
    laptop.path(YAML).write_bytes(NEWER)
    edited = (NOW + 5 * SECOND) * 1000
    os.utime(laptop.path(YAML), ns=(edited, edited))
    laptop.now += 3600 * SECOND
    laptop.replica.select(EVERYTHING)
    minted = laptop.version()
    assert minted.value == NEWER
    assert minted.vector == register.known_vector([known])
    assert minted.stamp.hybrid == NOW + 5 * SECOND


def test_what_peers_made_of_it_meanwhile_wins_over_the_untouched_file(laptop: Laptop) -> None:
    """The old value is no new edit: the peer's newer one covers it and is applied."""
    vector = register.known_vector([laptop.version()])
    newer = version_of(NEWER, max(vector.values()) + 1, vector, NOW + 5)
    laptop.replica.select(WITHOUT_DEPLOY)
    laptop.give(YAML, newer)
    laptop.replica.select(EVERYTHING)
    assert laptop.give(YAML, newer) == [Verdict(Outcome.NEW)]
    assert laptop.path(YAML).read_bytes() == NEWER


def test_nothing_is_counted_twice(laptop: Laptop) -> None:
    """What a peer's lines added to the counters stays added once, also if the file lost the lines."""
    assert laptop.stats()["usage_count"] == 10
    laptop.replica.select(WITHOUT_DEPLOY)
    laptop.path(LOG).write_bytes(LOCAL[0] + b"\n")
    laptop.replica.select(EVERYTHING)
    laptop.give(LOG, *REMOTE[:12])
    laptop.pass_time(60)
    assert laptop.stats()["usage_count"] == 12


def test_lines_that_wait_go_on_waiting(laptop: Laptop) -> None:
    """A parked line of a path that is left out is not written; back again, it is written and counted."""
    other = "skills/build/events.jsonl"
    laptop.give(other, *REMOTE[:3])
    assert laptop.replica.condition().parked == 3
    laptop.replica.select(WITHOUT_LOGS)
    assert laptop.replica.condition().parked == 0
    laptop.give("skills/build/skill.yaml", version_of(MANIFEST, 1, {}, NOW - 10))
    laptop.pass_time(60)
    assert not laptop.path(other).exists()
    laptop.replica.select(EVERYTHING)
    assert len(laptop.path(other).read_bytes().split()) == 3
    assert json.loads(laptop.path("skills/build/stats.json").read_text())["usage_count"] == 3


def test_many_that_come_back_are_no_restored_home(laptop: Laptop) -> None:
    """Files that were edited often and are left out for a while are not taken for a backup."""
    paths = [f"skills/s{n}/skill.yaml" for n in range(8)]
    for text in (MANIFEST, NEWER):
        for path in paths:
            laptop.path(path).parent.mkdir(exist_ok=True)
            laptop.path(path).write_bytes(text)
        laptop.pass_time(10)
    before = {item.key for item in laptop.members()}
    laptop.replica.select(Selection(("skills",)))
    laptop.replica.select(EVERYTHING)
    laptop.pass_time(60)
    assert laptop.replica.guarded is None
    assert {item.key for item in laptop.members()} == before


def test_the_choice_may_change_while_it_is_down(laptop: Laptop) -> None:
    """A restart with another choice ends in the same set as changing it while it runs."""
    laptop.restart(WITHOUT_LOGS)
    assert [item.path for item in laptop.members()] == [YAML]
    laptop.restart(WITHOUT_DEPLOY)
    assert laptop.members() == []


def test_held_and_troubled_files_are_told_of_only_while_they_are_carried(laptop: Laptop) -> None:
    """`status` speaks of what syncs here."""
    laptop.give(YAML, version_of(NEWER, 1, {}, NOW + 10 * SKEW))
    laptop.path("skills/deploy/stats.json").write_text("{ broken")
    laptop.give(LOG, *REMOTE[10:12])
    assert {alert.code for alert in laptop.replica.condition().alerts} == {"held", "stats-unreadable"}
    laptop.replica.select(WITHOUT_DEPLOY)
    condition = laptop.replica.condition()
    assert (condition.held, condition.alerts) == (0, [])
    laptop.replica.select(EVERYTHING)
    assert laptop.replica.condition().held == 1


def test_a_persons_word_about_it_is_answered_with_the_way_out(laptop: Laptop) -> None:
    """keep-local, restore and stats --rebuild cannot speak to the fleet about what is left out."""
    laptop.give(YAML, version_of(NEWER, 1, {}, NOW + 5))
    laptop.replica.select(WITHOUT_DEPLOY)
    before = laptop.path(YAML).read_bytes()
    for word in (
        lambda: laptop.replica.keep_local(YAML),
        lambda: laptop.replica.restore(YAML, None),
        lambda: laptop.replica.rebuild_stats(LOG),
    ):
        with pytest.raises(NotFound, match="is left out on this device"):
            word()
    assert laptop.path(YAML).read_bytes() == before


def test_a_missing_home_is_no_reason_to_forget_the_choice(laptop: Laptop) -> None:
    """The choice counts at once, and home is read by it when it is there again."""
    home, away = laptop.path("."), laptop.folder / "away"
    home.rename(away)
    laptop.replica.select(WITHOUT_LOGS)
    assert [item.path for item in laptop.members()] == [YAML]
    away.rename(home)
    laptop.replica.scan(None)
    assert [item.path for item in laptop.members()] == [YAML]
