"""`doctor`: every trouble is found, named, and comes with the next step."""

from __future__ import annotations

import errno
import os
import socket
import stat
import sys
from pathlib import Path

import pytest

from fleetsync.cli.checks import CHECKS, device, home
from fleetsync.cli.checks.home import filesystem_kind
from fleetsync.errors import ProtocolMismatch, Unreachable
from fleetsync.replica import watcher
from fleetsync.service.manager import Launch
from fleetsync.service.systemd import render
from tests.fakes.daemon import FakeDaemon
from tests.unit.cli.conftest import Person, event


def findings(person: Person) -> dict[str, dict[str, object]]:
    """The checks by name; the exit code says whether all are ok."""
    said = person.types("doctor", "--json")
    checks = said.document["checks"]
    assert all(set(check) == {"name", "ok", "detail", "next"} for check in checks)
    assert said.code == (0 if all(check["ok"] for check in checks) else 1)
    return {check["name"]: check for check in checks}


@pytest.fixture
def healthy(person: Person, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch) -> object:
    """A running daemon whose port answers."""
    with socket.create_server(("127.0.0.1", 0)) as port:
        answer = daemon.status

        async def status() -> dict[str, object]:
            document = await answer()
            device = {**document["device"], "listen": f"127.0.0.1:{port.getsockname()[1]}"}
            return {**document, "device": device}

        monkeypatch.setattr(daemon, "status", status)
        yield daemon


def test_when_all_is_well_every_check_is_ok_and_needs_nothing(person: Person, healthy: FakeDaemon) -> None:
    """Exit code 0, and no next step anywhere."""
    person.skill("deploy", event(1))
    found = findings(person)
    assert list(found) == [*CHECKS]
    assert [name for name, check in found.items() if not check["ok"] or check["next"]] == []


def test_without_the_daemon_only_that_is_wrong(person: Person) -> None:
    """What cannot be known is not failed a second time."""
    found = findings(person)
    assert [name for name, check in found.items() if not check["ok"]] == ["daemon"]
    assert "fleetsync run" in str(found["daemon"]["next"])


def test_what_one_check_cannot_look_at_hides_no_other(person: Person, healthy: FakeDaemon) -> None:
    """A directory that is a link is told by those that would read in it; the others say what they find."""
    person.skill("deploy", event(1))
    (person.home / "skills").rename(person.home.parent / "elsewhere")
    (person.home / "skills").symlink_to(person.home.parent / "elsewhere")
    found = findings(person)
    assert list(found) == [*CHECKS]
    assert [name for name, check in found.items() if not check["ok"]] == ["logs"]
    assert "skills: a symbolic link is in the way" in str(found["logs"]["detail"])


def test_damaged_lines_are_named_with_file_and_line(person: Person) -> None:
    """Good records on the same line are still read, and the damage is still told."""
    person.skill("deploy", event(1), '{"kind":"exec', event(2))
    found = findings(person)["logs"]
    assert not found["ok"]
    assert "skills/deploy/events.jsonl:2" in str(found["detail"])


def test_a_broken_stats_json_is_named(person: Person) -> None:
    """Counting waits for it, so a person should know."""
    (person.skill("deploy") / "stats.json").write_text("{", encoding="utf-8")
    found = findings(person)["stats"]
    assert not found["ok"]
    assert "skills/deploy/stats.json" in str(found["detail"])


def test_a_broken_config_is_named_with_line_and_key(person: Person, tmp_path: Path) -> None:
    """The same words with which the daemon would refuse to start."""
    config = tmp_path / "config.toml"
    config.write_text("[sync]\npush = 'soon'\n", encoding="utf-8")
    said = person.types("doctor", "--config", str(config), "--json")
    found = next(check for check in said.document["checks"] if check["name"] == "config")
    assert not found["ok"]
    assert "line 2" in found["detail"]
    assert "push" in found["detail"]


@pytest.mark.parametrize(("name", "check"), [("", "state-directory"), ("identity.key", "identity")])
def test_files_that_others_can_read_are_found(name: str, check: str, person: Person) -> None:
    """The next step is the chmod to type."""
    person.state_dir.mkdir(mode=0o700)
    (person.state_dir / "identity.key").touch(mode=0o600)
    assert findings(person)[check]["ok"]
    path = person.state_dir / name if name else person.state_dir
    path.chmod(stat.S_IMODE(path.stat().st_mode) | 0o044)
    found = findings(person)[check]
    assert not found["ok"]
    assert str(found["next"]).startswith("chmod ")
    person.state_dir.chmod(0o700)


