"""`guard`: what fleetsync will not do without a person's word, and giving that word."""

from __future__ import annotations

from typing import Any

import click

from fleetsync.cli import exits
from fleetsync.cli.command import Group, pass_session
from fleetsync.cli.session import Session


@click.group(
    cls=Group,
    invoke_without_command=True,
    example="fleetsync guard\nfleetsync guard undo",
)
@click.pass_context
def guard(ctx: click.Context) -> None:
    """Many things gone at once, or gone back in time, wait for your word; without a subcommand, show it."""
    if ctx.invoked_subcommand is None:
        ctx.exit(_show(ctx.find_object(Session) or Session()))


@guard.command(example="fleetsync guard confirm")
@pass_session
def confirm(session: Session) -> None:
    """It was meant: delete everywhere what is missing here, or what was deleted elsewhere."""
    _decide(session, confirmed=True)


@guard.command(example="fleetsync guard undo")
@pass_session
def undo(session: Session) -> None:
    """It was not meant: bring back what is missing, keep what was deleted elsewhere."""
    _decide(session, confirmed=False)


def _show(session: Session) -> int:
    from fleetsync.cli import output

    document = session.control().get("/guard")
    if session.json:
        output.emit(document)
    elif document["paths"]:
        output.say(f"waiting for your word ({document['cause']}):")
        for path in document["paths"]:
            output.say(f"  {output.clean(path)}")
        output.say("`fleetsync guard confirm` if it was meant, `fleetsync guard undo` if not")
    else:
        output.say("nothing waits for your word")
    return exits.SAFETY if document["paths"] else exits.DONE


def _decide(session: Session, *, confirmed: bool) -> None:
    from fleetsync.cli import output

    document: dict[str, Any] = session.control().post("/guard", {"confirm": confirmed})
    if session.json:
        output.emit(document)
    else:
        verb = "confirmed" if confirmed else "undone"
        output.say(f"{verb}: {len(document['paths'])} paths")
