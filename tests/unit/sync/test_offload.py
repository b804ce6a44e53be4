"""The desk: one call at a time, in order, never abandoned."""

from __future__ import annotations

import asyncio
import threading

import anyio
import pytest

from fleetsync.errors import StorageFailed
from fleetsync.ports import Group
from fleetsync.selection import Selection
from fleetsync.sync.offload import HEADS, News
from tests.fakes.fleet import Laptop, device_id, event, log_path

DEPLOY = log_path("deploy")
PEER = device_id("p")


@pytest.fixture
def laptop():
    return Laptop("a")


async def test_calls_run_one_at_a_time_in_the_order_in_which_they_were_asked(laptop):
    """Storage is never entered twice, whoever calls."""
    running: list[int] = []
    order: list[int] = []

    def work(number):
        assert not running
        running.append(number)
        order.append(number)
        running.remove(number)

    async with anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(laptop.local.desk.call, lambda _, number=number: work(number))
    assert order == list(range(20))


@pytest.mark.parametrize("how", ["anyio", "asyncio"])
async def test_a_cancelled_call_is_finished_before_the_next_begins(laptop, how):
    """Cancelling the caller, by anyio or by asyncio itself, never lets two calls overlap."""
    begun, go_on = threading.Event(), threading.Event()
    steps = []

    def slow(_):
        begun.set()
        go_on.wait(5)
        steps.append("slow call ended")

    desk = laptop.local.desk
    if how == "anyio":
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(desk.call, slow)
            await anyio.to_thread.run_sync(begun.wait, 5)
            tasks.cancel_scope.cancel()
            threading.Timer(0.05, go_on.set).start()
    else:
        task = asyncio.create_task(desk.call(slow))
        await anyio.to_thread.run_sync(begun.wait, 5)
        task.cancel()
        threading.Timer(0.05, go_on.set).start()
        with pytest.raises(asyncio.CancelledError):
            await task
    await desk.call(lambda _: steps.append("next call began"))
    assert steps == ["slow call ended", "next call began"]


async def test_listeners_hear_what_changed_and_from_whom(laptop):
    """News say which arrivals are new and, if all came from one peer, from which."""
    heard: list[News] = []
    stop = laptop.local.desk.listen(heard.append)
    await laptop.local.desk.apply([Group(DEPLOY, [event(1), event(2)])], PEER)
    await laptop.take_in(DEPLOY, [event(3)])
    await laptop.local.desk.scan(None)
    stop()
    await laptop.take_in(DEPLOY, [event(4)])
    assert [(n.before.arrival, n.after.arrival, n.origin) for n in heard] == [(0, 2, PEER), (2, 3, None)]


async def test_a_change_with_foreign_members_has_no_single_origin(laptop, monkeypatch):
    """If storage took in local lines during the call, nobody may skip them as the peer's own."""
    apply = laptop.storage.apply

    def apply_and_find_more(groups, origin):
        laptop.learn(DEPLOY, [event(9)])
        return apply(groups, origin)

    monkeypatch.setattr(laptop.storage, "apply", apply_and_find_more)
    heard: list[News] = []
    laptop.local.desk.listen(heard.append)
    await laptop.local.desk.apply([Group(DEPLOY, [event(1)])], PEER)
    assert [news.origin for news in heard] == [None]


async def test_the_head_is_current_after_a_failed_change(laptop, monkeypatch):
    """A change that raised leaves no remembered head behind."""
    desk = laptop.local.desk
    await desk.head()

    def fail(paths):
        laptop.storage.apply([Group(DEPLOY, [event(1)])], PEER)
        raise StorageFailed("no space")

    monkeypatch.setattr(laptop.storage, "scan", fail)
    with pytest.raises(StorageFailed):
        await desk.scan(None)
    assert (await desk.head()).count == 1


async def test_a_failed_check_applies_nothing(laptop):
    """The check runs first, in the worker."""

    def refuse():
        raise StorageFailed(threading.current_thread().name)

    with pytest.raises(StorageFailed) as caught:
        await laptop.local.desk.apply([Group(DEPLOY, [event(1)])], PEER, refuse)
    assert caught.value.message != threading.current_thread().name
    assert laptop.storage.head().count == 0


async def test_heads_of_parts_are_remembered_within_a_bound(laptop):
    """A peer that calls another part its own each time gets what it asks for, and fills no memory."""
    await laptop.take_in(DEPLOY, [event(1)])
    for number in range(2 * HEADS):
        head = await laptop.local.desk.head(Selection((f"skills/x{number}",)))
        assert head.count == 1
    assert len(laptop.local.desk._heads) <= HEADS
