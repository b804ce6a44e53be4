"""The index: membership, arrival order, files, and what survives a failure or a restart."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import pytest

from fleetsync.errors import IndexDamaged
from fleetsync.merge.fingerprint import fingerprint, id_sum
from fleetsync.ports import END, START, Bound, Head, Key
from fleetsync.records.names import DeviceId
from fleetsync.replica.index import IN_JOURNAL, PAGE, VIEWS, Entry, FileState, Index
from fleetsync.selection import Selection

PEER = DeviceId("b" * 52)
LOG = "skills/a/events.jsonl"
EPOCH = b"epoch..8"


def entry(number: int, path: str = LOG, origin: DeviceId | None = None) -> Entry:
    """Line `number` of a log."""
    return Entry(Key(1000 * number, sha256(str(number).encode()).digest()), path, 100 * number, 99, origin)


def entries(start: int, stop: int) -> list[Entry]:
    """Lines start … stop-1."""
    return [entry(number) for number in range(start, stop)]


def ids(of: list[Entry]) -> list[bytes]:
    """Their ids."""
    return [one.key.id for one in of]


def look(path: str = LOG, size: int = 100) -> FileState:
    """A file as indexed, with numbers as large as a system may give."""
    return FileState(path, 2**63 + 5, 2**64 - 1, size, 1_700_000_000_123_456_789, 2, b"tail", 3, 1, 0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the index is."""
    return tmp_path / "index.db"


@pytest.fixture
def index(path: Path) -> Iterator[Index]:
    """A new index."""
    opened = Index.open(path, lambda size: EPOCH[:size])
    yield opened
    opened.close()


