"""app/reindex.py: one call after a batch, and what becomes of a call that fails."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from fleetsync.app import reindex
from fleetsync.app.reindex import Reindex
from fleetsync.config import Channels
from tests.fakes.waiting import eventually


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reindex, "QUIET", 0.05)


def _stub(directory: Path, body: str) -> Channels:
    path = directory / "mur"
    path.write_text(f'#!/bin/sh\necho "$MUR_HOME $*" >> "{directory}/calls"\n{body}\n')
    path.chmod(0o755)
    return Channels(mur=str(path))


def _calls(directory: Path) -> list[str]:
    path = directory / "calls"
    return path.read_text().splitlines() if path.exists() else []


async def test_many_lines_are_one_batch(tmp_path: Path) -> None:
    """Also when they come from another thread; files that are no channel's are none."""
    settings = _stub(tmp_path, "")
    following = Reindex(tmp_path / "home", lambda: settings)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(following.run)
        following.note("skills/deploy/events.jsonl")
        for _ in range(30):
            await anyio.to_thread.run_sync(following.note, "channels/c1/events.jsonl")
        await eventually(lambda: _calls(tmp_path))
        following.note("channels/c1/channel.yaml")
        await eventually(lambda: len(_calls(tmp_path)) == 2)
        tasks.cancel_scope.cancel()
    assert _calls(tmp_path) == [f"{tmp_path}/home internals reindex"] * 2
    assert following.alert is None


async def test_lines_without_end_do_not_put_it_off_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a while a batch is over although lines keep coming."""
    monkeypatch.setattr(reindex, "QUIET", 60.0)
    monkeypatch.setattr(reindex, "AT_LATEST", 0.1)
    settings = _stub(tmp_path, "")
    following = Reindex(tmp_path, lambda: settings)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(following.run)
        following.note("channels/c1/events.jsonl")
        await eventually(lambda: _calls(tmp_path))
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("echo first; echo no room >&2; exit 1", "no room"),
        ("exit 7", "exit code 7"),
        ("sleep 60", "not done"),
    ],
)
async def test_a_failure_is_told_until_one_succeeds(
    body: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In words of its own or by its exit code; a call that hangs is ended."""
    monkeypatch.setattr(reindex, "PATIENCE", 0.5 if said == "not done" else 60)
    settings = _stub(tmp_path, body)
    following = Reindex(tmp_path, lambda: settings)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(following.run)
        following.note("channels/c1/events.jsonl")
        await eventually(lambda: following.alert, seconds=20)
        assert following.alert is not None
        assert said in following.alert.detail
        monkeypatch.setattr(reindex, "PATIENCE", 60)
        _stub(tmp_path, "")
        following.note("channels/c1/events.jsonl")
        await eventually(lambda: following.alert is None, seconds=20)
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("settings", [Channels(mur="no-such-mur"), Channels(reindex=False)])
async def test_without_mur_or_against_the_wish_nothing_is_run(settings: Channels, tmp_path: Path) -> None:
    """A laptop without mur is no fault; a later change of the settings counts at once."""
    chosen = [settings]
    following = Reindex(tmp_path, lambda: chosen[0])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(following.run)
        following.note("channels/c1/events.jsonl")
        await anyio.sleep(0.2)
        assert following.alert is None
        chosen[0] = _stub(tmp_path, "")
        following.note("channels/c1/events.jsonl")
        await eventually(lambda: _calls(tmp_path))
        tasks.cancel_scope.cancel()
