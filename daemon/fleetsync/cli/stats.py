"""`stats`: the counters that mur keeps, beside what the log adds up to."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from fleetsync.cli.command import command, pass_session
from fleetsync.cli.session import Session

if TYPE_CHECKING:
    from fleetsync.records.skills import SkillEvent

COUNTERS = (
    "usage_count",
    "success_count",
    "failure_count",
    "last_used_at",
    "last_success_at",
    "first_successful_use_at",
)


@command("fleetsync stats deploy")
@click.argument("skill")
@click.option("--rebuild", is_flag=True, help="First write what the log adds up to into stats.json.")
@pass_session
def stats(session: Session, skill: str, rebuild: bool) -> None:
    """Show the counters of SKILL as stored, and as its log adds up to.

    They may differ: mur also counts uses that leave no line. Works without the daemon.
    """
    from fleetsync.cli.reading import require_skill

    require_skill(session.home_path(), skill)
    if rebuild:
        _rebuild(session, skill)
    _show(session, document(session, skill))


def document(session: Session, skill: str) -> dict[str, Any]:
    """The `stats` document."""
    from fleetsync.cli.journal import open_journal
    from fleetsync.cli.reading import skill_directory
    from fleetsync.merge import counters

    path = f"{skill_directory(skill)}/events.jsonl"
    with open_journal(session.state_path()) as known:
        pending = known.pending(path)
    folded = counters.fold(_events(session, path))
    times = [None if t is None else t.canonical for t in folded[3:]]
    return {
        "skill": skill,
        "stored": _stored(session, skill),
        "folded": dict(zip(COUNTERS, [*folded[:3], *times], strict=True)),
        "pending": pending,
    }


def _events(session: Session, path: str) -> list[SkillEvent]:
    from fleetsync.cli.reading import read_file
    from fleetsync.records.skills import SkillEvent, parse_log

    log = parse_log(read_file(session.home_path(), path) or b"")
    return [place.event for place in log.events if isinstance(place.event, SkillEvent)]


def _stored(session: Session, skill: str) -> dict[str, Any] | None:
    """stats.json as mur reads it; None if it is absent or cannot be read (which is said on stderr)."""
    import json

    from fleetsync.cli import output
    from fleetsync.cli.reading import read_file, skill_directory
    from fleetsync.errors import MalformedRecord
    from fleetsync.records import stats

    path = f"{skill_directory(skill)}/stats.json"
    data = read_file(session.home_path(), path)
    if data is None:
        return None
    try:
        found: dict[str, Any] = json.loads(stats.dumps(stats.loads(data)))
    except MalformedRecord as error:
        output.remark(f"{path} cannot be read: {output.clean(error.message)}; it is left as it is")
        return None
    return found


# --- rebuilding ----------------------------------------------------------------------------------


def _rebuild(session: Session, skill: str) -> None:
    """By the daemon if it runs (it alone may count then), else here, under its lock."""
    from fleetsync.errors import DaemonNotRunning

    try:
        session.control().post("/stats/rebuild", {"skill": skill})
    except DaemonNotRunning:
        _rebuild_alone(session, skill)


def _rebuild_alone(session: Session, skill: str) -> None:
    import os
    import secrets
    import time

    from fleetsync import datasets
    from fleetsync.cli.reading import skill_directory
    from fleetsync.files import Folder, ensure_private_dir, flocked
    from fleetsync.records import timestamps
    from fleetsync.replica.counting import Counting
    from fleetsync.replica.journal import Journal

    state_dir = session.state_path()
    path = f"{skill_directory(skill)}/events.jsonl"
    lines = {datasets.identify(path, event.line).id: event.line for event in _events(session, path)}
    ensure_private_dir(state_dir)
    with Folder.open(state_dir) as state:
        lock = state.open_file("lock", os.O_RDWR | os.O_CREAT)
        try:
            with flocked(lock, state.at("lock"), patience=1), Folder.open(session.home_path()) as root:
                journal = Journal.open(state_dir / "journal.db")
                try:
                    counting = Counting(
                        journal, lambda: timestamps.at(time.time_ns()), lambda: secrets.token_hex(8)
                    )
                    counting.rebuild(root, path, lines)
                finally:
                    journal.close()
        finally:
            os.close(lock)


# --- showing -------------------------------------------------------------------------------------


def _show(session: Session, found: dict[str, Any]) -> None:
    from fleetsync.cli import output

    if session.json:
        output.emit(found)
        return
    stored = found["stored"] or {}
    rows = [(name, stored.get(name), found["folded"][name]) for name in COUNTERS]
    output.table(("COUNTER", "STORED", "FROM THE LOG"), rows)
    if found["pending"]:
        output.say(f"{found['pending']} events of peers wait to be counted")
    if not stored and sys.stdout.isatty():
        output.say("stats.json is not there or cannot be read: `fleetsync stats SKILL --rebuild` writes it")
