"""Losers: nothing a person wrote is replaced by anything before it is in history, and there it says why."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from fleetsync.merge import register
from fleetsync.merge.register import GONE_DIGEST, Dot, Stamp, Version
from fleetsync.records.names import DeviceId
from fleetsync.replica.history import History, Why
from fleetsync.replica.journal import Journal
from fleetsync.replica.losers import Losers
from fleetsync.replica.versions import Clock, Versions
from tests.faults.scenarios import MANIFEST, ME, NEWER, NOW, PEER, SKEW, YAML

OTHER = DeviceId("c" * 52)
THIRD = b"name: deploy\nversion: 3.0.0\n"
MODELS, ENTRY = "models.yaml", "models.yaml/claude"


def version(value: bytes | None, device: DeviceId = PEER, number: int = 1, time: int = NOW - 10) -> Version:
    """One that knows of no other."""
    digest = GONE_DIGEST if value is None else register.digest_of(value)
    return Version(Dot(device, number), {}, Stamp(time, time, device, digest), value)


class Site:
    """Registers and history, and no files."""

    def __init__(self, folder: Path) -> None:
        self.journal = Journal.open(folder / "journal.db")
        self.history = History(folder / "history", self.journal, lambda: NOW)
        self.versions = Versions(ME, self.journal, Clock(lambda: NOW, SKEW))
        self.losers = Losers(self.versions, self.history)

    def take(self, *versions: Version, path: str = YAML) -> None:
        """These are members."""
        for each in versions:
            self.versions.take(path, register.encode(each), PEER)

    def kept(self, path: str = YAML) -> list[tuple[bytes, str, str | None]]:
        """What history has of a path, oldest first: the value, why, and whose version it was."""
        entries = self.history.entries(path)[::-1]
        return [(self.history.value(path, e.version)[1], e.kind, e.from_device) for e in entries]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    site.journal.close()


def test_what_no_version_has_was_replaced_or_deleted(site: Site) -> None:
    """An edit that nobody minted is nobody's loss in a conflict."""
    site.take(version(NEWER))
    site.losers.keep(YAML, MANIFEST, version(NEWER))
    site.losers.keep(YAML, MANIFEST)
    site.losers.keep(YAML, THIRD)
    assert site.kept() == [(MANIFEST, Why.REPLACED, None), (THIRD, Why.REPLACED, None)]
    assert [entry.stamp for entry in site.history.entries(YAML)] == [None, None]


def test_what_a_deletion_takes_away_was_deleted(site: Site) -> None:
    """Unless it is a version of which the deletion knew nothing: that one has lost a conflict."""
    gone = version(None, OTHER)
    site.losers.keep(YAML, MANIFEST, gone)
    site.take(version(NEWER), gone)
    site.losers.keep(YAML, NEWER, gone)
    assert site.kept() == [(MANIFEST, Why.DELETED, None), (NEWER, Why.LOST_CONFLICT, PEER)]


def test_a_version_that_nothing_covers_has_lost_a_conflict_and_says_whose_it_was(site: Site) -> None:
    """With its stamp, by which the same loss is kept once."""
    mine, theirs = version(MANIFEST, OTHER), version(NEWER)
    site.take(mine, theirs)
    for _ in range(2):
        site.losers.keep(YAML, MANIFEST, theirs)
        site.losers.keep(YAML, MANIFEST)
    assert site.kept() == [(MANIFEST, Why.LOST_CONFLICT, OTHER)]
    (entry,) = site.history.entries(YAML)
    assert entry.stamp == msgspec.msgpack.encode(mine.stamp)


def test_a_version_does_not_replace_itself(site: Site) -> None:
    """What stands in the file already is not lost when its version is put in place."""
    theirs = version(NEWER)
    site.take(theirs)
    site.losers.keep(YAML, NEWER, theirs)
    assert site.kept() == []


