"""The ledger: every line of a peer is waiting, counted or forgotten, and where it came from is known."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fleetsync.errors import StorageFailed
from fleetsync.replica.journal import Journal
from fleetsync.replica.ledger import Append, Count, Ledger

LOG, OTHER = "skills/deploy/events.jsonl", "skills/other/events.jsonl"


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal.open(tmp_path / "journal.db")
    yield journal
    journal.close()


@pytest.fixture
def ledger(journal: Journal) -> Ledger:
    return journal.ledger


def arrive(ledger: Ledger, *ids: bytes, path: str = LOG, origin: str = "bob") -> None:
    """A peer's lines are written into their file."""
    ledger.begin_append(Append(path, 1, 0, b"batch", list(ids)), origin)
    ledger.finish_append(path)


def count(ledger: Ledger, *ids: bytes, path: str = LOG, epoch: str | None = None) -> None:
    """These lines are counted."""
    counted = Count(path, list(ids), "temporary", 1, epoch)
    ledger.begin_count(counted)
    ledger.finish_count(counted)


def test_where_a_line_was_seen_first_is_where_it_came_from(ledger: Ledger) -> None:
    """mur has counted a line of this device, whoever sends it again; a peer's stays that peer's."""
    ledger.note_local(LOG, [b"mine"])
    arrive(ledger, b"mine", b"theirs")
    ledger.note_local(LOG, [b"theirs"])
    arrive(ledger, b"theirs", b"third", origin="carol")
    known = {b"mine": None, b"theirs": "bob", b"third": "carol"}
    assert ledger.all_origins(LOG) == known
    assert ledger.origins(LOG, [b"third", b"nobody's", b"theirs", b"mine"]) == known
    assert sorted(ledger.foreign(LOG)) == [b"theirs", b"third"]
    assert sorted(ledger.pending(LOG)) == [b"theirs", b"third"]


def test_the_same_line_in_two_logs_is_two_lines(ledger: Ledger) -> None:
    """What is said of one path holds for no other."""
    arrive(ledger, b"a", b"b")
    ledger.note_local(OTHER, [b"a"])
    assert ledger.all_origins(OTHER) == {b"a": None}
    assert ledger.origins(OTHER, [b"a", b"b"]) == {b"a": None}
    assert (ledger.pending(OTHER), ledger.foreign(OTHER)) == ([], [])
    arrive(ledger, b"b", path=OTHER)
    count(ledger, b"b", path=OTHER)
    assert sorted(ledger.pending(LOG)) == [b"a", b"b"]
    assert ledger.pending_paths() == {LOG: 2}
    assert ledger.counted_paths() == [OTHER]


def test_a_log_of_which_nothing_was_noted_has_no_ledger(ledger: Ledger) -> None:
    """Asking is not noting."""
    assert not ledger.has_ledger(LOG)
    assert ledger.all_origins(LOG) == {}
    ledger.note_local(OTHER, [b"a"])
    assert not ledger.has_ledger(LOG)
    ledger.note_local(LOG, [b"a"])
    assert ledger.has_ledger(LOG)


def test_a_question_on_a_disk_that_refuses_is_answered_with_its_path(
    journal: Journal, tmp_path: Path
) -> None:
    """The first question about a log notes its name; a journal that takes nothing says so in our words."""
    reader = Journal.reading(tmp_path / "journal.db")
    with pytest.raises(StorageFailed, match=r"journal\.db"):
        reader.ledger.pending(LOG)
    reader.close()


def test_an_append_is_under_way_until_it_is_finished(journal: Journal, tmp_path: Path) -> None:
    """State A survives a restart with all its bytes; the lines wait from its first moment on."""
    first, second = Append(OTHER, 7, 42, b"\nx\n", [b"1"]), Append(LOG, 1, 0, b"\x00\n", [b"1", b"2"])
    for append in (first, second):
        journal.ledger.begin_append(append._replace(offset=1), "bob")
        journal.ledger.begin_append(append, "bob")
    journal.close()
    journal = Journal.open(tmp_path / "journal.db")
    assert journal.ledger.appends() == [second, first]
    assert journal.ledger.pending_paths() == {OTHER: 1, LOG: 2}
    journal.ledger.finish_append(LOG, [b"2"])
    assert journal.ledger.appends() == [first]
    assert journal.ledger.pending(LOG) == [b"1"]
    assert journal.ledger.pending(OTHER) == [b"1"]
    assert journal.ledger.all_origins(LOG) == {b"1": "bob"}
    journal.close()