def test_a_home_that_is_gone_is_told_apart_from_one_that_is_a_file(person: Person) -> None:
    """Both are wrong, for other reasons."""
    person.home.rmdir()
    assert "not there" in str(findings(person)["home"]["detail"])
    person.home.touch()
    assert "not a directory" in str(findings(person)["home"]["detail"])


def test_trying_the_filesystem_leaves_nothing_behind(person: Person) -> None:
    """Locks and exchange are tried in a directory of our own that is removed again."""
    assert findings(person)["filesystem"]["ok"]
    assert list(person.home.rglob("*")) in ([], [person.home / ".fleetsync"])


def test_what_the_daemon_reports_is_among_the_checks(person: Person, healthy: FakeDaemon) -> None:
    """Alerts, stale peers and clocks that differ."""
    healthy.alerts = [{"code": "x", "title": "Counting waits", "detail": "stats.json", "next": "mend it"}]
    healthy.known[0].update(stale=True, clock_offset_seconds=-4000.0)
    found = findings(person)
    assert [name for name, check in found.items() if not check["ok"]] == ["home-state", "peers", "clock"]
    assert found["home-state"]["next"] == "mend it"
    assert "office" in str(found["peers"]["detail"])
    assert "office -4000 s" in str(found["clock"]["detail"])


def test_a_port_that_does_not_answer_is_found(person: Person, daemon: FakeDaemon) -> None:
    """Nothing listens where the daemon says that it does."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        free = taken.getsockname()[1]
    answer = daemon.status

    async def status() -> dict[str, object]:
        document = await answer()
        return {**document, "device": {**document["device"], "listen": f"127.0.0.1:{free}"}}

    daemon.status = status
    assert not findings(person)["port"]["ok"]


def test_a_service_whose_unit_is_from_another_version_is_found(person: Person) -> None:
    """`service install` writes it anew."""
    unit = person.home.parent / ".config/systemd/user/fleetsync.service"
    unit.parent.mkdir(parents=True)
    unit.write_text("[Service]\nExecStart=/old/fleetsync run\n", encoding="utf-8")
    found = findings(person)["service"]
    assert (found["ok"], found["next"]) == (False, "fleetsync service install")


@pytest.fixture
def systemd(person: Person, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder of a systemctl that says yes and a loginctl that says `linger`; a service is installed."""
    tools = tmp_path / "bin"
    tools.mkdir()
    scripts = {"systemctl": f'echo "$*" >> {tools}/asked', "loginctl": f"cat {tools}/linger"}
    for name, script in scripts.items():
        (tools / name).write_text(f"#!/bin/sh\n{script}\n")
        (tools / name).chmod(0o755)
    (tools / "linger").write_text("no\n")
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.setattr(sys, "platform", "linux")
    unit = person.home.parent / ".config/systemd/user/fleetsync.service"
    unit.parent.mkdir(parents=True)
    unit.write_text(render(Launch(tools / "systemctl")))
    return tools


def test_a_service_that_ends_at_logout_is_found(person: Person, systemd: Path) -> None:
    """Linger off: the next step is the command that switches it on; with it on there is nothing to say."""
    found = findings(person)
    assert found["service"]["ok"]
    assert (found["linger"]["ok"], "enable-linger" in str(found["linger"]["next"])) == (False, True)
    (systemd / "linger").write_text("yes\n")
    assert findings(person)["linger"]["ok"]


def test_the_service_manager_is_asked_once(person: Person, systemd: Path) -> None:
    """Two checks look at what it says."""
    findings(person)
    asked = (systemd / "asked").read_text().splitlines()
    assert len(asked) == len(set(asked)) == 2


def test_a_service_whose_command_has_gone_is_found(person: Person, systemd: Path) -> None:
    """An upgrade that moved the command leaves a unit that starts nothing."""
    (systemd / "systemctl").rename(systemd / "systemctl.old")
    found = findings(person)["service"]
    assert (found["ok"], found["next"]) == (False, "fleetsync service install")
    assert "not there any more" in str(found["detail"])