def test_of_a_file_of_parts_only_what_stands_at_the_path_is_kept(site: Site) -> None:
    """And what does not stand there needs no keeping."""
    raw = b"models:\n  claude: {provider: p}\n  gpt: {provider: q}\n"
    assert not site.losers.has_kept(ENTRY, raw)
    site.losers.keep_file(ENTRY, raw, version(None, OTHER))
    assert site.losers.has_kept(ENTRY, raw)
    ((value, why, _),) = site.kept(ENTRY)
    assert (b"provider: p" in value, b"q" in value, why) == (True, False, Why.DELETED)
    absent = "models.yaml/other"
    site.losers.keep_file(absent, raw, None)
    assert site.losers.has_kept(absent, raw)
    assert site.kept(absent) == []


def test_what_another_path_has_lost_is_not_kept_for_this_one(site: Site) -> None:
    """The same bytes may be two people's work."""
    site.losers.keep("skills/other/skill.yaml", MANIFEST)
    assert not site.losers.has_kept(YAML, MANIFEST)
    site.losers.keep(YAML, MANIFEST)
    assert site.losers.has_kept(YAML, MANIFEST)


def test_concurrent_versions_that_never_stood_here_are_kept(site: Site) -> None:
    """Those whose time has come, with another value than the one that counts; deletions have none."""
    ahead = version(b"name: ahead\n", DeviceId("d" * 52), time=NOW + SKEW + 1)
    same = version(NEWER, DeviceId("e" * 52), time=NOW - 30)
    site.take(same, version(MANIFEST, OTHER, time=NOW - 20), version(NEWER), ahead)
    site.take(version(None, DeviceId("f" * 52), time=NOW - 40))
    site.losers.keep_others(YAML)
    assert site.kept() == [(MANIFEST, Why.LOST_CONFLICT, OTHER)]


def test_where_nothing_counts_nothing_is_kept(site: Site) -> None:
    """A path without a version, or whose only version lies ahead."""
    site.losers.keep_others(YAML)
    site.take(version(NEWER, time=NOW + SKEW + 1))
    site.losers.keep_others(YAML)
    assert site.kept() == []
    assert site.losers.others(YAML, None) == []


@pytest.mark.parametrize("standing", [False, True])
def test_what_loses_by_a_persons_word_is_kept(site: Site, standing: bool) -> None:
    """Every version with another value, held ones too; not the one that stands in the file, for that is
    kept when it is replaced.
    """
    ahead = version(b"name: ahead\n", DeviceId("d" * 52), time=NOW + SKEW + 1)
    current = version(NEWER)
    site.take(version(MANIFEST, OTHER, time=NOW - 20), current, ahead)
    site.take(
        version(THIRD, DeviceId("e" * 52), time=NOW - 15), version(None, DeviceId("f" * 52), time=NOW - 40)
    )
    if standing:
        site.losers.keep_rivals(YAML, THIRD, standing=True)
    else:
        site.losers.keep_rivals(YAML, THIRD)
    lost = [(MANIFEST, OTHER), *([] if standing else [(NEWER, PEER)]), (b"name: ahead\n", DeviceId("d" * 52))]
    assert sorted(site.kept()) == sorted((value, Why.LOST_CONFLICT, device) for value, device in lost)
    stamps = {entry.sha256: entry.stamp for entry in site.history.entries(YAML)}
    assert msgspec.msgpack.encode(ahead.stamp) in stamps.values()


def test_what_was_half_written_into_history_is_gone_after_a_start(site: Site, tmp_path: Path) -> None:
    """A process that died in between leaves nothing behind; what is listed stays."""
    site.history.keep(YAML, NEWER, Why.REPLACED, None, None)
    (tmp_path / "history" / ("0" * 64 + ".tmp")).write_bytes(b"ha")
    history = History(tmp_path / "history", site.journal, lambda: NOW)
    assert len(list((tmp_path / "history").iterdir())) == 1
    assert history.value(YAML, None)[1] == NEWER
