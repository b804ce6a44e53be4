"""`doctor`: run every check, say what is wrong, why, and which command or act mends it."""

from __future__ import annotations

from fleetsync.cli import exits
from fleetsync.cli.command import command, pass_session
from fleetsync.cli.session import Session


@command("fleetsync doctor")
@pass_session
def doctor(session: Session) -> int:
    """Check everything and name the file, the cause and the next command.

    Works without the daemon. Exit code 1 if any check is not ok.
    """
    from fleetsync.cli import output
    from fleetsync.cli.checks import examine

    results = examine(session)
    if session.json:
        output.emit({"checks": [check._asdict() for check in results]})
        return _verdict(all(check.ok for check in results))
    for check in results:
        output.say(f"{_mark(check.ok)}  {check.name}: {output.clean_lines(check.detail)}")
        if check.next:
            output.say(f"      next: {output.clean_lines(check.next)}")
    return _verdict(all(check.ok for check in results))


def _verdict(well: bool) -> int:
    return exits.DONE if well else exits.FAILED


def _mark(ok: bool) -> str:
    from fleetsync.cli import output

    return output.coloured("ok") + "    " if ok else output.coloured("failed")