def test_a_home_on_a_network_share_is_found(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events and locks of a share do not reach the other machines that use it."""
    monkeypatch.setattr(home, "_mounts", lambda: [("/", "ext4"), (str(person.home), "nfs4")])
    found = findings(person)["filesystem"]
    assert not found["ok"]
    assert "network share (nfs4)" in str(found["detail"])
    assert "local disk" in str(found["next"])


def test_files_of_another_user_in_the_state_directory_are_found(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `sudo fleetsync …` leaves behind: named, with the chown to type."""
    (person.state_dir / "history").mkdir(parents=True)
    (person.state_dir / "history/1").touch()
    assert findings(person)["state-files"]["ok"]
    me = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: me + 1)
    found = findings(person)["state-files"]
    assert not found["ok"]
    assert str(person.state_dir / "history/1") in str(found["detail"])
    assert "chown -R" in str(found["next"])


def limits(monkeypatch: pytest.MonkeyPatch, directory: Path, most_watches: int, most_instances: int) -> None:
    """A Linux with these limits on watching files."""
    (directory / "max_user_watches").write_text(f"{most_watches}\n")
    (directory / "max_user_instances").write_text(f"{most_instances}\n")
    monkeypatch.setattr(device, "INOTIFY", directory)
    monkeypatch.setattr(sys, "platform", "linux")


def test_too_few_watches_are_found(person: Person, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The limit is compared with the directories of home, and the next step is the sysctl to type."""
    limits(monkeypatch, tmp_path, 3, 128)
    person.skill("deploy", event(1))
    found = findings(person)["watches"]
    assert not found["ok"]
    assert "sysctl fs.inotify.max_user_watches=" in str(found["next"])


def test_what_the_daemon_cannot_watch_is_found(
    person: Person, healthy: FakeDaemon, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Limits may be wide and used up by others: what the daemon met counts, with the sysctl for both."""
    limits(monkeypatch, tmp_path, 100_000, 128)
    found = findings(person)["watches"]
    assert found["ok"]
    assert "max_user_instances 128" in str(found["detail"])
    met = watcher._explain(person.home, OSError(errno.EMFILE, "too many"))
    healthy.alerts = [{"code": "not-watched", "title": "Late", "detail": met, "next": "fleetsync doctor"}]
    found = findings(person)["watches"]
    assert (found["ok"], found["detail"]) == (False, met)
    sysctl = "sudo sysctl fs.inotify.max_user_watches=200000 fs.inotify.max_user_instances=512"
    assert found["next"] == sysctl
    met = watcher._explain(person.home, OSError(errno.EACCES, "no"))
    healthy.alerts[0].update(detail=met)
    found = findings(person)["watches"]
    assert not found["ok"]
    assert "sysctl" not in str(found["next"])


def test_a_peer_that_is_refused_is_told_with_the_step_of_its_error(
    person: Person, healthy: FakeDaemon
) -> None:
    """An old version, a clone, macOS's privacy setting: no sleep explains it, so it is not passed over."""
    error = ProtocolMismatch("office speaks protocol versions 9 to 9, this device 1 to 1")
    healthy.known[0].update(error=str(error), error_code=error.code, error_next=error.next)
    found = findings(person)["peers"]
    assert (found["ok"], found["next"]) == (False, "upgrade the older of the two")
    assert "office speaks protocol versions 9" in str(found["detail"])
    asleep = Unreachable("office cannot be reached")
    healthy.known[0].update(error=str(asleep), error_code=asleep.code, error_next=asleep.next)
    assert findings(person)["peers"]["ok"]


def test_a_peer_that_is_on_but_does_not_listen_is_found(person: Person, healthy: FakeDaemon) -> None:
    """Doctor knocks at the addresses of peers that are not connected."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        free = taken.getsockname()[1]
        healthy.known[0].update(state="offline", addresses=[f"127.0.0.1:{free}"])
        assert findings(person)["reachability"]["ok"]
    found = findings(person)["reachability"]
    assert (found["ok"], found["next"]) == (False, "run `fleetsync doctor` on office")


def test_the_kind_of_filesystem_is_the_innermost_mount(tmp_path: Path) -> None:
    """`/proc` is proc, wherever the rest lies."""
    assert filesystem_kind(Path("/proc/self")) == "proc"
    assert filesystem_kind(tmp_path) not in ("proc", "")


def test_what_waits_is_told_and_is_no_fault(person: Person, healthy: FakeDaemon) -> None:
    """Lines that are parked, by reason, and what stays on this device; status shows people the same."""
    healthy.parked_for = {"the key of its writer is not known yet": 2}
    healthy.kept_here = {"channels/c1": "agent qa remembers its approvals there"}
    found = findings(person)["waiting"]
    assert found["ok"]
    for told in ("2 parked: the key of its writer is not known yet", "channels/c1 stays here: agent qa"):
        assert told in str(found["detail"])
        assert told in person.types("status").out
