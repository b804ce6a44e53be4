"""`doctor`: run every check, say what is wrong, why, and which command or act mends it."""

from __future__ import annotations

import click

from fleetsync.cli import exits
from fleetsync.cli.command import command, pass_session
from fleetsync.cli.session import Session


@command("fleetsync doctor")
@click.option("--rebuild-journal", is_flag=True, help="Put a damaged journal aside and begin a new one.")
@click.option("--yes", is_flag=True, help="Do not ask before the journal is put aside.")
@pass_session
def doctor(session: Session, rebuild_journal: bool, yes: bool) -> int:
    """Check everything and name the file, the cause and the next command.

    Works without the daemon. Exit code 1 if any check is not ok. With --rebuild-journal nothing of
    home is lost, but manifests as they stand here lose to those of any other device.
    """
    from fleetsync.cli import output
    from fleetsync.cli.checks import examine

    if rebuild_journal:
        _rebuild_journal(session, yes)
    results = examine(session)
    if session.json:
        output.emit({"checks": [check._asdict() for check in results]})
        return _verdict(all(check.ok for check in results))
    for check in results:
        output.say(f"{_mark(check.ok)}  {check.name}: {output.clean_lines(check.detail)}")
        if check.next:
            output.say(f"      next: {output.clean_lines(check.next)}")
    return _verdict(all(check.ok for check in results))


def _rebuild_journal(session: Session, yes: bool) -> None:
    """Only while no daemon runs, and only if the journal really cannot be opened."""
    import time

    from fleetsync.app.serve import sole_use_of
    from fleetsync.cli import output
    from fleetsync.errors import JournalDamaged
    from fleetsync.replica.journal import Journal
    from fleetsync.replica.opening import rebuild_journal

    state = session.state_path()
    with sole_use_of(state):
        try:
            Journal.open(state / "journal.db").close()
        except JournalDamaged as error:
            output.remark(str(error))
        else:
            output.remark("the journal is sound: it stays as it is")
            return
        if not yes:
            click.confirm("Put it aside and begin a new one?", abort=True, err=True)
        aside = rebuild_journal(state, lambda: time.time_ns() // 1000)
        output.remark(f"the damaged journal is now {aside}")


def _verdict(well: bool) -> int:
    return exits.DONE if well else exits.FAILED


def _mark(ok: bool) -> str:
    from fleetsync.cli import output

    return output.coloured("ok") + "    " if ok else output.coloured("failed")
