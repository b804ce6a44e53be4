"""What every command has: the common options, help with an example, and one way to fail.

Rule of the file: a command is declared with `@command(example)`; the common options work before and
after its name; a command's module is imported only when that command is used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from typing import Any

import click

from fleetsync.cli.session import Session

pass_session = click.make_pass_decorator(Session)


def _chosen(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    """Put a common option into the session; absent ones leave what an outer command was given."""
    if value not in (None, False):
        ctx.obj = replace(ctx.find_object(Session) or Session(), **{str(param.name): value})


def _common(*names: str, **attributes: Any) -> click.Option:
    return click.Option(names, expose_value=False, callback=_chosen, **attributes)


def common_options() -> list[click.Parameter]:
    """Fresh copies of the options that every command takes."""
    return [
        _common("--json", is_flag=True, help="Print documents for scripts (one a line)."),
        _common("--home", metavar="DIR", help="The tree being synced [MUR_HOME, ~/.mur]."),
        _common("--state-dir", metavar="DIR", help="fleetsync's own files [FLEETSYNC_STATE_DIR]."),
        _common("--config", metavar="FILE", help="The configuration file [FLEETSYNC_CONFIG]."),
    ]


def _epilog(example: str) -> str:
    indented = example.replace("\n", "\n  ")
    return f"\b\nExample:\n  {indented}"


class Command(click.Command):
    """A command with the common options and an example at the end of its help."""

    def __init__(self, name: str | None, *, example: str, params: list[click.Parameter], **rest: Any) -> None:
        super().__init__(name, params=[*params, *common_options()], epilog=_epilog(example), **rest)


class Group(click.Group):
    """Commands about one thing, under one name."""

    command_class = Command

    def __init__(self, name: str | None, *, example: str, params: list[click.Parameter], **rest: Any) -> None:
        super().__init__(name, params=[*params, *common_options()], epilog=_epilog(example), **rest)


class Commands(Group):
    """All commands: each is imported when it is used; the table says where it is and what it does."""

    def __init__(self, name: str | None, *, table: dict[str, tuple[str, str]], **rest: Any) -> None:
        super().__init__(name, **rest)
        self._table = table

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """The table's order: as a person meets them."""
        return list(self._table)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, its module imported now."""
        if cmd_name not in self._table:
            return None
        module, _ = self._table[cmd_name]
        found: click.Command = getattr(import_module(module), cmd_name.replace("-", "_"))
        return found

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list in the help, from the table alone: nothing is imported for it."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in self._table.items()])


def command(example: str, **attributes: Any) -> Callable[[Callable[..., Any]], Command]:
    """Declare a function as a command; its docstring is the help, `example` one real use."""
    return click.command(cls=Command, example=example, **attributes)
