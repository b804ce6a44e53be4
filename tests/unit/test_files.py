"""What the primitives of the disk promise."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from fleetsync.files import Folder, replace_private, sweep_private


def test_a_directory_made_anew_is_another_one(tmp_path: Path) -> None:
    """Although filesystems give the inode of a removed directory to the next one."""
    path = tmp_path / "home"
    seen = set()
    for _ in range(5):
        path.mkdir()
        with Folder.open(path) as folder:
            seen.add(folder.identity())
            assert folder.identity() in seen
        path.rmdir()
    assert len(seen) == 5


def test_what_a_dead_process_left_of_writing_is_removed(tmp_path: Path) -> None:
    """Of a process that lives it may be in use; whatever else lies there is left alone."""
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left = [f".device.key.{pid}.tmp" for pid in (dead.pid, os.getpid(), 10**10 - 1)]
    kept = [f".device.key.{os.getppid()}.tmp", "device.tmp", ".device.1.tmp.old", ".x.tmp"]
    for name in (*left, *kept):
        (tmp_path / name).write_bytes(b"secret")
    sweep_private(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)


def test_a_file_of_ours_is_replaced_whole(tmp_path: Path) -> None:
    """Nothing else is left, and nobody else may read it."""
    path = tmp_path / "fleet.json"
    for data in (b"one", b"two"):
        replace_private(path, data)
        assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [(path.name, data)]
    assert path.stat().st_mode & 0o777 == 0o600
