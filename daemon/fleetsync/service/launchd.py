"""The launchd agent: its property list, and installing it.

`render` is pure; launchd/run.mur.fleetsync.plist is what it gives for /usr/local/bin, and a test holds
the two equal. launchd expands neither `~` nor variables and never rotates what it redirects, so paths
are absolute and the daemon writes and rotates its own log file. Implements DESIGN §10.
"""

from __future__ import annotations

import plistlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.parsers.expat import ExpatError

from fleetsync.service.manager import (
    Completed,
    Launch,
    Runner,
    ServiceState,
    demand,
    out_of_date,
    unit_text,
    write_unit,
)

LABEL = "run.mur.fleetsync"
PLIST = f"{LABEL}.plist"

_UNLOADING = 5  # what `bootstrap` answers while an earlier `bootout` is still at work
_TRIES = 20
_PAUSE = 0.25  # seconds between tries: five seconds are more than the daemon takes to stop


def render(launch: Launch, log_file: Path) -> bytes:
    """The property list for this launch, as XML."""
    agent = {
        "Label": LABEL,
        "ProgramArguments": [str(launch.executable), "run", "--log-file", str(log_file)],
        "EnvironmentVariables": dict(launch.environment),
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "ThrottleInterval": 10,
        "ExitTimeOut": 10,
        "ProcessType": "Standard",  # Background would delay a push by seconds
        "Umask": 0o077,
    }
    return plistlib.dumps({key: value for key, value in agent.items() if value != {}}, sort_keys=False)


def _settled(agent: dict[str, Any]) -> dict[str, Any]:
    """The entries that do not depend on where and how it was installed."""
    return {key: value for key, value in agent.items() if key != "EnvironmentVariables"}


class Launchd:
    """The user's launchd. `library` is ~/Library; the agent lives in the graphical session's domain."""

    def __init__(
        self, library: Path, uid: int, run: Runner, pause: Callable[[float], None] = time.sleep
    ) -> None:
        self._path = library / "LaunchAgents" / PLIST
        self._log_file = library / "Logs" / "fleetsync.log"
        self._domain = f"gui/{uid}"
        self._target = f"gui/{uid}/{LABEL}"
        self._run = run
        self._pause = pause

    def install(self, launch: Launch) -> ServiceState:
        """Write and load the agent; a loaded one is loaded anew only if its text changed."""
        changed = write_unit(self._path, render(launch, self._log_file))
        loaded = self._print().code == 0
        if loaded and changed:
            demand(self._run, ["launchctl", "bootout", self._target])
        demand(self._run, ["launchctl", "enable", self._target])
        if not loaded or changed:
            self._bootstrap()
        return self.state()

    def uninstall(self) -> ServiceState:
        """Unload the agent and remove its file."""
        if self._print().code == 0:
            demand(self._run, ["launchctl", "bootout", self._target])
        self._path.unlink(missing_ok=True)
        return self.state()

    def state(self) -> ServiceState:
        """What launchd says; not enabled and not active where it cannot be asked."""
        disabled = self._run(["launchctl", "print-disabled", self._domain])
        installed = self._path.exists()
        off = any(f'"{LABEL}" => {word}' in disabled.output for word in ("disabled", "true"))
        return ServiceState(
            manager="launchd",
            unit=str(self._path),
            installed=installed,
            enabled=installed and disabled.code == 0 and not off,
            active="state = running" in self._print().output,
        )

    def stale(self) -> str | None:
        """Compares all but the entries that depend on where and how it was installed."""
        try:
            agent = plistlib.loads(unit_text(self._path).encode())
            command = str(agent["ProgramArguments"][0])
        except (plistlib.InvalidFileException, ExpatError, ValueError, LookupError, TypeError):
            return "cannot be read"
        today = plistlib.loads(render(Launch(Path(command)), self._log_file))
        return out_of_date(command, rewritten=_settled(agent) != _settled(today))

    def advice(self) -> str | None:
        """None: an agent belongs to the login session, and macOS has no way to outlive it."""

    def _print(self) -> Completed:
        return self._run(["launchctl", "print", self._target])

    def _bootstrap(self) -> None:
        command = ["launchctl", "bootstrap", self._domain, str(self._path)]
        for _ in range(_TRIES):
            if self._run(command).code != _UNLOADING:
                break
            self._pause(_PAUSE)
        if self._print().code != 0:
            demand(self._run, command)
