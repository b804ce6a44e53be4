"""What is proven with a peer, and what a heartbeat leaves in doubt; told on virtual time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import anyio
import pytest

from fleetsync.devices.notes import Direction
from fleetsync.ports import Head
from fleetsync.sync.accord import Accord
from fleetsync.sync.exchange import Ending, Exchange, Heads
from fleetsync.sync.milestones import Remembered
from fleetsync.sync.offload import Desk
from fleetsync.sync.push import Outbox
from fleetsync.sync.rival import Rival
from fleetsync.sync.standing import CALM_SECONDS, Standing
from tests.fakes.fleet import Laptop, device_id, event, log_path
from tests.fakes.waiting import on_virtual_time

pytestmark = on_virtual_time

T = TypeVar("T")

DEPLOY = log_path("deploy")
PEER = device_id("p")
OTHER = Head(b"epoch--8", 7, 7, bytes(16))


async def in_place(work: Callable[[], T], turn: anyio.CapacityLimiter) -> T:
    """Storage without a thread: virtual time does not wait for one."""
    async with turn:
        return work()


class Scene:
    """A laptop with one line, as it stands with a peer."""

    def __init__(self, direction: Direction = Direction.BOTH) -> None:
        self.laptop = Laptop("a")
        self.laptop.learn(DEPLOY, [event(1)])
        local, accord = self.laptop.local, Accord()
        local.desk = Desk(self.laptop.storage, in_place)
        monotonic = self.laptop.time.monotonic
        self.outbox = Outbox(local.desk, PEER, monotonic, accord)
        self.outbox.direction = direction
        self.rival = Rival(monotonic)
        self.milestones = Remembered({})
        self.standing = Standing(local, accord, self.outbox, self.rival, self.milestones)

    async def is_doubted(self) -> bool:
        """Whether an exchange is called for now."""
        with anyio.move_on_after(1.0):
            await self.standing.doubted()
            return True
        return False

    def conclude(self, ending: Ending, opening: Heads, closing: Heads | None) -> None:
        self.standing.conclude(opening, Exchange(PEER, ending, opening=opening, closing=closing))


@pytest.fixture
def scene() -> Scene:
    return Scene()


async def test_a_heartbeat_that_matches_is_a_proof(scene: Scene) -> None:
    """Nothing need be asked to know that two sets with one fingerprint are equal, and since when."""
    await scene.standing.match(await scene.standing.common_head(), first=False)
    assert scene.standing.cut_proven
    assert scene.standing.converged_at == scene.laptop.time.wall()
    assert not await scene.is_doubted()


async def test_a_difference_in_a_calm_is_doubted(scene: Scene) -> None:
    """Nothing is under way that would explain it."""
    await scene.laptop.take_in(DEPLOY, [event(2)])
    scene.outbox.advance(await scene.standing.common_head())
    scene.laptop.time.elapsed += CALM_SECONDS + 0.1
    await scene.standing.match(OTHER, first=False)
    assert await scene.is_doubted()
    assert scene.standing.remote == OTHER


async def test_just_after_a_change_only_the_first_heartbeat_is_doubted(scene: Scene) -> None:
    """Later ones may have been sent before the change arrived; what a stream begins with is no echo of it."""
    await scene.laptop.take_in(DEPLOY, [event(2)])
    scene.outbox.advance(await scene.standing.common_head())
    scene.laptop.time.elapsed += CALM_SECONDS - 0.1
    await scene.standing.match(OTHER, first=False)
    assert not await scene.is_doubted()
    await scene.standing.match(OTHER, first=True)
    assert await scene.is_doubted()


async def test_a_doubt_that_came_true_by_itself_is_none(scene: Scene) -> None:
    """What was missing came while the doubt was waited out."""
    scene.standing.doubt()
    scene.standing.remote = await scene.standing.common_head()
    assert not await scene.is_doubted()


@pytest.mark.parametrize("rival", [False, True])
async def test_what_could_not_be_judged_is_doubted_once_it_is_calm(scene: Scene, *, rival: bool) -> None:
    """The next heartbeat may be half a minute away; as long as something moves, nothing is said."""
    await scene.laptop.take_in(DEPLOY, [event(2)])
    scene.outbox.advance(await scene.standing.common_head())
    await scene.standing.match(OTHER, first=False)
    scene.laptop.time.elapsed += 60
    if rival:
        scene.rival.fetches()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(scene.standing.wait_for_calm)
        assert await scene.is_doubted() is not rival
        tasks.cancel_scope.cancel()


async def test_where_items_only_come_a_difference_is_not_doubted_once_it_was_compared() -> None:
    """The sets need never match; what counts is whether an exchange has seen all that the peer held."""
    scene = Scene(Direction.RECEIVE)
    await scene.standing.match(OTHER, first=True)
    assert await scene.is_doubted()
    heads = Heads(await scene.standing.common_head(), OTHER)
    scene.conclude(Ending.CONVERGED, heads, heads)
    await scene.standing.match(OTHER, first=True)
    assert not await scene.is_doubted()
    await scene.standing.match(Head(b"epoch--8", 8, 8, bytes(16)), first=True)
    assert await scene.is_doubted()


async def test_where_items_only_go_no_difference_is_doubted() -> None:
    """Whatever the peer holds, nothing would come of an exchange."""
    scene = Scene(Direction.SEND)
    await scene.standing.match(OTHER, first=True)
    assert not await scene.is_doubted()


async def test_an_exchange_without_proof_takes_the_proof_back(scene: Scene) -> None:
    """What was equal before says nothing of what an exchange has just found."""
    here = await scene.standing.common_head()
    scene.conclude(Ending.CONVERGED, Heads(here, OTHER), Heads(here, here))
    assert scene.standing.cut_proven
    assert scene.standing.remote == here
    at = scene.standing.converged_at
    scene.laptop.time.elapsed += 5
    scene.conclude(Ending.PARTIAL, Heads(here, OTHER), Heads(here, OTHER))
    assert (scene.standing.cut_proven, scene.standing.converged_at) == (False, at)
    assert scene.standing.remote == OTHER


async def test_what_did_not_arrive_here_is_not_proven(scene: Scene) -> None:
    """A refused or failed batch of live push came after the last proof."""
    scene.standing.told_equal(await scene.standing.common_head())
    assert scene.standing.cut_proven
    scene.standing.missed()
    assert not scene.standing.cut_proven
