"""The journal: what is told to it stands there when it is opened again, all of a call or nothing."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fleetsync.errors import StorageFailed
from fleetsync.replica.journal import (
    HistoryEntry,
    Journal,
    ParkedLine,
    RegisterFile,
    StoredVersion,
    Swap,
    Trashing,
)
from fleetsync.replica.ledger import Append, Count

YAML, LOG = "skills/deploy/skill.yaml", "skills/deploy/events.jsonl"


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal.open(tmp_path / "journal.db")
    yield journal
    journal.close()


def again(journal: Journal, tmp_path: Path) -> Journal:
    """The journal as the next start finds it."""
    journal.close()
    return Journal.open(tmp_path / "journal.db")


def entry(path: str, at: int = 1, stamp: bytes | None = b"s", device: str | None = "b") -> HistoryEntry:
    return HistoryEntry(99, path, "replaced", at, stamp, device, 3, "ab")


# --- the file -------------------------------------------------------------------------------------


def test_a_reader_sees_what_a_daemon_at_work_has_committed_and_may_change_nothing(
    journal: Journal, tmp_path: Path
) -> None:
    """Commands look into the journal of a running daemon."""
    journal.put("name", b"value")
    reader = Journal.reading(tmp_path / "journal.db")
    assert reader.get("name") == b"value"
    with pytest.raises(StorageFailed):
        reader.put("name", b"other")
    reader.close()
    reader.close()
    assert journal.get("name") == b"value"


def test_calls_held_together_are_kept_together_or_not_at_all(journal: Journal) -> None:
    """An error between two calls leaves neither."""
    journal.put("one", b"1")
    with pytest.raises(StorageFailed), journal.transaction():
        _put_and_fail(journal)
    assert journal.get("one") == b"1"
    assert journal.parked(LOG) == []


def _put_and_fail(journal: Journal) -> None:
    journal.put("one", b"2")
    journal.park([ParkedLine(b"i", LOG, 1, b"body", "manifest", None)])
    raise StorageFailed("no space")


CHANGES: list[Callable[[Journal], object]] = [
    lambda j: j.put("name", b"value"),
    lambda j: j.put_number("name", 1),
    lambda j: j.drop("name"),
    lambda j: j.add_version(StoredVersion(b"i", YAML, b"body", None), [b"j"]),
    lambda j: j.set_register_file(YAML, RegisterFile(b"d", None)),
    lambda j: j.drop_register_file(YAML),
    lambda j: j.note_superseded(YAML, [b"d"]),
    lambda j: j.park([ParkedLine(b"i", LOG, 1, b"body", "manifest", None)]),
    lambda j: j.set_reason([b"i"], "key"),
    lambda j: j.unpark([b"i"]),
    lambda j: j.begin_swap(Swap("staged", YAML, b"v", b"r", 1)),
    lambda j: j.finish_swap("staged"),
    lambda j: j.begin_trash(Trashing("token", "skills/deploy", 1)),
    lambda j: j.finish_trash("token"),
    lambda j: j.add_history(entry(YAML)),
    lambda j: j.remove_history([1]),
    lambda j: j.ledger.note_local(LOG, [b"i"]),
    lambda j: j.ledger.forget(LOG, [b"i"]),
    lambda j: j.ledger.uncount(LOG, [b"i"]),
    lambda j: j.ledger.begin_reset(YAML),
    lambda j: j.ledger.begin_append(Append(LOG, 1, 0, b"x", [b"i"]), "b"),
    lambda j: j.ledger.finish_append(LOG),
    lambda j: j.ledger.begin_count(Count(LOG, [b"i"], "t", 1, None)),
    lambda j: j.ledger.drop_count(LOG),
]
FOUND_OUT_AGAIN: list[Callable[[Journal], object]] = [
    lambda j: j.set_register_file(YAML, RegisterFile(b"d", None), durable=False),
    lambda j: j.ledger.finish_reset(YAML),
    lambda j: j.ledger.finish_count(Count(LOG, [b"i"], "t", 1, None)),
]


@pytest.mark.parametrize(
    ("changes", "synchronous"), [(CHANGES, "FULL"), (FOUND_OUT_AGAIN, "NORMAL")], ids=["kept", "found again"]
)
def test_only_what_recovery_finds_out_again_may_be_lost_with_the_power(
    journal: Journal, changes: list[Callable[[Journal], object]], synchronous: str
) -> None:
    """Every other call is on the disk when it returns."""
    for change in changes:
        said: list[str] = []
        journal._db._db.set_trace_callback(said.append)
        change(journal)
        assert f"PRAGMA synchronous = {synchronous}" in said
        assert said[-1] == "COMMIT"


# --- single values --------------------------------------------------------------------------------


def test_a_named_value_is_the_one_last_put_until_it_is_dropped(journal: Journal, tmp_path: Path) -> None:
    """Bytes are kept as they are; others' names are not touched."""
    journal.put("name", b"\x00\xff")
    journal.put("other", b"o")
    journal.put("name", b"new\x00")
    journal = again(journal, tmp_path)
    assert journal.get("name") == b"new\x00"
    journal.drop("name")
    assert journal.get("name") is None
    assert journal.get("other") == b"o"
    journal.close()


