"""service/launchd.py: the agent's property list, and installing it into a session."""

from __future__ import annotations

import plistlib
from pathlib import Path

import pytest

from fleetsync.errors import ServiceFailed
from fleetsync.service.launchd import LABEL, PLIST, Launchd, render
from fleetsync.service.manager import Launch
from tests.fakes.service_managers import FakeLaunchctl

LAUNCH = Launch(Path("/opt/x/fleetsync"), {"MUR_HOME": "/h & <o>"})


class Bench:
    """A launchd with its fake session and library; `pauses` are the waits it asked for."""

    def __init__(self, tmp_path: Path) -> None:
        self.session = FakeLaunchctl()
        self.pauses: list[float] = []
        self.launchd = Launchd(tmp_path, 501, self.session, self.pauses.append)
        self.agent = tmp_path / "LaunchAgents" / PLIST


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """An empty one."""
    return Bench(tmp_path)


def test_plist_says_what_to_run() -> None:
    """The property list is valid XML with the command, its log file and the inherited settings."""
    agent = plistlib.loads(render(LAUNCH, Path("/l/fleetsync.log")))
    assert agent["Label"] == LABEL
    assert agent["ProgramArguments"] == ["/opt/x/fleetsync", "run", "--log-file", "/l/fleetsync.log"]
    assert agent["EnvironmentVariables"] == {"MUR_HOME": "/h & <o>"}
    assert agent["KeepAlive"] == {"SuccessfulExit": False}
    assert agent["Umask"] == 0o077


def test_launchd_redirects_nothing() -> None:
    """launchd never rotates what it redirects, so it is given nothing to redirect."""
    agent = plistlib.loads(render(LAUNCH, Path("/l")))
    assert not {"StandardOutPath", "StandardErrorPath"} & set(agent)


def test_install_loads_the_agent(bench: Bench) -> None:
    """After an install the agent is written, loaded and running, and the state says so."""
    state = bench.launchd.install(LAUNCH)
    assert (state.manager, state.unit) == ("launchd", str(bench.agent))
    assert (state.installed, state.enabled, state.active) == (True, True, True)
    assert bench.session.loaded[LABEL] == bench.agent.read_bytes()


def test_second_install_disturbs_nothing(bench: Bench) -> None:
    """Installing the same again does not restart a daemon that is at work."""
    first = bench.launchd.install(LAUNCH)
    bench.session.calls.clear()
    assert bench.launchd.install(LAUNCH) == first
    assert bench.session.verbs == []


def test_changed_agent_is_loaded_anew(bench: Bench) -> None:
    """Another command takes effect, also while launchd is still busy with unloading the old one."""
    bench.launchd.install(LAUNCH)
    bench.session.busy_after_bootout = 3
    bench.launchd.install(Launch(Path("/new/fleetsync")))
    assert b"/new/fleetsync" in bench.session.loaded[LABEL]
    assert len(bench.pauses) == 3


def test_agent_that_cannot_be_loaded_is_told(bench: Bench) -> None:
    """If launchd never takes the agent, the install fails with its words and within bounds."""
    bench.session.busy_after_bootout = 1000
    bench.launchd.install(LAUNCH)
    with pytest.raises(ServiceFailed, match="Bootstrap failed: 5"):
        bench.launchd.install(Launch(Path("/new/fleetsync")))
    assert sum(bench.pauses) <= 10


def test_disabled_agent_is_enabled_by_an_install(bench: Bench) -> None:
    """An agent that was switched off is said to be, and an install switches it on."""
    bench.launchd.install(LAUNCH)
    bench.session.disabled.add(LABEL)
    assert not bench.launchd.state().enabled
    assert bench.launchd.install(LAUNCH).enabled


def test_uninstall_leaves_nothing_and_can_be_repeated(bench: Bench) -> None:
    """After an uninstall nothing is left; a second one, or one without an install, is no fault."""
    assert not bench.launchd.uninstall().installed
    bench.launchd.install(LAUNCH)
    for _ in range(2):
        state = bench.launchd.uninstall()
        assert (state.installed, state.enabled, state.active) == (False, False, False)
    assert bench.session.loaded == {}


def test_agent_is_stale_when_its_command_has_gone_or_its_text_is_old(bench: Bench, tmp_path: Path) -> None:
    """What was inherited may differ; what the version decides may not; the command must be there."""
    command = tmp_path / "fleetsync"
    command.touch()
    bench.launchd.install(Launch(command, {"MUR_HOME": "/h"}))
    assert bench.launchd.stale() is None
    command.unlink()
    assert str(command) in str(bench.launchd.stale())
    bench.agent.write_bytes(bench.agent.read_bytes().replace(b"Standard", b"Background"))
    assert bench.launchd.stale() == "was written by another version"
    bench.agent.write_bytes(b"<plist>")
    assert bench.launchd.stale() == "cannot be read"


def test_there_is_no_advice(bench: Bench) -> None:
    """On macOS there is nothing to offer afterwards."""
    assert bench.launchd.advice() is None
