"""A disk that fails once, in the middle of something: the same process goes on and nothing is wrong."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fleetsync.errors import StorageFailed
from fleetsync.files import Folder
from fleetsync.ports import END, START, Group
from fleetsync.replica.counting import STATS
from fleetsync.replica.replica import Replica
from fleetsync.replica.surroundings import Surroundings
from tests.faults import scenarios
from tests.faults.scenarios import LOCAL, LOG, MANIFEST, NEWER, NOW, PEER, REMOTE, SKEW, YAML


@contextmanager
def failing(owner: Any, name: str, when: Callable[..., bool]) -> Iterator[None]:
    """The first call of `owner.name` for which `when` holds fails with EIO."""
    call, spent = getattr(owner, name), list[bool]()

    def once(*arguments: Any, **named: Any) -> Any:
        if not spent and when(*arguments):
            spent.append(True)
            raise StorageFailed("the disk") if owner is Folder else OSError(errno.EIO, "the disk")
        return call(*arguments, **named)

    setattr(owner, name, once)
    try:
        yield
    finally:
        setattr(owner, name, call)
    assert spent


def members(replica: Replica) -> int:
    """How many members can be given."""
    return sum(len(page) for page in replica.between(START, END))


def test_counters_that_were_replaced_are_not_counted_again(tmp_path: Path) -> None:
    """The rename of stats.json is done and its directory cannot be fsynced: these lines are counted, and
    until that is certain the trouble is told.
    """
    scenarios.make_home(tmp_path)
    replica = scenarios.opened(tmp_path)
    skill = tmp_path / "home/skills/deploy"

    def is_after_the_rename(folder: Folder) -> bool:
        return folder.label.endswith("skills/deploy") and (skill / STATS).exists()

    with failing(Folder, "sync", is_after_the_rename):
        scenarios.apply_lines(replica)
    assert any(STATS in alert.detail for alert in replica.condition().alerts)
    replica.scan(None)
    assert not replica.condition().alerts
    replica.close()
    scenarios.counted(tmp_path, REMOTE)


def test_a_log_that_cannot_be_read_is_told_and_read_later(tmp_path: Path) -> None:
    """An error of the disk names the file and ends nothing."""
    scenarios.make_home(tmp_path)
    replica = scenarios.opened(tmp_path)
    with (tmp_path / "home" / LOG).open("ab") as log:
        log.write(REMOTE[0] + b"\n")
    with failing(os, "pread", lambda *_: True):
        replica.scan(None)
    assert any(LOG in alert.detail for alert in replica.condition().alerts)
    replica.scan(None)
    assert not replica.condition().alerts
    assert replica.head().count == members(replica) == len(LOCAL) + 2
    replica.close()


@pytest.mark.parametrize("step", [61_000_000, -3_600_000_000])
def test_what_was_replaced_comes_into_history_though_it_could_not_be_read_at_once(
    step: int, tmp_path: Path
) -> None:
    """The names were exchanged, then reading what was swapped out failed: the second look keeps it, after
    a minute, or at once if the clock was set back.
    """
    scenarios.make_home(tmp_path)
    now = NOW
    around = Surroundings(lambda: now, os.urandom)
    replica = Replica(tmp_path / "home", tmp_path / "state", scenarios.ME, around, SKEW)
    replica.scan(None)

    def is_staging(folder: Folder, *_: Any) -> bool:
        return folder.label.endswith("staging")

    newer = Group(YAML, [scenarios.version_of(NEWER, NOW + 1, {scenarios.ME: NOW}, NOW + 1)])
    with failing(Folder, "read", is_staging), pytest.raises(StorageFailed):
        replica.apply([newer], PEER)
    replica.apply([newer], PEER)
    now += step
    replica.settle()
    scenarios.manifest_is(tmp_path, NEWER)
    kept = [replica.history.value(entry.path, entry.version)[1] for entry in replica.history.entries(YAML)]
    assert MANIFEST in kept
    replica.close()


def test_a_version_that_the_journal_did_not_take_is_no_member(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk refuses the commit: what is remembered is what the journal holds, so that no member
    is announced that cannot be given.
    """
    refuses, holds_a_version = False, False

    class Connection(sqlite3.Connection):
        def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
            nonlocal holds_a_version
            holds_a_version = sql != "BEGIN IMMEDIATE" and (holds_a_version or "INTO versions" in sql)
            if refuses and holds_a_version and sql == "COMMIT":
                error = sqlite3.OperationalError("database or disk is full")
                error.sqlite_errorcode = sqlite3.SQLITE_FULL
                raise error
            return super().execute(sql, *arguments)

    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **named: connect(*a, **named, factory=Connection))
    scenarios.make_home(tmp_path)
    replica = scenarios.opened(tmp_path)
    (tmp_path / "home" / YAML).write_bytes(NEWER)
    refuses = True
    with pytest.raises(StorageFailed):
        replica.scan(None)
    refuses = False
    assert members(replica) == replica.head().count
    replica.scan(None)
    assert members(replica) == replica.head().count == len(LOCAL) + 1
    assert replica.apply([], PEER) == []
    replica.close()


def test_what_did_not_fit_is_written_as_soon_as_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines that waited for their manifest meet a full disk: they are members that no peer sends again, so
    the replica itself tries, after one second, then twice as late each time, and then is at rest.
    """
    scenarios.make_home(tmp_path)
    (tmp_path / "home" / YAML).unlink()
    now = NOW
    around = Surroundings(lambda: now, os.urandom)
    replica = Replica(tmp_path / "home", tmp_path / "state", scenarios.ME, around, SKEW)
    replica.scan(None)
    log = tmp_path / "home" / LOG
    replica.apply([Group(LOG, REMOTE)], PEER)
    write, standing = os.write, log.read_bytes()

    def full(fd: int, data: Any) -> int:
        if os.fstat(fd).st_ino == log.stat().st_ino:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(fd, data)

    monkeypatch.setattr(os, "write", full)
    replica.apply([Group(YAML, [scenarios.version_of(MANIFEST, 1, {}, NOW)])], PEER)
    assert [alert.code for alert in replica.condition().alerts] == ["file-trouble"]
    for seconds in (1, 2, 4, 8):
        assert replica.due_in() == pytest.approx(seconds)
        now += seconds * 1_000_000
        replica.settle()
    assert log.read_bytes() == standing
    monkeypatch.setattr(os, "write", write)
    now += 16_000_000
    replica.settle()
    assert set(REMOTE) <= set(log.read_bytes().split(b"\n"))
    assert replica.due_in() is None
    assert not replica.condition().alerts
    replica.close()
