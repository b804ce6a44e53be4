"""docs/cli.md and the commands say the same."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from fleetsync.cli import TABLE, cli, exits
from fleetsync.cli.command import common_options

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
COMMON = {option for parameter in common_options() for option in parameter.opts} | {"--help", "-h"}


def commands() -> dict[str, click.Command]:
    """Full name → command, subcommands included."""
    found: dict[str, click.Command] = {}
    for name in TABLE:
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        inner = command.commands if isinstance(command, click.Group) else {}
        if not inner or (isinstance(command, click.Group) and command.invoke_without_command):
            found[name] = command
        found |= {f"{name} {sub}": subcommand for sub, subcommand in inner.items()}
    return found


def sections() -> dict[str, tuple[str, str]]:
    """Full name → (the usage in the heading, the text below it)."""
    found: dict[str, tuple[str, str]] = {}
    for heading, text in re.findall(r"^### (.*?)\n(.*?)(?=^##|\Z)", PAGE, re.DOTALL | re.MULTILINE):
        for usage in re.findall(r"`fleetsync ([^`]*)`", heading):
            name = " ".join(word for word in usage.split() if word.islower())
            found[name] = usage, text
    return found


def test_every_command_is_documented_and_nothing_else() -> None:
    """A section for each command, and no section for what is not there."""
    assert set(sections()) == set(commands())


@pytest.mark.parametrize(("name", "command"), commands().items())
def test_every_option_is_documented_and_nothing_else(name: str, command: click.Command) -> None:
    """The table of a command's section lists its own options; the common ones stand at the top."""
    given = {o for p in command.params if isinstance(p, click.Option) for o in p.opts} - COMMON
    documented = set(re.findall(r"^\| `(--?[a-z-]+)", sections()[name][1], re.MULTILINE))
    assert documented == given


@pytest.mark.parametrize(("name", "command"), commands().items())
def test_every_argument_stands_in_the_heading(name: str, command: click.Command) -> None:
    """In order, in brackets if it may be left out."""
    arguments = [p for p in command.params if isinstance(p, click.Argument)]
    written = [f"{p.name}".upper() if p.required else f"[{p.name}]".upper() for p in arguments]
    assert [word for word in sections()[name][0].split() if not word.islower()] == written


def test_the_common_options_stand_at_the_top() -> None:
    """Those that every command takes, and no others."""
    top = re.search(r"## Every command takes(.*?)^## ", PAGE, re.DOTALL | re.MULTILINE)
    assert top is not None
    assert set(re.findall(r"`(--?[a-z-]+)[ `]", top[1])) - {"--version"} == COMMON


def test_every_exit_code_is_documented() -> None:
    """The codes that commands may end with, and no others."""
    table = re.search(r"## Exit codes(.*?)^## ", PAGE, re.DOTALL | re.MULTILINE)
    assert table is not None
    assert {int(n) for n in re.findall(r"^\| (\d) ", table[1], re.MULTILINE)} == {0, *exits.EXITS.values()}
