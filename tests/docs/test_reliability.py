"""docs/reliability.md cannot drift from what is there: its commands, modules and tests exist."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from tests.model.known_bugs import BUGS

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`([^`\n]+)`", TEXT)))
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE))
NUMBERS = ("eight", "nine", "ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen")


@pytest.mark.parametrize("command", [each for each in NAMED if each.startswith("make ")])
def test_every_target_exists(command: str) -> None:
    """What is made is a target of the Makefile."""
    assert command.split()[1] in TARGETS


@pytest.mark.parametrize("name", sorted(set(re.findall(r"python -m ([\w.]+)", TEXT + MAKEFILE))))
def test_every_module_exists(name: str) -> None:
    """What is run with `python -m`, in the page or by a target, can be run."""
    assert importlib.util.find_spec(name)


@pytest.mark.parametrize(
    "path", [each for each in NAMED if re.fullmatch(r"(tests|docs|bench)/[\w./]+", each)]
)
def test_every_path_exists(path: str) -> None:
    """What is named as a place is there."""
    assert (ROOT / path).exists()


def test_every_part_of_the_campaign_is_run_and_told() -> None:
    """Each target `campaign-…` is in `make campaign`, in the help, and in the table at the top."""
    parts = {target for target in TARGETS if target.startswith("campaign-")}
    whole = re.search(r"^campaign: (.*)$", MAKEFILE, re.MULTILINE)
    assert whole is not None
    assert set(whole[1].split()) == parts
    assert {target for target in parts if f'"make {target} ' in MAKEFILE} == parts
    assert {target for target in parts if f"| `make {target}` |" in TEXT} == parts


def test_the_known_bugs_are_counted() -> None:
    """The page says how many the model finds."""
    assert f"{NUMBERS[len(BUGS) - 8]} known bugs" in TEXT
