"""`fleetsync service`: which manager this platform has, and what it should start.

Decides, the managers do. The command is written as a person would call it: absolute, but with
symlinks unresolved, so that an upgrade by pipx or uv, which moves the target, keeps the unit working.
Settings that were made by environment variables at install time are written into the unit, since the
manager starts the daemon with an environment of its own.
"""

from __future__ import annotations

import getpass
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from fleetsync.errors import ServiceFailed
from fleetsync.service.launchd import Launchd
from fleetsync.service.manager import Launch, Manager, Runner, run_command
from fleetsync.service.systemd import Systemd

INHERITED = ("MUR_HOME", "FLEETSYNC_STATE_DIR", "FLEETSYNC_CONFIG", "FLEETSYNC_LISTEN")
_PATHS = INHERITED[:3]


def manager(platform: str, environ: Mapping[str, str], run: Runner = run_command) -> Manager:
    """The service manager of this platform (`sys.platform`); raises `ServiceFailed` if there is none."""
    home = Path(environ.get("HOME") or Path.home())
    if platform == "darwin":
        return Launchd(home / "Library", os.getuid(), run)
    if platform.startswith("linux"):
        chosen = Path(environ.get("XDG_CONFIG_HOME", ""))
        config = chosen if chosen.is_absolute() else home / ".config"
        return Systemd(config / "systemd/user", environ.get("USER") or getpass.getuser(), run)
    raise ServiceFailed(f"there is no service manager for {platform}")


def launch(command: str, environ: Mapping[str, str], which: Callable[[str], str | None]) -> Launch:
    """What the unit should start, given how this process was called (`sys.argv[0]`).

    Raises `ServiceFailed` if there is no command `fleetsync` to be found.
    """
    return Launch(_executable(command, which), _inherited(environ))


def _executable(command: str, which: Callable[[str], str | None]) -> Path:
    """The command on PATH if it is the one that runs now, else the one that runs now."""
    on_path = which("fleetsync")
    running = Path(command).absolute() if Path(command).name == "fleetsync" and "/" in command else None
    if running is None or not running.exists():
        running = None
    if on_path and (running is None or Path(on_path).resolve() == running.resolve()):
        return Path(on_path).absolute()
    if running is None:
        raise ServiceFailed("no command `fleetsync` on PATH", next_step="install it, e.g. `pipx install .`")
    return running


def _inherited(environ: Mapping[str, str]) -> dict[str, str]:
    said = {name: environ[name] for name in INHERITED if environ.get(name)}
    return {name: str(Path(v).absolute()) if name in _PATHS else v for name, v in said.items()}
