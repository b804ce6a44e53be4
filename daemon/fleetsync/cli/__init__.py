"""The command line: one file per command group, each a thin translation between a person and the rest.

`main` is the one place where errors become words, documents and exit codes (`exits.py`). Commands
print through `output.py`, reach the daemon through `control.py` and read files through `reading.py`.
The documents, defaults and exit codes are a contract: docs/cli.md.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from fleetsync import __version__
from fleetsync.cli import exits
from fleetsync.cli.command import Commands
from fleetsync.cli.session import Session
from fleetsync.errors import FleetsyncError, UserError

TABLE = {
    "run": ("fleetsync.cli.run", "The daemon in the foreground."),
    "reload": ("fleetsync.cli.run", "Make the running daemon read its configuration again."),
    "pair": ("fleetsync.cli.pair", "Offer a pairing code, or take the one that another device shows."),
    "peers": ("fleetsync.cli.peers", "The devices of the fleet: list, pause, resume, rename, remove."),
    "status": ("fleetsync.cli.status", "One screen: home, every peer, and what needs attention."),
    "sync": ("fleetsync.cli.sync", "Exchange with the peers now, or say what would move."),
    "log": ("fleetsync.cli.log", "The merged log of a skill or channel, in time order."),
    "stats": ("fleetsync.cli.stats", "A skill's counters beside what its log adds up to."),
    "record": ("fleetsync.cli.record", "Append one execution event to a skill's log."),
    "experience": ("fleetsync.cli.experience", "The ledger of experience: append and ask."),
    "history": ("fleetsync.cli.history", "What was replaced, deleted or lost a conflict."),
    "restore": ("fleetsync.cli.history", "Bring back an entry of history, here and on every peer."),
    "keep-local": ("fleetsync.cli.history", "Make this device's version of a file win everywhere."),
    "guard": ("fleetsync.cli.guard", "What waits for your word, and giving it."),
    "runs": ("fleetsync.cli.runs", "The audit trail: exchanges and skill runs, with their steps."),
    "doctor": ("fleetsync.cli.doctor", "Check everything; name the file, the cause and the next command."),
    "demo": ("fleetsync.cli.demo", "Two real daemons on this machine: pair, append, conflict, converge."),
    "service": ("fleetsync.cli.service", "The user service: install, uninstall, status."),
}


@click.group(
    cls=Commands,
    table=TABLE,
    example="fleetsync service install\nfleetsync pair",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, message="%(prog)s %(version)s")
def cli() -> None:
    """Make the laptops of one person agree about ~/.mur: silently, and with nothing lost."""


def main(arguments: Sequence[str] | None = None) -> None:
    """The installed command: run `arguments` (default: the process's) and exit."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    sys.exit(invoke(given))


def invoke(given: list[str], session: Session | None = None) -> int:
    """Run one command line; its exit code. Errors are printed as CLI.md says."""
    as_json = "--json" in given
    try:
        result = cli.main(given, prog_name="fleetsync", standalone_mode=False, obj=session or Session())
    except FleetsyncError as error:
        return _failed(error, as_json)
    except click.UsageError as error:
        return _failed(_misused(error), as_json)
    except (click.Abort, KeyboardInterrupt):
        return _failed(FleetsyncError("interrupted", next_step="run the command again"), as_json)
    except BrokenPipeError:
        return _reader_left()
    except Exception as error:  # noqa: BLE001  (whatever it is, a script gets its document)
        return _failed(_stumbled(error), as_json)
    return result if isinstance(result, int) else exits.DONE


def _misused(error: click.UsageError) -> UserError:
    command = error.ctx.command_path if error.ctx else "fleetsync"
    return UserError(error.format_message(), next_step=f"run `{command} --help`")


def _stumbled(error: Exception) -> FleetsyncError:
    """A bug, in words: the traceback goes to stderr, its last line to the person."""
    import traceback

    traceback.print_exception(error)
    message = f"fleetsync stumbled: {type(error).__name__}: {error}"
    return FleetsyncError(message, next_step="please report this with the lines above")


def _failed(error: FleetsyncError, as_json: bool) -> int:
    from fleetsync.cli import output

    if as_json:
        output.emit({"error": error.document()})
    else:
        output.complain(error.message, error.next)
    return exits.exit_code(error)


def _reader_left() -> int:
    """`fleetsync log x | head`: nothing is wrong, but nothing more can be written either."""
    import os

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return exits.DONE
