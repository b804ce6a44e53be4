"""Checks of home: the directory, its filesystem, and what stands in its files.

The filesystem is tried in a directory of our own, which is removed again.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from fleetsync.cli.checks.scene import UNKNOWN, Finding, Scene, bad, fine, shortened
from fleetsync.errors import LocalError


def home(scene: Scene) -> Finding:
    """Home is a directory in which this user can write."""
    if not scene.home.exists():
        return bad(f"{scene.home} is not there", "mount or restore it, or set MUR_HOME")
    if not scene.home.is_dir():
        return bad(f"{scene.home} is not a directory", "set MUR_HOME to mur's home")
    if not os.access(scene.home, os.R_OK | os.W_OK | os.X_OK):
        return bad(
            f"{scene.home} cannot be written by this user", f"sudo chown -R {os.getuid()} {scene.home}"
        )
    return fine(f"{scene.home}")


REMOTE = {
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "9p",
    "fuse.sshfs",
    "vboxsf",
    "afs",
    "ceph",
    "smbfs",
    "afpfs",
    "webdav",
}
_DARWIN_MOUNT = re.compile(r"(?m)^.+ on (/.*) \((\w+)[,)]")


def filesystem(scene: Scene) -> Finding:
    """Home's filesystem has events, locks and the exchange of two names."""
    if not scene.home.is_dir() or not os.access(scene.home, os.W_OK):
        return fine("not tried: see home")
    kind = filesystem_kind(scene.home)
    try:
        _probe(scene.home)
    except LocalError as error:
        return bad(f"{scene.home} ({kind}): {error.message}", "move home to a local disk")
    except OSError as error:
        return bad(f"{scene.home} ({kind}): {error.strerror}", "move home to a local disk")
    if kind in REMOTE:
        return bad(
            f"{scene.home} is on a network share ({kind}): changes made elsewhere come without an event, and "
            "its locks may not hold against the other machines' mur",
            "move home to a local disk and let fleetsync carry it between the machines",
        )
    return fine(f"{kind}: locks and exchange work")


def filesystem_kind(path: Path, mounts: Callable[[], list[tuple[str, str]]] | None = None) -> str:
    """The type of the filesystem that holds `path`, `unknown` where the system does not tell."""
    real = path.resolve()
    holding = [(len(point), kind) for point, kind in (mounts or _mounts)() if real.is_relative_to(point)]
    return max(holding)[1] if holding else "unknown"


def _mounts() -> list[tuple[str, str]]:
    """Each mount point with the type of its filesystem; nothing where the system does not tell."""
    try:
        if sys.platform == "darwin":
            shown = subprocess.run(["/sbin/mount"], capture_output=True, text=True, timeout=5, check=True)
            return _DARWIN_MOUNT.findall(shown.stdout)
        lines = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    except (OSError, subprocess.SubprocessError):
        return []
    fields = [line.split(" ") for line in lines]
    return [(each[1].replace("\\040", " "), each[2]) for each in fields if len(each) > 2]


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
        return fine("not read: see home")
    found, count = malformed_lines(scene.home)
    if not found:
        return fine(f"{count} lines, all good")
    told = [f"{path}:{line} ({why})" for path, line, why in found]
    return bad(
        "lines that cannot be read stay where they are and do not sync:\n" + shortened(told),
        "mend or remove those lines in an editor",
    )


def stats(scene: Scene) -> Finding:
    """Every stats.json can be read, so that counting goes on."""
    from fleetsync.cli.reading import unreadable_stats

    found = unreadable_stats(scene.home)
    if found:
        told = [f"{path}: {why}" for path, why in found]
        return bad(
            shortened(told), "mend the file, or move it away and run `fleetsync stats SKILL --rebuild`"
        )
    return fine("every stats.json can be read")


def home_state(scene: Scene) -> Finding:
    """No safety rule and no damage keeps home from syncing."""
    if scene.status is None:
        return UNKNOWN
    alerts = scene.status["alerts"]
    state = scene.status["home"]["state"]
    if not alerts and state in ("ok", "scanning"):
        return fine(f"{state}, {scene.status['home']['items']} items")
    told = [f"{alert['title']}: {alert['detail']}" for alert in alerts] or [f"home is {state}"]
    return bad("\n".join(told), "\n".join(alert["next"] for alert in alerts) or "run `fleetsync status`")


def waiting(scene: Scene) -> Finding:
    """What is known and not written here, and what stays here: no fault, but a person may wonder."""
    if scene.status is None:
        return UNKNOWN
    parked, kept = scene.status.get("parked_for", {}), scene.status.get("kept_here", {})
    told = [f"{count} parked: {reason}" for reason, count in parked.items()]
    told += [f"{path} stays here: {reason}" for path, reason in kept.items()]
    return fine("\n".join(told) or "nothing waits")
