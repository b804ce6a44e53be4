"""The guard of tests/conftest.py itself: a guard that never fires would be worse than none."""

from __future__ import annotations

from pathlib import Path

import pytest
from blockbuster import BlockingError

from fleetsync import config


async def test_blocking_call_in_the_loop_fails(tmp_path: Path) -> None:
    """Code of fleetsync that reads a file inside the event loop raises in a test."""
    (tmp_path / "config.toml").write_text("[log]\n")
    with pytest.raises(BlockingError):
        config.read(tmp_path / "config.toml")


@pytest.mark.blocking
async def test_marked_tests_may_block(tmp_path: Path) -> None:
    """`@pytest.mark.blocking` takes the guard away."""
    (tmp_path / "config.toml").write_text("[log]\n")
    assert config.read(tmp_path / "config.toml") == config.Config()


async def test_home_is_not_the_real_one() -> None:
    """The user's home seen by tests is a temporary directory."""
    assert "pytest" in str(Path.home())
