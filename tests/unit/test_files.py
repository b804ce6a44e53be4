"""What the primitives of the disk promise."""

from __future__ import annotations

from pathlib import Path

from fleetsync.files import Folder


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
