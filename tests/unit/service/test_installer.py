"""service/installer.py: which manager, and what it should start."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleetsync.errors import ServiceFailed
from fleetsync.service import installer
from fleetsync.service.launchd import Launchd
from fleetsync.service.manager import DEADLINE, NOT_RUNNABLE, NOT_THERE, demand, run_command
from fleetsync.service.systemd import Systemd
from tests.fakes.service_managers import FakeSystemctl


def _command(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_platform_chooses_the_manager(tmp_path: Path) -> None:
    """Linux has systemd, macOS launchd, and elsewhere the refusal names the platform."""
    environ = {"HOME": str(tmp_path), "USER": "u"}
    assert isinstance(installer.manager("linux", environ), Systemd)
    assert isinstance(installer.manager("darwin", environ), Launchd)
    with pytest.raises(ServiceFailed, match="no service manager for win32"):
        installer.manager("win32", environ)


@pytest.mark.parametrize(("xdg", "folder"), [("", "home/.config"), ("/x", "/x"), ("rel", "home/.config")])
def test_units_live_where_systemd_looks(tmp_path: Path, xdg: str, folder: str) -> None:
    """The unit goes to $XDG_CONFIG_HOME/systemd/user, by default ~/.config/systemd/user."""
    environ = {"HOME": str(tmp_path / "home"), "USER": "u", "XDG_CONFIG_HOME": xdg}
    state = installer.manager("linux", environ, FakeSystemctl(tmp_path)).state()
    assert Path(state.unit) == tmp_path / folder / "systemd/user/fleetsync.service"


def test_command_on_path_stays_unresolved(tmp_path: Path) -> None:
    """A link on PATH to what runs now is written as the link: an upgrade moves only its target."""
    real = _command(tmp_path / "versions/1/fleetsync")
    link = tmp_path / "bin/fleetsync"
    link.parent.mkdir()
    link.symlink_to(real)
    assert installer.launch(str(real), {}, lambda _: str(link)).executable == link


def test_running_command_wins_over_another_on_path(tmp_path: Path) -> None:
    """Called by path, the unit starts that very installation, not the one that PATH has."""
    mine, other = _command(tmp_path / "a/fleetsync"), _command(tmp_path / "b/fleetsync")
    assert installer.launch(str(mine), {}, lambda _: str(other)).executable == mine


def test_module_run_uses_the_command_on_path(tmp_path: Path) -> None:
    """`python -m fleetsync` is no command: the one on PATH is used, or it is said that there is none."""
    command = _command(tmp_path / "fleetsync")
    module = "/site-packages/fleetsync/__main__.py"
    assert installer.launch(module, {}, lambda _: str(command)).executable == command
    with pytest.raises(ServiceFailed, match="no command `fleetsync` on PATH"):
        installer.launch(module, {}, lambda _: None)


def test_settings_of_the_moment_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set variables go into the unit, paths made absolute; empty and other ones do not."""
    monkeypatch.chdir(tmp_path)
    command = _command(tmp_path / "fleetsync")
    environ = {"MUR_HOME": "h", "FLEETSYNC_LISTEN": "[::]:1", "FLEETSYNC_CONFIG": "", "PATH": "/bin"}
    kept = installer.launch(str(command), environ, lambda _: None).environment
    assert kept == {"MUR_HOME": str(tmp_path / "h"), "FLEETSYNC_LISTEN": "[::]:1"}


def test_commands_are_run_to_their_end(tmp_path: Path) -> None:
    """The real runner gives code, output and errors, and ends in a code where there is nothing to run."""
    assert run_command(["sh", "-c", "echo out; echo err >&2; exit 3"]) == (3, "out\n", "err\n")
    assert run_command(["fleetsync-has-no-such-command"]).code == NOT_THERE
    assert run_command([str(tmp_path)]).code == NOT_RUNNABLE
    assert DEADLINE > 0


def test_demanded_command_speaks_when_it_fails() -> None:
    """A command that must succeed raises with its own words, also when it has none."""
    assert demand(run_command, ["echo", "x"]) == "x\n"
    with pytest.raises(ServiceFailed, match="sh -c echo no bus; exit 1: no bus"):
        demand(run_command, ["sh", "-c", "echo no bus; exit 1"])
    with pytest.raises(ServiceFailed, match="false: exit code 1"):
        demand(run_command, ["false"])
