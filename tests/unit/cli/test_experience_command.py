"""`experience`: what is appended on stdin, and what the questions print."""

from __future__ import annotations

import io
import json
import sys

import pytest

from tests.conformance.test_experience_examples import OWN_LINES
from tests.fakes.experiences import outcome, respelled, trace, transition
from tests.unit.cli.conftest import Person, Said


class Stdin:
    """What comes on standard input."""

    def __init__(self, data: bytes) -> None:
        self.buffer = io.BytesIO(data)


def append(
    person: Person, monkeypatch: pytest.MonkeyPatch, *lines: bytes, options: tuple[str, ...] = ()
) -> Said:
    """`experience append` with these lines."""
    monkeypatch.setattr(sys, "stdin", Stdin(b"".join(line + b"\n" for line in lines)))
    return person.types("experience", "append", "--json", *options)


def query(person: Person, *options: str) -> list[str]:
    """The ids of what `experience query` prints."""
    said = person.types("experience", "query", "--json", *options)
    assert said.code == 0, said.out
    return [document["event_id"] for document in said.documents]


def test_envelopes_go_in_and_come_out_byte_for_byte(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of each kind; the stream has a name, and a log that syncs."""
    said = append(person, monkeypatch, *OWN_LINES, options=("--stream", "engine"))
    assert (said.code, said.document) == (0, {"appended": 12, "known": 0})
    shown = person.types("experience", "query", "--all-tenants", "--json").out
    assert shown.encode().splitlines() == OWN_LINES
    log = person.home / "experience" / "engine" / "events.jsonl"
    assert log.read_bytes() == b"".join(line + b"\n" for line in OWN_LINES)


def test_one_bad_line_and_nothing_is_appended(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the line; blank lines are no lines."""
    for bad, words in ((b"{", "line 3: not JSON"), (outcome("a b").line, "line 3: event_id has invalid")):
        said = append(person, monkeypatch, outcome().line, b"  ", bad)
        assert said.code == 2
        assert said.document["error"]["code"] == "invalid-query"
        assert said.document["error"]["message"].startswith(words)
    assert not (person.home / "experience").exists()


@pytest.mark.parametrize("stream", ["", "Engine", "../x", "a/b", "a" * 65])
def test_a_stream_has_a_legal_name(person: Person, monkeypatch: pytest.MonkeyPatch, stream: str) -> None:
    """Anything else is a mistake on the command line, and writes nothing."""
    assert append(person, monkeypatch, outcome().line, options=("--stream", stream)).code == 2
    assert list(person.home.iterdir()) == []


def test_repeats_are_known_and_shown_once(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same line is not written again; another spelling is, and not shown."""
    append(person, monkeypatch, outcome().line)
    said = append(person, monkeypatch, outcome().line, respelled(outcome()).line)
    assert said.document == {"appended": 1, "known": 1}
    assert query(person, "--all-tenants") == ["e-1"]


def test_conflicts_are_shown_both_and_listed(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """On stderr when they are met, byte for byte when asked for."""
    one, two = outcome(tokens=1).line, outcome(tokens=2).line
    append(person, monkeypatch, one, two)
    said = person.types("experience", "query", "--all-tenants", "--json")
    assert said.out.encode().splitlines() == [one, two]
    assert "fleetsync experience conflicts" in said.err
    (document,) = person.types("experience", "conflicts", "--json").documents
    assert document == {"stream": "local", "event_id": "e-1", "events": [json.loads(one), json.loads(two)]}
    assert person.types("experience", "conflicts").out.count("e-1") == 4


def test_whose_events_must_be_said(person: Person) -> None:
    """A usage error that names the options; both at once is one too."""
    said = person.types("experience", "query", "--json")
    assert said.code == 2
    assert "--all-tenants" in said.document["error"]["message"]
    assert person.types("experience", "query", "--tenant", "a", "--all-tenants").code == 2


def test_conditions_narrow_the_answer(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every option by itself, on one event of each kind."""
    append(person, monkeypatch, *OWN_LINES, outcome("late", "2030-01-01T00:00:00Z").line)
    assert len(query(person, "--tenant", "t1")) == 12
    assert query(person, "--all-tenants", "--kind", "FactPromoted", "--kind", "BudgetExceeded") == [
        "e-3",
        "e-11",
    ]
    assert query(person, "--all-tenants", "--kind", "TraceLinkRecorded") == ["e-5"]
    assert query(person, "--tenant", "t1", "--chain", "ch-1") == ["e-1", "e-2", "e-10", "e-11"]
    assert query(person, "--tenant", "t1", "--chain", "ch-1", "--related")[2] == "e-3"
    assert query(person, "--all-tenants", "--trace", "tl-1") == ["e-5", "e-6", "e-9"]
    assert query(person, "--all-tenants", "--proposal", "p-1") == ["e-1", "e-2", "e-3"]
    assert query(person, "--all-tenants", "--correlation", "nope") == []
    assert query(person, "--all-tenants", "--since", "2026-01-01T00:00:11Z") == ["e-12", "late"]
    assert query(person, "--tenant", "t1", "--until", "2026-01-01", "--newest", "--limit", "1") == ["e-12"]
    assert query(person, "--all-tenants", "--since", "2h", "--limit", "0") == []
    assert person.types("experience", "query", "--all-tenants", "--since", "soon").code == 2


def test_a_cursor_goes_on_where_the_answer_ended(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said on stderr; an event id does as well; longer answers come page by page."""
    monkeypatch.setattr("fleetsync.cli.experience.PAGE", 3)
    append(person, monkeypatch, *OWN_LINES)
    said = person.types("experience", "query", "--all-tenants", "--json", "--limit", "4")
    assert [document["event_id"] for document in said.documents] == ["e-1", "e-2", "e-3", "e-4"]
    cursor = said.err.split("cursor: ")[1].strip()
    assert query(person, "--all-tenants", "--after", cursor)[0] == "e-5"
    assert query(person, "--all-tenants", "--after", "e-11") == ["e-12"]
    assert len(query(person, "--all-tenants")) == 12
    assert person.types("experience", "query", "--all-tenants", "--after", "x:1").code == 2


def test_artifacts_are_what_their_events_add_up_to(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """One document each; unknown times are null; filters as asked."""
    append(person, monkeypatch, *OWN_LINES)
    lamport = transition("x-1", "Draft", "Approved", "b", at="lamport:7")
    undated = lamport.line.replace(b'"timestamp":"2026-01-01T00:00:00Z"', b'"timestamp":"lamport:7"')
    append(person, monkeypatch, undated)
    documents = person.types("experience", "artifacts", "--json").documents
    assert documents == [
        {
            "tenant_id": None,
            "artifact_id": "b",
            "kind": {"Other": "prompt"},
            "state": "Approved",
            "since": None,
            "irregular": 0,
        },
        {
            "tenant_id": "t1",
            "artifact_id": "a@1.0.0",
            "kind": {"Other": "prompt"},
            "state": "RolledBack",
            "since": "2026-01-01T00:00:07Z",
            "irregular": 1,
        },
    ]
    for options, count in (
        (("--tenant", "t1"), 1),
        (("--kind", "other:prompt"), 2),
        (("--kind", "Pack"), 0),
        (("--state", "Approved"), 1),
        (("--artifact", "b", "--limit", "1"), 1),
    ):
        assert len(person.types("experience", "artifacts", "--json", *options).documents) == count
    assert person.types("experience", "artifacts", "--state", "Lost").code == 2


def test_illegal_transitions_are_refused_unless_they_are_imported(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What other programs did is history; it is followed and counted as irregular."""
    illegal = transition("e-1", "RolledBack", "Draft").line
    said = append(person, monkeypatch, illegal)
    assert (said.code, said.document["error"]["code"]) == (2, "illegal-transition")
    assert append(person, monkeypatch, illegal, options=("--imported",)).document["appended"] == 1
    (document,) = person.types("experience", "artifacts", "--json").documents
    assert (document["state"], document["irregular"]) == ("Draft", 1)


def test_a_trace_of_another_device_does_not_act_on_the_terminal(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the same document, its control characters escaped; scripts get the bytes that were recorded."""
    hostile = "a\x9b2J\x7f\U000e0041z"
    append(person, monkeypatch, trace("e-1", provider=hostile).line)
    said = person.types("experience", "trace", "tl-1")
    assert said.out.rstrip("\n").isprintable()
    assert hostile in json.loads(said.out).values()
    assert hostile in person.types("experience", "trace", "tl-1", "--json").out


def test_a_trace_is_printed_as_it_was_recorded_first(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scoped to a tenant if one is named; differing later ones are said, missing ones an error."""
    append(person, monkeypatch, OWN_LINES[4], trace("e-99", provider="other", tenant_id="t2").line)
    said = person.types("experience", "trace", "tl-1", "--json")
    assert said.document == json.loads(OWN_LINES[4])["event"]["data"]["trace_link"]
    assert "1 later" in said.err
    scoped = person.types("experience", "trace", "tl-1", "--tenant", "t2", "--json")
    assert scoped.document["provider_name"] == "other"
    missing = person.types("experience", "trace", "tl-1", "--tenant", "t3", "--json")
    assert (missing.code, missing.document["error"]["code"]) == (1, "not-found")


def test_people_get_tables(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --json; unknown times are called so."""
    append(person, monkeypatch, outcome("e-1", "lamport:7", tenant_id="t1").line)
    shown = person.types("experience", "query", "--all-tenants").out
    assert shown == "unknown\tOutcomeRecorded\tt1\tlocal\te-1\t\n"
    assert person.types("experience", "artifacts").out == ""


def test_a_home_that_is_not_there_is_not_made(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be on a disk that is not mounted: refused by a safety rule."""
    person.home.rmdir()
    assert append(person, monkeypatch, outcome().line).code == 5
    assert not person.home.exists()


@pytest.mark.parametrize(
    "question", [("trace", "\udcff"), ("query", "--tenant", "\udcff"), ("artifacts", "--artifact", "\udcff")]
)
def test_an_argument_that_is_no_text_is_a_slip(person: Person, question: tuple[str, ...]) -> None:
    """Bytes that are not UTF-8 can stand in no event: that is said, and is no bug."""
    said = person.types("experience", *question, "--json")
    assert (said.code, said.document["error"]["code"]) == (2, "invalid-query")
