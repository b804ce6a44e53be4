"""The ledger of a home: logs that others write too, an index that may be lost, a disk that may be full."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleetsync.errors import HomeMissing, IllegalName, LockBusy, StorageFailed
from fleetsync.experience_port import ExperienceIndex, Mark
from fleetsync.records.artifacts import IllegalTransition
from fleetsync.records.experience_queries import ArtifactQuery, EventQuery
from fleetsync.stores import experience_log
from fleetsync.stores.experience_ledger import ExperienceLedger
from fleetsync.stores.experience_log import ExperienceLog
from fleetsync.stores.experience_memory import MemoryExperienceStore
from fleetsync.stores.experience_opening import INDEX_FILE, open_experience_ledger
from tests.fakes.experiences import outcome, transition

ALL = EventQuery(all_tenants=True)


class Broken(MemoryExperienceStore):
    """An index that can be switched off."""

    def __init__(self) -> None:
        super().__init__()
        self.working = True

    def marks(self) -> dict[str, Mark]:
        if not self.working:
            raise StorageFailed("the database is gone")
        return super().marks()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An empty home."""
    home = tmp_path / "home"
    home.mkdir()
    return home


@pytest.fixture
def ledger(home: Path, tmp_path: Path) -> Iterator[ExperienceLedger]:
    """The ledger that the commands open."""
    ledger = open_experience_ledger(home, tmp_path / "state", "", "")
    yield ledger
    ledger.close()


def log_of(home: Path, stream: str = "local") -> Path:
    """Where the lines of a stream are."""
    return home / "experience" / stream / "events.jsonl"


def ids(ledger: ExperienceLedger) -> list[str]:
    """All events that are shown."""
    return [found.experience.event_id for found in ledger.query_events(ALL)]


def put(path: Path, data: bytes) -> None:
    """Another program writes a log whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


# --- the log -------------------------------------------------------------------------------------------


def test_appending_is_one_write_that_begins_on_a_line_of_its_own(
    home: Path, ledger: ExperienceLedger
) -> None:
    """Another program may be in the middle of a line."""
    ledger.append_event(outcome("e-1"))
    ledger.append_events([outcome("e-2"), outcome("e-3")])
    lines = [outcome(f"e-{n}").line for n in (1, 2, 3)]
    assert log_of(home).read_bytes() == lines[0] + b"\n\n" + lines[1] + b"\n" + lines[2] + b"\n"
    assert log_of(home).stat().st_mode & 0o777 == 0o600


def test_a_line_that_is_there_is_not_written_again(home: Path, ledger: ExperienceLedger) -> None:
    """Whoever wrote it."""
    put(log_of(home), outcome().line + b"\n")
    assert ledger.append_event(outcome()) is False
    assert log_of(home).read_bytes() == outcome().line + b"\n"


def test_a_log_that_another_program_holds_is_waited_for(home: Path) -> None:
    """Up to a limit; nothing is written past a lock."""
    put(log_of(home), b"")
    ledger = ExperienceLedger(ExperienceLog(home, patience=0.05), MemoryExperienceStore())
    with log_of(home).open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(LockBusy):
            ledger.append_event(outcome())
    assert log_of(home).read_bytes() == b""
    assert ledger.append_event(outcome())


def test_a_full_disk_leaves_no_torn_line(
    home: Path, ledger: ExperienceLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it took of a batch is blanked; what stood is untouched, and the next append works."""
    ledger.append_event(outcome("e-1"))
    real = os.write

    def short(descriptor: int, data: bytes) -> int:
        if len(data) < 100:
            raise OSError(errno.ENOSPC, "full")
        return real(descriptor, bytes(data)[: len(data) - 50])

    with monkeypatch.context() as patch:
        patch.setattr("fleetsync.files.os.write", short)
        with pytest.raises(StorageFailed, match="errno 28"):
            ledger.append_events([outcome("e-2"), outcome("e-3")])
    assert [line for line in log_of(home).read_bytes().split(b"\n") if line] == [outcome("e-1").line]
    ledger.append_event(outcome("e-4"))
    assert ids(ledger) == ["e-1", "e-4"]


