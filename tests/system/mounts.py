"""Mounts that only one process and its children see: tmpfs that fills up, disks that go and come back.

A story with mounts runs in a process of its own, in a mount namespace of its own (`apart`), so that
nothing of it is left or seen elsewhere, whatever happens. Needs root, or user namespaces: `missing` says
what is not there.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.system.fleet import until

ROOT = Path(__file__).parents[2]


def unshared() -> list[str]:
    """What a program must be started by to have mounts of its own."""
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    return ["unshare", *user, "--mount", "--propagation", "private"]


def missing() -> str | None:
    """What this machine lacks for it; None if nothing."""
    if sys.platform != "linux":
        return "mount namespaces are Linux's"
    try:
        probe = [*unshared(), "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
        done = subprocess.run(probe, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "unshare is not installed (util-linux)"
    return f"no mounts of our own can be made: {done.stderr.strip()}" if done.returncode else None


def apart(module: str, *arguments: str, seconds: float = 110.0) -> subprocess.CompletedProcess[str]:
    """Run a module in a process with mounts of its own, to its end."""
    command = [*unshared(), sys.executable, "-m", module, *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=seconds, check=False)


def _do(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.strip()}"


def tmpfs(place: Path, kilobytes: int) -> None:
    """An empty disk of that size at an existing or new directory."""
    place.mkdir(parents=True, exist_ok=True)
    _do("mount", "-t", "tmpfs", "-o", f"size={kilobytes}k,mode=0700", "tmpfs", str(place))


def resize(place: Path, kilobytes: int) -> None:
    """The same disk with another size."""
    _do("mount", "-o", f"remount,size={kilobytes}k", str(place))


def bind(source: Path, place: Path) -> None:
    """What is at `source` is at `place` too."""
    _do("mount", "--bind", str(source), str(place))


def writable(place: Path, *, yes: bool) -> None:
    """Whether a bound mount may be written to."""
    _do("mount", "-o", f"remount,bind,{'rw' if yes else 'ro'}", str(place))


def unmount(place: Path) -> None:
    """The mount goes; what a program has open there at this moment is waited for."""

    def gone() -> bool:
        return subprocess.run(["umount", str(place)], capture_output=True, check=False).returncode == 0

    until(gone, f"{place} can be unmounted")
