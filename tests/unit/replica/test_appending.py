"""Appending: a peer's lines stand in a log whole, once and in order, or not at all, whatever interrupts."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import pytest

from fleetsync import files
from fleetsync.errors import FileChanged, LockBusy, StorageFailed
from fleetsync.records import channels
from fleetsync.replica import appending
from fleetsync.replica.appending import HOLD, Appending
from fleetsync.replica.index import IN_JOURNAL, Entry
from fleetsync.replica.journal import ParkedLine
from fleetsync.replica.ledger import Append
from fleetsync.replica.logs import Logs
from tests.fakes.logs import LogHome, ids, new, row_of
from tests.faults.scenarios import EVENTS, LOCAL, LOG, PEER, REMOTE, SIGNED, line

INSIDE = len(REMOTE[0]) + 20
"""A kill inside the second line of a batch."""
ROW = row_of(LOG)


class Site(LogHome):
    """A home with one log, and the one who appends."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, LOG)
        self.log = self.path()
        self.log.write_bytes(b"".join(each + b"\n" for each in LOCAL))
        self.logs = Logs(self.journal, self.index)
        self.logs.read(self.root, LOG, ROW)
        self.appending = Appending(self.journal, self.index, self.logs)

    def append(self, *bodies: bytes, path: str = LOG, parked: bool = False) -> None:
        self.appending.append(self.root, path, row_of(path), new(*bodies, path=path), PEER, parked=parked)

    def park(self, *bodies: bytes) -> None:
        """They are members whose bodies lie in the journal."""
        lines = new(*bodies)
        self.journal.park(ParkedLine(x.key.id, LOG, x.key.ts, x.body, "", PEER) for x in lines)
        self.index.add([Entry(x.key, LOG, IN_JOURNAL, len(x.body), PEER) for x in lines])

    def lines(self) -> list[bytes]:
        return [each for each in self.log.read_bytes().split(b"\n") if each]

    def replace(self, *bodies: bytes) -> None:
        """Another program puts another file in place of the log."""
        other = self.log.with_name("other")
        other.write_bytes(b"".join(each + b"\n" for each in bodies))
        other.rename(self.log)

    def interrupted(self, taken: int, *bodies: bytes, behind: bytes = b"") -> None:
        """What a kill leaves: the intent in the journal, and of the batch its first bytes in the file."""
        before = self.log.stat()
        batch = b"\n" + b"\n".join(bodies) + b"\n"
        intent = Append(LOG, before.st_ino, before.st_size, batch, ids(*bodies))
        self.journal.ledger.begin_append(intent, PEER)
        with self.log.open("ab") as log:
            log.write(batch[:taken] + behind)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    site.close()


# --- what is written ------------------------------------------------------------------------------------


def test_lines_stand_in_their_order_and_are_members_where_they_stand(site: Site) -> None:
    """They are a peer's and wait to be counted; whoever asked is told of the log once."""
    told: list[str] = []
    site.appending.wrote = told.append
    site.append(*REMOTE[:3])
    assert site.lines() == LOCAL + REMOTE[:3]
    assert site.standing() == LOCAL + REMOTE[:3]
    assert sorted(site.journal.ledger.pending(LOG)) == sorted(ids(*REMOTE[:3]))
    assert [e.origin for e in site.index.find(ids(*REMOTE[:3]))] == [PEER] * 3
    assert told == [LOG]


def test_a_log_without_a_manifest_is_made_with_its_directory(site: Site) -> None:
    """Its first line stands at the first byte."""
    path = "experience/runs/events.jsonl"
    body = b'{"kind":"x"}'
    site.append(body, path=path)
    assert (site.home / path).read_bytes() == body + b"\n"


def test_no_directory_is_made_for_lines_that_belong_to_a_manifest(site: Site) -> None:
    """A directory without one would be half a skill."""
    path = "skills/newcomer/events.jsonl"
    with pytest.raises(FileNotFoundError):
        site.append(REMOTE[0], path=path)
    assert not (site.home / "skills/newcomer").exists()


