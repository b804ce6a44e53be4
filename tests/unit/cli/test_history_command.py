"""`history`: what was put aside, from the journal alone."""

from __future__ import annotations

import msgspec

from fleetsync.merge.register import Stamp
from fleetsync.replica.journal import HistoryEntry, Journal
from tests.fakes.daemon import OFFICE
from tests.unit.cli.conftest import Person


def put_aside(person: Person, *entries: tuple[str, str]) -> None:
    """A daemon that ran before kept these (path, kind), oldest first."""
    person.state_dir.mkdir(mode=0o700, exist_ok=True)
    journal = Journal.open(person.state_dir / "journal.db")
    stamp = msgspec.msgpack.encode(Stamp(1_000_000, 2_000_000, OFFICE, b"\x01" * 32))
    for number, (path, kind) in enumerate(entries):
        lost = kind == "lost-conflict"
        entry = HistoryEntry(
            0, path, kind, number * 1_000_000, stamp if lost else None, OFFICE if lost else None, 5, "ab" * 32
        )
        journal.add_history(entry)
    journal.close()


def test_entries_come_newest_first_with_all_that_is_known(person: Person) -> None:
    """Unknown is null; times are RFC 3339 UTC."""
    put_aside(person, ("skills/a/skill.yaml", "replaced"), ("skills/b/skill.yaml", "lost-conflict"))
    lost, replaced = person.types("history", "--json").document["entries"]
    assert replaced == {
        "path": "skills/a/skill.yaml",
        "version": 1,
        "kind": "replaced",
        "at": "1970-01-01T00:00:00Z",
        "stamp": None,
        "from_device": None,
        "size": 5,
        "sha256": "ab" * 32,
    }
    assert (lost["kind"], lost["from_device"], lost["stamp"]["device"]) == ("lost-conflict", OFFICE, OFFICE)
    assert lost["stamp"]["effective"] == "1970-01-01T00:00:01Z"


def test_a_path_or_a_directory_narrows_the_list(person: Person) -> None:
    """`skills/a` is everything below it, and not `skills/ab`."""
    put_aside(person, ("skills/a/skill.yaml", "replaced"), ("skills/ab/skill.yaml", "replaced"))
    for path in ("skills/a", "skills/a/", "skills/a/skill.yaml"):
        entries = person.types("history", path, "--json").document["entries"]
        assert [entry["path"] for entry in entries] == ["skills/a/skill.yaml"]


def test_without_any_journal_history_is_empty(person: Person) -> None:
    """Nothing was put aside before the first run, and asking makes no state directory."""
    assert person.types("history", "--json").document == {"entries": []}
    assert person.types("history").code == 0
    assert not person.state_dir.exists()


def test_a_damaged_journal_is_said_so(person: Person) -> None:
    """Exit code 5: what is in there cannot be recomputed, so nothing is guessed."""
    person.state_dir.mkdir()
    (person.state_dir / "journal.db").write_bytes(b"no database at all" * 100)
    said = person.types("history", "--json")
    assert (said.code, said.document["error"]["code"]) == (5, "journal-damaged")


def test_history_is_readable_while_the_daemon_writes(person: Person) -> None:
    """The journal is open elsewhere, with changes not yet in the main file."""
    put_aside(person, ("skills/a/skill.yaml", "replaced"))
    journal = Journal.open(person.state_dir / "journal.db")
    journal.add_history(HistoryEntry(0, "skills/b/skill.yaml", "deleted", 5, None, None, 1, "cd" * 32))
    assert len(person.types("history", "--json").document["entries"]) == 2
    journal.close()
