"""Where the control socket is, and how to name it to the kernel.

Shared by the daemon that binds it and the command line that connects, so it imports nothing heavy.
Rule of the file: the kernel limits the *text* of a socket address, not where the file lies; on
Linux a long path is reached through a descriptor of its directory, elsewhere it is refused in words.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fleetsync.errors import StorageFailed

SOCKET_NAME = "control.sock"
ADDRESS_BYTES = 104 if sys.platform == "darwin" else 108  # sizeof sun_path, the final NUL included


@contextmanager
def bindable(path: Path) -> Iterator[str]:
    """A text for `path` that fits into a socket address, valid inside the block.

    Raises `StorageFailed` where the path is too long and the system knows no way around, and
    `FileNotFoundError` if the directory is missing.
    """
    if len(os.fsencode(path)) < ADDRESS_BYTES:
        yield str(path)
        return
    if sys.platform != "linux":
        raise StorageFailed(
            f"{path} is longer than the {ADDRESS_BYTES - 1} bytes that a socket address holds",
            next_step="choose a shorter state directory with FLEETSYNC_STATE_DIR",
        )
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