def test_a_counter_begins_at_nothing(journal: Journal) -> None:
    """And holds more than 64 bits would."""
    assert journal.number("clock") == 0
    journal.put_number("clock", 1 << 70)
    assert journal.number("clock") == 1 << 70


# --- register versions ----------------------------------------------------------------------------


def test_versions_are_members_until_one_covers_them(journal: Journal, tmp_path: Path) -> None:
    """By path, by id, or all; what was covered is a member no more, and rivals stay."""
    first = StoredVersion(b"1", YAML, b"first", "peer")
    rival = StoredVersion(b"2", YAML, b"rival", None)
    other = StoredVersion(b"3", "models.yaml/claude", b"other", None)
    for version in (first, rival, other):
        journal.add_version(version, [])
    journal = again(journal, tmp_path)
    assert sorted(journal.versions()) == [first, rival, other]
    assert sorted(journal.versions(YAML)) == [first, rival]
    assert journal.version(b"1") == first
    newer = StoredVersion(b"4", YAML, b"newer", None)
    journal.add_version(newer, [b"1"])
    assert journal.version(b"1") is None
    assert sorted(journal.versions(YAML)) == [rival, newer]
    journal.close()


def test_a_version_that_comes_twice_stays_as_it_came_first(journal: Journal) -> None:
    """Two peers may give the same one; where it came from is told once."""
    journal.add_version(StoredVersion(b"1", YAML, b"body", "b"), [])
    journal.add_version(StoredVersion(b"1", YAML, b"body", "c"), [])
    assert journal.versions(YAML) == [StoredVersion(b"1", YAML, b"body", "b")]


def test_a_register_file_is_remembered_as_it_was_seen_last(journal: Journal) -> None:
    """With its look, or without one where none is to be trusted."""
    assert journal.register_files() == {}
    journal.set_register_file(YAML, RegisterFile(b"old", (1, 2, 3, 4, 5)))
    journal.set_register_file(YAML, RegisterFile(b"digest", (6, 7, 8, 9, 10)))
    journal.set_register_file("models.yaml", RegisterFile(b"", None))
    assert journal.register_files() == {
        YAML: RegisterFile(b"digest", (6, 7, 8, 9, 10)),
        "models.yaml": RegisterFile(b"", None),
    }
    journal.drop_register_file(YAML)
    assert list(journal.register_files()) == ["models.yaml"]


def test_a_value_is_superseded_where_it_stood_and_nowhere_else(journal: Journal) -> None:
    """Noting it again changes nothing; a file that was not there is no value."""
    journal.note_superseded(YAML, [b"one", b"", b"two"])
    journal.note_superseded(YAML, [b"two"])
    assert journal.was_superseded(YAML, b"one")
    assert journal.was_superseded(YAML, b"two")
    assert not journal.was_superseded(YAML, b"")
    assert not journal.was_superseded("models.yaml", b"one")
    assert not journal.was_superseded(YAML, b"three")


# --- parked lines ---------------------------------------------------------------------------------


def parked(identity: bytes, path: str, ts: int, reason: str = "manifest") -> ParkedLine:
    return ParkedLine(identity, path, ts, b"body of " + identity, reason, "b")


def test_parked_lines_come_back_in_the_order_of_their_keys(journal: Journal, tmp_path: Path) -> None:
    """Time, id: the order in which they are written once they may be."""
    lines = [parked(b"a", "x/e", 5), parked(b"b", "x/e", 5), parked(b"0", "x/e", 7), parked(b"1", "y/e", 1)]
    journal.park(lines[::-1])
    journal = again(journal, tmp_path)
    assert journal.parked("x/e") == lines[:3]
    assert journal.parked("y/e") == lines[3:]
    assert journal.parked("z/e") == []
    assert journal.parked_bodies([b"0", b"a", b"nobody"]) == {b"0": b"body of 0", b"a": b"body of a"}
    assert {(line.id, line.path, line.ts, line.size, line.origin) for line in journal.parked_members()} == {
        (line.id, line.path, line.ts, len(line.body), line.origin) for line in lines
    }
    journal.unpark([b"a", b"1"])
    assert journal.parked("x/e") == lines[1:3]
    assert journal.parked("y/e") == []
    journal.close()


