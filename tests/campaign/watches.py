"""Stories of a machine that lets nobody watch more files: every limit of inotify, for one daemon alone.

The limits are those of a user namespace that is made for the daemon, so that no other program meets them.
Told by `tests/system/test_watches.py`. Rule of the file: what hints do not tell the sweep finds, `status`
and `doctor` say why it takes so long, and once there is room the hints are back.
"""

from __future__ import annotations

import subprocess
import sys

LIMITED = """
echo "$1" > /proc/sys/user/max_inotify_watches && echo "$2" > /proc/sys/user/max_inotify_instances || exit 99
shift 2
exec "$@"
"""


def missing() -> str | None:
    """What this machine lacks for it; None if nothing."""
    if sys.platform != "linux":
        return "inotify is Linux's"
    try:
        probe = [*limited(100, 10), "true"]
        done = subprocess.run(probe, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "unshare is not installed (util-linux)"
    return f"no user namespace can be made here: {done.stderr.strip()}" if done.returncode else None


def limited(watches: int, instances: int) -> tuple[str, ...]:
    """What a program must be started by to have so many watches and instances, and no more."""
    namespace = ("unshare", "--user", "--map-root-user")
    return (*namespace, "sh", "-c", LIMITED, "limited", str(watches), str(instances))
