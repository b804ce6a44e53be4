"""`service`: the document of the contract, and what the service is told."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fleetsync.cli.service import service_launch
from fleetsync.cli.session import Session
from tests.unit.cli.conftest import Person


def test_status_is_the_document_of_the_contract(person: Person) -> None:
    """Nothing is installed, and nothing needs to be."""
    said = person.types("service", "status", "--json")
    assert said.code == 0
    assert list(said.document) == ["manager", "unit", "installed", "enabled", "active"]
    assert said.document["unit"].startswith(str(person.home.parent))
    assert not any(said.document[name] for name in ("installed", "enabled", "active"))
    assert "not installed" in person.types("service", "status").out


def test_the_service_keeps_the_settings_of_the_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flags win over the environment; paths become absolute; the command is the one that was typed."""
    command = tmp_path / "fleetsync"
    command.touch(mode=0o755)
    monkeypatch.setattr(sys, "argv", [str(command)])
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    environ = {"MUR_HOME": "/environment", "FLEETSYNC_LISTEN": "127.0.0.1:1", "OTHER": "x"}
    launch = service_launch(Session(environ=environ, home="/flag"))
    assert launch.executable == command
    assert launch.environment == {"MUR_HOME": "/flag", "FLEETSYNC_LISTEN": "127.0.0.1:1"}


@pytest.mark.parametrize("line", [["service"], ["service", "start"]])
def test_a_service_command_that_is_none_is_a_usage_error(line: list[str], person: Person) -> None:
    """There are three."""
    assert person.types(*line).code == 2
