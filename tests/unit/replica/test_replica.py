"""The replica's own promises: files in home, counts, parking, history, repair."""

from __future__ import annotations

import errno
import json
import os
import resource
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fleetsync import files
from fleetsync.errors import FileChanged, IndexDamaged, JournalDamaged, NotFound, StorageFailed
from fleetsync.files import Folder
from fleetsync.ports import END, START, Group, HomeState, Outcome
from fleetsync.replica.appending import Appending
from fleetsync.replica.counting import Counting
from fleetsync.replica.logs import PORTION
from fleetsync.replica.opening import rebuild_journal
from fleetsync.replica.replica import Replica
from fleetsync.replica.surroundings import Surroundings
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
    line,
    make_home,
    version_of,
)

SKILL = "skills/deploy"


class Site:
    """A home on disk, its replica, and a clock that can be turned."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = NOW
        self.replica = self._open()

    def _open(self) -> Replica:
        around = Surroundings(lambda: self.now, os.urandom)
        replica = Replica(self.folder / "home", self.folder / "state", ME, around, SKEW)
        replica.scan(None)
        return replica

    def reopen(self) -> None:
        self.replica.close()
        self.replica = self._open()

    def path(self, name: str) -> Path:
        return self.folder / "home" / name

    def give(self, path: str, *bodies: bytes) -> list[Outcome]:
        return [verdict.outcome for verdict in self.replica.apply([Group(path, list(bodies))], PEER)]

    def lines(self) -> list[bytes]:
        return [each for each in self.path(LOG).read_bytes().split(b"\n") if each]

    def stats(self) -> dict[str, object]:
        stats: dict[str, object] = json.loads(self.path(f"{SKILL}/stats.json").read_bytes())
        return stats

    def members(self) -> set[bytes]:
        return {item.key.id for page in self.replica.between(START, END) for item in page}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    make_home(tmp_path)
    site = Site(tmp_path)
    yield site
    site.replica.close()


# --- counting -------------------------------------------------------------------------------------


def test_a_second_death_while_counting_is_being_settled_loses_no_count(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before new counters are put in place, and again when recovery has just removed them: their
    absence is not taken for success.
    """
    site.give(LOG, REMOTE[0])
    already = site.stats()["usage_count"]
    with monkeypatch.context() as patch:
        patch.setattr(Folder, "rename_to", _die)
        with pytest.raises(Died):
            site.give(LOG, *REMOTE[1:4])
        patch.undo()
        patch.setattr(Counting, "_recover_one", _die_after(Counting._recover_one))
        with pytest.raises(Died):
            site.reopen()
    site.reopen()
    assert site.stats()["usage_count"] == already + 3  # type: ignore[operator]
    assert not list(site.path(SKILL).glob(".stats*"))


@pytest.mark.parametrize(("cut", "behind"), [(0, LOCAL[0] + b"\n"), (20, b'{"kind":"exec'), (20, LOCAL[0])])
def test_lines_of_a_torn_batch_that_stand_whole_stay_and_are_counted(
    site: Site, monkeypatch: pytest.MonkeyPatch, cut: int, behind: bytes
) -> None:
    """Killed between two lines or inside one, whatever another program has written behind it: they are a
    peer's, and nobody but us will count them.
    """

    def die_inside(fd: int, data: bytes, _label: str) -> None:
        os.write(fd, data[: data.index(REMOTE[3]) + cut] + behind)
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_fully", die_inside)
        with pytest.raises(Died):
            site.give(LOG, *REMOTE[:6])
    site.reopen()
    assert [each for each in site.lines() if each in REMOTE] == REMOTE[:3]
    assert site.stats()["usage_count"] == 3
    site.give(LOG, *REMOTE[:6])
    assert site.stats()["usage_count"] == 6


class Died(BaseException):
    """The process ends here."""


def _die(*_: object) -> None:
    raise Died


def _die_after(recover: Any) -> Any:
    """Death at the first change of disk behind the removal of the temporary."""

    def recover_and_die(counting: Counting, folder: Folder, count: Any) -> None:
        remove = folder.remove

        def remove_and_die(name: str) -> None:
            remove(name)
            raise Died

        folder.remove = remove_and_die
        recover(counting, folder, count)

    return recover_and_die


