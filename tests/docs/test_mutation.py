"""What mutation testing is told cannot drift from what is there."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from tests.mutation.__main__ import configuration
from tests.mutation.areas import AREAS, Area

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


@pytest.mark.parametrize("area", AREAS.values(), ids=AREAS)
def test_what_is_mutated_and_who_is_asked_exists(area: Area) -> None:
    """Each glob finds a module, each test is there, by its name if one is named."""
    for glob in area.modules:
        assert list((ROOT / "daemon/fleetsync").glob(glob)), glob
    for test in (*area.tests, *area.without):
        path, _, name = test.partition("::")
        assert (ROOT / path).exists(), test
        assert f"def {name}(" in (ROOT / path).read_text(encoding="utf-8") if name else True, test


@pytest.mark.parametrize("area", AREAS.values(), ids=AREAS)
def test_the_configuration_is_one(area: Area) -> None:
    """It is appended to pyproject.toml, which stays readable by it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8") + configuration(area))
    assert project["tool"]["mutmut"]["pytest_add_cli_args_test_selection"] == list(area.tests)


def test_every_area_is_part_of_the_campaign() -> None:
    """In the order of the table."""
    assert f"for area in {' '.join(AREAS)}; do" in MAKEFILE
