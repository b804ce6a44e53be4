"""The rendered unit under a real `systemd --user`: start, reload, crash, hang, stop, install, uninstall."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleetsync.service.manager import Launch
from fleetsync.service.systemd import UNIT, Systemd
from tests.system.user_manager import UserManager, missing, user_manager

pytestmark = pytest.mark.skipif(missing() is not None, reason=f"a user manager of our own {missing()}")

COMMAND = Path(sys.executable).with_name("fleetsync")

# The unit as it is, but a hang is found within seconds and the daemon's words can be read.
DROP_IN = """[Service]
WatchdogSec=2
TimeoutAbortSec=1
RestartSec=0.1
StandardError=append:{log}
"""


@pytest.fixture(scope="module")
def manager() -> Iterator[UserManager]:
    """One manager for all tests of this module."""
    with user_manager() as running:
        yield running


@pytest.fixture
def service(manager: UserManager) -> Iterator[Systemd]:
    """The installer's view of that manager; what a test installs is uninstalled after it."""
    drop_in = manager.units / f"{UNIT}.d/test.conf"
    drop_in.parent.mkdir(exist_ok=True)
    drop_in.write_text(DROP_IN.format(log=manager.home / "daemon.log"))
    service = Systemd(manager.units, "root", manager.run)
    yield service
    service.uninstall()


@pytest.fixture
def launch() -> Launch:
    """The installed command."""
    return Launch(COMMAND, {"FLEETSYNC_LISTEN": "127.0.0.1:0"})


def _pid(manager: UserManager) -> int:
    return int(manager.show(UNIT, "MainPID"))


def _said(manager: UserManager) -> str:
    log = manager.home / "daemon.log"
    return log.read_text() if log.exists() else ""


def _port(manager: UserManager) -> str:
    """The port in the ready line."""
    return str(re.findall(r"^fleetsync ready: .* listen=\S+:(\d+) ", _said(manager), re.MULTILINE)[-1])


def test_command_installs_and_uninstalls(manager: UserManager, service: Systemd) -> None:
    """`fleetsync service install|status|uninstall --json` do it all, and print the state as documented."""
    for verb, there in (("install", True), ("status", True), ("uninstall", False), ("uninstall", False)):
        done = manager.run(["env", "FLEETSYNC_LISTEN=127.0.0.1:0", str(COMMAND), "service", verb, "--json"])
        assert done.code == 0, done
        assert json.loads(done.output) == {
            "manager": "systemd",
            "unit": str(manager.units / UNIT),
            "installed": there,
            "enabled": there,
            "active": there,
        }


def test_install_ends_when_the_daemon_is_ready(
    manager: UserManager, service: Systemd, launch: Launch
) -> None:
    """After `service install` the daemon has said READY, and its status line is shown."""
    state = service.install(launch)
    assert (state.installed, state.enabled, state.active) == (True, True, True), _said(manager)
    assert manager.show(UNIT, "SubState") == "running"
    assert manager.show(UNIT, "StatusText").endswith(" items, listening on 127.0.0.1:" + _port(manager))
    assert service.install(launch) == state


def test_second_install_keeps_the_process(manager: UserManager, service: Systemd, launch: Launch) -> None:
    """Installing again leaves the running process alone; a changed unit gets a new one."""
    service.install(launch)
    before = _pid(manager)
    service.install(launch)
    assert _pid(manager) == before
    service.install(launch._replace(environment={"FLEETSYNC_LISTEN": "[::1]:0"}))
    assert _pid(manager) != before


def test_restrictions_take_effect(manager: UserManager, service: Systemd, launch: Launch) -> None:
    """The running process has no new privileges, a system call filter, and makes private files."""
    service.install(launch)
    lines = Path(f"/proc/{_pid(manager)}/status").read_text().splitlines()
    status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    assert (status["NoNewPrivs"], status["Seccomp"], status["Umask"]) == ("1", "2", "0077")


def test_reload_keeps_the_process(manager: UserManager, service: Systemd, launch: Launch) -> None:
    """`systemctl --user reload` reaches the daemon, which stays the same process and is ready again."""
    service.install(launch)
    before = _pid(manager)
    assert manager.systemctl("reload", UNIT).code == 0
    manager.until(lambda: manager.show(UNIT, "ActiveState") == "active")
    assert _pid(manager) == before


def test_killed_daemon_comes_back(manager: UserManager, service: Systemd, launch: Launch) -> None:
    """After SIGKILL the daemon is started again by itself."""
    service.install(launch)
    before = _pid(manager)
    os.kill(before, signal.SIGKILL)
    manager.until(lambda: _pid(manager) not in (0, before) and service.state().active)
    assert manager.show(UNIT, "NRestarts") == "1"


def test_hanging_daemon_is_replaced(manager: UserManager, service: Systemd, launch: Launch) -> None:
    """A daemon that no longer feeds the watchdog is killed and started again."""
    service.install(launch)
    before = _pid(manager)
    os.kill(before, signal.SIGSTOP)
    manager.until(lambda: _pid(manager) not in (0, before) and service.state().active)
    assert manager.show(UNIT, "NRestarts") == "1"


def test_live_daemon_is_left_alone(manager: UserManager, service: Systemd, launch: Launch) -> None:
    """A daemon that works feeds the watchdog in time: it outlives several intervals."""
    service.install(launch)
    before = _pid(manager)
    since = _watchdog_fed(manager)
    manager.until(lambda: _watchdog_fed(manager) > since + 5_000_000)
    assert (_pid(manager), manager.show(UNIT, "NRestarts")) == (before, "0")


def _watchdog_fed(manager: UserManager) -> int:
    """When the watchdog was last fed, in µs."""
    return int(manager.show(UNIT, "WatchdogTimestampMonotonic"))


def test_stop_is_quick_and_clean(manager: UserManager, service: Systemd, launch: Launch) -> None:
    """SIGTERM ends the daemon within two seconds with exit code 0, and it stays down."""
    service.install(launch)
    assert manager.systemctl("stop", UNIT).code == 0
    assert manager.show(UNIT, "Result") == "success"
    began, ended = (
        int(manager.show(UNIT, f"{edge}TimestampMonotonic")) for edge in ("ActiveExit", "InactiveEnter")
    )
    assert ended - began < 2_000_000
    assert not service.state().active


def test_uninstall_stops_and_forgets(manager: UserManager, service: Systemd, launch: Launch) -> None:
    """After `service uninstall` the process is gone, and systemd knows no such unit."""
    service.install(launch)
    before = _pid(manager)
    state = service.uninstall()
    assert (state.installed, state.enabled, state.active) == (False, False, False)
    assert not Path(f"/proc/{before}").exists()
    assert "ExecStart" not in manager.systemctl("cat", UNIT).output
