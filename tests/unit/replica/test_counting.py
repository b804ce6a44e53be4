"""Counting: each peer's line reaches stats.json once, though any step of it may fail and be done again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from fleetsync.errors import MalformedRecord, StorageFailed
from fleetsync.files import Folder
from fleetsync.records import stats, timestamps
from fleetsync.records.stats import SkillStats
from fleetsync.replica.counting import Counting
from fleetsync.replica.journal import Journal
from fleetsync.replica.ledger import Append, Count, Ledger
from tests.faults.scenarios import line

LOG, OTHER = "skills/deploy/events.jsonl", "skills/other/events.jsonl"
NOW = timestamps.parse("2026-06-02T00:00:00Z")
MANIFEST = b"name: deploy\nversion: 1.2.3\n"


class Skills:
    """Skills under home, the journal, and lines that came from a peer."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.journal = Journal.open(folder / "journal.db")
        for path in (LOG, OTHER):
            (folder / path).parent.mkdir(parents=True)
        self.root = Folder.open(folder)
        self.lines: dict[bytes, bytes] = {}
        self.counting = self.restarted()

    @property
    def ledger(self) -> Ledger:
        return self.journal.ledger

    def restarted(self) -> Counting:
        tokens = iter(f"t{n}" for n in range(99))
        self.counting = Counting(self.journal, lambda: NOW, lambda: next(tokens))
        return self.counting

    def at(self, name: str, path: str = LOG) -> Path:
        return (self.folder / path).with_name(name)

    def arrive(self, *bodies: bytes, path: str = LOG) -> None:
        """These stand in the log now and wait."""
        ids = [hashlib.sha256(body).digest() for body in bodies]
        self.lines |= dict(zip(ids, bodies, strict=True))
        self.ledger.begin_append(Append(path, 1, 0, b"batch", ids), "bob")
        self.ledger.finish_append(path)

    def bodies(self, ids: Sequence[bytes]) -> dict[bytes, bytes]:
        return {identity: self.lines[identity] for identity in ids if identity in self.lines}

    def count(self, path: str = LOG) -> None:
        self.counting.count(self.root, path, self.bodies)

    def stats(self, path: str = LOG) -> SkillStats:
        return stats.loads(self.at("stats.json", path).read_bytes())

    def prepare(self, path: str, name: str) -> None:
        """State P, as a crash before the rename leaves it."""
        with self.root.enter(path.rpartition("/")[0]) as folder:
            directory = folder.identity()[1]
        self.at(name, path).write_bytes(b"prepared")
        self.ledger.begin_count(Count(path, self.ledger.pending(path), name, directory, None))


@pytest.fixture
def skills(tmp_path: Path) -> Iterator[Skills]:
    skills = Skills(tmp_path)
    yield skills
    skills.root.close()
    skills.journal.close()


# --- what is written ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("manifests", "version"),
    [
        ({"skill.yaml": MANIFEST, "skill.md": b"version: 9.9.9\n"}, "1.2.3"),
        ({"skill.md": MANIFEST}, "1.2.3"),
        ({"skill.yaml": b"name: deploy\n"}, "0.0.0"),
        ({"skill.yaml": b"{ broken"}, "0.0.0"),
        ({}, "0.0.0"),
    ],
)
def test_counters_that_nobody_began_are_of_this_skill_and_its_manifest(
    skills: Skills, manifests: dict[str, bytes], version: str
) -> None:
    """As mur would begin them: the directory's name, the manifest's version and digest, the time now."""
    for name, text in manifests.items():
        skills.at(name).write_bytes(text)
    skills.arrive(line(1, "there"))
    skills.count()
    begun = skills.stats()
    digest = hashlib.sha256(next(iter(manifests.values()), b"")).hexdigest()
    assert (begun.skill_name, begun.skill_version, begun.manifest_digest) == ("deploy", version, digest)
    assert begun.lifecycle_changed_at == NOW
    assert begun.usage_count == 1


