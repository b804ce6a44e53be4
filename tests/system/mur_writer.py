"""A process that appends events to a log as mur does, at full speed: `mur_writer LOG AUTHOR COUNT [old]`.

`old` is how mur wrote before it took locks: the line and its newline in two writes, and no flock.
"""

from __future__ import annotations

import fcntl
import os
import sys

from tests.system.fleet import event


def append(path: str, line: bytes, *, old: bool) -> None:
    """Append one line, whole under the lock, or in two writes without one."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
    try:
        if old:
            os.write(fd, line)
            os.write(fd, b"\n")
        else:
            fcntl.flock(fd, fcntl.LOCK_EX)
            os.write(fd, line + b"\n")
    finally:
        os.close(fd)


if __name__ == "__main__":
    for number in range(int(sys.argv[3])):
        append(sys.argv[1], event(sys.argv[2], number), old=sys.argv[4:] == ["old"])