def test_a_new_index_is_empty(index: Index, path: Path) -> None:
    """No members, the fingerprint of the empty set, readable by its owner only."""
    assert index.head() == Head(EPOCH, 0, 0, fingerprint(0, 0))
    assert index.ranges().size() == 0
    assert list(index.between(START, END)) == []
    assert {file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {0o600}
    index.check()


def test_members_get_arrival_numbers_in_the_order_given(index: Index) -> None:
    """Not in key order; the head knows the last number and the fingerprint of all."""
    given = [entry(3), entry(1, origin=PEER), entry(2)]
    new = index.add(given)
    assert new == [one._replace(arrival=n) for n, one in enumerate(given, 1)]
    assert index.arrivals(0, 10) == new
    assert index.arrivals(1, 1) == [new[1]]
    assert index.head() == Head(EPOCH, 3, 3, fingerprint(id_sum(ids(given)), 3))


def test_known_ids_are_ignored(index: Index) -> None:
    """Known before, or twice in one call: the first entry stays."""
    first = index.add([entry(1)])
    moved = entry(1)._replace(offset=7)
    assert index.add([moved]) == []
    new = index.add([entry(2), moved, entry(2)._replace(offset=8)])
    assert new == [entry(2)._replace(arrival=2)]
    assert index.find(ids([entry(2), entry(1), entry(9)])) == [*new, *first]
    assert index.has(ids([entry(1), entry(9)])) == set(ids([entry(1)]))


def test_ids_with_a_common_beginning_are_told_apart(index: Index) -> None:
    """The look-up is by the first bytes, the answer by all of them."""
    one, other = (entry(n)._replace(key=Key(5, b"same beginning" + bytes((n,)) * 18)) for n in (1, 2))
    index.add([one])
    assert index.has([other.key.id]) == set()
    assert index.find([other.key.id]) == []
    index.add([other])
    index.relocate([(other.key.id, 9, 9)])
    assert [found.offset for found in index.find([one.key.id, other.key.id])] == [100, 9]


def test_one_id_with_two_timestamps_is_asserted(index: Index) -> None:
    """Every device must compute the same timestamp for an id."""
    index.add([entry(1)])
    with pytest.raises(AssertionError):
        index.add([entry(1)._replace(key=Key(5, entry(1).key.id))])


def test_removed_members_leave_no_trace_but_their_number(index: Index) -> None:
    """Arrival numbers are never given again."""
    index.add(entries(0, 500))
    index.remove(ids(entries(100, 700)))
    index.remove([])
    assert index.head() == Head(EPOCH, 500, 100, fingerprint(id_sum(ids(entries(0, 100))), 100))
    assert index.has(ids(entries(0, 500))) == set(ids(entries(0, 100)))
    assert index.add([entry(100)])[0].arrival == 501
    index.check()


def test_between_gives_pages_in_key_order(index: Index) -> None:
    """Lower bound included, upper bound not, across pages."""
    index.add(entries(0, 3000)[::-1])
    pages = list(index.between(Bound(10_000), Bound(2_990_000)))
    assert [one.key for page in pages for one in page] == [one.key for one in entries(10, 2990)]
    assert max(map(len, pages)) == PAGE


def test_the_set_may_change_between_pages(index: Index) -> None:
    """What is removed meanwhile is left out, the rest comes once."""
    index.add(entries(0, 3000))
    pages = index.between(START, END)
    seen = next(pages)
    index.remove(ids(entries(0, 10) + entries(2000, 2100)))
    index.add(entries(3000, 3005))
    seen += [one for page in pages for one in page]
    assert [one.key for one in seen] == [one.key for one in entries(0, 2000) + entries(2100, 3005)]


def test_bodies_move(index: Index) -> None:
    """From the journal into the file, or elsewhere in it; unknown ids are ignored."""
    index.add([entry(1)._replace(offset=IN_JOURNAL), entry(2)])
    index.relocate([(entry(1).key.id, 700, 50), (entry(9).key.id, 1, 1)])
    assert [(one.offset, one.length) for one in index.find(ids(entries(1, 3)))] == [(700, 50), (200, 99)]


def test_members_of_a_path(index: Index) -> None:
    """By offset; and how many each path has."""
    index.add([entry(3), entry(5, "b"), entry(1)])
    assert [one.offset for one in index.of_path(LOG)] == [100, 300]
    assert index.of_path("never seen") == []
    assert index.counts_by_path() == {LOG: 2, "b": 1}
    index.remove(ids([entry(5)]))
    assert index.counts_by_path() == {LOG: 2}


def test_parts_of_the_set_are_remembered_within_a_bound(index: Index) -> None:
    """A peer that calls another part its own each time gets what it asks for, and fills no memory."""
    index.add(entries(0, 3))
    for number in range(3 * VIEWS):
        assert index.ranges(Selection((f"skills/x{number}",))).size() == 3
        assert index.ranges(Selection((f"skills/x{number}", "skills/a"))).size() == 0
    assert len(index._views) <= VIEWS


def test_files(index: Index) -> None:
    """One state per path, replaced as a whole, numbers of 64 bits kept."""
    index.set_file(look())
    index.set_file(look(size=200))
    index.set_file(look("a"))
    assert index.file(LOG) == look(size=200)
    assert index.file("never seen") is None
    assert index.files() == [look("a"), look(size=200)]
    index.drop_file("a")
    assert index.files() == [look(size=200)]


def test_everything_survives_a_restart(index: Index, path: Path) -> None:
    """Members, order, files, numbers and the epoch."""
    index.add([entry(n, origin=PEER if n % 2 else None) for n in range(2000)])
    index.remove(ids(entries(1990, 2000)))
    index.set_file(look())
    head, found = index.head(), index.find(ids(entries(0, 2000)))
    index.close()
    again = Index.open(path, bytes)
    assert (again.head(), again.epoch) == (head, EPOCH)
    assert again.find(ids(entries(0, 2000))) == found
    assert again.file(LOG) == look()
    assert again.ranges().keys(0, 1990) == [one.key for one in entries(0, 1990)]
    assert again.add([entry(5000)])[0].arrival == 2001
    again.check()
    again.close()


def test_a_transaction_that_fails_never_was(index: Index, path: Path) -> None:
    """Neither in the database nor in memory: members, sums, names, files and numbers."""
    index.add(entries(0, 300))
    head = index.head()
    with suppress(ZeroDivisionError), index.transaction():
        index.add(entries(200, 900))
        index.remove(ids(entries(0, 50)))
        index.set_file(look("some new path"))
        _ = 1 / 0
    assert index.head() == head
    assert index.files() == []
    assert index.ranges().keys(0, 300) == [one.key for one in entries(0, 300)]
    assert index.add([entry(400, "another new path")])[0].arrival == 301
    index.check()
    index.close()
    again = Index.open(path, bytes)
    assert again.of_path("another new path")[0].key == entry(400).key
    again.close()


def test_a_transaction_commits_at_its_end_only(index: Index, path: Path) -> None:
    """Another connection sees all of it or nothing."""
    other = sqlite3.connect(path)
    with index.transaction():
        index.add(entries(0, 10))
        index.set_file(look())
        assert index.head().count == 10
        assert other.execute("SELECT count(*) FROM items").fetchone() == (0,)
    assert other.execute("SELECT (SELECT count(*) FROM items), count(*) FROM files").fetchone() == (10, 1)
    other.close()


def test_something_else_is_refused(path: Path) -> None:
    """The caller deletes it and builds another."""
    path.write_bytes(b"not a database at all, but long enough to have a header" * 9)
    with pytest.raises(IndexDamaged):
        Index.open(path, bytes)


@pytest.mark.parametrize(
    "damage",
    [
        "PRAGMA user_version = 99",
        "DROP TABLE blocks",
        "DELETE FROM meta",
        "ALTER TABLE names RENAME TO nomen",
        "UPDATE names SET text = CAST(x'ff' AS TEXT)",
        "UPDATE blocks SET sum = 'x', size = 'x'",
    ],
)
def test_another_version_or_a_broken_one_is_refused(index: Index, path: Path, damage: str) -> None:
    """At the latest when it is opened, values of other types than were written too."""
    index.add(entries(0, 1000))
    index.close()
    with sqlite3.connect(path) as connection:
        connection.execute(damage)
    connection.close()
    with pytest.raises(IndexDamaged):
        Index.open(path, bytes)


@pytest.mark.parametrize(
    "damage", ["DELETE FROM items WHERE arrival = 7", "DELETE FROM leaves WHERE number = 1"]
)
def test_parts_that_disagree_are_found(index: Index, path: Path, damage: str) -> None:
    """By the check, and a lost block at the latest when it is needed."""
    index.add(entries(0, 1000))
    index.close()
    with sqlite3.connect(path) as connection:
        connection.execute(damage)
    connection.close()
    again = Index.open(path, bytes)
    with pytest.raises(IndexDamaged):
        again.check()
    if "leaves" in damage:
        with pytest.raises(IndexDamaged):
            again.ranges().keys(0, 1000)
    again.close()


def test_a_torn_page_is_found(index: Index, path: Path) -> None:
    """Bytes overwritten in the middle of the file."""
    index.add(entries(0, 2000))
    index.close()
    data = bytearray(path.read_bytes())
    data[20_000:60_000] = b"\xa5" * 40_000
    path.write_bytes(data)
    with pytest.raises(IndexDamaged):
        Index.open(path, bytes).check()
