"""`history`, `restore` and `keep-local`: what was put aside, and deciding for one side."""

from __future__ import annotations

from typing import Any

import click

from fleetsync.cli.command import command, pass_session
from fleetsync.cli.session import Session


@command("fleetsync history skills/deploy")
@click.argument("path", required=False)
@pass_session
def history(session: Session, path: str | None) -> None:
    """List what was replaced, deleted or lost a conflict, newest first.

    PATH is relative to home and may be a directory. Works without the daemon.
    """
    from fleetsync.cli import output
    from fleetsync.cli.journal import open_journal
    from fleetsync.web.documents import history_document

    wanted = None if path is None else relative(session, path)
    with open_journal(session.state_path()) as known:
        entries = [history_document(entry) for entry in known.history(wanted)]
    if session.json:
        output.emit({"entries": entries})
    elif entries:
        output.table(HEADS, [_row(entry) for entry in entries])
    else:
        output.say("nothing was ever replaced, deleted or lost")


@command("fleetsync restore skills/deploy/skill.yaml --version 3")
@click.argument("path")
@click.option(
    "--version", type=click.IntRange(min=1), metavar="N", help="Which entry of history [the newest]."
)
@pass_session
def restore(session: Session, path: str, version: int | None) -> None:
    """Bring back an entry of history; it wins on every device.

    PATH is relative to home. What it replaces goes to history in turn.
    """
    _decide(session, "/restore", {"path": relative(session, path), "version": version})


@command("fleetsync keep-local skills/deploy/skill.yaml")
@click.argument("path")
@pass_session
def keep_local(session: Session, path: str) -> None:
    """Make this device's version of PATH win on every device.

    PATH is relative to home and may be a directory.
    """
    _decide(session, "/keep-local", {"path": relative(session, path)})


HEADS = ("VERSION", "PATH", "KIND", "AT", "FROM", "SIZE")


def relative(session: Session, text: str) -> str:
    """PATH as it is known under home: a path inside home may be given absolutely, or end with /.

    Raises click's usage error for what leads out of home or cannot sync.
    """
    from pathlib import Path

    from fleetsync.errors import IllegalName
    from fleetsync.records.names import parse_path

    plain = Path(text).expanduser()
    home = session.home_path()
    inside = plain.relative_to(home) if plain.is_absolute() and plain.is_relative_to(home) else None
    try:
        return parse_path((text if inside is None else inside.as_posix()).rstrip("/"))
    except IllegalName as error:
        raise click.BadParameter(f"{error.message}; PATH is relative to {home}", param_hint="PATH") from None


def _row(entry: dict[str, Any]) -> tuple[object, ...]:
    from fleetsync.cli import output

    source = None if entry["from_device"] is None else output.short_id(entry["from_device"])
    size = output.size_of(entry["size"])
    return entry["version"], entry["path"], entry["kind"], entry["at"], source, size


def _decide(session: Session, act: str, order: dict[str, Any]) -> None:
    from fleetsync.cli import output

    entry = session.control().post(act, order)
    if session.json:
        output.emit(entry)
    else:
        output.table(HEADS, [_row(entry)])