def test_stats_that_do_not_parse_are_left_alone_and_counted_into_once_mended(site: Site) -> None:
    """A person's broken stats.json is not ours to replace; nothing is forgotten meanwhile."""
    site.path(f"{SKILL}/stats.json").write_text("{ broken")
    site.give(LOG, *REMOTE)
    assert site.path(f"{SKILL}/stats.json").read_text() == "{ broken"
    assert site.replica.condition().state is HomeState.DEGRADED
    assert [alert.code for alert in site.replica.condition().alerts] == ["stats-unreadable"]
    site.path(f"{SKILL}/stats.json").unlink()
    site.replica.scan([f"{SKILL}/stats.json"])
    assert site.stats()["usage_count"] == len(REMOTE)
    assert site.replica.condition().state is HomeState.OK


def test_stats_rebuilt_by_mur_begin_a_new_epoch(site: Site) -> None:
    """When mur has overwritten the counters from its traces, the peers' lines are added again, once."""
    site.give(LOG, *REMOTE[:10])
    stats = site.stats()
    assert stats["usage_count"] == 10
    stats |= {"usage_count": 3, "rebuilt_from_trace_through": "2026-07-01T00:00:00Z"}
    site.path(f"{SKILL}/stats.json").write_text(json.dumps(stats))
    site.give(LOG, *REMOTE[10:12])
    assert site.stats()["usage_count"] == 3 + 12
    site.give(LOG, *REMOTE[12:14])
    assert site.stats()["usage_count"] == 3 + 14


def test_stats_that_vanished_are_counted_anew_from_what_peers_sent(site: Site) -> None:
    """Local lines were mur's to count; the peers' lines come back in one write."""
    site.give(LOG, *REMOTE)
    site.path(f"{SKILL}/stats.json").unlink()
    site.replica.scan(None)
    assert site.stats()["usage_count"] == len(REMOTE)


def test_counters_begin_again_under_a_peers_manifest_before_its_lines(site: Site) -> None:
    """As mur does when the digest changes: the old counts do not mix with the new manifest's."""
    site.give(LOG, *REMOTE[:10])
    groups = [Group(LOG, REMOTE[10:13]), Group(YAML, [version_of(NEWER, 1, {}, NOW - 5)])]
    site.replica.apply(groups, PEER)
    assert site.stats()["usage_count"] == 3
    assert site.stats()["skill_version"] == "1.1.0"


def test_rebuilding_makes_the_counters_the_fold_of_the_log(site: Site) -> None:
    """Local and remote lines, each once; what comes later is added as always."""
    site.give(LOG, *REMOTE[:10])
    site.replica.rebuild_stats(LOG)
    assert site.stats()["usage_count"] == len(LOCAL) + 10
    site.give(LOG, *REMOTE[10:])
    assert site.stats()["usage_count"] == len(LOCAL) + len(REMOTE)


def test_rebuilding_goes_by_what_stands_in_the_log_now(site: Site) -> None:
    """Also when nobody has looked at it since mur wrote: the fold is that of the file, not of the index."""
    late = line(99, ME)
    with site.path(LOG).open("ab") as log:
        log.write(late + b"\n")
    site.replica.rebuild_stats(LOG)
    assert site.stats()["usage_count"] == len(LOCAL) + 1


