"""A real `systemd --user` for tests, on a machine where systemd need not be running at all.

It lives in cgroups and a mount namespace of its own (sd_booted(3) looks for /run/systemd/system, so a
private one is made there), with its home and runtime directory in a throw-away folder. Needs root.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from fleetsync.service.manager import Completed

SYSTEMD = Path("/lib/systemd/systemd")
_CGROUPS = ("/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified", "/sys/fs/cgroup")
_START = """
mkdir -p /run/systemd && mount -t tmpfs tmpfs /run/systemd && mkdir /run/systemd/system && exec "$0" "$@"
"""


def missing() -> str | None:
    """What this machine lacks for it; None if nothing."""
    if os.geteuid() != 0:
        return "needs root"
    if not SYSTEMD.exists() or not shutil.which("systemctl"):
        return "needs systemd"
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode:
        return "needs the right to make a mount namespace"
    if not any(os.access(f"{group}/cgroup.procs", os.W_OK) for group in _CGROUPS):
        return "needs a cgroup that can be written"
    return None


class UserManager:
    """The running manager and how to speak to it."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.units = self.home / ".config/systemd/user"
        self._environ = {
            "HOME": str(self.home),
            "PATH": "/usr/bin:/bin",
            "XDG_RUNTIME_DIR": str(folder / "run"),
        }

    def run(self, command: Sequence[str]) -> Completed:
        """A `Runner` (service/manager.py) for commands that speak to this manager."""
        done = subprocess.run(
            command, capture_output=True, text=True, env=self._environ, timeout=60, check=False
        )
        return Completed(done.returncode, done.stdout, done.stderr)

    def systemctl(self, *arguments: str) -> Completed:
        """`systemctl --user` on it."""
        return self.run(["systemctl", "--user", "--no-pager", *arguments])

    def show(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.systemctl("show", unit, f"--property={name}", "--value").output.strip()

    def until(self, condition: Callable[[], bool], seconds: float = 20) -> None:
        """Wait until the condition holds; fails after that long."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"not within {seconds} s"
            time.sleep(0.05)

    def spawn(self, cgroups: list[Path]) -> subprocess.Popen[bytes]:
        """Start the manager as the only process of these cgroups; what it says goes to `manager.log`."""

        def enter() -> None:
            for group in cgroups:
                (group / "cgroup.procs").write_text(str(os.getpid()))

        command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", _START, str(SYSTEMD)]
        with (self.home / "manager.log").open("wb") as log:
            return subprocess.Popen(
                [*command, "--user", "--log-target=console"],
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=enter,  # noqa: PLW1509  (no other thread matters: it writes one small file)
                start_new_session=True,
            )


@contextmanager
def user_manager() -> Iterator[UserManager]:
    """A manager that is up; it and all it started are gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="fleetsync-"))  # short: the runtime directory holds sockets
    (folder / "run").mkdir(mode=0o700)
    manager = UserManager(folder)
    manager.units.mkdir(parents=True)
    cgroups = [Path(g) / folder.name for g in _CGROUPS if os.access(f"{g}/cgroup.procs", os.W_OK)]
    for group in cgroups:
        group.mkdir()
    process = manager.spawn(cgroups)
    try:
        manager.until(lambda: manager.systemctl("show", "--property=Version").code == 0)
        yield manager
    finally:
        manager.systemctl("exit")
        _end(process)
        for group in cgroups:
            _remove(group)
        shutil.rmtree(folder, ignore_errors=True)


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _remove(group: Path) -> None:
    """Cgroups are removed from the leaves; their files go with them."""
    for folder, _, _ in os.walk(group, topdown=False):
        with suppress(OSError):
            Path(folder).rmdir()
