"""`log`: the merged log, from the files alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fleetsync import datasets
from fleetsync.records.names import DeviceId
from fleetsync.replica.journal import Journal, ParkedLine
from fleetsync.replica.ledger import Append
from tests.fakes.daemon import OFFICE
from tests.unit.cli.conftest import Person, event

PATH = "skills/deploy/events.jsonl"


def key_of(line: str) -> tuple[int, bytes]:
    """(µs, item id) of a line of the log."""
    return datasets.identify(PATH, line.encode())


def journal(person: Person) -> Journal:
    """The journal of a daemon that ran before."""
    person.state_dir.mkdir(mode=0o700)
    return Journal.open(person.state_dir / "journal.db")


def came_from(person: Person, device: DeviceId, *lines: str) -> None:
    """The journal knows that these lines were appended for a peer."""
    book = journal(person)
    ids = [key_of(line)[1] for line in lines]
    book.ledger.begin_append(Append(PATH, 1, 0, b"", ids), device)
    book.close()


def test_lines_come_in_time_order_with_the_record_as_written(person: Person) -> None:
    """One document a line: ts in UTC, kind, the author's bytes, and no device if none is known."""
    late, early = event(9, note="ü 1e5", big="1"), event(2, outcome=None)
    person.skill("deploy", late, early)
    said = person.types("log", "deploy", "--json")
    assert said.code == 0
    assert [d["ts"] for d in said.documents] == ["2026-05-30T00:00:02Z", "2026-05-30T00:00:09Z"]
    assert said.documents[0] == {
        "ts": "2026-05-30T00:00:02Z",
        "device": None,
        "kind": "retrieval",
        "line": json.loads(early),
        "state": "applied",
    }
    assert late in said.out


def test_numbers_and_unknown_fields_of_a_record_survive_to_the_letter(person: Person) -> None:
    """The record is not re-made: `1E2` and a 30-digit number are printed as they stand."""
    line = event(1)[:-1] + ',"x":1E2,"y":123456789012345678901234567890}'
    person.skill("deploy", line)
    assert line in person.types("log", "deploy", "--json").out


def test_an_offset_in_a_time_is_shown_as_utc(person: Person) -> None:
    """`ts` is RFC 3339 with Z whatever the author wrote."""
    person.skill("deploy", event(1).replace("2026-05-30T00:00:01Z", "2026-05-30T02:00:01+02:00"))
    assert person.types("log", "deploy", "--json").document["ts"] == "2026-05-30T00:00:01Z"


def test_what_is_damaged_or_repeated_never_hides_the_rest(person: Person) -> None:
    """Torn, glued, empty and repeated lines: every good record once."""
    one, two, three = event(1), event(2), event(3)
    person.skill("deploy", one, '{"kind":"exec', two + three, "", one)
    times = [d["ts"][-3:-1] for d in person.types("log", "deploy", "--json").documents]
    assert times == ["01", "02", "03"]


def test_an_unknown_kind_is_shown(person: Person) -> None:
    """What a newer mur writes is part of the log."""
    person.skill("deploy", '{"kind":"praised","ts":"2026-05-30T00:00:01Z","device_id":"d"}')
    assert person.types("log", "deploy", "--json").document["kind"] == "praised"


def test_since_device_and_tail_choose_lines(person: Person) -> None:
    """--since takes a time or an age, --device a device_id, --tail the newest."""
    person.skill("deploy", event(1, "desk"), event(2, "travel"), event(3, "desk"))

    def seconds(*options: str) -> list[str]:
        return [d["ts"][17:19] for d in person.types("log", "deploy", "--json", *options).documents]

    assert seconds("--since", "2026-05-30T00:00:02Z") == ["02", "03"]
    assert seconds("--since", "2026-05-31") == []
    assert seconds("--since", "1000000h") == ["01", "02", "03"]
    assert seconds("--device", "desk") == ["01", "03"]
    assert seconds("--tail", "1") == ["03"]
    assert seconds("--tail", "0") == []
    assert seconds("--tail", "99") == ["01", "02", "03"]
    assert person.types("log", "deploy", "--since", "soon").code == 2


