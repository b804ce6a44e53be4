"""The checks of `doctor`, one function each.

Rule of the file: a check looks at one thing and never changes it (the filesystem probe works in a
directory of its own and removes it); `ok` false means a person should act, and then `next` says how.
What cannot be known without the daemon is said so, not failed twice: `daemon` fails for all of it.
"""

from __future__ import annotations

import os
import socket
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fleetsync.cli.session import Session
from fleetsync.errors import FleetsyncError, LocalError

if TYPE_CHECKING:
    from fleetsync.config import Settings

PRIVATE_DIRECTORY, PRIVATE_FILE = 0o700, 0o600
SHOWN = 5  # findings of one kind that are listed before "and n more"


class Check(NamedTuple):
    """One finding; `next` is None where nothing needs to be done."""

    name: str
    ok: bool
    detail: str
    next: str | None = None


@dataclass(frozen=True)
class Scene:
    """What the checks look at. `settings` is None if the config is broken, `status` without a daemon."""

    home: Path
    state_dir: Path
    settings: Settings | None
    status: dict[str, Any] | None
    trouble: dict[str, FleetsyncError]  # why settings or status are missing


def examine(session: Session) -> list[Check]:
    """Every check, in the order in which a person would mend things."""
    scene = _scene(session)
    found = [Check(name, *check(scene)) for name, check in CHECKS.items()]
    return [*found, Check("service", *service(session))]


def _scene(session: Session) -> Scene:
    trouble: dict[str, FleetsyncError] = {}
    settings = status = None
    try:
        settings = session.settings()
    except FleetsyncError as error:
        trouble["settings"] = error
    try:
        status = session.control().get("/status")
    except FleetsyncError as error:
        trouble["status"] = error
    return Scene(session.home_path(), session.state_path(), settings, status, trouble)


Finding = tuple[bool, str, str | None]


def _fine(detail: str) -> Finding:
    return True, detail, None


def _bad(detail: str, next_step: str) -> Finding:
    return False, detail, next_step


UNKNOWN: Finding = _fine("not known while the daemon is not running")


# --- this device's own files ---------------------------------------------------------------------


def config(scene: Scene) -> Finding:
    """The configuration file can be read."""
    if scene.settings is None:
        error = scene.trouble["settings"]
        return _bad(error.message, error.next)
    path = scene.settings.config_file
    return _fine(f"{path}" if path.exists() else f"{path} is absent: defaults")


def state_directory(scene: Scene) -> Finding:
    """The state directory belongs to this user alone."""
    return _private(scene.state_dir, PRIVATE_DIRECTORY, "the first `fleetsync run` makes it")


def identity(scene: Scene) -> Finding:
    """The private key can be read by this user alone."""
    return _private(scene.state_dir / "identity.key", PRIVATE_FILE, "the first `fleetsync run` makes it")


def _private(path: Path, mode: int, absent: str) -> Finding:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return _fine(f"{path} is not there yet: {absent}")
    except OSError as error:
        return _bad(f"{path}: {error.strerror}", f"chown -R {os.getuid()} {path}")
    if status.st_uid != os.getuid():
        return _bad(f"{path} belongs to user {status.st_uid}", f"chown -R {os.getuid()} {path}")
    if stat.S_IMODE(status.st_mode) & ~mode:
        return _bad(
            f"{path} is open to others ({stat.S_IMODE(status.st_mode):04o})", f"chmod {mode:o} {path}"
        )
    return _fine(f"{path}")


# --- the daemon ----------------------------------------------------------------------------------


def daemon(scene: Scene) -> Finding:
    """The daemon runs and is of this version."""
    from fleetsync import __version__

    if scene.status is None:
        error = scene.trouble["status"]
        return _bad(error.message, error.next)
    version = scene.status["device"]["version"]
    if version != __version__:
        return _bad(f"the daemon is version {version}, this command {__version__}", "restart the daemon")
    return _fine(f"running, version {version}")


