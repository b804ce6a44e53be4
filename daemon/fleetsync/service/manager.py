"""What a service manager is to the installer: the values and the one way commands are run.

Implemented by `systemd.py` and `launchd.py`. Neither knows how a command is run: it is given a
`Runner`, so that tests need neither manager. Nothing here decides which manager it is.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec

from fleetsync import files
from fleetsync.errors import ServiceFailed

DEADLINE = 30.0
"""Seconds a command to the manager may take; starting waits until the daemon is ready, usually 3 s."""

NOT_THERE, NOT_RUNNABLE, TOO_LATE = 127, 126, 124
"""Exit codes of a command that did not run to its end, as shells and timeout(1) give them."""


class Launch(NamedTuple):
    """What the unit starts: an absolute, unresolved command and the settings it inherits."""

    executable: Path
    environment: Mapping[str, str] = {}


class Completed(NamedTuple):
    """How a command ended."""

    code: int
    output: str
    errors: str


class ServiceState(msgspec.Struct, frozen=True):
    """The document of `service install|uninstall|status` (CLI contract)."""

    manager: str
    unit: str
    installed: bool
    enabled: bool
    active: bool


class Runner(Protocol):
    """Runs one command to its end."""

    def __call__(self, command: Sequence[str]) -> Completed:
        """How it ended; never raises: a command that is not there ends as NOT_THERE."""


class Manager(Protocol):
    """The user's service manager."""

    def install(self, launch: Launch) -> ServiceState:
        """Write the unit, enable it and have it run that launch; idempotent. Raises `ServiceFailed`."""

    def uninstall(self) -> ServiceState:
        """Stop, disable and remove the unit; idempotent. Raises `ServiceFailed`."""

    def state(self) -> ServiceState:
        """What is there now; never raises for what is not."""

    def stale(self) -> str | None:
        """What is out of date about the unit that stands there; None if nothing is."""

    def advice(self) -> str | None:
        """The command that keeps the service running while nobody is logged in; None if none is needed."""


def run_command(command: Sequence[str]) -> Completed:
    """The real `Runner`."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)
    except FileNotFoundError:
        return Completed(NOT_THERE, "", f"{command[0]} is not installed")
    except subprocess.TimeoutExpired:
        return Completed(TOO_LATE, "", f"no answer within {DEADLINE:.0f} s")
    except OSError as error:
        return Completed(NOT_RUNNABLE, "", f"{command[0]}: {error.strerror}")
    return Completed(done.returncode, done.stdout, done.stderr)


def write_unit(path: Path, text: bytes) -> bool:
    """Make the file hold exactly this text, and its folder exist; whether anything changed."""
    with files.storage_errors(path):
        if path.exists() and path.read_bytes() == text:
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
    # Resolved, because the folder may be a link into a person's collection of dotfiles.
    files.replace_private(path.parent.resolve() / path.name, text)
    return True


def unit_text(path: Path) -> str:
    """The unit as it stands. Raises `StorageFailed`."""
    with files.storage_errors(path):
        return path.read_text(encoding="utf-8", errors="replace")


def out_of_date(command: str, *, rewritten: bool) -> str | None:
    """What `Manager.stale` says of a unit that starts `command` and may differ from what is written today."""
    if rewritten:
        return "was written by another version"
    if not Path(command).exists():
        return f"starts {command}, which is not there any more"
    return None


def demand(run: Runner, command: Sequence[str]) -> str:
    """The output of a command that must succeed; raises `ServiceFailed` with its own words."""
    done = run(command)
    if done.code != 0:
        said = (done.errors or done.output).strip() or f"exit code {done.code}"
        raise ServiceFailed(f"{' '.join(command)}: {said}")
    return done.output
