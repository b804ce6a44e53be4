"""What is in the state directory and what of it may be lost: index, journal, locks, settings, home itself."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.system.fleet import (
    LOG,
    MANIFEST,
    Fleet,
    Laptop,
    all_counted,
    all_equal,
    all_hold,
    connected,
    events,
    until,
)


def fails(laptop: Laptop) -> tuple[int, str]:
    """Exit code and words of a daemon that does not start."""
    done = laptop.run("run", timeout=20)
    return done.returncode, done.stderr


# --- the index is a cache ------------------------------------------------------------------------------


def delete(path: Path) -> None:
    """The file is gone."""
    path.unlink()


def overwrite(path: Path) -> None:
    """The file holds something else."""
    path.write_bytes(b"this is no database" * 1000)


def scribble(path: Path) -> None:
    """Some pages of it are damaged."""
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size // 2))


@pytest.mark.parametrize("damage", [delete, overwrite, scribble])
def test_a_lost_index_is_made_again(fleet: Fleet, damage: Callable[[Path], None]) -> None:
    """Gone or damaged while stopped, it is made again by itself: the same set, and nothing counts twice."""
    desk, travel = fleet.pair()
    mine, theirs = desk.append(events("desk", 300)), travel.append(events("travel", 200))
    all_hold((desk, travel), mine + theirs)
    all_counted(travel, mine)
    all_equal(desk, travel)
    before = desk.status()["home"]["fingerprint"]
    assert travel.stop() == 0
    for companion in travel.state.glob("index.db-*"):
        companion.unlink()
    damage(travel.state / "index.db")
    travel.start()
    all_equal(desk, travel)
    assert travel.status()["home"]["fingerprint"] == before
    assert travel.status()["alerts"] == []
    more = desk.append(events("desk", 10, start=300))
    all_hold((desk, travel), mine + more + theirs)
    all_counted(travel, mine + more)
    all_counted(desk, theirs)


# --- the journal is not --------------------------------------------------------------------------------


def test_a_damaged_journal_stops_everything(fleet: Fleet) -> None:
    """Exit code 5, the file named, nothing changed; on a person's word it is put aside and all goes on."""
    desk, travel = fleet.pair()
    lines = desk.append(events("desk", 20))
    all_hold((desk, travel), lines)
    assert travel.stop() == 0
    for companion in travel.state.glob("journal.db-*"):
        companion.unlink()
    overwrite(travel.state / "journal.db")
    damaged = (travel.state / "journal.db").read_bytes()
    code, words = fails(travel)
    assert code == 5
    assert str(travel.state / "journal.db") in words or "journal.db" in words
    assert "--rebuild-journal" in words
    assert (travel.state / "journal.db").read_bytes() == damaged
    assert travel.lines() == lines
    travel.run("doctor", "--rebuild-journal", "--yes")
    assert [path.read_bytes() for path in travel.state.glob("journal.db.damaged-*")] == [damaged]
    newer = desk.write(MANIFEST, desk.read(MANIFEST) + b"more: true\n")
    travel.start()
    until(lambda: travel.read(MANIFEST) == newer, "its manifest has lost to the peer's")
    all_equal(desk, travel)
    all_hold((desk, travel), lines)


# --- one daemon, private files -------------------------------------------------------------------------


def test_a_second_daemon_is_refused(fleet: Fleet) -> None:
    """One daemon per state directory; the first is not disturbed. After a kill the next one starts."""
    desk = fleet.laptop("desk").start()
    code, words = fails(desk)
    assert code == 1
    assert str(desk.state) in words
    assert desk.ask("status")["device"]["id"] == desk.device
    device = desk.device
    desk.kill()
    assert desk.ask("status", code=4)["error"]["code"] == "daemon-not-running"
    assert desk.start().device == device


def test_what_is_private_is_private(fleet: Fleet) -> None:
    """State directories 0700, their files and the control socket 0600, whatever the umask."""
    desk, _ = fleet.pair()
    assert desk.state.stat().st_mode & 0o777 == 0o700
    assert (desk.state / "control.sock").is_socket()
    for path in desk.state.rglob("*"):
        mode = path.stat().st_mode & 0o777
        if path.name == "identity.crt":
            assert not mode & 0o022, path
        else:
            assert mode & 0o077 == 0, f"{path}: {mode:o}"
    assert finding_ok(desk, "state-directory")
    assert finding_ok(desk, "identity")


def finding_ok(laptop: Laptop, name: str) -> bool:
    """Whether `doctor` is content with one thing."""
    done = laptop.run("doctor")
    return any(line.startswith("ok") and f" {name}:" in line for line in done.stdout.splitlines())


# --- home ----------------------------------------------------------------------------------------------