def home_state(scene: Scene) -> Finding:
    """No safety rule and no damage keeps home from syncing."""
    if scene.status is None:
        return UNKNOWN
    alerts = scene.status["alerts"]
    state = scene.status["home"]["state"]
    if not alerts and state in ("ok", "scanning"):
        return _fine(f"{state}, {scene.status['home']['items']} items")
    told = [f"{alert['title']}: {alert['detail']}" for alert in alerts] or [f"home is {state}"]
    return _bad("\n".join(told), "\n".join(alert["next"] for alert in alerts) or "run `fleetsync status`")


def peers(scene: Scene) -> Finding:
    """Every peer has converged lately."""
    if scene.status is None:
        return UNKNOWN
    stale = [peer["name"] for peer in scene.status["peers"] if peer["stale"]]
    if stale:
        return _bad(
            f"not converged for a day: {', '.join(stale)}", "wake that device, then run `fleetsync sync`"
        )
    return _fine(f"of {len(scene.status['peers'])} none is stale")


def clock(scene: Scene) -> Finding:
    """This device and its peers agree about the time."""
    if scene.status is None:
        return UNKNOWN
    if scene.settings is None:
        return _fine("not compared: see config")
    allowed = scene.settings.config.clock.max_skew
    off = [
        f"{peer['name']} {peer['clock_offset_seconds']:+.0f} s"
        for peer in scene.status["peers"]
        if abs(peer["clock_offset_seconds"] or 0) > allowed
    ]
    if off:
        return _bad(
            f"clocks differ by more than {allowed:.0f} s: {', '.join(off)}", "set the clock (timedatectl)"
        )
    return _fine(f"within {allowed:.0f} s of every peer that was met")


def port(scene: Scene) -> Finding:
    """Peers can reach the port that this device listens on."""
    from fleetsync.config import Address

    if scene.status is None:
        return UNKNOWN
    text = scene.status["device"]["listen"]
    try:
        address = Address(text)
        host = {"::": "::1", "0.0.0.0": "127.0.0.1"}.get(address.host, address.host)  # noqa: S104  (compared only)
        socket.create_connection((host, address.port), timeout=2).close()
    except (OSError, ValueError) as error:
        return _bad(f"{text}: {error}", "see `[device] listen` and the firewall; then restart the daemon")
    return _fine(f"{text} answers")


# --- home ----------------------------------------------------------------------------------------


def home(scene: Scene) -> Finding:
    """Home is a directory in which this user can write."""
    if not scene.home.exists():
        return _bad(f"{scene.home} is not there", "mount or restore it, or set MUR_HOME")
    if not scene.home.is_dir():
        return _bad(f"{scene.home} is not a directory", "set MUR_HOME to mur's home")
    if not os.access(scene.home, os.R_OK | os.W_OK | os.X_OK):
        return _bad(f"{scene.home} cannot be written by this user", f"chown -R {os.getuid()} {scene.home}")
    return _fine(f"{scene.home}")


