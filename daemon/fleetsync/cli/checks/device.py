"""Checks of this device: its settings, its own files, the daemon, the service, the system's limits."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

from fleetsync.cli.checks.scene import Finding, Scene, bad, fine, shortened
from fleetsync.errors import FleetsyncError

PRIVATE_DIRECTORY, PRIVATE_FILE = 0o700, 0o600
INOTIFY = Path("/proc/sys/fs/inotify")


def config(scene: Scene) -> Finding:
    """The configuration file can be read."""
    if scene.settings is None:
        error = scene.trouble["settings"]
        return bad(error.message, error.next)
    path = scene.settings.config_file
    return fine(f"{path}" if path.exists() else f"{path} is absent: defaults")


def state_directory(scene: Scene) -> Finding:
    """The state directory belongs to this user alone."""
    return _private(scene.state_dir, PRIVATE_DIRECTORY, "the first `fleetsync run` makes it")


def identity(scene: Scene) -> Finding:
    """The private key can be read by this user alone."""
    return _private(scene.state_dir / "identity.key", PRIVATE_FILE, "the first `fleetsync run` makes it")


def state_files(scene: Scene) -> Finding:
    """The daemon can read and write all that it keeps; `sudo fleetsync …`, once, makes this untrue."""
    try:
        foreign = [str(path) for path in _inside(scene.state_dir) if path.lstat().st_uid != os.getuid()]
    except OSError as error:
        return bad(f"{error.filename}: {error.strerror}", f"sudo chown -R {os.getuid()} {scene.state_dir}")
    if foreign:
        return bad(
            "these belong to another user:\n" + shortened(foreign),
            f"sudo chown -R {os.getuid()} {scene.state_dir}, then restart the daemon",
        )
    return fine("all belong to this user")


def _inside(directory: Path) -> list[Path]:
    """Its own entries and those one folder down: what the daemon opens by name."""
    if not directory.is_dir():
        return []
    found = sorted(directory.iterdir())
    return found + [entry for path in found if path.is_dir() for entry in sorted(path.iterdir())]


def _private(path: Path, mode: int, absent: str) -> Finding:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return fine(f"{path} is not there yet: {absent}")
    except OSError as error:
        return bad(f"{path}: {error.strerror}", f"sudo chown -R {os.getuid()} {path}")
    if status.st_uid != os.getuid():
        return bad(f"{path} belongs to user {status.st_uid}", f"sudo chown -R {os.getuid()} {path}")
    if stat.S_IMODE(status.st_mode) & ~mode:
        return bad(f"{path} is open to others ({stat.S_IMODE(status.st_mode):04o})", f"chmod {mode:o} {path}")
    return fine(f"{path}")


def daemon(scene: Scene) -> Finding:
    """The daemon runs and is of this version."""
    from fleetsync import __version__

    if scene.status is None:
        error = scene.trouble["status"]
        return bad(error.message, error.next)
    version = scene.status["device"]["version"]
    if version != __version__:
        return bad(f"the daemon is version {version}, this command {__version__}", "restart the daemon")
    return fine(f"running, version {version}")


def watches(scene: Scene) -> Finding:
    """The system lets the daemon watch all directories of home."""
    if sys.platform != "linux" or not INOTIFY.exists():
        return fine("this system has no limit on watches")
    allowed, instances = _limit("max_user_watches"), _limit("max_user_instances")
    needed = sum(1 for root in ("skills", "agents", "channels") for _ in os.walk(scene.home / root))
    if (said := _not_watched(scene)) is not None:
        limited = "max_user_watches" in said
        more = f"fs.inotify.max_user_instances={max(512, instances * 2)}"
        step = f"sudo sysctl fs.inotify.max_user_watches={max(65536, needed * 4, allowed * 2)} {more}"
        return bad(said, step if limited else f"let this user read {scene.home}")
    if needed * 2 > allowed:
        return bad(
            f"{needed} directories, {allowed} inotify watches allowed for all programs together; where they "
            "run out, changes are found once a minute",
            f"sudo sysctl fs.inotify.max_user_watches={max(65536, needed * 4)}",
        )
    return fine(
        f"{needed} directories, max_user_watches {allowed}, max_user_instances {instances} (for all programs)"
    )


def _limit(name: str) -> int:
    return int((INOTIFY / name).read_text(encoding="ascii"))


def _not_watched(scene: Scene) -> str | None:
    """What the daemon says that it cannot watch: other programs may have used up what the limits allow."""
    alerts = [] if scene.status is None else scene.status["alerts"]
    return next((alert["detail"] for alert in alerts if alert["code"] == "not-watched"), None)


def service(scene: Scene) -> Finding:
    """An installed service is as this version writes it, starts a command that is there, and runs."""
    try:
        managed, state = scene.service
        stale = managed.stale() if state.installed else None
    except FleetsyncError as error:
        return fine(f"cannot be told: {error}")
    if not state.installed:
        return fine("not installed; `fleetsync service install` starts the daemon at every login")
    if stale is not None:
        return bad(f"{state.unit} {stale}", "fleetsync service install")
    if not state.active:
        return bad(f"{state.unit} is installed but does not run", "fleetsync service install")
    return fine(f"{state.unit} is active")


def linger(scene: Scene) -> Finding:
    """An installed service goes on while its user is logged out."""
    try:
        managed, state = scene.service
        advice = managed.advice() if state.installed else None
    except FleetsyncError as error:
        return fine(f"cannot be told: {error}")
    if advice is not None:
        return bad("the service ends when you log out, and starts only when you log in", advice)
    return fine("nothing ends the service at logout, or there is none")