def test_rebuilding_without_the_log_leaves_the_counters_alone(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows what they should be while the disk does not give the lines."""
    site.give(LOG, *REMOTE[:10])
    before = site.path(f"{SKILL}/stats.json").read_bytes()
    site.path(LOG).write_bytes(b"".join(each + b"\n" for each in reversed(REMOTE[:10])))

    def read_nothing(fd: int, offset: int, length: int) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(files, "read_span", read_nothing)
        with pytest.raises(FileChanged, match="cannot be read as a whole"):
            site.replica.rebuild_stats(LOG)
    assert site.path(f"{SKILL}/stats.json").read_bytes() == before


def test_lines_are_not_counted_by_where_they_stood_in_another_file(site: Site) -> None:
    """The log was replaced, and that the counters are gone is looked at first: they wait until the
    log has been read.
    """
    site.give(LOG, *REMOTE[:10])
    other = site.path(f"{SKILL}/other")
    other.write_bytes(b"\n".join([line(77, ME), *REMOTE[5:10], *REMOTE[:5]]) + b"\n")
    other.replace(site.path(LOG))
    site.path(f"{SKILL}/stats.json").unlink()
    site.replica.scan([f"{SKILL}/stats.json"])
    assert not site.path(f"{SKILL}/stats.json").exists()
    site.replica.scan(None)
    assert site.stats()["usage_count"] == 10


# --- parking ----------------------------------------------------------------------------------------


def test_lines_without_a_manifest_wait_for_it(site: Site) -> None:
    """A directory without a manifest would be an invalid skill to mur; the lines are members all the same."""
    before = len(site.members())
    assert site.give("skills/other/events.jsonl", *REMOTE) == [Outcome.NEW] * len(REMOTE)
    assert not site.path("skills/other").exists()
    assert site.replica.condition().parked == len(REMOTE)
    assert len(site.members()) == before + len(REMOTE)
    site.give("skills/other/skill.yaml", version_of(MANIFEST, 1, {}, NOW - 5))
    assert site.path("skills/other/events.jsonl").read_bytes().count(b"\n") == len(REMOTE)
    assert site.replica.condition().parked == 0


def test_a_log_that_cannot_be_written_never_keeps_the_others_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One skill's log is refused by the disk: it is told by name, the other skills' lines are written."""
    replica = Site(tmp_path).replica
    names = ("alpha", "beta", "gamma")
    logs = [f"skills/{name}/events.jsonl" for name in names]
    replica.apply([Group(log, [REMOTE[0]]) for log in logs], PEER)
    assert replica.condition().parked == 3
    for name in names:
        directory = tmp_path / "home/skills" / name
        directory.mkdir(parents=True)
        (directory / "skill.yaml").write_bytes(MANIFEST)
    append = Appending.append

    def refuse(self: Appending, root: Folder, path: str, *rest: Any, **more: Any) -> None:
        if path == logs[1]:
            raise StorageFailed(f"{path}: Input/output error")
        append(self, root, path, *rest, **more)

    monkeypatch.setattr(Appending, "append", refuse)
    replica.scan(None)
    replica.settle()
    written = [(tmp_path / "home" / log).exists() for log in logs]
    assert written == [True, False, True]
    assert any("beta" in a.detail and "Input/output" in a.detail for a in replica.condition().alerts)
    monkeypatch.undo()
    replica.settle()
    assert (tmp_path / "home" / logs[1]).exists()
    assert replica.condition().alerts == []
    replica.close()


def test_a_kind_that_mur_here_does_not_know_is_parked_until_mur_writes_it(site: Site) -> None:
    """One unknown line makes mur drop the whole log (SEMANTICS §4.3)."""
    strange = b'{"kind":"praise","ts":"2026-06-01T00:00:00Z","device_id":"there"}'
    assert site.give(LOG, strange) == [Outcome.NEW]
    assert strange not in site.lines()
    site.reopen()
    assert site.replica.condition().parked == 1
    with site.path(LOG).open("ab") as log:
        log.write(b'{"kind":"praise","ts":"2026-06-01T00:00:09Z","device_id":"here"}\n')
    site.replica.scan([LOG])
    assert strange in site.lines()
    assert site.replica.condition().parked == 0


# --- registers --------------------------------------------------------------------------------------


def test_an_edit_at_the_instant_of_the_replacement_is_kept(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The names are exchanged, so what stood there is whole under another name, whoever wrote it."""
    edited = MANIFEST + b"description: written just now\n"
    exchange = Folder.exchange

    def late(self: Folder, name: str, target: Folder, target_name: str) -> None:
        site.path(YAML).write_bytes(edited)
        exchange(self, name, target, target_name)

    monkeypatch.setattr(Folder, "exchange", late)
    site.give(YAML, version_of(NEWER, 1, {}, NOW - 5))
    values = [site.replica.history.value(e.path, e.version)[1] for e in site.replica.history.entries()]
    assert site.path(YAML).read_bytes() == NEWER
    assert edited in values


@pytest.mark.parametrize("link_only", [False, True])
def test_the_loser_of_a_conflict_is_in_history_and_can_be_restored(
    site: Site, link_only: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also on a filesystem that cannot exchange names; restoring is a new version that wins."""
    if link_only:

        def unsupported(*_: object) -> None:
            raise OSError(22, "no such rename here")

        monkeypatch.setattr(files, "_rename_with", unsupported)
    site.path(YAML).chmod(0o640)
    site.give(YAML, version_of(NEWER, 1, {}, NOW - 5))
    assert site.path(YAML).read_bytes() == NEWER
    assert site.path(YAML).stat().st_mode & 0o777 == 0o640
    (entry,) = site.replica.history.entries(YAML)
    assert entry.kind == "lost-conflict"
    assert entry.from_device == ME
    site.replica.restore(YAML, None)
    assert site.path(YAML).read_bytes() == MANIFEST
    assert site.give(YAML, version_of(NEWER, 1, {}, NOW - 5)) == [Outcome.SUPERSEDED]


def test_a_loser_that_arrives_goes_to_history_without_touching_the_file(site: Site) -> None:
    """Both devices keep the losing side of a conflict."""
    older = MANIFEST.replace(b"2026-05-30", b"2025-01-01")
    site.give(YAML, version_of(older, 1, {}, 5))
    assert site.path(YAML).read_bytes() == MANIFEST
    assert [entry.from_device for entry in site.replica.history.entries(YAML)] == [PEER]


def test_keeping_the_local_side_wins_over_what_was_applied_elsewhere(site: Site) -> None:
    """A person's word covers all that is known, held versions too."""
    site.give(YAML, version_of(NEWER, 1, {}, NOW + 2 * SKEW))
    assert site.replica.condition().held == 1
    site.replica.keep_local(YAML)
    assert site.replica.condition().held == 0
    site.now += 3 * SKEW
    site.replica.settle()
    assert site.path(YAML).read_bytes() == MANIFEST


def test_an_emptied_manifest_is_not_an_edit_yet(site: Site) -> None:
    """Editors empty a file and then write it."""
    before = site.members()
    site.path(YAML).write_bytes(b"")
    os.utime(site.path(YAML), ns=(NOW * 1000, NOW * 1000))
    site.replica.scan([YAML])
    assert site.members() == before
    site.path(YAML).write_bytes(NEWER)
    site.replica.scan([YAML])
    assert site.members() != before


@pytest.mark.parametrize("age", [-3600, -1, 5, 3600])
def test_a_manifest_that_stays_empty_is_an_edit(site: Site, age: int) -> None:
    """No editor takes so long; a file from before the clock was set back is not waited for until then."""
    before = site.members()
    site.path(YAML).write_bytes(b"")
    emptied = (NOW - age * 1_000_000) * 1000
    os.utime(site.path(YAML), ns=(emptied, emptied))
    site.replica.scan([YAML])
    assert site.members() != before


def test_restoring_what_history_does_not_have_is_an_error(site: Site) -> None:
    """It names the path."""
    with pytest.raises(NotFound, match=YAML):
        site.replica.restore(YAML, 99)


def test_an_edit_made_while_the_daemon_was_down_follows_what_was_there(site: Site) -> None:
    """It covers the version it replaced, and its time is the file's, not now (SEMANTICS §2.4)."""
    site.replica.close()
    site.path(YAML).write_bytes(NEWER)
    os.utime(site.path(YAML), ns=(NOW * 1000 - 10**12, NOW * 1000 - 10**12))
    site.replica = site._open()
    (member,) = site.replica._parts.versions.members(YAML)
    assert member.version.value == NEWER
    assert member.version.stamp.hybrid < NOW


# --- files that are not as they should be -------------------------------------------------------------


def test_a_replaced_log_is_read_again_and_refilled(site: Site) -> None:
    """Lines that vanished from the file are asked for again and written once."""
    site.give(LOG, *REMOTE)
    other = site.path(f"{SKILL}/other")
    other.write_bytes(LOCAL[0] + b"\n" + REMOTE[3] + b"\n")
    other.replace(site.path(LOG))
    site.replica.scan([LOG])
    assert site.give(LOG, *LOCAL, *REMOTE).count(Outcome.NEW) == len(LOCAL) + len(REMOTE) - 2
    assert sorted(site.lines()) == sorted(LOCAL + REMOTE)
    assert site.stats()["usage_count"] == len(REMOTE)


def test_a_missing_log_alone_is_damage_and_is_refilled(site: Site) -> None:
    """Its lines are asked for again; nothing is counted twice."""
    site.give(LOG, *REMOTE)
    site.path(LOG).unlink()
    site.replica.scan([LOG])
    site.give(LOG, *LOCAL, *REMOTE)
    assert sorted(site.lines()) == sorted(LOCAL + REMOTE)
    assert site.stats()["usage_count"] == len(REMOTE)


def test_glued_and_torn_lines_stay_and_their_good_records_are_members(site: Site) -> None:
    """What another program broke is left where it is, counted, and read as far as it can be."""
    with site.path(LOG).open("ab") as log:
        log.write(REMOTE[0] + REMOTE[1] + b"\n" + REMOTE[2][:40] + b"\n")
    before = len(site.members())
    site.replica.scan([LOG])
    assert len(site.members()) == before + 2
    assert site.replica.condition().malformed == 1
    assert REMOTE[2][:40] in site.lines()


def test_a_skill_that_is_a_symlink_is_left_alone(site: Site, tmp_path: Path) -> None:
    """A link may lead out of home: nothing below it is read or written."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "skill.yaml").write_bytes(MANIFEST)
    site.path("skills/linked").symlink_to(outside)
    before = site.members()
    site.replica.scan(None)
    site.give("skills/linked/events.jsonl", *REMOTE)
    assert {item.name for item in outside.iterdir()} == {"skill.yaml"}
    assert len(site.members()) == len(before) + len(REMOTE)


@contextmanager
def files_limited_to(size: int) -> Iterator[None]:
    """No file may grow beyond `size`: the kernel then takes part of a write, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_takes_half_a_batch_leaves_only_whole_lines(site: Site) -> None:
    """The error names the file; the log has no torn line; the next try succeeds."""
    padding = b"\n" * 2_000_000
    with site.path(LOG).open("ab") as log:
        log.write(padding)
    site.replica.scan([LOG])
    size = site.path(LOG).stat().st_size
    with files_limited_to(size + 500), pytest.raises(StorageFailed, match=r"events\.jsonl"):
        site.give(LOG, *REMOTE)
    assert sorted(site.lines()) == sorted(LOCAL)
    site.give(LOG, *REMOTE)
    assert sorted(site.lines()) == sorted(LOCAL + REMOTE)
    assert site.stats()["usage_count"] == len(REMOTE)


def test_a_replaced_log_that_could_be_read_only_in_part_is_read_from_its_beginning(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No member stands where another line stands by now."""
    other = [line(n, "b") for n in range(100, 3600)]
    site.path(LOG).unlink()
    site.path(LOG).write_bytes(b"".join(each + b"\n" for each in other))
    read_span = files.read_span

    def read_to_a_bad_block(fd: int, offset: int, length: int) -> bytes:
        if offset >= PORTION - 2000 and length > 1000:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read_span(fd, offset, length)

    with monkeypatch.context() as patch:
        patch.setattr(files, "read_span", read_to_a_bad_block)
        site.replica.scan(None)
    assert "file-trouble" in {alert.code for alert in site.replica.condition().alerts}
    site.replica.scan(None)
    standing = [item.body for page in site.replica.between(START, END) for item in page if item.path == LOG]
    assert sorted(standing) == sorted(other)


# --- the index and the journal --------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["delete", "garbage"])
def test_the_index_is_a_cache(site: Site, damage: str) -> None:
    """Deleted or damaged, it costs one scan: the same set, the same counts."""
    site.give(LOG, *REMOTE)
    site.give("skills/other/events.jsonl", *REMOTE)
    before, stats = site.members(), site.stats()
    site.replica.close()
    index = site.folder / "state/index.db"
    for name in ("index.db-wal", "index.db-shm"):
        (site.folder / "state" / name).unlink(missing_ok=True)
    index.unlink() if damage == "delete" else index.write_bytes(os.urandom(50_000))
    site.replica = site._open()
    assert site.members() == before
    assert site.give(LOG, *REMOTE) == [Outcome.KNOWN] * len(REMOTE)
    assert site.stats() == stats


@pytest.mark.parametrize("running", [False, True])
def test_a_page_of_the_index_that_goes_bad_costs_one_scan(site: Site, running: bool) -> None:
    """Wherever it is, and found before a start or after: at the latest the next look mends it."""
    with site.path(LOG).open("ab") as log:
        log.writelines(line(n, "a") + b"\n" for n in range(100, 1500))
    site.give(LOG, *REMOTE)
    before, stats, index = site.members(), site.stats(), site.folder / "state/index.db"
    site.replica.close()
    good, found = index.read_bytes(), 0
    for page in range(1, len(good) // 4096, 4):
        bad = good[: page * 4096] + b"\xa5" * 4096 + good[(page + 1) * 4096 :]
        index.write_bytes(good if running else bad)
        site.replica = site._open()
        if running:
            index.write_bytes(bad)
            site.replica._parts.index._file.rows("PRAGMA shrink_memory")
        try:
            members = site.members()
        except IndexDamaged:
            found += 1
            site.replica.scan([LOG])
            members = site.members()
        assert members == before
        assert site.stats() == stats
        site.replica.close()
    assert found > 1


def test_a_damaged_journal_stops_the_daemon(site: Site) -> None:
    """It holds what cannot be computed again, so nothing is made up in its place."""
    site.replica.close()
    (site.folder / "state/journal.db").write_bytes(os.urandom(50_000))
    with pytest.raises(JournalDamaged, match=r"journal\.db"):
        site._open()


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE versions SET body = x'c0'",
        "UPDATE versions SET body = 7",
        "UPDATE versions SET path = CAST(x'ff' AS TEXT)",
        "UPDATE sqlite_master SET sql = CAST(x'ff' AS TEXT)",
    ],
)
def test_a_journal_damaged_in_a_part_stops_the_daemon_too(site: Site, damage: str) -> None:
    """A value of another type, a text that is none, a page that SQLite quotes in its complaint."""
    site.replica.close()
    with sqlite3.connect(site.folder / "state/journal.db") as journal:
        journal.execute("PRAGMA writable_schema = ON")
        assert journal.execute(damage).rowcount
    journal.close()
    with pytest.raises(JournalDamaged, match="journal"):
        site._open()


def test_a_home_that_is_gone_is_missing_and_nothing_is_deleted(site: Site) -> None:
    """Absence is not deletion: the set stays, and home is not made again."""
    before = site.members()
    site.path("").rename(site.folder / "away")
    site.replica.scan(None)
    assert site.replica.condition().state is HomeState.MISSING
    assert site.replica.head().count == len(before)
    site.reopen()
    assert not site.path("").exists()
    (site.folder / "away").rename(site.path(""))
    site.replica.scan(None)
    assert site.members() == before


def test_a_journal_begun_anew_takes_home_as_it_stands_and_loses_to_any_peer(site: Site) -> None:
    """What the old one knew of versions is gone; nothing of home is, and nothing older wins by accident."""
    site.give(LOG, *REMOTE)
    site.replica.close()
    damaged = os.urandom(50_000)
    (site.folder / "state/journal.db").write_bytes(damaged)
    aside = rebuild_journal(site.folder / "state", lambda: site.now)
    assert aside.read_bytes() == damaged
    (site.folder / "state/index.db").unlink()
    site.replica = site._open()
    assert sorted(site.lines()) == sorted(LOCAL + REMOTE)
    assert site.path(YAML).read_bytes() == MANIFEST
    ancient = MANIFEST.replace(b"2026-05-30", b"1971-01-01")
    assert site.give(YAML, version_of(ancient, 1, {}, 5)) == [Outcome.NEW]
    assert site.path(YAML).read_bytes() == ancient
    assert [site.replica.history.value(e.path, e.version)[1] for e in site.replica.history.entries()] == [
        MANIFEST
    ]


def test_a_directory_can_be_kept_or_restored_as_a_whole(site: Site) -> None:
    """The path of a skill stands for the files in it that sync as a whole."""
    site.give(YAML, version_of(NEWER, 1, {}, NOW - 5))
    site.replica.restore(SKILL, None)
    assert site.path(YAML).read_bytes() == MANIFEST
    assert site.replica.keep_local(SKILL).path == YAML
    with pytest.raises(NotFound):
        site.replica.keep_local("skills/nothing")


def test_what_is_appended_while_a_log_is_read_is_read_by_the_next_look(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No member stands behind what is known to be read: when a power loss takes those bytes and others take
    their place, nothing is given that is no line.
    """
    lines = [line.replace(b"2026", b"2025") for line in REMOTE[:3]]
    read_span, late = files.read_span, [lines[1]]

    def append(line: bytes) -> None:
        with site.path(LOG).open("ab") as log:
            log.write(line + b"\n")

    def read_while_another_appends(fd: int, offset: int, length: int) -> bytes:
        if late:
            append(late.pop())
        return read_span(fd, offset, length)

    append(lines[0])
    monkeypatch.setattr(files, "read_span", read_while_another_appends)
    site.replica.scan([LOG])
    monkeypatch.undo()
    assert not late
    site.path(LOG).write_bytes(site.path(LOG).read_bytes()[:-9])
    append(lines[2])
    site.replica.scan([LOG])
    given = {item.body for page in site.replica.between(START, END) for item in page if item.path == LOG}
    assert {lines[0], lines[2]} <= given <= {*lines, *LOCAL}