REMOTE = {"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "vboxsf", "afs", "ceph"}


def filesystem(scene: Scene) -> Finding:
    """Home's filesystem has events, locks and the exchange of two names."""
    if not scene.home.is_dir() or not os.access(scene.home, os.W_OK):
        return _fine("not tried: see home")
    kind = filesystem_kind(scene.home)
    try:
        _probe(scene.home)
    except LocalError as error:
        return _bad(f"{scene.home} ({kind}): {error.message}", "move home to a local disk")
    except OSError as error:
        return _bad(f"{scene.home} ({kind}): {error.strerror}", "move home to a local disk")
    if kind in REMOTE:
        return _fine(
            f"{kind}: no change events from other machines, so the sweep finds changes once a minute"
        )
    return _fine(f"{kind}: locks and exchange work")


def filesystem_kind(path: Path) -> str:
    """The type of the filesystem that holds `path`, `unknown` where the system does not tell."""
    try:
        mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return "unknown"
    real = path.resolve()
    fields = [line.split(" ") for line in mounts]
    holding = [(len(f[1]), f[2]) for f in fields if len(f) > 2 and real.is_relative_to(f[1])]
    return max(holding)[1] if holding else "unknown"


def _probe(root: Path) -> None:
    """Lock a file and exchange two, in a directory of our own."""
    from fleetsync.files import Folder, flocked

    name = f".fleetsync/probe-{os.getpid()}"
    with Folder.open(root) as folder, folder.enter(name, create=True) as probe:
        try:
            probe.create("a", b"a")
            probe.create("b", b"b")
            lock = probe.open_file("a", os.O_RDWR)
            try:
                with flocked(lock, "a probe", patience=1):
                    probe.exchange("a", probe, "b")
            finally:
                os.close(lock)
            if probe.read("a", 1) != b"b":
                raise OSError(0, "exchanging two names did not work")
        finally:
            with folder.enter(".fleetsync") as ours:
                ours.remove_tree(Path(name).name)


def logs(scene: Scene) -> Finding:
    """Every line of every log can be read."""
    from fleetsync.cli.reading import malformed_lines

    if not scene.home.is_dir():
        return _fine("not read: see home")
    found, count = malformed_lines(scene.home)
    if not found:
        return _fine(f"{count} lines, all good")
    shown = [f"{path}:{line} ({why})" for path, line, why in found[:SHOWN]]
    more = [f"and {len(found) - SHOWN} more"] if len(found) > SHOWN else []
    return _bad(
        "lines that cannot be read stay where they are and do not sync:\n" + "\n".join(shown + more),
        "mend or remove those lines in an editor",
    )


def stats(scene: Scene) -> Finding:
    """Every stats.json can be read, so that counting goes on."""
    from fleetsync.cli.reading import unreadable_stats

    found = unreadable_stats(scene.home)
    if found:
        detail = "\n".join(f"{path}: {why}" for path, why in found[:SHOWN])
        return _bad(detail, "mend the file, or move it away and run `fleetsync stats SKILL --rebuild`")
    return _fine("every stats.json can be read")


# --- the system ----------------------------------------------------------------------------------

INOTIFY = Path("/proc/sys/fs/inotify/max_user_watches")


def watches(scene: Scene) -> Finding:
    """The system allows as many watches as home has directories."""
    if sys.platform != "linux" or not INOTIFY.exists():
        return _fine("this system has no limit on watches")
    allowed = int(INOTIFY.read_text(encoding="ascii"))
    needed = sum(1 for root in ("skills", "agents") for _ in os.walk(scene.home / root))
    if needed * 2 > allowed:
        return _bad(
            f"{needed} directories, {allowed} watches allowed for all programs together",
            f"sudo sysctl fs.inotify.max_user_watches={max(65536, needed * 4)}",
        )
    return _fine(f"{needed} directories of {allowed} watches")


def service(session: Session) -> Finding:
    """An installed service is of this version and runs."""
    from fleetsync.cli.service import service_manager
    from fleetsync.service.manager import Launch
    from fleetsync.service.systemd import render

    try:
        managed = service_manager(session)
        state = managed.state()
        if not state.installed:
            return _fine("not installed; `fleetsync service install` starts the daemon at every login")
        fresh = _settled(render(Launch(Path("fleetsync"))))
        outdated = state.manager == "systemd" and _settled(_text(state.unit)) != fresh
        if outdated:
            return _bad(f"{state.unit} was written by another version", "fleetsync service install")
    except (FleetsyncError, OSError) as error:
        return _fine(f"cannot be told: {error}")
    if not state.active:
        return _bad(f"{state.unit} is installed but does not run", "fleetsync service install")
    return _fine("\n".join([f"{state.unit} is active", managed.advice() or ""]).strip())


def _text(path: str) -> str:
    return Path(path).read_text(encoding="utf-8")


def _settled(unit: str) -> list[str]:
    """The lines of a unit that do not depend on where and how it was installed."""
    return [line for line in unit.splitlines() if not line.startswith(("ExecStart=", "Environment="))]


CHECKS: dict[str, Callable[[Scene], Finding]] = {
    "config": config,
    "state-directory": state_directory,
    "identity": identity,
    "daemon": daemon,
    "home": home,
    "filesystem": filesystem,
    "home-state": home_state,
    "logs": logs,
    "stats": stats,
    "peers": peers,
    "clock": clock,
    "port": port,
    "watches": watches,
}
