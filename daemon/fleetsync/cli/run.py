"""`run` and `reload`: the daemon in the foreground, and telling it to look at its settings again."""

from __future__ import annotations

from dataclasses import replace

import click

from fleetsync.cli.command import command, pass_session
from fleetsync.cli.session import Session


@command("fleetsync run --listen 127.0.0.1:8473 --log-level debug")
@click.option("--listen", metavar="HOST:PORT", help="Where peers reach this device [[::]:8473].")
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    help="How much goes to stderr [info].",
)
@click.option("--log-file", metavar="FILE", help="Log to a file that is rotated, not to stderr.")
@pass_session
def run(session: Session, listen: str | None, log_level: str | None, log_file: str | None) -> int:
    """Run the daemon in the foreground until SIGTERM or Ctrl-C.

    The first run makes the state directory and this device's identity; there is no init. Logs go to
    stderr, and one line says when it is ready.
    """
    from fleetsync import app

    chosen = replace(session, listen=listen, log_level=log_level, log_file=log_file)
    app.serve(chosen.settings(), chosen.settings)
    return 0


@command("fleetsync reload")
@pass_session
def reload(session: Session) -> None:
    """Make the running daemon read its configuration again; a broken one changes nothing."""
    from fleetsync.cli import output

    session.control().post("/reload")
    if session.json:
        output.emit({"reloaded": True})
    else:
        output.say("the configuration has been read again")
