"""`stats` and `record`: counters beside their log, and appending to it."""

from __future__ import annotations

import fcntl
import io
import json
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.fakes.daemon import OFFICE, FakeDaemon
from tests.unit.cli.conftest import Person, event
from tests.unit.cli.test_log_command import came_from

EMPTY = {
    "usage_count": 0,
    "success_count": 0,
    "failure_count": 0,
    "last_used_at": None,
    "last_success_at": None,
    "first_successful_use_at": None,
}


# --- stats -----------------------------------------------------------------------------------------


def test_stats_shows_what_is_stored_beside_what_the_log_adds_up_to(person: Person) -> None:
    """A retrieval is a use, an execution a use that succeeded or failed, a repeated line is one."""
    fine = event(2)
    person.skill("deploy", fine, event(1, outcome="failure"), event(3, outcome=None), fine, "damaged")
    said = person.types("stats", "deploy", "--json")
    assert said.code == 0
    assert said.document == {
        "skill": "deploy",
        "stored": None,
        "folded": {
            "usage_count": 3,
            "success_count": 1,
            "failure_count": 1,
            "last_used_at": "2026-05-30T00:00:03Z",
            "last_success_at": "2026-05-30T00:00:02Z",
            "first_successful_use_at": "2026-05-30T00:00:02Z",
        },
        "pending": 0,
    }


def test_rebuild_writes_the_fold_into_stats_json(person: Person) -> None:
    """Without a daemon the command does it itself, and only the counters change."""
    directory = person.skill("deploy", event(1), event(2, outcome="failure"))
    rebuilt = person.types("stats", "deploy", "--rebuild", "--json").document
    assert {name: rebuilt["stored"][name] for name in EMPTY} == rebuilt["folded"]
    stored = json.loads((directory / "stats.json").read_bytes())
    assert (stored["skill_name"], stored["skill_version"], stored["usage_count"]) == ("deploy", "1.0.0", 2)


def test_rebuild_leaves_nothing_pending(person: Person) -> None:
    """Lines that waited to be counted are in the fold, so they wait no longer."""
    theirs = event(1)
    person.skill("deploy", theirs)
    came_from(person, OFFICE, theirs)
    assert person.types("stats", "deploy", "--json").document["pending"] == 1
    assert person.types("stats", "deploy", "--rebuild", "--json").document["pending"] == 0


def test_rebuild_is_the_daemons_work_while_it_runs(person: Person, daemon: FakeDaemon) -> None:
    """Two must not count at once."""
    directory = person.skill("deploy", event(1))
    assert person.types("stats", "deploy", "--rebuild").code == 0
    assert daemon.orders == [("rebuild", "deploy")]
    assert not (directory / "stats.json").exists()


def test_a_stats_json_that_cannot_be_read_is_left_alone_and_reported(person: Person) -> None:
    """Showing it says so; rebuilding refuses."""
    directory = person.skill("deploy", event(1))
    (directory / "stats.json").write_text("{broken", encoding="utf-8")
    said = person.types("stats", "deploy", "--json")
    assert said.document["stored"] is None
    assert "stats.json" in said.err
    assert person.types("stats", "deploy", "--rebuild", "--json").code == 1
    assert (directory / "stats.json").read_text(encoding="utf-8") == "{broken"


def test_a_skill_without_a_log_has_counted_nothing(person: Person) -> None:
    """No log is an empty log; no directory is no skill."""
    (person.skill("deploy") / "events.jsonl").unlink()
    assert person.types("stats", "deploy", "--json").document["folded"] == EMPTY
    assert person.types("stats", "other").code == 1


# --- record ----------------------------------------------------------------------------------------


def test_record_appends_what_mur_would_and_prints_it(person: Person) -> None:
    """One line behind those that are there, fields in mur's order."""
    directory = person.skill("deploy", event(1))
    said = person.types("record", "deploy", "--outcome", "success", "--duration-ms", "12", "--json")
    assert said.code == 0
    lines = [line for line in (directory / "events.jsonl").read_text(encoding="utf-8").split("\n") if line]
    assert lines == [event(1), said.out.rstrip("\n")]
    assert list(said.document) == ["kind", "ts", "device_id", "outcome", "duration_ms", "trigger"]
    assert (said.document["device_id"], said.document["trigger"]) == ("cli", "manual")