def test_damaged_lines_hide_no_others(home: Path, ledger: ExperienceLedger) -> None:
    """Scraps are passed over, glued events read, a CR LF and a last line without its end too."""
    one, two, three, four = (outcome(f"e-{n}").line for n in range(4))
    put(log_of(home), one[:40] + two + three + b"\r\nnonsense\n\n[]\n{}\n" + four)
    assert ids(ledger) == ["e-1", "e-2", "e-3"]


def test_an_unfinished_line_is_read_when_it_is_finished(home: Path, ledger: ExperienceLedger) -> None:
    """Half of it is nothing yet."""
    line = outcome("e-1").line
    put(log_of(home), line[:50])
    assert ids(ledger) == []
    with log_of(home).open("ab") as log:
        log.write(line[50:])
    assert ids(ledger) == ["e-1"]
    with log_of(home).open("ab") as log:
        log.write(b"\n" + outcome("e-2").line + b"\n")
    assert ids(ledger) == ["e-1", "e-2"]


def test_long_logs_are_read_in_portions(
    home: Path, ledger: ExperienceLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every line once, also one that is longer than a portion."""
    monkeypatch.setattr(experience_log, "PORTION", 1000)
    names = [f"e-{n}" for n in range(20)]
    body = b"".join(outcome(name).line + b"\n" for name in names)
    put(log_of(home), body[: len(body) // 2 + 1] + b"\n" + b"x" * 5000 + b"\n")
    put(log_of(home), b"x" * 5000 + b"\n" + body)
    assert ids(ledger) == names


def test_streams_have_legal_names_and_are_no_links(
    home: Path, ledger: ExperienceLedger, tmp_path: Path
) -> None:
    """What is not a stream is not read, and never written."""
    put(log_of(home, "Bad Name"), outcome("e-1").line)
    put(tmp_path / "elsewhere" / "events.jsonl", outcome("e-2").line)
    (home / "experience" / "link").symlink_to(tmp_path / "elsewhere")
    assert ids(ledger) == []
    for stream in ("Bad Name", "../x", "link"):
        with pytest.raises(IllegalName):
            ledger.append_event(outcome("e-3"), stream=stream)
    assert (tmp_path / "elsewhere" / "events.jsonl").read_bytes() == outcome("e-2").line


def test_home_is_never_made(tmp_path: Path) -> None:
    """An absent one may be on a disk that is not mounted."""
    ledger = open_experience_ledger(tmp_path / "nowhere", tmp_path / "state", "", "")
    for act in (lambda: ledger.append_event(outcome()), lambda: ledger.query_events(ALL)):
        with pytest.raises(HomeMissing):
            act()
    ledger.close()
    assert not (tmp_path / "nowhere").exists()


# --- the index -----------------------------------------------------------------------------------------


def test_what_others_append_is_there_at_the_next_question(home: Path, ledger: ExperienceLedger) -> None:
    """Programs and peers write the log; nobody tells the index."""
    ledger.append_event(outcome("e-1"))
    with log_of(home).open("ab") as log:
        log.write(outcome("e-2").line + b"\n")
    put(log_of(home, "other"), outcome("e-3").line + b"\n")
    assert ids(ledger) == ["e-1", "e-2", "e-3"]


@pytest.mark.parametrize("how", ["shorter", "other file", "other bytes", "gone"])
def test_a_log_that_was_replaced_is_read_anew(home: Path, ledger: ExperienceLedger, how: str) -> None:
    """What is not in it any more is not shown any more; what was a repeat of it is."""
    put(log_of(home), outcome("e-1").line + b"\n" + outcome("e-2").line + b"\n")
    put(log_of(home, "other"), outcome("e-1").line + b"\n")
    cursor = ledger.query_events(ALL)[0].cursor
    if how == "shorter":
        put(log_of(home), outcome("e-2").line + b"\n")
    elif how == "other file":
        put(log_of(home, "new"), outcome("e-2").line + b"\n" * 2000)
        (home / "experience/new").rename(home / "new")
        (home / "new/events.jsonl").replace(log_of(home))
    elif how == "other bytes":
        data = log_of(home).read_bytes()
        put(log_of(home), data.replace(b"e-2", b"e-9"))
    else:
        log_of(home).unlink()
    wanted = {"shorter": {"e-1", "e-2"}, "other file": {"e-1", "e-2"}, "other bytes": {"e-1", "e-9"}}
    assert set(ids(ledger)) == wanted.get(how, {"e-1"})
    with pytest.raises(Exception, match="built anew"):
        ledger.query_events(EventQuery(all_tenants=True, after=cursor))


def test_an_index_that_is_deleted_is_built_again(home: Path, tmp_path: Path) -> None:
    """It holds nothing that the logs do not; a damaged one is thrown away."""
    for damage in (lambda file: file.unlink(), lambda file: file.write_bytes(b"no database" * 1000)):
        ledger = open_experience_ledger(home, tmp_path / "state", "", "")
        ledger.append_events([outcome("e-1"), transition("e-2", "Draft", "Approved")])
        before = ledger.query_events(ALL), ledger.query_artifacts(ArtifactQuery())
        ledger.close()
        for companion in tmp_path.glob(f"state/{INDEX_FILE}-*"):
            companion.unlink()
        damage(tmp_path / "state" / INDEX_FILE)
        ledger = open_experience_ledger(home, tmp_path / "state", "", "")
        after = ledger.query_events(ALL), ledger.query_artifacts(ArtifactQuery())
        assert [each.line for each in after[0]] == [each.line for each in before[0]]
        assert after[1] == before[1]
        ledger.close()


def test_an_index_that_fails_stops_no_append(home: Path) -> None:
    """The log is the truth; questions fail until the index is back, and then everything is there."""
    index = Broken()
    ledger = ExperienceLedger(ExperienceLog(home), index)
    ledger.append_event(outcome("e-1"))
    index.working = False
    ledger.append_event(outcome("e-2"))
    assert isinstance(ledger.trouble, StorageFailed)
    with pytest.raises(StorageFailed):
        ledger.query_events(ALL)
    with pytest.raises(IllegalTransition):
        ledger.append_event(transition("e-3", "RolledBack", "Draft"))
    index.working = True
    assert ids(ledger) == ["e-1", "e-2"]


def test_two_readers_of_one_index_take_every_line_once(home: Path) -> None:
    """One that has read on, or begun anew, is not undone by the other."""
    index: ExperienceIndex = MemoryExperienceStore()
    one, two = (ExperienceLedger(ExperienceLog(home), index) for _ in range(2))
    one.append_event(outcome("e-1"))
    stale = index.marks()["local"]
    two.append_event(outcome("e-2"))
    assert index.absorb([outcome("e-9")], "local", stale, stale) is False
    index.forget()
    assert index.absorb([outcome("e-9")], "local", stale, stale) is False
    assert ids(one) == ids(two) == ["e-1", "e-2"]


def test_homes_in_one_database_do_not_meet(postgres_url: str, tmp_path: Path) -> None:
    """Two devices, or two homes: each has an index of its own, and forgets only that."""
    ledgers = []
    for name, device in (("one", "a"), ("two", "a"), ("two", "b")):
        home = tmp_path / f"{name}-{device}" / name
        home.mkdir(parents=True)
        ledgers.append(open_experience_ledger(home, tmp_path / "state", postgres_url, device))
        ledgers[-1].append_event(outcome(f"e-{name}-{device}"))
    (tmp_path / "one-a" / "one" / "experience" / "local" / "events.jsonl").unlink()
    assert [ids(ledger) for ledger in ledgers] == [[], ["e-two-a"], ["e-two-b"]]
    for ledger in ledgers:
        ledger.close()
