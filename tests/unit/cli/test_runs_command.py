"""`runs`: the audit trail as documents, tables, trees, exports and a stream."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from fleetsync.cli import runs
from fleetsync.ports import RunStore
from fleetsync.records.audits import RunFilter, RunStatus
from fleetsync.stores.opening import AUDIT_FILE, open_run_store
from fleetsync.stores.run_memory import MemoryRunStore
from tests.contracts.runs import begin, done, end, note
from tests.fakes.daemon import OFFICE
from tests.unit.cli.conftest import Person

RUN_KEYS = {
    "id",
    "skill_id",
    "caller_id",
    "channel_id",
    "status",
    "started_at",
    "finished_at",
    "runtime_seconds",
    "output",
    "error",
    "tool_calls_count",
    "parent_run_id",
    "total_input_tokens",
    "total_output_tokens",
    "total_thinking_tokens",
}


@contextmanager
def audit(person: Person) -> Iterator[RunStore]:
    """What a daemon recorded before."""
    person.state_dir.mkdir(mode=0o700, exist_ok=True)
    store = open_run_store("", person.state_dir)
    yield store
    store.close()


def a_round(person: Person) -> None:
    """A round with one exchange in it, and a skill run beside it."""
    with audit(person) as store:
        begin(store, "round", 1_000_000, skill_id="fleetsync/round")
        inside = {"skill_id": "fleetsync/exchange", "channel_id": OFFICE, "parent_run_id": "round"}
        begin(store, "exchange", 2_000_000, **inside)
        note(store, "exchange", 0, {"name": "fetch", "count": 3})
        end(store, "exchange", "error", 3_000_000, error="refused\x1b[2J", output={"received": 3})
        end(store, "round", "ok", 4_000_000, runtime_seconds=3.0)
        done(store, "deploy", 5_000_000)
        done(store, "dry", 6_000_000, "dry_run")


def listed(person: Person, *options: str) -> list[str]:
    """The ids that `runs` lists."""
    said = person.types("runs", "--json", *options)
    assert said.code == 0, said
    return [run["id"] for run in said.document["runs"]]


def test_without_an_audit_there_is_nothing(person: Person) -> None:
    """And asking makes no file."""
    assert listed(person) == []
    assert not (person.state_dir / AUDIT_FILE).exists()
    assert person.types("runs", "x", "--json").code == 1


def test_the_list_is_the_top_level_newest_first(person: Person) -> None:
    """A run has exactly the keys of the contract; times are RFC 3339, unknown is null."""
    a_round(person)
    assert listed(person) == ["deploy", "round"]
    found = person.types("runs", "--json").document["runs"]
    assert {frozenset(run) for run in found} == {frozenset(RUN_KEYS)}
    assert found[1] == {
        "id": "round",
        "skill_id": "fleetsync/round",
        "caller_id": "cli",
        "channel_id": "",
        "status": "ok",
        "started_at": "1970-01-01T00:00:01Z",
        "finished_at": "1970-01-01T00:00:04Z",
        "runtime_seconds": 3.0,
        "output": None,
        "error": None,
        "tool_calls_count": 0,
        "parent_run_id": None,
        "total_input_tokens": 0,
        "total_output_tokens": 0,
        "total_thinking_tokens": 0,
    }


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--all"], ["dry", "deploy", "exchange", "round"]),
        (["--peer", OFFICE], ["exchange"]),
        (["--peer", OFFICE.upper()], ["exchange"]),
        (["--skill", "deploy"], ["deploy"]),
        (["--skill", "fleetsync/exchange"], ["exchange"]),
        (["--status", "ok"], ["deploy", "round"]),
        (["--status", "dry_run"], ["dry"]),
        (["--status", "error", "--all"], ["exchange"]),
        (["--since", "1970-01-01T00:00:05Z"], ["deploy"]),
        (["--limit", "1"], ["deploy"]),
        (["--all", "--limit", "3"], ["dry", "deploy", "exchange"]),
    ],
)
def test_filters(person: Person, options: list[str], expected: list[str]) -> None:
    """Each narrows the list; a peer or a skill is found inside other runs too."""
    a_round(person)
    assert listed(person, *options) == expected


@pytest.mark.parametrize(
    ("options", "code"),
    [(["--status", "done"], 2), (["--limit", "0"], 2), (["--since", "soon"], 2), (["--peer", "nobody"], 1)],
)
def test_what_cannot_be_asked(person: Person, options: list[str], code: int) -> None:
    """A usage error, or no such peer."""
    a_round(person)
    assert person.types("runs", "--json", *options).code == code


def test_many_runs_are_listed_page_by_page(person: Person) -> None:
    """More than a page of the store, when that many are asked for; 50 when not."""
    with audit(person) as store:
        for number in range(620):
            begin(store, f"r{number:03}", number)
    assert len(listed(person)) == 50
    assert listed(person, "--limit", "610") == [f"r{n:03}" for n in reversed(range(10, 620))]
    assert len(person.types("runs", "--jsonl").documents) == 620


def test_one_run_with_its_log_and_children(person: Person) -> None:
    """The run, its inputs, the entries in order and the runs right inside it."""
    a_round(person)
    whole = person.types("runs", "round", "--json").document
    assert set(whole) == RUN_KEYS | {"inputs", "logs", "children"}
    assert [child["id"] for child in whole["children"]] == ["exchange"]
    assert set(whole["children"][0]) == RUN_KEYS
    part = person.types("runs", "exchange", "--json").document
    assert part["logs"] == [
        {
            "sequence": 0,
            "event_type": "step",
            "created_at": "1970-01-01T00:00:00Z",
            "payload": {"name": "fetch", "count": 3},
        }
    ]
    assert part["children"] == []


def test_a_run_that_is_not_there(person: Person) -> None:
    """`not-found`, exit code 1."""
    a_round(person)
    said = person.types("runs", "nothing", "--json")
    assert (said.code, said.document["error"]["code"]) == (1, "not-found")


def test_the_export_is_everything_one_run_a_line(person: Person) -> None:
    """All runs that match with inputs and logs; of one run, it and all inside it."""
    a_round(person)
    lines = person.types("runs", "--all", "--jsonl").documents
    assert [line["id"] for line in lines] == ["dry", "deploy", "exchange", "round"]
    assert {frozenset(line) for line in lines} == {frozenset(RUN_KEYS | {"inputs", "logs"})}
    assert len(lines[2]["logs"]) == 1
    assert [line["id"] for line in person.types("runs", "round", "--jsonl").documents] == [
        "round",
        "exchange",
    ]


def test_people_see_a_table_and_a_tree(person: Person) -> None:
    """The tree shows steps under their run and children indented; no control character reaches them."""
    a_round(person)
    table = person.types("runs", "--all").out
    assert [line.split("\t")[1] for line in table.splitlines()] == [
        "deploy",
        "deploy",
        "fleetsync/exchange",
        "fleetsync/round",
    ]
    tree = person.types("runs", "round").out
    assert tree.splitlines()[0].startswith("fleetsync/round")
    assert "\n    fleetsync/exchange" in tree
    assert "name=fetch count=3" in tree
    assert "\x1b" not in tree + table


def test_a_family_that_is_a_cycle_ends(person: Person) -> None:
    """Data that holds a cycle is shown to a depth, not for ever."""
    with audit(person) as store:
        begin(store, "a", parent_run_id="b")
        begin(store, "b", parent_run_id="a")
    assert len(person.types("runs", "a", "--jsonl").documents) == 32


def told(store: RunStore, wanted: RunFilter, limit: int, *acts: Callable[[], Any]) -> list[tuple[str, str]]:
    """(id, status) of what `--follow` prints while these things happen, one between two looks each."""
    coming = iter(acts)
    found: list[tuple[str, str]] = []

    def look_again() -> None:
        found.append(("look", ""))
        act = next(coming, None)
        if act is None:
            raise KeyboardInterrupt
        act()

    with suppress(KeyboardInterrupt):
        found.extend((run.id, str(run.status)) for run in runs.changes(store, wanted, limit, look_again))
    return found


def test_following_tells_when_runs_begin_and_end() -> None:
    """First what is there, oldest first; then each run when it begins and again when it has ended."""
    store = MemoryRunStore()
    for number in range(3):
        done(store, f"old{number}", number)
    begin(store, "open", 10)
    assert told(
        store,
        RunFilter(),
        2,
        lambda: begin(store, "new", 11),
        lambda: None,
        lambda: (end(store, "new"), end(store, "open", "error")),
        lambda: done(store, "quick", 9),
    ) == [
        ("old2", "ok"),
        ("open", "running"),
        ("look", ""),
        ("new", "running"),
        ("look", ""),
        ("look", ""),
        ("open", "error"),
        ("new", "ok"),
        ("look", ""),
        ("quick", "ok"),
        ("look", ""),
    ]


def test_following_a_status_waits_for_it() -> None:
    """A run that matches only at its end is told then, though it began long before the newest."""
    store = MemoryRunStore()
    begin(store, "slow", 0)
    assert told(
        store,
        RunFilter(status=RunStatus.ERROR),
        5,
        lambda: done(store, "later", 10**9),
        lambda: end(store, "slow", "error"),
        lambda: store.purge_older_than(10**12),
    ) == [("look", ""), ("look", ""), ("slow", "error"), ("look", ""), ("look", "")]


def test_following_prints_a_line_each(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """As documents with --json; it goes on until it is interrupted."""
    a_round(person)

    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "_look_again", interrupted)
    said = person.types("runs", "--follow", "--json")
    assert [json.loads(line).get("id") for line in said.out.splitlines()][:2] == ["round", "deploy"]
    assert "deploy" in person.types("runs", "--follow").out


def test_recording_an_execution_leaves_a_run(person: Person) -> None:
    """What `record` appends to the log of the skill is in the audit too, by the same caller."""
    person.skill("deploy")
    assert person.types("record", "deploy", "--outcome", "failure", "--duration-ms", "250").code == 0
    (run,) = person.types("runs", "--skill", "deploy", "--json").document["runs"]
    assert (run["status"], run["runtime_seconds"], run["caller_id"]) == ("error", 0.25, "cli")


def test_a_broken_audit_stops_no_recording(person: Person) -> None:
    """The event is what counts: it is appended and printed though the audit cannot be opened."""
    directory = person.skill("deploy")
    person.state_dir.mkdir()
    (person.state_dir / AUDIT_FILE).mkdir()
    said = person.types("record", "deploy", "--outcome", "success", "--json")
    assert (said.code, said.document["outcome"]) == (0, "success")
    assert b"success" in (directory / "events.jsonl").read_bytes()
