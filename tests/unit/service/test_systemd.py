"""service/systemd.py: the unit's text, and installing it into a manager."""

from __future__ import annotations

import configparser
from pathlib import Path

import pytest

from fleetsync.errors import ServiceFailed
from fleetsync.service.manager import TOO_LATE, Launch
from fleetsync.service.systemd import UNIT, Systemd, render
from tests.fakes.service_managers import FakeSystemctl

LAUNCH = Launch(Path("/opt/x/fleetsync"))


class Bench:
    """A systemd with its fake manager and unit folder."""

    def __init__(self, tmp_path: Path) -> None:
        self.directory = tmp_path / "config/systemd/user"
        self.manager = FakeSystemctl(self.directory)
        self.systemd = Systemd(self.directory, "u", self.manager)
        self.unit = self.directory / UNIT


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """An empty one."""
    return Bench(tmp_path)


def _line(unit: str, key: str) -> str:
    return next(line.partition("=")[2] for line in unit.splitlines() if line.startswith(f"{key}="))


def test_unit_is_well_formed() -> None:
    """The unit has its three sections, and no key twice but Environment."""
    parser = configparser.ConfigParser(interpolation=None, strict=True)
    parser.optionxform = str  # type: ignore[assignment]
    parser.read_string(render(LAUNCH))
    assert parser.sections() == ["Unit", "Service", "Install"]
    assert parser["Service"]["Type"] == "notify"


@pytest.mark.parametrize(
    ("executable", "written"),
    [
        ("/opt/x/fleetsync", "/opt/x/fleetsync run"),
        ("/opt/my apps/fleetsync", '"/opt/my apps/fleetsync" run'),
        ("/opt/100%/fleetsync", "/opt/100%%/fleetsync run"),
        ('/opt/a"b\\c/fleetsync', '/opt/a\\"b\\\\c/fleetsync run'),
        ("~/.local/bin/fleetsync", "%h/.local/bin/fleetsync run"),
    ],
)
def test_command_is_escaped(executable: str, written: str) -> None:
    """Any path becomes one word of ExecStart."""
    assert _line(render(Launch(Path(executable))), "ExecStart") == written


def test_environment_is_sorted_and_escaped() -> None:
    """Inherited settings stand in the unit, in one order, each as one word."""
    unit = render(Launch(LAUNCH.executable, {"MUR_HOME": "/h o/50%", "FLEETSYNC_LISTEN": "[::]:1"}))
    lines = [line for line in unit.splitlines() if line.startswith("Environment=")]
    assert lines == ['Environment="FLEETSYNC_LISTEN=[::]:1"', 'Environment="MUR_HOME=/h o/50%%"']


def test_line_break_is_refused() -> None:
    """A value with a line break cannot smuggle another key into the unit."""
    with pytest.raises(ServiceFailed, match="cannot stand in a systemd unit"):
        render(Launch(LAUNCH.executable, {"MUR_HOME": "/h\nExecStartPre=/bin/false"}))


def test_install_writes_enables_and_starts(bench: Bench) -> None:
    """After an install the unit is there, enabled and active, and the state says so."""
    state = bench.systemd.install(LAUNCH)
    assert (state.manager, state.unit) == ("systemd", str(bench.unit))
    assert (state.installed, state.enabled, state.active) == (True, True, True)
    assert bench.manager.running[UNIT] == bench.unit.read_text() == render(LAUNCH)


def test_second_install_disturbs_nothing(bench: Bench) -> None:
    """Installing the same again does not restart a daemon that is at work."""
    first = bench.systemd.install(LAUNCH)
    bench.manager.calls.clear()
    assert bench.systemd.install(LAUNCH) == first
    assert bench.manager.verbs == ["daemon-reload", "enable", "start"]


def test_changed_unit_takes_effect(bench: Bench) -> None:
    """Installing another command replaces the unit and runs it."""
    bench.systemd.install(LAUNCH)
    bench.systemd.install(Launch(Path("/new/fleetsync")))
    assert "/new/fleetsync run" in bench.manager.running[UNIT]


def test_uninstall_leaves_nothing_and_can_be_repeated(bench: Bench) -> None:
    """After an uninstall nothing is left; a second one, or one without an install, is no fault."""
    assert not bench.systemd.uninstall().installed
    bench.systemd.install(LAUNCH)
    for _ in range(2):
        state = bench.systemd.uninstall()
        assert (state.installed, state.enabled, state.active) == (False, False, False)
    assert list(bench.directory.iterdir()) == []
    assert UNIT not in bench.manager.loaded


def test_unit_folder_may_be_a_link(bench: Bench, tmp_path: Path) -> None:
    """People keep ~/.config in a collection of dotfiles: the folder may be a symlink."""
    (tmp_path / "dotfiles").mkdir()
    bench.directory.parent.mkdir(parents=True)
    bench.directory.symlink_to(tmp_path / "dotfiles")
    assert bench.systemd.install(LAUNCH).active
    assert (tmp_path / "dotfiles" / UNIT).exists()


def test_slow_first_start_is_no_failure(bench: Bench) -> None:
    """A first start that is still indexing when the deadline passes goes on by itself."""
    bench.manager.start_code = TOO_LATE
    state = bench.systemd.install(LAUNCH)
    assert (state.installed, state.enabled, state.active) == (True, True, False)


def test_failed_start_is_told_with_the_journal(bench: Bench) -> None:
    """A start that fails says what systemctl said, and where to read why."""
    bench.manager.start_code = 1
    with pytest.raises(ServiceFailed, match=r"Job for fleetsync\.service failed") as caught:
        bench.systemd.install(LAUNCH)
    assert "journalctl --user --unit fleetsync.service" in caught.value.next


@pytest.mark.parametrize("name", ["fleetsync", 'a "b" \\ c 100%'])
def test_unit_is_stale_when_its_command_has_gone(bench: Bench, tmp_path: Path, name: str) -> None:
    """A unit that starts what an upgrade removed is told, whatever the path looks like."""
    command = tmp_path / name
    command.touch()
    bench.systemd.install(Launch(command, {"MUR_HOME": "/h"}))
    assert bench.systemd.stale() is None
    command.unlink()
    assert str(command) in str(bench.systemd.stale())


def test_unit_of_another_version_is_stale(bench: Bench) -> None:
    """What was inherited may differ; what the version decides may not."""
    bench.systemd.install(Launch(Path(__file__)))
    bench.unit.write_text(bench.unit.read_text().replace("WatchdogSec=60", "WatchdogSec=61"))
    assert bench.systemd.stale() == "was written by another version"


def test_advice_offers_linger_only_where_it_is_off(bench: Bench) -> None:
    """Lingering is offered as a command, never switched on."""
    assert bench.systemd.advice() == "loginctl enable-linger u"
    bench.manager.linger = "yes"
    assert bench.systemd.advice() is None
    assert not any("enable-linger" in call for call in bench.manager.calls)
