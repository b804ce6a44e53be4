"""app/house.py and app/commands.py: what goes wrong around a running daemon does not end it."""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from fleetsync.app import commands
from fleetsync.app import house as house_module
from fleetsync.app.commands import Commands
from fleetsync.app.house import House
from fleetsync.app.serve import sole, sole_use_of
from fleetsync.config import Flags, Settings
from fleetsync.devices import notary, roster, seal
from fleetsync.devices.identity import Identity, ensure_identity
from fleetsync.devices.roster import Vouch
from fleetsync.devices.trust import Fleet
from fleetsync.errors import BrokenConfig, LocalError, StorageFailed
from fleetsync.records.names import DeviceId
from fleetsync.replica.replica import Replica
from fleetsync.replica.surroundings import Surroundings
from fleetsync.selection import EVERYTHING, Selection
from fleetsync.sync.exchange import Ending, Exchange
from fleetsync.wire import tls
from tests.fakes.waiting import eventually

pytestmark = pytest.mark.blocking
"""A start reads keys and directories before it serves."""


class Parts:
    """All that a house is made of, in directories of its own."""

    def __init__(self, root: Path) -> None:
        self.config = root / "config.toml"
        self.state = root / "state"
        self.listen = "127.0.0.1:0"
        self.configure("")
        self.settings = self.load()
        self.identity = ensure_identity(self.state, create=seal.new_credentials)
        self.fleet = Fleet.load(self.state, self.identity)
        around = Surroundings(lambda: time.time_ns() // 1000, os.urandom, notary.check, lambda _: True)
        self.replica = Replica(self.settings.home, self.state, self.identity.device, around, 600_000_000)

    def configure(self, text: str) -> None:
        self.config.write_text(f"[channels]\nreindex = false\n{text}")

    def load(self) -> Settings:
        flags = Flags(str(self.state.parent / "home"), str(self.state), str(self.config), self.listen)
        return Settings.load(flags, {}, "linux")

    def pair(self, name: str) -> DeviceId:
        """Trust another device, which is called so."""
        other = ensure_identity(self.state.parent / name, create=seal.new_credentials)
        records = [_vouch(self.identity, other), _vouch(other, self.identity)]
        self.fleet.pair(other.certificate, name, [], records)
        return other.device

    @asynccontextmanager
    async def running(self, before: Callable[[House], Awaitable[None]] | None = None) -> AsyncIterator[House]:
        """The house, open and running; what ends it is raised. `before` is done while it is open alone."""
        house = House(self.settings, self.load, self.identity, self.fleet, self.replica)
        await house.open()
        try:
            if before is not None:
                await before(house)
            async with anyio.create_task_group() as tasks:
                await tasks.start(house.run)
                yield house
                tasks.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await house.aclose()


def _vouch(author: Identity, subject: Identity) -> bytes:
    said = Vouch(author.device, subject.device, subject.certificate, "somebody", (), os.urandom(16))
    return roster.write_record(said, seal.signer(author.key())).raw


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    parts = Parts(tmp_path)
    handlers = list(logging.getLogger().handlers)
    yield parts
    logging.getLogger().handlers[:] = handlers
    parts.replica.close()


async def test_notes_that_cannot_be_written_are_written_later(
    parts: Parts, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A full disk at the time of the notes about peers ends nothing; they are written when it takes them."""
    monkeypatch.setattr(house_module, "TEND_SECONDS", 0.01)
    monkeypatch.setattr(house_module, "NOTES_SECONDS", 0.0)
    full = [True]
    flush, written = parts.fleet.flush, []

    def flushed() -> None:
        if full:
            raise StorageFailed("no space left on device")
        flush()
        written.append(True)

    monkeypatch.setattr(parts.fleet, "flush", flushed)
    async with parts.running():
        await eventually(lambda: "no space left on device" in caplog.text)
        full.clear()
        await eventually(lambda: written)


async def test_a_log_file_that_cannot_be_opened_changes_nothing(parts: Parts) -> None:
    """It is a broken configuration: told to whoever asked, an alert until mended, never the daemon's end."""
    async with parts.running() as house:
        before = house.settings
        parts.configure('[log]\nfile = "/nonexistent/log"\n[device]\nname = "new"\n')
        with pytest.raises(BrokenConfig, match="/nonexistent/log: No such file"):
            await house.reload()
        await house.reload_quietly()
        assert house.settings is before
        assert [alert["code"] for alert in (await Commands(house).status())["alerts"]] == ["broken-config"]
        parts.configure("")
        await house.reload()
        assert (await Commands(house).status())["alerts"] == []


async def test_an_audit_that_takes_nothing_is_an_alert(parts: Parts) -> None:
    """Everything else goes on, so nobody would notice."""
    (parts.state / "audit.db").write_bytes(b"no database" * 1000)
    async with parts.running() as house:
        await eventually(lambda: [alert.code for alert in house.alerts()] == ["not-recorded"])
        [alert] = (await Commands(house).status())["alerts"]
        assert "audit.db: file is not a database" in alert["detail"]
        assert alert["next"] == "move it away and start the daemon anew"


async def test_what_a_reload_cannot_change_is_said(parts: Parts, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever changes an interval learns that it counts from the next start on."""
    async with parts.running() as house:
        parts.configure("[sync]\nexchange = 60\n[clock]\nmax_skew = 60\n[limits]\nitems = 5\n")
        await house.reload()
    said = [line for line in capsys.readouterr().err.splitlines() if "next start" in line]
    assert [line.partition("WARNING ")[2] for line in said] == [
        "[sync] exchange changes with the next start",
        "[clock] max_skew changes with the next start",
    ]


async def test_a_reload_that_storage_does_not_take_is_tried_again(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a person leaves out is left out once the disk has room for saying so, without a word more."""
    full = [True]
    select = parts.replica.select

    def selected(selection: Selection) -> bool:
        if full:
            raise StorageFailed("no space left on device")
        return select(selection)

    monkeypatch.setattr(parts.replica, "select", selected)
    async with parts.running() as house:
        parts.configure('[sync]\nprivate = ["diary"]\n')
        await house.reload_quietly()
        with pytest.raises(StorageFailed):
            await house.reload()
        assert house._local.selection == EVERYTHING
        full.clear()
        await eventually(lambda: house._local.selection.private == ("diary",))


async def test_a_long_exchange_gives_signs_of_life(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for `sync` hears of the daemon all the while, however long a first sync takes."""
    monkeypatch.setattr(commands, "SIGN_SECONDS", 0.01)
    async with parts.running() as house:
        over = anyio.Event()
        monkeypatch.setattr(house.engine, "sync_now", _exchanging_until(over))
        said = Commands(house).sync(None, None)
        assert [await anext(said), await anext(said)] == [{}, {}]
        over.set()
        assert [document async for document in said][-1] == {"peers": []}


async def test_an_exchange_goes_on_when_nobody_waits_for_it(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C on `sync` ends the waiting alone."""
    monkeypatch.setattr(commands, "SIGN_SECONDS", 0.01)
    async with parts.running() as house:
        over, done = anyio.Event(), anyio.Event()
        monkeypatch.setattr(house.engine, "sync_now", _exchanging_until(over, done))
        with anyio.CancelScope() as waiting:
            async for _ in Commands(house).sync(None, 60.0):
                waiting.cancel()
        over.set()
        with anyio.fail_after(5):
            await done.wait()


def _exchanging_until(over: anyio.Event, done: anyio.Event | None = None):
    async def sync_now(_: object) -> list[Exchange]:
        await over.wait()
        if done is not None:
            done.set()
        return []

    return sync_now


async def test_a_command_may_come_before_home_is_read(parts: Parts) -> None:
    """The first reading of a large home takes its time: peers are known from the beginning, and a pause is
    not told to have failed and in force after the next start.
    """
    bert = parts.pair("bert")

    async def commands(house: House) -> None:
        assert (await Commands(house).pause("bert"))["state"] == "paused"
        assert [peer["id"] for peer in await Commands(house).peers()] == [bert]

    async with parts.running(commands) as house:
        assert [peer["state"] for peer in await Commands(house).peers()] == ["paused"]


async def test_a_peer_that_is_being_removed_disturbs_no_answer(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`status` and `sync` tell of it what they know, and all of the others."""
    bert = parts.pair("bert")
    async with parts.running() as house:
        parts.fleet.remove(bert, seal.signer(parts.identity.key()))
        assert [peer["id"] for peer in (await Commands(house).status())["peers"]] == [bert]
        monkeypatch.setattr(house.engine, "sync_now", _ended_with(bert))
        assert [
            entry["id"] for entry in [each async for each in Commands(house).sync(None, None)][-1]["peers"]
        ] == [bert]


async def test_a_removed_device_is_let_go_without_a_descriptor_to_spare(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command fails, for the key cannot be read again; the device gets not a byte more all the same."""
    bert = parts.pair("bert")

    def none_left(*_: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    async with parts.running() as house:
        with monkeypatch.context() as exhausted:
            exhausted.setattr(tls, "server_context", none_left)
            with pytest.raises(OSError, match="Too many open files"):
                await Commands(house).remove("bert")
        assert await Commands(house).peers() == []
        assert bert not in house._listener._trusted


def _ended_with(device: DeviceId):
    async def sync_now(_: object) -> list[Exchange]:
        return [Exchange(device, Ending.FAILED)]

    return sync_now


async def test_history_that_cannot_be_purged_keeps_no_trash(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One file that cannot be removed is no reason to keep everything else that is old."""
    purged: list[int] = []

    def refuse(*_: int) -> None:
        raise StorageFailed("history/1: Permission denied")

    monkeypatch.setattr(parts.replica.history, "purge", refuse)
    monkeypatch.setattr(parts.replica.trash, "purge", purged.append)
    async with parts.running() as house:
        await house._purge()
    assert purged == [90 * 86_400_000_000]


async def test_a_port_that_is_taken_is_told_in_words(parts: Parts) -> None:
    """Where it wanted to listen and why it cannot."""
    async with parts.running() as house:
        parts.listen = house.listen
        other = House(parts.load(), parts.load, parts.identity, parts.fleet, parts.replica)
        with pytest.raises(LocalError, match=f"cannot listen on {house.listen}: .* in use"):
            await other.open()


def test_one_error_is_told_as_itself() -> None:
    """Task groups wrap what went wrong; a person and the exit code get the error itself, if it is one."""
    full = StorageFailed("full")
    assert sole(BaseExceptionGroup("outer", [ExceptionGroup("inner", [full])])) is full
    two = ExceptionGroup("two", [full, ValueError()])
    assert sole(two) is two


def test_a_lock_that_cannot_be_opened_is_told_by_name(tmp_path: Path) -> None:
    """What `sudo fleetsync` or a hand has left in its place is a file to mend and no bug."""
    (tmp_path / "lock").mkdir()
    with pytest.raises(StorageFailed, match=f"{tmp_path}/lock: Is a directory"), sole_use_of(tmp_path):
        pass
