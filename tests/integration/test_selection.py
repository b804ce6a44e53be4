"""Engines that do not carry the same, while they run: choices, directions, and every byte that is said."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from functools import partial

import anyio

from fleetsync.devices.notes import Direction
from fleetsync.records.names import DeviceId
from fleetsync.selection import EVERYTHING, Selection
from fleetsync.sync import changes
from fleetsync.sync.engine import Connect
from fleetsync.wire import codec
from fleetsync.wire.messages import NO_TERMS, Batch, Frame, Hello, Receipt, RosterOffer, Terms, Want
from tests.fakes.engines import Wire, World
from tests.fakes.fleet import event, log_path, manifest_path
from tests.fakes.waiting import eventually

DEPLOY, DIARY = log_path("deploy"), log_path("diary")
SECRET = b"what nobody else may read"
PRIVATE = Selection(private=("diary",))


class Tape(Wire):
    """A wire that keeps all that is said on it, as it would be encoded."""

    def __init__(self, world: World, wire: Wire, said: list[bytes]) -> None:
        super().__init__(world, wire._caller, wire.device)
        self._said = said

    async def hello(self, terms: Terms = NO_TERMS) -> Hello:
        answer = await super().hello(terms)
        self._said += [codec.encode(terms), codec.encode(answer)]
        return answer

    async def reconcile(self, message: bytes) -> bytes:
        answer = await super().reconcile(message)
        self._said += [message, answer]
        return answer

    @asynccontextmanager
    async def items(self, want: Want) -> AsyncIterator[AsyncIterator[Batch]]:
        self._said.append(codec.encode(want))
        async with super().items(want) as batches, aclosing(self._kept(batches)) as kept:
            yield kept

    async def _kept(self, frames):
        async for frame in frames:
            # Plain, so that what is looked for could be found.
            self._said += [b"\n".join([g.path.encode(), *g.bodies]) for g in getattr(frame, "groups", ())]
            yield frame

    async def offer(self, batch: Batch) -> Receipt:
        self._said += [b"\n".join([group.path.encode(), *group.bodies]) for group in batch.groups]
        receipt = await super().offer(batch)
        self._said.append(codec.encode(receipt))
        return receipt

    @asynccontextmanager
    async def changes(self) -> AsyncIterator[AsyncIterator[Frame]]:
        async with super().changes() as frames, aclosing(self._kept(frames)) as kept:
            yield kept

    async def roster(self, offer: RosterOffer) -> RosterOffer:
        answer = await super().roster(offer)
        self._said += [codec.encode(offer), codec.encode(answer)]
        return answer


def taped(world: World) -> list[bytes]:
    """Everything that is said in this world from now on."""
    said: list[bytes] = []
    for engine in world.engines.values():
        engine._connect = partial(_tape, world, engine._connect, said)
    return said


def _tape(world: World, connect: Connect, said: list[bytes], device: DeviceId) -> Tape:
    wire = connect(device)
    assert isinstance(wire, Wire)
    return Tape(world, wire, said)


def equal_in_common(world: World) -> bool:
    """Whether everybody has proven with everybody what both carry."""
    return all(view.converged and view.state == "connected" for view in world.views())


async def shows_equality(world: World, letter: str) -> None:
    """Return once `status` there shows the same count and fingerprint for this device and for its peer."""
    with anyio.fail_after(5):
        while True:
            [peer] = (await world.engine(letter).view()).peers
            assert peer.local is not None
            assert peer.remote is not None
            here, there = peer.local, peer.remote
            if (here.count, here.fingerprint) == (there.count, there.fingerprint):
                return
            await anyio.sleep(0.02)


async def test_a_private_skill_is_in_no_message(monkeypatch):
    """Written, edited, pushed around: neither its name nor a byte of it is ever said."""
    monkeypatch.setattr(changes, "QUIET_SECONDS", 0.05)
    world = World("ab")
    said = taped(world)
    await world.engine("a").select(PRIVATE)
    world["a"].learn(DIARY, [event(1)[:-1] + b',"note":"%s"}' % SECRET])
    async with world.running():
        await eventually(world.connected)
        for number in range(5):
            world.write("a", DIARY, [event(number)[:-1] + b',"note":"%s"}' % SECRET])
            world["a"].home.files[manifest_path("diary")] = b"name: diary\n# %d %s\n" % (number, SECRET)
            world.engine("a").touched([manifest_path("diary")])
            world.write("a", DEPLOY, [event(number)])
            world.write("b", DEPLOY, [event(100 + number)])
            await eventually(partial(world.equal, DEPLOY, 2 * number + 2))
        await world.engine("a").sync_now()
        await world.engine("b").sync_now()
        await eventually(lambda: equal_in_common(world))
    everything = b"\n".join(said)
    assert b"skills/deploy" in everything
    assert b"diary" not in everything
    assert SECRET not in everything


async def test_a_choice_made_while_it_runs_counts_at_once():
    """Left out: nothing of it travels any more, and both are converged. Carried again: it catches up."""
    world = World("ab")
    async with world.running():
        world.write("a", DIARY, [event(1)])
        await eventually(lambda: world.equal(DIARY, 1))
        await world.engine("b").select(Selection(("skills/diary",)))
        await eventually(lambda: equal_in_common(world))
        world.write("a", DIARY, [event(2)])
        world.write("b", DIARY, [event(3)])
        world.write("a", DEPLOY, [event(4)])
        await eventually(lambda: world.equal(DEPLOY, 1))
        await eventually(lambda: equal_in_common(world))
        assert world["a"].lines(DIARY) == {event(1), event(2)}
        assert world["b"].lines(DIARY) == {event(1), event(3)}
        await shows_equality(world, "a")
        assert world.engine("a").peers()[0].excluded == ("skills/diary",)
        assert all(view.error is None for view in world.views())
        await world.engine("b").select(EVERYTHING)
        await eventually(lambda: world.equal(DIARY, 3))
        await eventually(lambda: equal_in_common(world))


async def test_steady_writing_beside_what_is_left_out_causes_no_exchanges(monkeypatch):
    """Heartbeats speak of what both carry: a busy log that the peer leaves out raises no doubt."""
    monkeypatch.setattr(changes, "QUIET_SECONDS", 0.02)
    world = World("ab")
    await world.engine("b").select(Selection(("skills/diary",)))
    async with world.running():
        await eventually(lambda: equal_in_common(world))
        before = len(world.exchanges)
        moved = sum(wire.items_moved for wire in world.wires.values())
        for number in range(20):
            world.write("a", DIARY, [event(number)])
            await anyio.sleep(0.05)
        await eventually(lambda: world["a"].storage.head().count == 20)
        await anyio.sleep(1.5)  # longer than a doubt takes
        assert len(world.exchanges) == before
        assert sum(wire.items_moved for wire in world.wires.values()) == moved
        await eventually(lambda: equal_in_common(world))


async def test_a_direction_changes_while_it_runs():
    """Receive only: nothing of ours goes there, both are converged; both ways again: it catches up."""
    world = World("ab")
    a, b = world["a"].device, world["b"].device
    async with world.running():
        await eventually(world.connected)
        await world.engine("a").redirect(b, Direction.RECEIVE)
        await eventually(lambda: equal_in_common(world))
        world.write("a", DEPLOY, [event(1)])
        world.write("b", DEPLOY, [event(2)])
        await eventually(lambda: len(world["a"].lines(DEPLOY)) == 2)
        await world.engine("b").sync_now(a)
        await world.engine("a").sync_now(b)
        assert world["b"].lines(DEPLOY) == {event(2)}
        await eventually(lambda: equal_in_common(world))
        assert all(view.error is None for view in world.views())
        await world.engine("a").redirect(b, Direction.SEND)
        await eventually(lambda: event(1) in world["b"].lines(DEPLOY))
        world.write("b", DEPLOY, [event(3)])
        await eventually(lambda: equal_in_common(world))
        await world.engine("a").sync_now(b)
        assert event(3) not in world["a"].lines(DEPLOY)
        await world.engine("a").redirect(b, Direction.BOTH)
        await eventually(lambda: world.equal(DEPLOY, 3))


async def test_one_reachable_side_is_enough_for_one_direction_too():
    """A device that can only call tells the other when all that may travel has: neither turns stale."""
    world = World("ab")
    world.network.cut(world["b"].device, world["a"].device)
    async with world.running():
        await world.engine("a").redirect(world["b"].device, Direction.RECEIVE)
        await eventually(lambda: world.engine("b").peers()[0].state == "connected")
        world.write("a", DEPLOY, [event(1)])
        world.write("b", DEPLOY, [event(2)])
        await eventually(lambda: len(world["a"].lines(DEPLOY)) == 2)
        told = world.engine("b")._milestones.converged_at(world["a"].device) or 0.0
        world["b"].time.elapsed += 100
        await world.engine("a").sync_now()
        await eventually(lambda: (world.engine("b").peers()[0].converged_at or 0.0) > told)
        assert world["b"].lines(DEPLOY) == {event(2)}