def test_the_first_success_is_the_earliest_in_whatever_order_lines_arrive(skills: Skills) -> None:
    """A failure is none, and a later line of another device never moves it on."""
    skills.arrive(line(1, "there", "failure"))
    skills.count()
    assert skills.stats().first_successful_use_at is None
    for second, first in ((30, 30), (40, 30), (20, 20), (25, 20)):
        skills.arrive(line(second, "there"), line(second + 3, "there"), line(second - 1, "there", "failure"))
        skills.count()
        assert skills.stats().first_successful_use_at == timestamps.parse(f"2026-06-01T00:00:{first}Z")


# --- what fails and is done again -----------------------------------------------------------------


def failing_once(skills: Skills, monkeypatch: pytest.MonkeyPatch, step: str, path: str = LOG) -> None:
    """Counting fails at this step, in a process that goes on."""
    owner: Any = Folder if hasattr(Folder, step) else Ledger

    def refuse(*_: object) -> None:
        raise StorageFailed("the disk")

    with monkeypatch.context() as patch:
        patch.setattr(owner, step, refuse)
        with pytest.raises(StorageFailed):
            skills.count(path)


@pytest.mark.parametrize("step", ["rename_to", "finish_count"])
@pytest.mark.parametrize("again", ["count", "reset", "rebuild"])
def test_a_count_that_failed_is_settled_before_anything_is_done_to_the_counters(
    skills: Skills, monkeypatch: pytest.MonkeyPatch, step: str, again: str
) -> None:
    """Before or behind the rename: its lines are counted once, whoever comes next to these counters."""
    skills.at("skill.yaml").write_bytes(MANIFEST)
    skills.arrive(line(1, "there"), line(2, "there"))
    skills.count()
    skills.arrive(line(3, "there"))
    skills.arrive(line(3, "there"), path=OTHER)
    failing_once(skills, monkeypatch, step)
    failing_once(skills, monkeypatch, step, OTHER)
    if again == "reset":
        skills.counting.reset(skills.root, LOG, b"version: 2.0.0\n")
    if again == "rebuild":
        skills.counting.rebuild(skills.root, LOG, dict(skills.lines))
    assert [count.path for count in skills.ledger.counts()] == ([LOG, OTHER] if again == "count" else [OTHER])
    skills.count()
    reset = again == "reset"
    assert skills.stats().usage_count == (1 if reset and step == "rename_to" else 0 if reset else 3)
    assert skills.ledger.pending(LOG) == []
    skills.count(OTHER)
    assert skills.stats(OTHER).usage_count == 1
    assert skills.ledger.counts() == []
    assert not list(skills.folder.rglob(".stats*"))


def test_stats_that_cannot_be_read_are_told_by_name_until_they_can(skills: Skills) -> None:
    """Their lines wait, and the append is over: it is not settled again at every start."""
    skills.at("stats.json").write_text("{ broken")
    skills.ledger.begin_append(Append(LOG, 1, 0, b"batch", [b"1" * 32]), "bob")
    skills.count()
    assert "skills/deploy/stats.json" in skills.counting.unreadable[LOG]
    assert skills.ledger.appends() == []
    assert skills.ledger.pending(LOG) == [b"1" * 32]
    skills.at("stats.json").unlink()
    skills.count()
    assert skills.counting.unreadable == {}


# --- recovery -------------------------------------------------------------------------------------


def test_every_count_that_was_under_way_is_settled(skills: Skills) -> None:
    """In a directory that is gone, in one that is another now; prepared, or already put in place."""
    for name in ("a-gone", "b-another", "c-prepared", "d-placed"):
        path = f"skills/{name}/events.jsonl"
        (skills.folder / path).parent.mkdir()
        skills.arrive(line(1, "there"), path=path)
        skills.prepare(path, ".stats.json.x.fleetsync")
    skills.at(".stats.json.x.fleetsync", "skills/a-gone/x").unlink()
    (skills.folder / "skills/a-gone").rmdir()
    (skills.folder / "skills/b-another").rename(skills.folder / "skills/b-moved")
    (skills.folder / "skills/b-another").mkdir()
    skills.at(".stats.json.x.fleetsync", "skills/d-placed/x").rename(
        skills.at("stats.json", "skills/d-placed/x")
    )
    skills.restarted().recover(skills.root)
    assert skills.ledger.counts() == []
    waiting = [f"skills/{name}/events.jsonl" for name in ("a-gone", "b-another", "c-prepared")]
    assert skills.ledger.pending_paths() == dict.fromkeys(waiting, 1)
    assert not skills.at(".stats.json.x.fleetsync", "skills/c-prepared/x").exists()


