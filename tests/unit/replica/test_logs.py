"""Logs: a line that stands in a file is a member where it stands, however the file came to hold it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleetsync import files
from fleetsync.errors import StorageFailed
from fleetsync.records import channels
from fleetsync.replica.index import IN_JOURNAL, Entry
from fleetsync.replica.journal import ParkedLine
from fleetsync.replica.layout import Look, look_of
from fleetsync.replica.ledger import Append
from fleetsync.replica.logs import CHUNK, PORTION, Logs
from tests.fakes.logs import LogHome, ids, new, row_of
from tests.faults.scenarios import EVENTS, LOCAL, LOG, PEER, REMOTE, SIGNED, SIGNER, line

OTHER_LOG = "skills/other/events.jsonl"


def joined(*bodies: bytes) -> bytes:
    return b"".join(body + b"\n" for body in bodies)


def padded(n: int, size: int) -> bytes:
    """A line of exactly that many bytes."""
    plain = line(n, "here")
    return plain[:-1] + b',"note":"' + b"x" * (size - len(plain) - 10) + b'"}'


class Site(LogHome):
    """Logs below home, and what is known of them."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, LOG, OTHER_LOG, EVENTS)
        self.written: list[bytes] = []
        self.restart()

    def restart(self) -> None:
        """Only what journal and index have is known."""
        self.logs = Logs(self.journal, self.index)
        self.logs.wrote_here = lambda _row, bodies: self.written.extend(bodies)

    def add(self, data: bytes, path: str = LOG) -> None:
        """Another program appends."""
        with self.path(path).open("ab") as log:
            log.write(data)

    def read(self, path: str = LOG) -> bool:
        return self.logs.read(self.root, path, row_of(path))

    def look(self, path: str = LOG) -> Look:
        return look_of(self.path(path).stat())

    def changed(self, path: str = LOG) -> bool:
        return self.logs.changed(path, self.look(path))

    def park(self, *bodies: bytes) -> None:
        """The journal has these bodies; whether they are members is the index's to say."""
        self.journal.park(ParkedLine(x.key.id, LOG, x.key.ts, x.body, "", PEER) for x in new(*bodies))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    site.close()


# --- what is appended -----------------------------------------------------------------------------------


def test_what_was_appended_is_read_on_from_where_reading_stopped(site: Site) -> None:
    """Each line once; whoever asked is told of those that are new, and of no others."""
    site.add(joined(*LOCAL[:2]))
    assert site.changed()
    assert site.read()
    assert not site.changed()
    site.add(joined(*LOCAL[2:]))
    assert site.changed()
    assert site.read()
    assert not site.read()
    assert site.standing() == site.written == LOCAL
    assert site.logs.shrunk == set()
    state = site.index.file(LOG)
    assert state is not None
    assert (state.lines, state.malformed, state.collisions) == (len(LOCAL), 0, 0)
    assert (state.size, state.inode) == (site.look().size, site.look().inode)