def test_a_line_that_is_parked_stays_so_for_its_own_reason(journal: Journal) -> None:
    """Another peer's copy does not change it; only `set_reason` does, and only for what it names."""
    journal.park([parked(b"a", "x/e", 1), parked(b"b", "x/e", 2), parked(b"c", "y/e", 3, "kind")])
    journal.park([parked(b"a", "x/e", 1, "key")])
    assert sorted(journal.parked_reasons()) == [("x/e", "manifest", 2), ("y/e", "kind", 1)]
    journal.set_reason([b"b", b"c"], "key")
    assert sorted(journal.parked_reasons()) == [("x/e", "key", 1), ("x/e", "manifest", 1), ("y/e", "key", 1)]


def test_what_waits_is_counted_without_reading_it(journal: Journal, tmp_path: Path) -> None:
    """Every look asks for it, and lines in trash stay for good; a journal of before is no slower."""
    journal.close()
    with sqlite3.connect(tmp_path / "journal.db") as database:
        database.execute("DROP INDEX parked_by_reason")
        database.execute("CREATE INDEX parked_by_path ON parked (path)")
    database.close()
    journal = Journal.open(tmp_path / "journal.db")
    journal.park(ParkedLine(b"%d" % n, f"x/{n % 9}", n, b"x" * 500, "deleted", "b") for n in range(40_000))
    began = time.process_time()
    for _ in range(10):
        assert len(journal.parked_reasons()) == 9
    assert time.process_time() - began < 0.5
    journal.close()


# --- what is under way ----------------------------------------------------------------------------


def test_replacements_under_way_are_settled_in_the_order_they_began(journal: Journal, tmp_path: Path) -> None:
    """Each until it is finished; one begun again under the same name is the later one."""
    early, late = Swap("b", YAML, b"v1", b"r", 1), Swap("a", "models.yaml", b"v2", b"", 2)
    journal.begin_swap(late)
    journal.begin_swap(early._replace(version=b"v0", since=5))
    journal.begin_swap(early)
    journal = again(journal, tmp_path)
    assert journal.swaps() == [early, late]
    journal.finish_swap("b")
    assert journal.swaps() == [late]
    journal.close()


def test_directories_on_their_way_to_trash_are_looked_at_in_the_order_they_left(
    journal: Journal, tmp_path: Path
) -> None:
    """Each until its copy is in the state directory."""
    early, late = Trashing("b", "skills/deploy", 1), Trashing("a", "skills/other", 2)
    journal.begin_trash(late)
    journal.begin_trash(early._replace(since=5))
    journal.begin_trash(early)
    journal = again(journal, tmp_path)
    assert journal.trashings() == [early, late]
    journal.finish_trash("a")
    assert journal.trashings() == [early]
    journal.close()


# --- history --------------------------------------------------------------------------------------


def test_history_is_told_newest_first_of_a_file_a_directory_or_everything(journal: Journal) -> None:
    """A directory is what lies below it, not what is only called alike."""
    paths = [YAML, "skills/deploy/x/y", "skills/deploy-not/skill.yaml", "skills/deploY/skill.yaml", "skills"]
    numbers = [journal.add_history(entry(path, at)) for at, path in enumerate(paths)]
    told = [
        HistoryEntry(n, *entry(path, at)[1:]) for at, (n, path) in enumerate(zip(numbers, paths, strict=True))
    ]
    assert journal.history() == told[::-1]
    assert journal.history("skills/deploy") == [told[1], told[0]]
    assert journal.history(YAML) == [told[0]]
    assert journal.history("skills/de%") == []


def test_history_of_one_path_is_found_without_reading_all(journal: Journal) -> None:
    """It is asked for with every value that is put aside, and grows for months."""
    with journal.transaction():
        for number in range(10_000):
            journal.add_history(entry(f"skills/skill-{number % 1000}/skill.yaml", number))
    began = time.process_time()
    for number in range(300):
        assert len(journal.history(f"skills/skill-{number}/skill.yaml")) == 10
        assert len(journal.history(f"skills/skill-{number}")) == 10
    assert time.process_time() - began < 0.4


def test_numbers_of_history_are_never_given_twice(journal: Journal, tmp_path: Path) -> None:
    """A person who notes a number never gets another value for it, though its entry is gone."""
    first, second = journal.add_history(entry(YAML)), journal.add_history(entry(YAML, 2, None, None))
    assert second > first > 0
    journal.remove_history([second])
    journal = again(journal, tmp_path)
    assert journal.add_history(entry(YAML)) > second
    assert [each.version for each in journal.history()][1:] == [first]
    journal.close()