def test_the_first_start_makes_home(fleet: Fleet) -> None:
    """A home that never existed is made; one that did and is gone is waited for, and nothing is deleted."""
    desk, travel = fleet.pair()
    third = fleet.laptop("third")
    third.home.rmdir()
    third.start()
    assert third.home.is_dir()
    lines = desk.append(events("desk", 10))
    all_hold((desk, travel), lines)
    assert travel.stop() == 0
    away = travel.home.rename(travel.root / "away")
    travel.start()
    status = travel.status()
    assert status["home"]["state"] == "missing"
    assert "home-missing" in [alert["code"] for alert in status["alerts"]]
    assert not finding_ok(travel, "home")
    more = desk.append(events("desk", 5, start=10))
    until(lambda: "not there" in str(travel.peer(desk).get("error")), "the exchange fails, and says why")
    until(lambda: not travel.peer(desk)["converged"], "it does not call itself converged")
    travel.ask("status", code=3)
    assert desk.holds(lines + more)
    assert not travel.home.exists()
    away.rename(travel.home)
    travel.ask("sync", "--wait", "20")
    all_hold((desk, travel), lines + more)
    all_counted(travel, lines + more)
    until(lambda: travel.status()["home"]["state"] == "ok", "home is well again")


def test_home_vanishes_while_it_runs(fleet: Fleet) -> None:
    """Unmounted or moved away under the running daemon: said, waited for, and no deletion for anybody."""
    desk, travel = fleet.pair()
    lines = desk.append(events("desk", 10))
    all_hold((desk, travel), lines)
    away = travel.home.rename(travel.root / "away")
    more = desk.append(events("desk", 5, start=10))
    until(lambda: desk.status()["home"]["items"] == 16, "desk has something to give")
    travel.ask("sync", code=3)
    assert travel.status()["home"]["state"] == "missing"
    desk.ask("sync", code=3)
    assert desk.holds(lines + more)
    assert desk.read(MANIFEST)
    assert not travel.home.exists()
    away.rename(travel.home)
    travel.ask("sync", "--wait", "20")
    all_hold((desk, travel), lines + more)
    all_counted(travel, lines + more)
    all_equal(desk, travel)


def test_a_lost_log_is_refilled(fleet: Fleet) -> None:
    """`events.jsonl` alone is missing: that is damage, and the peer's copy fills it; nothing is deleted."""
    desk, travel = fleet.pair()
    lines = desk.append(events("desk", 30)) + travel.append(events("travel", 20))
    all_hold((desk, travel), lines)
    (travel.home / LOG).unlink()
    all_hold((travel, desk), lines)
    all_equal(desk, travel)


def test_a_log_that_was_replaced_is_read_again(fleet: Fleet) -> None:
    """Another tool has rewritten the log: what it left out comes back, what it brought travels."""
    desk, travel = fleet.pair()
    lines = desk.append(events("desk", 30))
    all_hold((desk, travel), lines)
    brought = events("tool", 5)
    desk.write(LOG, b"".join(line + b"\n" for line in [*lines[:10], *brought]))
    all_hold((desk, travel), lines + brought)
    all_equal(desk, travel)


# --- settings ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "line", "key"),
    [
        ("[sync]\nsweep = 'often'\n", 3, "sync.sweep"),
        ("[sync]\nsweep = 0.1\n", 3, "sync.sweep"),
        ("[log]\nlevel = 'loud'\n", 3, "log.level"),
        ("[logs]\n", 2, "logs"),
        ("[sync]\nsweeps = 3\n", 3, "sync.sweeps"),
        ("[peers]\ndesk = ['nowhere']\n", 3, "peers"),
        ("this is not toml\n", 2, ""),
    ],
)
def test_a_broken_config_is_refused(fleet: Fleet, config: str, line: int, key: str) -> None:
    """The daemon does not start and names file, line and key; nothing has been made."""
    desk = fleet.laptop("desk", config=config)
    code, words = fails(desk)
    assert code == 2
    assert f"{desk.config}, line {line}" in words
    assert key in words
    assert not desk.state.exists()


def test_a_running_daemon_keeps_the_last_good_settings(fleet: Fleet) -> None:
    """A reload of a broken file changes nothing and is told; a mended one takes effect."""
    desk, travel = fleet.pair()
    assert desk.process is not None
    desk.config.write_text('device.name = "renamed"\nnonsense = 1\n')
    refused = desk.ask("reload", code=2)["error"]
    assert refused["code"] == "broken-config"
    assert "nonsense" in refused["message"]
    desk.process.send_signal(signal.SIGHUP)
    until(lambda: "settings unchanged" in desk.said(), "the log tells of it")
    assert f"{desk.config}, line 2" in desk.said()
    assert desk.status()["device"]["name"] == "desk"
    desk.config.write_text('device.name = "renamed"\n')
    desk.process.send_signal(signal.SIGHUP)
    until(lambda: desk.status()["device"]["name"] == "renamed", "the name has changed")
    connected((desk, travel))


def test_settings_are_found_in_their_order(fleet: Fleet) -> None:
    """Flag before environment before file."""
    desk = fleet.laptop("desk", listen="127.0.0.2:0", config='device.listen = "127.0.0.3:0"\n')
    command = desk.command("run", "--listen", "127.0.0.1:0")
    with (
        desk.log.open("wb") as log,
        subprocess.Popen(command, env=desk.environ, stderr=log) as process,
    ):
        until(lambda: "ready" in desk.said(), "it is ready")
        process.terminate()
    assert "listen=127.0.0.1:" in desk.said()