def test_prepared_counters_take_the_place_of_the_append(journal: Journal, tmp_path: Path) -> None:
    """State P replaces state A of that log only, and survives a restart."""
    ledger = journal.ledger
    ledger.begin_append(Append(LOG, 1, 0, b"x", [b"a"]), "bob")
    ledger.begin_append(Append(OTHER, 1, 0, b"x", [b"a"]), "bob")
    prepared = Count(LOG, [b"a"], ".stats.json.x.fleetsync", 77, "2026-07-01T00:00:00Z")
    last = Count(OTHER, [], "t", 1, None)
    ledger.begin_count(prepared._replace(directory=1))
    ledger.begin_count(prepared)
    assert [append.path for append in ledger.appends()] == [OTHER]
    ledger.begin_count(last)
    journal.close()
    journal = Journal.open(tmp_path / "journal.db")
    assert journal.ledger.counts() == [prepared, last]
    assert journal.ledger.epoch(LOG) is None
    journal.ledger.drop_count(LOG)
    assert journal.ledger.counts() == [last]
    assert journal.ledger.pending(LOG) == [b"a"]
    assert journal.ledger.counted_paths() == []
    journal.close()


def test_exactly_the_lines_of_a_count_are_counted(ledger: Ledger) -> None:
    """All that wait, or some of them, and others' never."""
    arrive(ledger, b"a", b"b", b"c")
    arrive(ledger, b"a", path=OTHER)
    count(ledger, b"a", b"c")
    assert ledger.pending(LOG) == [b"b"]
    assert ledger.counts() == []
    count(ledger, b"a", b"b")
    assert ledger.pending(LOG) == []
    assert sorted(ledger.foreign(LOG)) == [b"a", b"b", b"c"]
    assert ledger.pending(OTHER) == [b"a"]


def test_the_epoch_is_the_one_last_counted_in(ledger: Ledger) -> None:
    """Never counted is not the same as counted into stats that were never rebuilt."""
    assert ledger.epoch(LOG) is None
    count(ledger)
    assert ledger.epoch(LOG) == (None,)
    count(ledger, epoch="2026-07-01T00:00:00Z")
    assert ledger.epoch(LOG) == ("2026-07-01T00:00:00Z",)
    assert ledger.counted_paths() == [LOG]


def test_what_is_counted_is_not_forgotten(ledger: Ledger) -> None:
    """A line that never reached its file is nobody's; a counted one has been in it."""
    arrive(ledger, b"a", b"b", b"c")
    arrive(ledger, b"b", path=OTHER)
    count(ledger, b"a")
    ledger.forget(LOG, [b"a", b"b"])
    assert sorted(ledger.foreign(LOG)) == [b"a", b"c"]
    assert ledger.pending(LOG) == [b"c"]
    assert ledger.foreign(OTHER) == [b"b"]


def test_what_left_the_counters_waits_again_and_what_mur_counted_does_not(ledger: Ledger) -> None:
    """Only a peer's line is ever ours to count."""
    ledger.note_local(LOG, [b"mine"])
    arrive(ledger, b"a", b"b")
    count(ledger, b"a", b"b")
    ledger.uncount(LOG, [b"mine", b"a"])
    ledger.uncount(OTHER, [b"b"])
    assert ledger.pending(LOG) == [b"a"]


def test_counters_are_reset_once_for_a_manifest(ledger: Ledger) -> None:
    """What has to be reset is told in order until it is done; telling twice is telling once."""
    for path in ("b.yaml", "a.yaml", "b.yaml"):
        ledger.begin_reset(path)
    assert ledger.resets() == ["a.yaml", "b.yaml"]
    ledger.finish_reset("a.yaml")
    assert ledger.resets() == ["b.yaml"]


def test_a_name_first_used_in_what_is_taken_back_is_not_remembered(journal: Journal) -> None:
    """The number it had may be another's then."""
    with pytest.raises(StorageFailed), journal.transaction():
        _note_and_fail(journal)
    journal.ledger.note_local(OTHER, [b"other"])
    journal.ledger.note_local(LOG, [b"kept"])
    assert journal.ledger.all_origins(OTHER) == {b"other": None}
    assert journal.ledger.all_origins(LOG) == {b"kept": None}


def _note_and_fail(journal: Journal) -> None:
    journal.ledger.note_local(LOG, [b"lost"])
    raise StorageFailed("no space")