def spans(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes are read from now on, span by span."""
    asked: list[int] = []
    read_span = files.read_span

    def noted(fd: int, offset: int, length: int) -> bytes:
        asked.append(length)
        return read_span(fd, offset, length)

    monkeypatch.setattr(files, "read_span", noted)
    return asked


def test_only_what_is_new_is_read(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what was read before its end alone, to tell that it still stands there."""
    site.add(joined(*(line(n, "here") for n in range(1000))))
    site.read()
    asked = spans(monkeypatch)
    site.add(joined(REMOTE[0]))
    site.read()
    os.utime(site.path(), ns=(1, 1))
    site.read()
    assert sum(asked) < 2000
    assert site.index.head().count == 1001


def test_reading_stops_where_the_file_ended_when_it_was_looked_at(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes while it is read belongs to the next look."""
    site.add(joined(LOCAL[0]))
    site.read()
    site.add(joined(LOCAL[1]))
    read_span, late = files.read_span, [LOCAL[2]]

    def with_a_late_line(fd: int, offset: int, length: int) -> bytes:
        if late:
            site.add(joined(late.pop()))
        return read_span(fd, offset, length)

    monkeypatch.setattr(files, "read_span", with_a_late_line)
    assert site.read()
    assert site.standing() == LOCAL[:2]
    assert site.changed()
    assert site.read()
    assert site.standing() == site.written == LOCAL[:3]


def test_what_was_read_is_known_after_a_restart(site: Site) -> None:
    """From the index alone: nothing is read again."""
    site.add(joined(*LOCAL))
    site.read()
    site.restart()
    assert not site.changed()
    site.add(joined(REMOTE[0]))
    site.written.clear()
    assert site.read()
    assert site.written == [REMOTE[0]]


def test_a_file_that_was_only_touched_has_changed_and_holds_what_it_held(site: Site) -> None:
    """It is not looked into again until it is touched again."""
    site.add(joined(*LOCAL))
    site.read()
    os.utime(site.path(), ns=(1, 1))
    assert site.changed()
    assert not site.read()
    assert not site.changed()
    assert site.standing() == site.written == LOCAL


def test_a_line_of_a_peer_is_a_peers_wherever_it_turns_up(site: Site) -> None:
    """The ledger has it, as after a crash between writing and saying so: it is not told as written here."""
    site.journal.ledger.begin_append(Append(LOG, 1, 0, b"batch", ids(REMOTE[0])), PEER)
    site.add(joined(LOCAL[0], REMOTE[0]))
    site.read()
    assert {e.key.id: e.origin for e in site.index.of_path(LOG)} == {
        ids(LOCAL[0])[0]: None,
        ids(REMOTE[0])[0]: PEER,
    }
    assert site.written == [LOCAL[0]]
    assert site.journal.ledger.all_origins(LOG) == {ids(LOCAL[0])[0]: None, ids(REMOTE[0])[0]: PEER}


# --- ends of files, and long lines ----------------------------------------------------------------------


def test_a_record_without_its_newline_is_read_and_a_torn_end_is_not(site: Site) -> None:
    """An older mur writes the newline separately; what is torn is counted, and read once it is whole."""
    site.add(joined(LOCAL[0]) + LOCAL[1])
    assert site.read()
    assert site.standing() == LOCAL[:2]
    site.add(b"\n" + LOCAL[2][:20])
    assert not site.read()
    assert site.logs.malformed() == 1
    assert not site.read()
    assert site.logs.malformed() == 1
    site.add(LOCAL[2][20:] + b"\n")
    assert site.read()
    assert site.standing() == LOCAL[:3]
    assert site.logs.malformed() == 0


def test_lines_that_cannot_be_keyed_are_counted_and_hide_nothing(site: Site) -> None:
    """In every log that is read, and not twice."""
    site.add(joined(b"junk", LOCAL[0], b'{"kind":', LOCAL[1] + LOCAL[2]))
    site.add(joined(b"junk"), OTHER_LOG)
    for path in (LOG, OTHER_LOG, LOG):
        site.read(path)
    assert site.standing() == LOCAL[:3]
    assert site.logs.malformed() == 3
    site.add(joined(b"more junk"))
    site.read()
    assert site.logs.malformed() == 4
    state = site.index.file(LOG)
    assert state is not None
    assert (state.lines, state.malformed) == (6, 3)


@pytest.mark.parametrize("size", [PORTION - 1, PORTION, PORTION + 1, 1 << 20])
def test_a_line_may_be_longer_than_what_is_read_at_a_time(site: Site, size: int) -> None:
    """Up to the longest line that there is, also at the end of the file and without a newline."""
    lines = [LOCAL[0], padded(80, size), LOCAL[1], padded(81, size)]
    site.add(joined(*lines)[:-1])
    assert site.read()
    assert site.standing() == lines
    assert site.logs.malformed() == 0


def test_a_carriage_return_is_no_part_of_a_line(site: Site) -> None:
    """Also where the newline behind it is still to come."""
    site.add(LOCAL[0] + b"\r\n" + LOCAL[1] + b"\r")
    site.read()
    assert site.standing() == LOCAL[:2]
    assert site.logs.malformed() == 0
    site.add(b"\n")
    assert not site.read()


def test_a_line_beyond_every_limit_is_passed_over(site: Site) -> None:
    """In pieces that are no lines; what stands before it and behind it is read."""
    site.add(joined(LOCAL[0], b"x" * (2 * CHUNK + 5), LOCAL[1]))
    assert site.read()
    assert site.standing() == LOCAL[:2]
    assert site.logs.malformed() == 3
    assert not site.changed()


def test_many_lines_are_read_in_portions_that_end_with_a_line(site: Site) -> None:
    """Each is committed with what is known of the file, so that a kill between two loses nothing."""
    lines = [line(n, device) for device in ("here", "elsewhere") for n in range(3600)]
    site.add(joined(*lines))
    assert site.path().stat().st_size > 2 * PORTION
    assert site.read()
    assert site.standing() == lines
    state = site.index.file(LOG)
    assert state is not None
    assert state.lines == len(lines)


# --- lines that are there twice -------------------------------------------------------------------------


def test_the_same_line_twice_is_one_member(site: Site) -> None:
    """Where it stood first; nothing collides."""
    site.add(joined(LOCAL[0], LOCAL[1], LOCAL[0]))
    site.read()
    site.add(joined(LOCAL[1]))
    assert not site.read()
    assert site.standing() == site.written == LOCAL[:2]
    assert site.logs.collisions() == 0


def test_another_line_with_the_same_key_is_told(site: Site) -> None:
    """Whether both come at once or the second later; the first one is the member."""
    another = LOCAL[0][:-1] + b',"note":1}'
    site.add(joined(LOCAL[0], another))
    site.add(joined(LOCAL[0]), OTHER_LOG)
    site.read()
    site.read(OTHER_LOG)
    assert site.logs.collisions() == 1
    for path in (LOG, OTHER_LOG):
        site.add(joined(another), path)
        assert not site.read(path)
    assert site.logs.collisions() == 3
    assert site.standing() == site.standing(OTHER_LOG) == [LOCAL[0]]
    site.restart()
    assert site.logs.collisions() == 3


def test_the_number_that_a_line_has_here_is_no_difference(site: Site) -> None:
    """mur on two devices gives the same event two numbers."""
    site.add(
        joined(SIGNER.line("c1", 1, "n1"), SIGNER.line("c1", 1, "n1").replace(b'"seq":1', b'"seq":9')), EVENTS
    )
    site.read(EVENTS)
    assert len(site.standing(EVENTS)) == 1
    assert site.logs.collisions() == 0


# --- what is not there any more -------------------------------------------------------------------------


def test_of_a_replaced_log_only_what_stands_in_it_now_are_members(site: Site) -> None:
    """Also where it is as long as before, or longer: another file, or another end of what was read."""
    site.add(joined(*LOCAL[:3]))
    site.read()
    longer = joined(LOCAL[3], LOCAL[0], LOCAL[4], LOCAL[2])
    site.path().with_name("new").write_bytes(longer)
    site.path().with_name("new").rename(site.path())
    assert site.read()
    assert site.standing() == [LOCAL[3], LOCAL[0], LOCAL[4], LOCAL[2]]
    assert site.index.find(ids(LOCAL[1])) == []
    assert site.logs.shrunk == {LOG}
    assert site.written == LOCAL[:3] + LOCAL[3:]


def test_a_replaced_log_that_ends_as_the_old_one_did_is_another_log(site: Site) -> None:
    """What stands before that end is not taken for what was read."""
    lines = [line(n, "here") for n in range(6)]
    site.add(joined(*lines))
    site.read()
    site.path().with_name("new").write_bytes(joined(line(9, "here"), *lines[1:]))
    site.path().with_name("new").rename(site.path())
    assert site.read()
    assert site.standing() == [line(9, "here"), *lines[1:]]


def test_a_log_written_anew_in_place_is_read_anew(site: Site) -> None:
    """The same file with another end is another log; so is one that is shorter."""
    site.add(joined(*LOCAL[:3]))
    site.read()
    site.path().write_bytes(joined(LOCAL[0], LOCAL[3], LOCAL[4]))
    assert site.read()
    assert site.standing() == [LOCAL[0], *LOCAL[3:]]
    site.path().write_bytes(joined(LOCAL[0]))
    assert site.read()
    assert site.standing() == LOCAL[:1]
    state = site.index.file(LOG)
    assert state is not None
    assert (state.size, state.lines) == (len(LOCAL[0]) + 1, 1)


def test_a_log_that_was_read_anew_and_holds_what_it_held_has_not_shrunk(site: Site) -> None:
    """Its lines stand elsewhere in it now, and that is all."""
    site.add(joined(*LOCAL[:3]))
    site.read()
    site.path().write_bytes(joined(*reversed(LOCAL[:3])))
    assert not site.read()
    assert site.standing() == LOCAL[2::-1]
    assert site.logs.shrunk == set()
    assert site.written == LOCAL[:3]


def test_members_that_only_the_journal_has_do_not_go_with_the_file(site: Site) -> None:
    """They never stood in it."""
    site.add(joined(*LOCAL[:2]))
    site.read()
    site.park(REMOTE[0])
    (parked,) = new(REMOTE[0])
    site.index.add([Entry(parked.key, LOG, IN_JOURNAL, len(parked.body), PEER)])
    site.path().write_bytes(b"")
    assert site.read()
    assert [e.key.id for e in site.index.of_path(LOG)] == ids(REMOTE[0])
    site.path().unlink()
    site.logs.gone(LOG)
    assert [e.key.id for e in site.index.of_path(LOG)] == ids(REMOTE[0])


def test_a_parked_line_that_stands_in_the_file_is_parked_no_longer(site: Site) -> None:
    """Whoever wrote it: it keeps its origin."""
    site.park(*REMOTE[:2])
    site.index.add([Entry(x.key, LOG, IN_JOURNAL, len(x.body), PEER) for x in new(*REMOTE[:2])])
    site.add(joined(LOCAL[0], REMOTE[0]))
    assert site.read()
    assert site.standing() == [LOCAL[0], REMOTE[0]]
    assert [each.body for each in site.journal.parked(LOG)] == [REMOTE[1]]
    assert [e.origin for e in site.index.find(ids(REMOTE[0]))] == [PEER]


@pytest.mark.parametrize("how", ["gone", "emptied"])
def test_lines_of_which_the_journal_has_the_bodies_stay_members(site: Site, how: str) -> None:
    """As after a power loss that took more of the index than of the journal."""
    site.add(joined(*LOCAL[:3]))
    site.read()
    site.park(LOCAL[1])
    if how == "gone":
        site.path().unlink()
        site.logs.gone(LOG)
    else:
        site.path().write_bytes(b"")
        assert site.read()
    entries = site.index.of_path(LOG)
    assert [(e.key.id, e.offset, e.length) for e in entries] == [(*ids(LOCAL[1]), IN_JOURNAL, len(LOCAL[1]))]
    assert [each.body for each in site.journal.parked(LOG)] == [LOCAL[1]]


def test_of_a_log_that_is_gone_nothing_is_left(site: Site) -> None:
    """Neither members nor what was counted of it; other logs keep theirs, and one that nobody knew may go."""
    for path in (LOG, OTHER_LOG):
        site.add(joined(b"junk", *LOCAL[:2]) + b"torn", path)
        site.read(path)
    assert site.logs.malformed() == 4
    site.logs.gone(LOG)
    site.logs.gone(LOG)
    assert site.index.of_path(LOG) == []
    assert site.index.file(LOG) is None
    assert site.standing(OTHER_LOG) == LOCAL[:2]
    assert site.logs.malformed() == 2
    assert site.read()
    assert site.standing() == LOCAL[:2]


def test_a_log_that_is_forgotten_keeps_its_members(site: Site) -> None:
    """Who says so has taken care of them."""
    site.add(joined(*LOCAL[:2]))
    site.read()
    site.logs.forget(LOG)
    assert site.changed()
    assert site.index.file(LOG) is None
    assert {e.key.id for e in site.index.of_path(LOG)} == set(ids(*LOCAL[:2]))


def test_a_log_that_could_not_be_read_anew_is_forgotten(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where its lines stand is not known then; the next look reads all of it."""
    site.add(joined(*LOCAL[:3]))
    site.read()
    site.path().write_bytes(joined(LOCAL[4], *LOCAL[:3]))
    read_span = files.read_span

    def refuse(fd: int, offset: int, length: int) -> bytes:
        if offset == 0 and length > 256:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read_span(fd, offset, length)

    with monkeypatch.context() as patch:
        patch.setattr(files, "read_span", refuse)
        with pytest.raises(StorageFailed, match=r"deploy/events\.jsonl: Input/output error"):
            site.read()
    state = site.index.file(LOG)
    assert state is not None
    assert (state.size, state.lines) == (0, 0)
    assert (site.logs.malformed(), site.logs.collisions()) == (0, 0)
    assert site.read()
    assert site.standing() == [LOCAL[4], *LOCAL[:3]]


class Undone(Exception):
    """What was begun around the reading has failed."""


def test_what_the_index_took_back_is_read_again(site: Site) -> None:
    """When a transaction around the reading is undone, so is what was known of the file."""
    site.add(joined(LOCAL[0]))
    site.read()
    site.add(joined(LOCAL[1]))
    try:
        with site.index.transaction():
            site.read()
            raise Undone
    except Undone:
        site.logs.reload()
    assert site.changed()
    assert site.read()
    assert site.standing() == LOCAL[:2]


# --- bodies ---------------------------------------------------------------------------------------------


def test_bodies_are_read_from_where_they_stand(site: Site) -> None:
    """Of any logs, in any order; as they travel."""
    site.add(joined(*LOCAL))
    site.add(joined(REMOTE[0]), OTHER_LOG)
    signed = SIGNER.line("c1", 3, "n3")
    site.add(joined(signed), EVENTS)
    for path in (LOG, OTHER_LOG, EVENTS):
        site.read(path)
    entries = [*site.index.of_path(LOG)[::-2], *site.index.of_path(EVENTS), *site.index.of_path(OTHER_LOG)]
    found = site.logs.bodies(site.root, entries)
    assert set(found) == {e.key.id for e in entries}
    assert found[ids(REMOTE[0], path=OTHER_LOG)[0]] == REMOTE[0]
    assert set(found.values()) == {LOCAL[0], LOCAL[2], LOCAL[4], REMOTE[0], channels.without_seq(signed)}


def test_bodies_that_cannot_be_read_are_left_out(site: Site) -> None:
    """Where a log is gone, is no file or is shorter than it was, all others are read."""
    more = [f"skills/{name}/events.jsonl" for name in ("third", "fourth", "fifth")]
    for path in more:
        site.path(path).parent.mkdir()
    for path in (LOG, OTHER_LOG, *more):
        site.add(joined(*LOCAL[:3]), path)
        site.read(path)
    entries = [e for path in (*more, OTHER_LOG, LOG) for e in site.index.of_path(path)]
    site.path(OTHER_LOG).unlink()
    site.path(more[0]).unlink()
    site.path(more[0]).parent.rmdir()
    site.path(more[1]).unlink()
    site.path(more[1]).mkdir()
    os.truncate(site.path(more[2]), len(joined(*LOCAL[:2])) + 5)
    before = len(list(Path("/dev/fd").iterdir()))
    assert sorted(site.logs.bodies(site.root, entries).values()) == LOCAL[:3]
    assert len(list(Path("/dev/fd").iterdir())) == before


def test_a_disk_that_refuses_a_body_is_told_with_the_log(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be read is not what is not there."""
    site.add(joined(LOCAL[0]))
    site.read()

    def refuse(*_: object) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(files, "read_span", refuse)
    with pytest.raises(StorageFailed, match=r"deploy/events\.jsonl: Input/output error"):
        site.logs.bodies(site.root, site.index.of_path(LOG))


def test_bodies_that_lie_far_apart_are_read_one_by_one(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neighbours with one call, and never more than a chunk of the file at a time."""
    lines = [LOCAL[0], padded(80, 1 << 20), LOCAL[1], padded(81, 1 << 20), LOCAL[2]]
    site.add(joined(*lines))
    site.read()
    asked = spans(monkeypatch)
    entries = site.index.of_path(LOG)
    assert set(site.logs.bodies(site.root, entries).values()) == set(lines)
    assert len(asked) == 2
    assert max(asked) <= CHUNK


# --- what is written here -------------------------------------------------------------------------------


def numbered(site: Site, *bodies: bytes, path: str = EVENTS) -> list[int | None]:
    """The numbers that these lines would be given at the end of the log as it is."""
    with site.path(path).open("rb") as log:
        lines = site.logs.number(log.fileno(), path, row_of(path), new(*bodies, path=path))
    assert [channels.without_seq(each.body) for each in lines] == list(bodies)
    assert [each.key for each in lines] == [each.key for each in new(*bodies, path=path)]
    return [channels.seq_of(each.body) for each in lines]


def test_lines_are_numbered_on_from_the_highest_in_the_log(site: Site) -> None:
    """Also where that is not the last one, and where its line has no newline yet."""
    site.add(b"", EVENTS)
    assert numbered(site, *SIGNED[:2]) == [0, 1]
    site.add(joined(SIGNER.line("c1", 7, "a"), SIGNER.line("c1", 4, "b")), EVENTS)
    assert numbered(site, *SIGNED[:2]) == [8, 9]
    site.add(SIGNER.line("c1", 11, "c"), EVENTS)
    assert numbered(site, SIGNED[0]) == [12]
    assert numbered(site, SIGNED[0]) == [12]
    site.add(b"\n" + joined(SIGNER.line("c1", 10, "d"), b"junk"), EVENTS)
    assert numbered(site, SIGNED[0]) == [12]
    assert numbered(site, SIGNED[0]) == [12]


def test_for_its_numbers_too_only_what_is_new_in_a_log_is_read(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A channel may have any number of lines."""
    site.add(joined(*(SIGNER.line("c1", n, f"n{n}") for n in range(50))), EVENTS)
    assert numbered(site, SIGNED[0]) == [50]
    site.add(joined(SIGNER.line("c1", 50, "n50")), EVENTS)
    asked = spans(monkeypatch)
    assert numbered(site, SIGNED[0]) == [51]
    assert sum(asked) < 1000


def test_numbers_of_a_log_that_is_gone_or_was_replaced_are_forgotten(site: Site) -> None:
    """The next ones go by what stands there now."""
    site.add(joined(SIGNER.line("c1", 7, "a")), EVENTS)
    site.read(EVENTS)
    assert numbered(site, SIGNED[0]) == [8]
    site.path(EVENTS).write_bytes(joined(SIGNER.line("c1", 2, "a")))
    site.read(EVENTS)
    assert numbered(site, SIGNED[0]) == [3]
    site.path(EVENTS).unlink()
    site.logs.gone(EVENTS)
    site.add(b"", EVENTS)
    assert numbered(site, SIGNED[0]) == [0]


def test_lines_of_other_logs_have_no_numbers(site: Site) -> None:
    """They are written as they came."""
    site.add(joined(*LOCAL))
    lines = new(*REMOTE[:2])
    with site.path().open("rb") as log:
        assert site.logs.number(log.fileno(), LOG, row_of(LOG), lines) is lines


def taken_over(site: Site, batch: bytes, *bodies: bytes, parked: bool = False) -> bool:
    """These were written in one batch at the end of what was read."""
    state = site.index.file(LOG)
    offset = 0 if state is None else state.size
    append = Append(LOG, site.look().inode, offset, batch, ids(*bodies))
    with site.path().open("rb") as log:
        return site.logs.take_over(log.fileno(), append, new(*bodies), PEER, parked=parked)


@pytest.mark.parametrize("parked", [False, True])
def test_what_was_just_written_is_taken_over_without_reading_it(site: Site, parked: bool) -> None:
    """It is a peer's, stands where it was written, and the file is known to its end."""
    site.add(joined(LOCAL[0]))
    site.read()
    if parked:
        site.park(*REMOTE[:2])
        site.index.add([Entry(x.key, LOG, IN_JOURNAL, len(x.body), PEER) for x in new(*REMOTE[:2])])
    batch = b"\n" + joined(*REMOTE[:2])
    site.add(batch)
    assert taken_over(site, batch, *REMOTE[:2], parked=parked)
    assert not site.changed()
    assert site.standing() == [LOCAL[0], *REMOTE[:2]]
    assert [e.origin for e in site.index.find(ids(*REMOTE[:2]))] == [PEER, PEER]
    state = site.index.file(LOG)
    assert state is not None
    assert state.lines == 3
    site.add(joined(LOCAL[1]))
    assert site.read()
    assert site.standing() == [LOCAL[0], *REMOTE[:2], LOCAL[1]]
    assert site.index.head().count == 4


def test_behind_what_was_taken_over_reading_goes_on(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """None of it is read when more is appended."""
    bodies = [line(n, "there") for n in range(1000)]
    site.add(b"")
    site.read()
    site.add(joined(*bodies))
    assert taken_over(site, joined(*bodies), *bodies)
    site.add(joined(LOCAL[1]))
    asked = spans(monkeypatch)
    assert site.read()
    assert sum(asked) < 1000


def test_at_the_beginning_of_a_log_no_newline_stands_before_what_was_written(site: Site) -> None:
    """The first line stands at the first byte."""
    site.add(b"")
    site.read()
    site.add(joined(*REMOTE[:2]))
    assert taken_over(site, joined(*REMOTE[:2]), *REMOTE[:2])
    assert site.standing() == REMOTE[:2]


def test_where_other_bytes_got_in_between_nothing_is_taken_over(site: Site) -> None:
    """Before what was written, or behind it, or where nothing is known of the log."""
    batch = b"\n" + joined(REMOTE[0])
    site.add(batch)
    assert not taken_over(site, batch, REMOTE[0])
    site.read()
    site.add(batch + joined(LOCAL[0]))
    assert not taken_over(site, batch, REMOTE[0])
    assert site.changed()
    state = site.index.file(LOG)
    assert state is not None
    append = Append(LOG, state.inode, state.size + 1, batch[:-1] + joined(LOCAL[0]), ids(REMOTE[0]))
    with site.path().open("rb") as log:
        assert not site.logs.take_over(log.fileno(), append, new(REMOTE[0]), PEER, parked=False)


# --- giving lines ---------------------------------------------------------------------------------------


def test_lines_are_given_from_a_log_that_grew(site: Site) -> None:
    """What mur has appended since it was read takes nothing away from the lines before it."""
    site.add(joined(*LOCAL[:3]))
    site.read()
    site.add(joined(*LOCAL[3:5]))
    entries = list(site.index.of_path(LOG))
    assert list(site.logs.bodies(site.root, entries).values()) == LOCAL[:3]


@pytest.mark.parametrize("in_place", [True, False])
def test_no_line_is_given_from_another_file(site: Site, *, in_place: bool) -> None:
    """What stands where a line stood is another one: a peer would take this device for dishonest."""
    site.add(joined(*LOCAL[:3]))
    site.read()
    entries = list(site.index.of_path(LOG))
    if not in_place:
        site.path().unlink()
    site.path().write_bytes(joined(padded(7, 300), *LOCAL[:3]))
    assert site.logs.bodies(site.root, entries) == {}
    site.read()
    assert set(site.logs.bodies(site.root, site.index.of_path(LOG)).values()) == {padded(7, 300), *LOCAL[:3]}


@pytest.mark.parametrize("restarted", [False, True])
def test_lines_go_with_a_log_that_could_not_be_read_again(
    site: Site, monkeypatch: pytest.MonkeyPatch, *, restarted: bool
) -> None:
    """Else they would be announced for ever, and given never."""
    site.add(joined(*LOCAL[:3]))
    site.read()
    site.path().unlink()
    site.add(joined(*REMOTE[:3]))

    def refuse(fd: int, offset: int, length: int) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(files, "read_span", refuse)
        with pytest.raises(StorageFailed):
            site.read()
    if restarted:
        site.restart()
    site.path().unlink()
    assert [state.path for state in site.index.files()] == [LOG]
    site.logs.gone(LOG)
    assert site.index.of_path(LOG) == []
    assert site.index.files() == []
