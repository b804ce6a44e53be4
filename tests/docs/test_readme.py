"""README.md can be followed: its commands exist, its links lead somewhere, and it fits on a page."""

from __future__ import annotations

import re
from pathlib import Path

from fleetsync.cli import TABLE

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_readme_begins_with_the_two_commands() -> None:
    """The first thing a reader can copy is `make demo` and `make test`, and nothing else."""
    first = re.search(r"```\n(.*?)```", README, re.DOTALL)
    assert first is not None
    assert first[1] == "make demo\nmake test\n"


def test_make_knows_every_target_that_is_named() -> None:
    """Every `make x` in README.md and .ci/run is a target of the Makefile."""
    text = README + (ROOT / ".ci/run").read_text()
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"^make (\w+)$|`make (\w+)`", text, re.MULTILINE))
    assert {a or b for a, b in named} - targets == set()
    assert ("test", "") in named


def test_every_command_named_exists() -> None:
    """Every `fleetsync x` in README.md is a command."""
    named = set(re.findall(r"(?:^|`)fleetsync ([a-z-]+)", README, re.MULTILINE))
    assert len(named) > 5
    assert named - set(TABLE) == set()


def test_every_link_leads_to_a_file() -> None:
    """Every relative link of README.md and docs/ names a file of the project."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    broken = [
        f"{page.name}: {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
        if not (page.parent / target).exists()
    ]
    assert broken == []


def test_readme_is_one_page() -> None:
    """A page is what one reads before trying: under 80 lines."""
    assert len(README.splitlines()) < 80