def writes(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What is written from now on, write by write."""
    seen: list[bytes] = []
    write_fully = files.write_fully

    def noted(fd: int, data: bytes, label: str) -> None:
        seen.append(data)
        write_fully(fd, data, label)

    monkeypatch.setattr(files, "write_fully", noted)
    return seen


def padded(n: int, size: int) -> bytes:
    """A line of exactly that many bytes."""
    plain = line(n, "there")
    return plain[:-1] + b',"note":"' + b"x" * (size - len(plain) - 10) + b'"}'


def test_the_lock_is_held_for_a_mebibyte_at_most(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many lines are several writes, each of whole lines; a single line may be as long as it is."""
    quarter = HOLD // 4
    fits = [quarter - 1, quarter - 1, quarter - 1, quarter]
    sizes = [*fits, *fits, *fits[:3], quarter + 1, HOLD, 200]
    bodies = [padded(n, size) for n, size in enumerate(sizes)]
    seen = writes(monkeypatch)
    site.append(*bodies)
    assert [len(data.split()) for data in seen] == [4, 4, 3, 1, 1, 1]
    assert site.lines() == LOCAL + bodies


def test_a_write_begins_a_new_line_unless_the_log_is_empty(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older mur writes a line and its newline separately."""
    seen = writes(monkeypatch)
    site.append(REMOTE[0])
    site.log.write_bytes(b"")
    site.append(REMOTE[1])
    assert seen == [b"\n" + REMOTE[0] + b"\n", REMOTE[1] + b"\n"]


def test_lines_are_numbered_on_from_the_last_one_of_their_own_log(site: Site) -> None:
    """Whatever was written to another log before."""
    other = "channels/c2/events.jsonl"
    for path, bodies in ((EVENTS, SIGNED[:2]), (EVENTS, SIGNED[2:4]), (other, SIGNED[4:])):
        (site.home / path).parent.mkdir(parents=True, exist_ok=True)
        site.append(*bodies, path=path)
    numbers = {
        p: [channels.seq_of(each) for each in (site.home / p).read_bytes().split()] for p in (EVENTS, other)
    }
    assert numbers == {EVENTS: [0, 1, 2, 3], other: [0, 1]}


# --- what another program does meanwhile ----------------------------------------------------------------


def test_lines_that_another_program_has_written_meanwhile_are_not_written_again(site: Site) -> None:
    """The log is read again before it is written to, for it was not locked until now."""
    with site.log.open("ab") as log:
        log.write(REMOTE[1] + b"\n" + line(90, "here") + b"\n")
    site.append(*REMOTE[:3])
    assert site.lines() == [*LOCAL, REMOTE[1], line(90, "here"), REMOTE[0], REMOTE[2]]
    assert site.standing() == site.lines()
    assert sorted(site.journal.ledger.pending(LOG)) == sorted(ids(REMOTE[0], REMOTE[2]))


def test_where_all_lines_stand_already_nothing_is_written(site: Site) -> None:
    """Not even a newline."""
    with site.log.open("ab") as log:
        log.write(REMOTE[0] + b"\n")
    before = site.log.read_bytes()
    site.append(REMOTE[0])
    assert site.log.read_bytes() == before
    assert site.journal.ledger.appends() == []


def test_lines_written_by_one_without_a_lock_meanwhile_are_members_too(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older mur takes no lock: its bytes may get in right in front of ours, or right behind."""
    write_fully = files.write_fully

    def with_neighbours(fd: int, data: bytes, label: str) -> None:
        write_fully(fd, b"\n" + line(91, "here") + b"\n", label)
        write_fully(fd, data, label)
        write_fully(fd, line(92, "here") + b"\n", label)

    monkeypatch.setattr(files, "write_fully", with_neighbours)
    site.append(*REMOTE[:2])
    assert site.lines() == [*LOCAL, line(91, "here"), *REMOTE[:2], line(92, "here")]
    assert site.standing() == site.lines()
    assert sorted(site.journal.ledger.pending(LOG)) == sorted(ids(*REMOTE[:2]))


def test_parked_lines_leave_the_journal_when_they_stand(site: Site) -> None:
    """They were members before and are so once; what stands in the file already is not written twice."""
    site.park(*REMOTE[:3])
    site.append(REMOTE[1], parked=True)
    assert [each.body for each in site.journal.parked(LOG)] == [REMOTE[0], REMOTE[2]]
    site.append(*REMOTE[:3], parked=True)
    assert site.journal.parked(LOG) == []
    assert site.lines() == site.standing() == [*LOCAL, REMOTE[1], REMOTE[0], REMOTE[2]]
    assert site.index.head().count == len(LOCAL) + 3


# --- what goes wrong ------------------------------------------------------------------------------------


def on_locking(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Something happens between opening the log and having its lock."""

    def act_first(fd: int, label: str) -> AbstractContextManager[None]:
        act()
        return files.flocked(fd, label)

    monkeypatch.setattr(appending, "flocked", act_first)


def test_a_log_replaced_before_it_was_locked_is_not_written(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written to a file that has no name any more is lost."""
    on_locking(monkeypatch, lambda: site.replace(*LOCAL))
    with pytest.raises(FileChanged, match=r"deploy/events\.jsonl was replaced while it was being opened"):
        site.append(REMOTE[0])
    assert site.lines() == LOCAL
    assert site.journal.ledger.appends() == []


def test_a_log_removed_before_it_was_locked_is_not_written(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor one that is gone."""
    on_locking(monkeypatch, site.log.unlink)
    with pytest.raises(FileChanged):
        site.append(REMOTE[0])
    assert not site.log.exists()


def test_lines_written_to_a_log_that_was_replaced_meanwhile_are_not_there(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They went with the old file: no members, not counted, and written when they come again."""
    told: list[str] = []
    site.appending.wrote = told.append
    fsync = os.fsync

    def replaced_first(fd: int) -> None:
        monkeypatch.setattr(os, "fsync", fsync)
        site.replace(*LOCAL)

    monkeypatch.setattr(os, "fsync", replaced_first)
    with pytest.raises(FileChanged, match=r"deploy/events\.jsonl was replaced while it was being written"):
        site.append(*REMOTE[:2])
    assert site.journal.ledger.appends() == []
    assert site.journal.ledger.pending(LOG) == []
    assert site.index.find(ids(*REMOTE[:2])) == []
    assert told == []
    site.append(*REMOTE[:2])
    assert site.lines() == site.standing() == LOCAL + REMOTE[:2]


@pytest.mark.parametrize("taken", [0, 1, 30])
def test_of_a_write_that_the_disk_took_in_part_nothing_stays(
    site: Site, monkeypatch: pytest.MonkeyPatch, taken: int
) -> None:
    """Our bytes, and only ours, become newlines; the error names the log; the lines may come again."""
    before, write = site.log.read_bytes(), os.write

    def short(fd: int, data: bytes) -> int:
        if taken and os.fstat(fd).st_size == len(before):
            return write(fd, bytes(data)[:taken])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", short)
        with pytest.raises(StorageFailed, match=r"deploy/events\.jsonl: No space left"):
            site.append(*REMOTE[:2])
    assert site.log.read_bytes() == before + b"\n" * taken
    assert site.journal.ledger.appends() == []
    assert site.journal.ledger.pending(LOG) == []
    site.append(*REMOTE[:2])
    assert site.lines() == site.standing() == LOCAL + REMOTE[:2]


def test_what_could_not_be_made_durable_is_settled_by_the_next_write(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal knows of it until then; an append to another log leaves it alone."""
    other = "skills/other/events.jsonl"
    (site.home / other).parent.mkdir()

    def refuse(_fd: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        with pytest.raises(StorageFailed, match=r"deploy/events\.jsonl: Input/output error"):
            site.append(*REMOTE[:2])
    site.append(REMOTE[0], path=other)
    assert {each.path: each.ids for each in site.journal.ledger.appends()} == {
        LOG: ids(*REMOTE[:2]),
        other: ids(REMOTE[0], path=other),
    }
    site.append(REMOTE[2])
    assert {each.path: each.ids for each in site.journal.ledger.appends()} == {
        LOG: ids(REMOTE[2]),
        other: ids(REMOTE[0], path=other),
    }
    assert site.lines() == site.standing() == LOCAL + REMOTE[:3]
    assert sorted(site.journal.ledger.pending(LOG)) == sorted(ids(*REMOTE[:3]))


def test_a_line_that_was_cut_short_is_settled_before_more_is_written(site: Site) -> None:
    """Else it would be forgotten, and stand torn in the log for good."""
    site.interrupted(INSIDE, *REMOTE[:3])
    site.append(REMOTE[3])
    assert site.lines() == site.standing() == LOCAL + REMOTE[:4]


def test_a_log_that_mur_keeps_locked_is_left_alone(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A channel's log has its lock in a file beside it, any other log is its own."""
    monkeypatch.setattr(appending, "flocked", partial(files.flocked, patience=0.0))
    (site.home / EVENTS).parent.mkdir(parents=True)
    for path, lock, body in ((LOG, LOG, REMOTE[0]), (EVENTS, "channels/c1/events.lock", SIGNED[0])):
        with (site.home / lock).open("ab") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            with pytest.raises(LockBusy, match=r"events\.jsonl is locked"):
                site.append(body, path=path)
            assert body not in (site.home / path).read_bytes()
        site.append(body, path=path)
    assert site.lines() == [*LOCAL, REMOTE[0]]
    assert len((site.home / EVENTS).read_bytes().split()) == 1


# --- recovery -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("taken", [2, INSIDE, 10_000])
def test_a_write_that_was_cut_short_at_the_end_of_the_log_is_completed(site: Site, taken: int) -> None:
    """Its lines then stand there whole, and are counted."""
    site.interrupted(taken, *REMOTE[:3])
    site.appending.recover(site.root)
    assert site.lines() == LOCAL + REMOTE[:3]
    assert site.journal.ledger.appends() == []
    assert sorted(site.journal.ledger.pending(LOG)) == sorted(ids(*REMOTE[:3]))


def test_of_a_write_with_another_programs_line_behind_it_the_whole_lines_stay(site: Site) -> None:
    """The torn one is blanked and not counted."""
    site.interrupted(INSIDE, *REMOTE[:3], behind=line(93, "here") + b"\n")
    site.appending.recover(site.root)
    assert site.lines() == [*LOCAL, REMOTE[0], line(93, "here")]
    assert site.journal.ledger.appends() == []
    assert site.journal.ledger.pending(LOG) == ids(REMOTE[0])


def test_what_recovery_writes_is_durable_before_the_journal_forgets_it(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it completes the write or blanks a part of it."""
    fsync = os.fsync
    synced: list[tuple[int, int]] = []

    def noted(fd: int) -> None:
        synced.append((os.fstat(fd).st_ino, len(site.journal.ledger.appends())))
        fsync(fd)

    for behind in (b"", line(94, "here") + b"\n"):
        site.interrupted(INSIDE, *REMOTE[:3], behind=behind)
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", noted)
            site.appending.recover(site.root)
        assert synced == [(site.log.stat().st_ino, 1)]
        synced.clear()


@pytest.mark.parametrize(("call", "behind"), [("write", b""), ("pwrite", line(94, "here") + b"\n")])
def test_a_disk_that_refuses_what_recovery_writes_is_told_with_the_log(
    site: Site, monkeypatch: pytest.MonkeyPatch, call: str, behind: bytes
) -> None:
    """And the write is settled once the disk takes it."""

    def refuse(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    site.interrupted(INSIDE, *REMOTE[:3], behind=behind)
    with monkeypatch.context() as patch:
        patch.setattr(os, call, refuse)
        with pytest.raises(StorageFailed, match=r"deploy/events\.jsonl: No space left"):
            site.appending.recover(site.root)
    assert [each.path for each in site.journal.ledger.appends()] == [LOG]
    site.appending.recover(site.root)
    assert site.lines() == ([*LOCAL, REMOTE[0], line(94, "here")] if behind else LOCAL + REMOTE[:3])


def test_a_log_that_was_replaced_since_the_kill_is_left_alone(site: Site) -> None:
    """None of the lines stand in it, whatever it holds."""
    site.interrupted(INSIDE, *REMOTE[:3])
    site.replace(*LOCAL, REMOTE[0])
    before = site.log.read_bytes()
    site.appending.recover(site.root)
    assert site.log.read_bytes() == before
    assert site.journal.ledger.appends() == []
    assert site.journal.ledger.pending(LOG) == []


def test_a_log_that_is_shorter_than_it_was_at_the_kill_is_left_alone(site: Site) -> None:
    """Somebody cut it: what may stand in front of the write is not ours."""
    site.interrupted(0, *REMOTE[:3])
    os.truncate(site.log, 10)
    site.appending.recover(site.root)
    assert site.log.stat().st_size == 10
    assert site.journal.ledger.pending(LOG) == []


def test_recovery_goes_on_where_a_skill_is_gone_or_a_path_means_nothing(site: Site) -> None:
    """A write to what is not there any more, or to what only another version knew, is over."""
    site.interrupted(INSIDE, *REMOTE[:3])
    for path in ("skills/aaa/events.jsonl", "what/is/this", "skills/../events.jsonl"):
        site.journal.ledger.begin_append(Append(path, 1, 0, b"batch\n", [path.encode()]), PEER)
    site.appending.recover(site.root)
    assert site.journal.ledger.appends() == []
    assert site.lines() == LOCAL + REMOTE[:3]
    assert list(site.journal.ledger.pending_paths()) == [LOG]
    assert not (site.home / "skills/aaa").exists()


def test_a_log_replaced_while_it_is_being_mended_is_left_alone(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blanking opens it a second time, and that may be another file."""
    read_span = files.read_span

    def replaced_behind(fd: int, offset: int, length: int) -> bytes:
        data = read_span(fd, offset, length)
        site.replace(*LOCAL, line(95, "here"))
        return data

    site.interrupted(INSIDE, *REMOTE[:3], behind=line(94, "here") + b"\n")
    with monkeypatch.context() as patch:
        patch.setattr(files, "read_span", replaced_behind)
        with pytest.raises(FileChanged, match=r"deploy/events\.jsonl was replaced while it was being mended"):
            site.appending.recover(site.root)
    site.appending.recover(site.root)
    assert site.lines() == [*LOCAL, line(95, "here")]
    assert site.journal.ledger.pending(LOG) == []


def test_no_descriptor_stays_open_whatever_happens(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon runs for months."""
    (site.home / EVENTS).parent.mkdir(parents=True)
    before = len(list(Path("/dev/fd").iterdir()))
    site.append(REMOTE[0])
    site.append(SIGNED[0], path=EVENTS)
    site.interrupted(INSIDE, *REMOTE[1:3], behind=line(94, "here") + b"\n")
    site.appending.recover(site.root)
    on_locking(monkeypatch, site.log.unlink)
    with pytest.raises(FileChanged):
        site.append(REMOTE[3])
    (site.home / "channels/c1/events.lock").unlink()
    (site.home / "channels/c1/events.lock").mkdir()
    with pytest.raises(StorageFailed):
        site.append(SIGNED[1], path=EVENTS)
    assert len(list(Path("/dev/fd").iterdir())) == before