def test_the_device_is_where_the_line_came_from(person: Person) -> None:
    """A peer's line carries the peer's id, and --device takes the beginning of it."""
    mine, theirs = event(1), event(2)
    person.skill("deploy", mine, theirs)
    came_from(person, OFFICE, theirs)
    assert [d["device"] for d in person.types("log", "deploy", "--json").documents] == [None, OFFICE]
    said = person.types("log", "deploy", "--device", "OFFICE-A", "--json")
    assert [d["ts"][17:19] for d in said.documents] == ["02"]


def test_parked_lines_are_in_the_log_in_their_place(person: Person) -> None:
    """A line that may not be written yet is known all the same."""
    person.skill("deploy", event(1), event(3))
    parked = event(2)
    ts, identity = key_of(parked)
    book = journal(person)
    book.park([ParkedLine(identity, PATH, ts, parked.encode(), "unknown kind", OFFICE)])
    book.close()
    documents = person.types("log", "deploy", "--json").documents
    assert [(d["ts"][17:19], d["state"]) for d in documents] == [
        ("01", "applied"),
        ("02", "parked"),
        ("03", "applied"),
    ]
    assert documents[1]["device"] == OFFICE


def test_a_line_that_was_parked_and_is_written_now_is_there_once(person: Person) -> None:
    """A crash between writing and unparking leaves both."""
    line = event(1)
    person.skill("deploy", line)
    ts, identity = key_of(line)
    book = journal(person)
    book.park([ParkedLine(identity, PATH, ts, line.encode(), "no live manifest", OFFICE)])
    book.close()
    assert person.types("log", "deploy", "--json").document["state"] == "applied"


def test_reading_the_journal_changes_nothing_and_needs_no_daemon(person: Person) -> None:
    """The state directory looks the same before and after, and none is made."""
    person.skill("deploy", event(1))
    person.types("log", "deploy")
    assert not person.state_dir.exists()
    journal(person).close()
    before = (person.state_dir / "journal.db").read_bytes()
    person.types("log", "deploy")
    assert (person.state_dir / "journal.db").read_bytes() == before


def test_a_channels_log_is_read_by_its_id(person: Person) -> None:
    """`channel:ID`, with the kind of each event."""
    log = person.home / "channels/fleet-dev/events.jsonl"
    log.parent.mkdir(parents=True)
    lines = [
        '{"seq":2,"ts":"2026-05-30T00:00:05Z","actor":{"kind":"system"},"kind":"note","payload":null}',
        "torn",
        '{"seq":1,"ts":"2026-05-30T00:00:01Z","actor":{"kind":"agent","id":"qa"},"kind":"message"}',
    ]
    log.write_text("\n".join(lines), encoding="utf-8")
    said = person.types("log", "channel:fleet-dev", "--json")
    assert [d["kind"] for d in said.documents] == ["message", "note"]
    assert person.types("log", "channel:../x").code == 2
    assert person.types("log", "channel:none").code == 1


def test_a_skill_that_is_not_there_is_named_with_those_that_are(person: Person) -> None:
    """Exit code 1, and the next step lists the skills."""
    person.skill("deploy")
    said = person.types("log", "deplyo", "--json")
    assert (said.code, said.document["error"]["code"]) == (1, "not-found")
    assert "deploy" in said.document["error"]["next"]


@pytest.mark.parametrize("name", ["../deploy", "Deploy", "a/b", "-x", ""])
def test_what_cannot_be_a_skill_is_a_usage_error(name: str, person: Person) -> None:
    """No path is ever made of it."""
    assert person.types("log", "--", name).code == 2


def test_a_symlinked_log_is_not_followed(person: Person, tmp_path: Path) -> None:
    """What lies outside home is not shown."""
    secret = tmp_path / "secret"
    secret.write_text(event(1), encoding="utf-8")
    directory = person.skill("deploy")
    (directory / "events.jsonl").unlink()
    (directory / "events.jsonl").symlink_to(secret)
    said = person.types("log", "deploy", "--json")
    assert said.code == 1
    assert said.document["error"]["code"] == "illegal-name"
