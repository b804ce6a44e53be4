"""Laptops that the tests of the replica share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.laptops import Laptop


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Laptop, Laptop]]:
    """Two laptops with empty homes; a module that wants more in them takes this one and adds it."""
    one, two = Laptop(tmp_path, "a"), Laptop(tmp_path, "b")
    yield one, two
    one.replica.close()
    two.replica.close()
