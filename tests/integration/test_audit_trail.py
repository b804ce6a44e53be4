"""Engines that exchange leave an audit in a real file, and a broken audit stops no exchange."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from fleetsync.errors import StorageFailed
from fleetsync.ports import RunStore
from fleetsync.records.audits import RunFilter, RunStatus
from fleetsync.stores.opening import open_run_store
from fleetsync.stores.recorder import RunRecorder
from fleetsync.stores.scribe import Scribe
from fleetsync.sync.exchange import Ending
from fleetsync.sync.rounds import EXCHANGE, ROUND, Rounds
from tests.fakes.engines import World
from tests.fakes.fleet import device_id, event, log_path

DEPLOY = log_path("deploy")


@asynccontextmanager
async def audited(opened: Callable[[], RunStore], letters: str = "ab") -> AsyncIterator[World]:
    """Running engines; the first writes its audit."""
    world = World(letters)
    scribe = Scribe(opened)
    scribe.start()
    first = world.laptops[letters[0]].device
    world.engine(letters[0])._rounds = Rounds(RunRecorder(scribe.write, first))
    try:
        async with world.running():
            yield world
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(scribe.close)


def test_a_requested_round_is_a_tree_in_the_audit(tmp_path: Path) -> None:
    """`sync` with two peers: one round, a child per peer, each with its steps; nothing is left open."""

    async def scenario() -> None:
        async with audited(lambda: open_run_store("", tmp_path), "abc") as world:
            for letter in "bc":
                world[letter].learn(DEPLOY, [event(ord(letter))])
            results = await world.engine("a").sync_now()
            assert {result.ending for result in results} == {Ending.CONVERGED}

    anyio.run(scenario)
    with closing(open_run_store("", tmp_path)) as store:
        (whole,) = store.list_runs_filtered(RunFilter(skill_id=ROUND), 0, 50)
        children = store.list_children_by_parent(whole.id)
        assert {child.channel_id for child in children} == {device_id("b"), device_id("c")}
        assert {child.skill_id for child in children} == {EXCHANGE}
        assert (whole.status, whole.output) == ("ok", {"peers": 2, "converged": 2})
        for child in children:
            assert store.list_logs_by_run(child.id)[0].payload["name"] == "greet"
        assert store.count_runs_filtered(RunFilter(status=RunStatus.RUNNING)) == 0


async def test_a_broken_audit_stops_no_exchange(caplog: pytest.LogCaptureFixture) -> None:
    """With a full disk under the audit devices still converge; one warning tells."""

    def broken() -> RunStore:
        raise StorageFailed("audit.db: database or disk is full")

    async with audited(broken) as world:
        world.laptops["b"].learn(DEPLOY, [event(1)])
        results = await world.engine("a").sync_now()
        assert [result.ending for result in results] == [Ending.CONVERGED]
        assert event(1) in world.laptops["a"].lines(DEPLOY)
    assert sum("runs are not recorded" in record.message for record in caplog.records) == 1