def test_a_failure_is_classed_by_what_it_printed(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """--stderr-file takes a file or -, whatever bytes are in it; --env-class overrules."""
    person.skill("deploy")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"connection refused \xff"), "utf-8"))
    fail = ["record", "deploy", "--outcome", "failure", "--json"]
    said = person.types(
        *fail, "--stderr-file", "-", "--step", "push", "--exit-code", "-1", "--trigger", "agent"
    )
    assert said.document["env_class"] == "env"
    assert said.document["error"].startswith("connection refused")
    assert (said.document["step"], said.document["exit_code"], said.document["trigger"]) == (
        "push",
        -1,
        "agent",
    )
    assert person.types(*fail, "--env-class", "workflow").document["confidence"] == 1.0


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--outcome", "maybe"],
        ["--outcome", "success", "--duration-ms", "-1"],
        ["--outcome", "success", "--exit-code", "2147483648"],
        ["--outcome", "success", "--stderr-file", "/nowhere"],
    ],
)
def test_what_mur_could_not_read_back_is_never_written(options: list[str], person: Person) -> None:
    """Usage errors leave the log as it was."""
    directory = person.skill("deploy")
    assert person.types("record", "deploy", *options).code == 2
    assert (directory / "events.jsonl").read_bytes() == b""


def test_record_never_glues_to_a_half_written_line(person: Person) -> None:
    """A fragment at the end keeps its own line."""
    directory = person.skill("deploy")
    (directory / "events.jsonl").write_text('{"kind":"exe', encoding="utf-8")
    person.types("record", "deploy", "--outcome", "success")
    assert (directory / "events.jsonl").read_text(encoding="utf-8").split("\n")[0] == '{"kind":"exe'
    assert len(person.types("log", "deploy", "--json").documents) == 1


def recording(person: Person, before: Callable[[], object] | None = None) -> subprocess.Popen[bytes]:
    """`fleetsync record deploy --outcome success` in a process of its own."""
    command = [sys.executable, "-m", "fleetsync", "--home", str(person.home), "record", "deploy"]
    return subprocess.Popen(
        [*command, "--outcome", "success"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=before,  # noqa: PLW1509 - no threads here
    )


@contextmanager
def held_by_mur(log: Path, waiting: list[subprocess.Popen[bytes]], person: Person) -> Iterator[None]:
    """mur holds the log's lock, and a `record` waits for it, until the block ends."""
    with log.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        waiting.append(recording(person))
        with pytest.raises(subprocess.TimeoutExpired):
            waiting[0].wait(0.5)
        yield


def test_record_waits_for_mur_to_finish_writing(person: Person) -> None:
    """The lock is flock on the log itself: while another holds it, nothing is written."""
    log = person.skill("deploy") / "events.jsonl"
    waiting: list[subprocess.Popen[bytes]] = []
    with held_by_mur(log, waiting, person):
        assert log.read_bytes() == b""
    assert waiting[0].wait(10) == 0
    assert log.read_bytes().count(b"\n") == 1


def test_a_log_that_was_replaced_meanwhile_is_opened_anew(person: Person) -> None:
    """Nothing is written into a file that has no name any more."""
    log = person.skill("deploy") / "events.jsonl"
    waiting: list[subprocess.Popen[bytes]] = []
    with held_by_mur(log, waiting, person):
        fresh = log.with_name("fresh")
        fresh.write_text(event(1) + "\n", encoding="utf-8")
        fresh.rename(log)
    assert waiting[0].wait(10) == 0
    assert len(person.types("log", "deploy", "--json").documents) == 2


def test_a_full_disk_leaves_no_torn_line(person: Person) -> None:
    """What was written of the line is blanked, for one torn line would cost mur the whole log."""
    log = person.skill("deploy", event(1)) / "events.jsonl"
    room = len(log.read_bytes()) + 10
    failed = recording(person, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (room, room)))
    assert failed.wait(10) == 1
    assert log.read_bytes() == event(1).encode() + b"\n" * 11


def test_record_for_a_skill_that_is_not_there_makes_no_directory(person: Person) -> None:
    """A slip of the finger creates no skill."""
    assert person.types("record", "deplyo", "--outcome", "success").code == 1
    assert not Path(person.home / "skills").exists()