def test_only_temporaries_of_ours_are_swept(skills: Skills) -> None:
    """What mur prepares beside its stats is mur's, and so is everything else."""
    others = [
        ".stats.json.tmp12",
        "stats.json",
        "notes.fleetsync",
        ".stats.json.1.tmp",
        "x.stats.json.1.fleetsync",
    ]
    for name in [*others, ".stats.json.1.fleetsync", ".stats.json.2.fleetsync"]:
        skills.at(name).write_text("x")
    skills.counting.sweep(skills.root, "skills/deploy")
    assert sorted(each.name for each in (skills.folder / "skills/deploy").iterdir()) == sorted(others)
    skills.counting.sweep(skills.root, "skills/nothing")


# --- resetting and rebuilding ---------------------------------------------------------------------


def test_a_peers_manifest_begins_the_counters_anew_once(skills: Skills) -> None:
    """With its version, or the one there was if it names none; the one they began under changes nothing."""
    skills.at("skill.yaml").write_bytes(MANIFEST)
    skills.arrive(line(1, "there"))
    skills.count()
    before = skills.at("stats.json").read_bytes()
    skills.counting.reset(skills.root, LOG, MANIFEST)
    assert skills.at("stats.json").read_bytes() == before
    for manifest, version in ((b"version: 2.0.0\n", "2.0.0"), (b"name: deploy\n", "2.0.0"), (b"{", "2.0.0")):
        skills.counting.reset(skills.root, LOG, manifest)
        after = skills.stats()
        assert (after.usage_count, after.skill_version) == (0, version)
        assert after.manifest_digest == hashlib.sha256(manifest).hexdigest()
        assert after.lifecycle_changed_at == NOW
    skills.count()
    assert skills.stats().usage_count == 0


def test_counters_that_are_not_there_are_not_reset(skills: Skills) -> None:
    """mur begins them under whatever manifest it finds then."""
    skills.counting.reset(skills.root, LOG, MANIFEST)
    assert list((skills.folder / "skills/deploy").iterdir()) == []


def test_rebuilt_counters_know_exactly_the_lines_they_were_made_of(skills: Skills) -> None:
    """A peer's line that does not stand in the log waits until it does; one that does is counted."""
    first, second, third = (line(n, "there") for n in (1, 2, 3))
    mine = line(9, "here", "failure")
    skills.arrive(first, second)
    skills.count()
    skills.arrive(third)
    standing = {hashlib.sha256(body).digest(): body for body in (second, third, mine)}
    after = skills.counting.rebuild(skills.root, LOG, standing)
    assert after == skills.stats()
    assert (after.usage_count, after.failure_count) == (3, 1)
    assert skills.ledger.pending(LOG) == [hashlib.sha256(first).digest()]
    skills.count()
    assert skills.stats().usage_count == 4


def test_counters_are_rebuilt_from_nothing_and_keep_what_is_not_counted(skills: Skills) -> None:
    """Where there are none they are begun; all else that stands there stays; unreadable ones are left."""
    skills.at("skill.yaml").write_bytes(MANIFEST)
    lines = {b"1": line(1, "here")}
    begun = skills.counting.rebuild(skills.root, LOG, lines)
    assert (begun.usage_count, begun.skill_version, begun.skill_name) == (1, "1.2.3", "deploy")
    kept = stats.new("deploy", "7.0.0", "ab", NOW)
    skills.at("stats.json").write_bytes(stats.dumps(kept))
    assert skills.counting.rebuild(skills.root, LOG, lines).skill_version == "7.0.0"
    skills.at("stats.json").write_text("{ broken")
    with pytest.raises(MalformedRecord, match=r"skills/deploy/stats\.json"):
        skills.counting.rebuild(skills.root, LOG, lines)
    assert skills.at("stats.json").read_text() == "{ broken"
