"""What all commands have in common."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest

from fleetsync.cli import TABLE, cli
from fleetsync.cli.command import Command, Group
from fleetsync.cli.session import Session
from tests.unit.cli.conftest import Person

CONTEXT = click.Context(cli)
COMMANDS = {name: cli.get_command(CONTEXT, name) for name in TABLE}


def every_command() -> list[tuple[str, click.Command]]:
    """All commands and subcommands with their full names."""
    found: list[tuple[str, click.Command]] = []
    for name, command in COMMANDS.items():
        assert command is not None
        found.append((name, command))
        if isinstance(command, click.Group):
            found += [(f"{name} {inner}", c) for inner, c in command.commands.items()]
    return found


@pytest.mark.parametrize(("name", "command"), every_command())
def test_every_command_says_what_it_does_with_an_example_and_takes_the_common_options(
    name: str, command: click.Command
) -> None:
    """Help has a sentence, an example of the command itself, and the four options that all have."""
    assert isinstance(command, Command | Group)
    assert command.help
    assert f"fleetsync {name}" in (command.epilog or "")
    given = {option for parameter in command.params for option in parameter.opts}
    assert {"--json", "--home", "--state-dir", "--config"} <= given
    assert all(p.help for p in command.params if isinstance(p, click.Option))


def test_the_list_of_commands_needs_no_imports_and_names_what_there_is() -> None:
    """The table's modules hold the commands that it names, under those names."""
    for name, command in COMMANDS.items():
        assert command is not None
        assert command.name == name


def test_a_common_option_works_before_and_after_the_command(person: Person) -> None:
    """`fleetsync --json status` and `fleetsync status --json` are the same."""
    before, after = person.types("--json", "status"), person.types("status", "--json")
    assert before == after
    assert before.document["error"]["code"] == "daemon-not-running"


def test_a_flag_wins_over_the_environment(person: Person) -> None:
    """--state-dir decides where the daemon is looked for."""
    said = person.types("status", "--state-dir", "/nowhere/at/all")
    assert "/nowhere/at/all/control.sock" in said.err


def test_misuse_is_exit_code_2_and_a_document_for_scripts(person: Person) -> None:
    """A missing argument, an unknown option and an unknown command are usage errors."""
    for line in (["peers", "pause"], ["status", "--nonsense"], ["nonsense"], ["log", "../x"]):
        said = person.types(*line, "--json")
        assert said.code == 2, line
        assert said.document["error"]["code"] == "usage"
        assert said.document["error"]["next"]
        assert said.err == ""


def test_errors_for_people_go_to_stderr_with_the_next_step(person: Person) -> None:
    """Without --json stdout stays empty and stderr says what is wrong and what to do."""
    said = person.types("status")
    assert (said.code, said.out) == (4, "")
    assert "no daemon is running" in said.err
    assert "fleetsync service install" in said.err


def test_an_error_of_another_device_cannot_write_to_the_terminal(person: Person, daemon) -> None:
    """Control characters in what another program sent are shown as such, never obeyed."""
    daemon.known[0]["name"] = "evil\x1b[2J"
    assert "\x1b[2J" not in person.types("peers").out


def test_a_bug_is_an_error_document_too(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scripts get their document, people the traceback to report."""

    def broken(_: Session) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(Session, "control", broken)
    said = person.types("status", "--json")
    assert (said.code, said.document["error"]["code"]) == (1, "error")
    assert "ZeroDivisionError: oops" in said.document["error"]["message"]
    assert "Traceback" in said.err


def test_the_version_and_the_list_of_commands_are_shown(person: Person) -> None:
    """`--version` and `--help` work without anything else."""
    assert person.types("--version").out.startswith("fleetsync 0.")
    listed = person.types("--help").out
    assert all(name in listed for name in TABLE)


def test_starting_a_command_imports_nothing_heavy() -> None:
    """Asking the daemon for status loads no server, no TLS, no database, no event loop."""
    script = (
        "import sys; from fleetsync.cli import invoke; invoke(['status', '--state-dir', '/nowhere']);"
        "print(' '.join(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    heavy = {
        "asyncio",
        "anyio",
        "httpx",
        "starlette",
        "uvicorn",
        "sqlite3",
        "ssl",
        "http.client",
        "cryptography",
    }
    assert heavy & set(done.stdout.split()) == set()
