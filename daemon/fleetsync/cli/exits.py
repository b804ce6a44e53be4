"""Exit codes: the one table from what went wrong to what a script sees (CLI.md, "Exit codes").

Rule of the file: the nearest class in an error's ancestry decides. Nothing is printed here.
"""

from __future__ import annotations

from fleetsync.errors import (
    DaemonNotRunning,
    FleetsyncError,
    NotConverged,
    NotFound,
    PairingFailed,
    SafetyStop,
    UserError,
)

DONE = 0
FAILED = 1
USAGE = 2
STALE = 3
NOT_RUNNING = 4
SAFETY = 5

EXITS: dict[type[FleetsyncError], int] = {
    FleetsyncError: FAILED,
    UserError: USAGE,
    NotFound: FAILED,
    PairingFailed: FAILED,
    NotConverged: STALE,
    DaemonNotRunning: NOT_RUNNING,
    SafetyStop: SAFETY,
}


def exit_code(error: FleetsyncError) -> int:
    """The exit code of a command that ended with this error."""
    return next(EXITS[kind] for kind in type(error).__mro__ if kind in EXITS)
