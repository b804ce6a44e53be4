"""docs/recipes.md holds commands that exist and settings that are read."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from fleetsync import config
from fleetsync.cli import cli

PAGE = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


LINES = [line for block in blocks("sh") for line in block.splitlines() if "fleetsync" in line.split()]


def test_every_recipe_has_something_to_do():
    """Each heading is followed by at least one command."""
    for section in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]:
        assert "```sh" in section, section.partition("\n")[0]


@pytest.mark.parametrize("line", LINES)
def test_every_command_can_be_typed(line: str):
    """The command, its arguments and options are known; nothing is run."""
    words = shlex.split(line)
    context = click.Context(cli)
    command: click.Command = cli
    rest = words[words.index("fleetsync") + 1 :]
    while isinstance(command, click.Group) and rest:
        found = command.get_command(context, rest[0])
        assert found is not None, line
        command, rest = found, rest[1:]
    command.make_parser(context).parse_args(list(rest))
    given = [word for word in rest if not word.startswith("-")]
    arguments = [p for p in command.params if isinstance(p, click.Argument)]
    assert len([p for p in arguments if p.required]) <= len(given) <= len(arguments), line


@pytest.mark.parametrize("text", blocks("toml"))
def test_every_setting_is_read(text: str):
    """And chooses something."""
    assert not config.decode(text, "recipe").sync.selection().is_everything
