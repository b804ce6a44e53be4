"""Engines joined in one process: they push, recover, wait their turn and let each other be.

What speaks of seconds is told on virtual time: how busy the machine is says nothing about the engines.
"""

from __future__ import annotations

import random
import time
from functools import partial

import anyio
import pytest

from fleetsync.errors import (
    ClonedDevice,
    HomeMissing,
    NotFound,
    NotTrusted,
    Paused,
    StorageFailed,
    Unreachable,
)
from fleetsync.ports import Head
from fleetsync.sync import changes, push, transfer
from fleetsync.sync.exchange import Ending
from fleetsync.sync.link import PeerSettings
from fleetsync.sync.schedule import Due
from fleetsync.sync.standing import CALM_SECONDS, DOUBT_SECONDS
from fleetsync.sync.wake import Change
from fleetsync.wire import codec
from fleetsync.wire.messages import NO_TERMS
from tests.fakes.engines import Wire, World
from tests.fakes.fleet import device_id, event, log_path
from tests.fakes.waiting import eventually, on_virtual_time

DEPLOY = log_path("deploy")


def simulated(letters: str) -> World:
    """A world that can be told on virtual time."""
    return World(letters, random.Random(letters))


async def test_two_engines_converge_by_themselves():
    """Two devices that know each other need no command to become equal."""
    world = World("ab")
    world["a"].learn(DEPLOY, [event(1), event(2)])
    world["b"].learn(DEPLOY, [event(3)])
    async with world.running():
        await eventually(lambda: world.equal(DEPLOY, 3))
        await eventually(lambda: all(view.converged for view in world.views()))


@on_virtual_time
async def test_a_new_line_is_pushed_at_once():
    """A line reaches the other device long before any schedule could carry it."""
    world = simulated("ab")
    async with world.running():
        await eventually(world.connected)
        for number in range(4):
            world.write("a", DEPLOY, [event(number)])
            await eventually(partial(world.equal, DEPLOY, number + 1), seconds=0.5)


@on_virtual_time
async def test_what_moves_bit_by_bit_is_not_left_waiting(monkeypatch):
    """An exchange that broke but brought something is tried again within seconds, however often."""
    monkeypatch.setattr(codec, "BATCH_BYTES", 10_000)
    world = simulated("ab")
    world["b"].learn(DEPLOY, [event(n) for n in range(2000)])
    world.network.cut(world["b"].device, world["a"].device)

    async def one_batch(self, batches):
        async for batch in batches:
            yield batch
            raise Unreachable("the connection broke")

    monkeypatch.setattr(Wire, "_counted", one_batch)
    async with world.running():
        await eventually(lambda: world.equal(DEPLOY, 2000), seconds=60)
    assert sum(bool(each.received) for each in world.exchanges) > 10


async def test_a_relayed_line_reaches_the_third_device():
    """In a line a-b-c what a writes reaches c through b, and nothing goes back."""
    world = World("abc")
    world.part("a", "c")
    async with world.running():
        await eventually(lambda: sum(view.state == "connected" for view in world.views()) == 4)
        world.write("a", DEPLOY, [event(1)])
        await eventually(lambda: world.equal(DEPLOY, 1))
    assert world.wires["b", "a"].items_moved == 0


@on_virtual_time
async def test_a_file_that_keeps_changing_is_sent_steadily():
    """Under a writer that never pauses nothing waits longer than the push interval and a bit."""
    world = simulated("ab")
    written: dict[bytes, float] = {}
    worst = 0.0
    async with world.running():
        await eventually(world.connected)
        for number in range(150):
            line = event(number)
            world.write("a", DEPLOY, [line])
            written[line] = anyio.current_time()
            await anyio.sleep(0.01)
            for line in world["b"].lines(DEPLOY) & written.keys():
                worst = max(worst, anyio.current_time() - written.pop(line))
        await eventually(lambda: world.equal(DEPLOY, 150))
    assert 0.1 < worst < 0.4


async def test_what_was_written_apart_is_exchanged_when_they_meet_again():
    """A partition heals without a command: both sides catch up with both sides' lines."""
    world = World("ab")
    async with world.running():
        await eventually(world.connected)
        world.part("a", "b")
        await eventually(lambda: all(view.state == "offline" for view in world.views()))
        world.write("a", DEPLOY, [event(1)])
        world.write("b", DEPLOY, [event(2)])
        await eventually(lambda: all((view.unsent_seconds or 0) > 0.5 for view in world.views()))
        assert not any(view.converged for view in world.views())
        world.join("a", "b")
        await eventually(lambda: world.equal(DEPLOY, 2), seconds=15)
        await eventually(lambda: all(view.converged for view in world.views()))


@on_virtual_time
async def test_one_reachable_side_is_enough():
    """A device that cannot be called still gets and gives changes at once, and both sides know it."""
    world = simulated("ab")
    world.network.cut(world["b"].device, world["a"].device)
    world["a"].learn(DEPLOY, [event(1)])
    async with world.running():
        await eventually(lambda: world.engine("b").peers()[0].state == "connected")
        await eventually(lambda: world.equal(DEPLOY, 1))
        for number, letter in ((2, "a"), (3, "b")):
            world.write(letter, DEPLOY, [event(number)])
            await eventually(partial(world.equal, DEPLOY, number), seconds=1)
        await eventually(lambda: all(view.converged for view in world.views()))
        assert all(view.converged_at for view in world.views())
        assert world.wires["a", "b"].calls["offer"] >= 1


async def test_a_first_meeting_moves_every_item_once():
    """Both devices begin at the same time, yet nothing travels twice."""
    world = World("ab")
    lines = [event(n) for n in range(8000)]
    world["b"].learn(DEPLOY, lines)
    async with world.running():
        await eventually(lambda: world.equal(DEPLOY, 8000), seconds=20)
        await eventually(lambda: all(view.converged for view in world.views()))
    assert sum(wire.items_moved for wire in world.wires.values()) == 8000


@on_virtual_time
async def test_steady_writers_on_both_sides_cause_no_exchanges(monkeypatch):
    """While live push works, differences that are only under way start nothing."""
    monkeypatch.setattr(changes, "QUIET_SECONDS", 0.02)  # heartbeats amid the writing
    world = simulated("ab")
    async with world.running():
        await eventually(world.settled)
        before = len(world.exchanges)
        for number in range(15):
            world.write("a", DEPLOY, [event(2 * number)])
            await anyio.sleep(0.05)
            world.write("b", DEPLOY, [event(2 * number + 1)])
            await anyio.sleep(0.1)
        await eventually(lambda: world.equal(DEPLOY, 30))
    assert len(world.exchanges) == before


@on_virtual_time
async def test_a_difference_that_is_under_way_is_left_alone():
    """Just after a change here a heartbeat may be behind; only one that differs in a calm is followed up."""
    world = simulated("ab")
    other = Head(b"epoch--8", 7, 7, bytes(16))
    async with world.running():
        await eventually(world.settled)
        link = world.engine("a")._links[world["b"].device]
        world.write("a", DEPLOY, [event(1)])
        await eventually(lambda: world.equal(DEPLOY, 1))
        before = len(world.exchanges)
        await link._standing.match(other, first=False)
        await anyio.sleep(2 * DOUBT_SECONDS)
        assert len(world.exchanges) == before
        await eventually(lambda: link.outbox.unchanged_for() > CALM_SECONDS + 2 * DOUBT_SECONDS)
        await link._standing.match(other, first=False)
        await eventually(lambda: len(world.exchanges) > before)


@on_virtual_time
async def test_much_on_both_sides_at_once_does_not_wait_for_the_next_heartbeat(monkeypatch):
    """Both leave what they have to an exchange and tell it while the other is busy: nobody is converged, and
    as soon as both are calm there is an exchange.
    """
    monkeypatch.setattr(push, "FAR_BEHIND", 20)
    world = simulated("ab")
    async with world.running():
        await eventually(world.settled)
        for turn in range(3):
            lines = [event(turn * 200 + number) for number in range(200)]
            world.write("a", DEPLOY, lines[:100])
            world.write("b", DEPLOY, lines[100:])
            await eventually(partial(world.equal, DEPLOY, 200 * (turn + 1)), seconds=8)
        await eventually(lambda: all(view.converged for view in world.views()))


@on_virtual_time
async def test_a_heartbeat_that_does_not_match_is_followed_up():
    """What live push lost is found by the next heartbeat, without waiting for the schedule."""
    world = simulated("ab")
    async with world.running():
        await eventually(world.settled)
        # Known to storage, but no outbox ever hears of it: as if push had lost it.
        world["a"].learn(DEPLOY, [event(1)])
        lost = world.engine("a")._links[world["b"].device].outbox
        lost.advance(world["a"].storage.head())
        lost.changed_at = anyio.current_time()
        lost._wake()
        await eventually(lambda: world.equal(DEPLOY, 1))


async def test_trouble_with_one_peer_never_touches_another():
    """A peer whose every answer is a fault does not disturb the others."""
    world = World("abc")

    async def broken(*_):
        raise RuntimeError("a bug")

    async with world.running():
        await eventually(world.connected)
        world.wires["a", "c"].hello = broken
        await world.engine("a")._links[world["c"].device].drop()
        await eventually(lambda: any(view.error and "a bug" in view.error.message for view in world.views()))
        world.write("a", DEPLOY, [event(1)])
        await eventually(lambda: event(1) in world["b"].lines(DEPLOY))


async def test_a_full_disk_is_told_and_tried_again():
    """An exchange that cannot write fails with path and reason; when there is room it succeeds by itself."""
    world = World("ab")
    world["b"].learn(DEPLOY, [event(1)])
    apply = world["a"].storage.apply

    def full(groups, origin):
        raise StorageFailed(f"{DEPLOY}: No space left on device")

    world["a"].storage.apply = full
    async with world.running():
        await eventually(
            lambda: any("No space left" in str(view.error) for view in world.engine("a").peers())
        )
        world["a"].storage.apply = apply
        await eventually(lambda: world.equal(DEPLOY, 1), seconds=10)
        await eventually(lambda: all(view.error is None for view in world.engine("a").peers()))


async def test_nobody_is_converged_while_what_was_streamed_could_not_be_written():
    """A full disk after everything was equal: neither side claims it, also when they then lose sight of
    each other; with room again both are.
    """
    world = World("ab")
    a, b = world.engine("a"), world.engine("b")
    apply = world["a"].storage.apply
    claims: list[bool] = []
    failed = anyio.Event()

    def full(groups, origin):
        failed.set()
        raise StorageFailed(f"{DEPLOY}: No space left on device")

    async with world.running():
        await eventually(lambda: world.connected() and all(view.converged for view in world.views()))
        world["a"].storage.apply = full
        world.write("b", DEPLOY, [event(1)])
        await failed.wait()
        world.part("a", "b")
        await eventually(lambda: not any(view.state == "connected" for view in world.views()))
        for _ in range(20):
            claims += [view.converged for view in a.peers()]
            await anyio.sleep(0.05)
        assert not any(claims)
        await eventually(lambda: not any(view.converged for view in b.peers()))
        world["a"].storage.apply = apply
        world.join("a", "b")
        await eventually(lambda: world.equal(DEPLOY, 1), seconds=10)
        await eventually(lambda: all(view.converged for view in world.views()), seconds=10)


async def test_a_home_that_cannot_be_read_is_told_and_read_again():
    """Trouble in scanning never ends the daemon, and what was written meanwhile is found later."""
    world = World("ab")
    scan = world["a"].storage.scan

    def missing(paths):
        raise HomeMissing("home is gone")

    async with world.running():
        await eventually(world.connected)
        world["a"].storage.scan = missing
        world.write("a", DEPLOY, [event(1)])
        await eventually(lambda: world.engine("a")._reading.trouble is not None)
        assert (await world.engine("a").view()).trouble.code == "home-missing"
        world["a"].storage.scan = scan
        await eventually(lambda: world.equal(DEPLOY, 1))
        assert (await world.engine("a").view()).trouble is None


@on_virtual_time
async def test_a_paused_peer_gets_nothing_until_it_is_resumed():
    """Pausing holds both ways at once; resuming catches up at once."""
    world = simulated("ab")
    b = world["b"].device
    async with world.running():
        await eventually(world.connected)
        await world.engine("a").pause(b)
        world.write("a", DEPLOY, [event(1)])
        world.write("b", DEPLOY, [event(2)])
        await eventually(lambda: world["a"].storage.head().count == world["b"].storage.head().count == 1)
        with pytest.raises(Paused):
            world.engine("a").responder(b)
        await anyio.sleep(0.3)  # several times what a push takes
        assert not world.equal(DEPLOY, 2)
        assert world.engine("a").peers()[0].state == "paused"
        streams = world.wires["a", "b"].calls["changes"]
        await world.engine("a").resume(b)
        await eventually(lambda: world.equal(DEPLOY, 2))
        await eventually(lambda: world.wires["a", "b"].calls["changes"] > streams, seconds=0.5)


@on_virtual_time
@pytest.mark.parametrize("decision", ["pause", "remove_peer"])
async def test_a_decision_ends_the_exchanges_that_somebody_asked_for(decision, monkeypatch):
    """Also one that a command began, and one that waits for its turn: nothing more comes or goes."""
    monkeypatch.setattr(codec, "BATCH_BYTES", 10_000)
    monkeypatch.setattr(transfer, "APPLY_BYTES", 10_000)
    world = simulated("ab")
    a, b = world["a"], world["b"]
    b.learn(DEPLOY, [event(n) for n in range(2000)])
    world.network.cut(b.device, a.device)
    async with world.running(), anyio.create_task_group() as tasks:
        for _ in range(2):
            tasks.start_soon(world.engine("a").sync_now, b.device)
        await eventually(lambda: 0 < a.storage.head().count < 1000)
        await getattr(world.engine("a"), decision)(b.device)
        calls = world.wires["a", "b"].calls.total()
        await anyio.sleep(30)
        assert a.storage.head().count < 1500
        assert world.wires["a", "b"].calls.total() <= calls + 1


@on_virtual_time
async def test_a_peer_may_be_removed_while_the_engine_ends(monkeypatch):
    """A command that comes last is carried out, and the end goes on to its end."""
    world = simulated("abc")
    closing = anyio.Event()

    async def slowly(_):
        closing.set()
        await anyio.sleep(0.1)

    async def remove_both():
        await closing.wait()
        for there in "bc":
            await world.engine("a").remove_peer(world[there].device)

    async with anyio.create_task_group() as tasks, world.running():
        await eventually(world.connected)
        monkeypatch.setattr(Wire, "aclose", slowly)
        tasks.start_soon(remove_both)
    assert world.engine("a").peers() == []


async def test_a_fault_with_one_peer_ends_no_exchange_with_another(monkeypatch):
    """Whoever asks for all peers hears of each how it went."""
    world = World("abc")
    b, c = world["b"].device, world["c"].device
    hello = Wire.hello

    async def faulty(self, terms=NO_TERMS):
        if self.device == b:
            raise ZeroDivisionError
        return await hello(self, terms)

    async with world.running():
        await eventually(world.settled)
        monkeypatch.setattr(Wire, "hello", faulty)
        results = {each.peer: each for each in await world.engine("a").sync_now()}
    assert results[c].ending is Ending.CONVERGED
    assert results[b].ending is Ending.FAILED
    assert "ZeroDivisionError" in str(results[b].error)


async def test_peers_come_and_go_while_it_runs():
    """A peer is spoken to from the moment it is added to the moment it is removed, others undisturbed."""
    world = World("abc")
    async with world.running():
        await eventually(world.settled)
        streams = world.wires["a", "b"].calls["changes"]
        for here, there in (("a", "c"), ("c", "a")):
            await world.engine(here).remove_peer(world[there].device)
        with pytest.raises(NotTrusted):
            world.engine("a").responder(world["c"].device)
        world.write("a", DEPLOY, [event(1)])
        await eventually(lambda: world.equal(DEPLOY, 1))  # through b
        assert world.wires["a", "b"].calls["changes"] == streams
        for here, there in (("a", "c"), ("c", "a")):
            world.engine(here).add_peer(world[there].device, PeerSettings(there))
        await eventually(world.connected)


async def test_sync_now_reads_home_and_exchanges_with_everybody():
    """A command finds what no watcher has seen and tells how each exchange went."""
    world = World("abc")
    async with world.running():
        await eventually(world.connected)
        world["a"].write(DEPLOY, [event(1)])
        results = await world.engine("a").sync_now()
        assert {result.peer for result in results} == {world["b"].device, world["c"].device}
        assert all(result.ending is Ending.CONVERGED for result in results)
        assert world.equal(DEPLOY, 1)
        world.part("a", "b")
        [gone] = await world.engine("a").sync_now(world["b"].device)
        assert gone.ending is Ending.UNREACHABLE
        with pytest.raises(NotFound):
            await world.engine("a").sync_now(device_id("z"))


async def test_a_dry_run_only_looks():
    """The preview names paths and counts; the files stay as they are."""
    world = World("ab")
    world.part("a", "b")
    async with world.running():
        await eventually(lambda: all(view.state == "offline" for view in world.views()))
        await world["a"].take_in(DEPLOY, [event(1), event(2)])
        world.network.mend(world["a"].device, world["b"].device)
        [result] = await world.engine("a").sync_now(dry_run=True)
        assert result.would_send == {DEPLOY: 2}
        assert not world["b"].lines(DEPLOY)


async def test_a_fault_in_scheduled_work_ends_nothing(caplog):
    """A purge that breaks is logged; the next thing is done as if nothing had been."""
    world = World("ab")

    async def broken():
        raise RuntimeError("a bug")

    async with world.running():
        await eventually(world.connected)
        world.engine("a")._purge = broken
        world.engine("a")._post_nowait(Due.PURGE)
        await eventually(lambda: "purge failed" in caplog.text)
        world["a"].write(DEPLOY, [event(1)])
        world.engine("a")._post_nowait(Due.SWEEP)
        await eventually(lambda: world.equal(DEPLOY, 1))


@on_virtual_time
async def test_waking_up_calls_everybody_at_once():
    """After sleep or on another network the connections are dropped and peers called without backoff."""
    world = simulated("ab")
    async with world.running():
        await eventually(world.connected)
        hellos = world.wires["a", "b"].calls["hello"]
        await world.engine("a").woke({Change.SLEPT})
        with anyio.fail_after(1):
            await eventually(lambda: world.wires["a", "b"].calls["hello"] > hellos)
            await eventually(world.connected)
        assert world.wires["a", "b"].calls["aclose"] == 1


async def test_it_ends_within_two_seconds():
    """Told to end in the middle of a first sync, it ends, and storage is not in the middle of a call."""
    world = World("ab")
    world["a"].learn(DEPLOY, [event(n) for n in range(20_000)])
    async with world.running():
        await eventually(lambda: world.exchanges or world["b"].storage.head().count > 0, seconds=20)
        began = time.monotonic()
    assert time.monotonic() - began < 2.0
    assert not world["a"].local.desk._busy.locked()


@pytest.mark.parametrize(("due", "expected"), [(Due.SWEEP, "swept"), (Due.EXCHANGE, "exchanged")])
@on_virtual_time
async def test_the_schedule_does_what_push_forgot(due, expected):
    """A sweep finds lines that nobody reported; the regular exchange asks every connected peer."""
    world = simulated("ab")
    async with world.running():
        await eventually(world.settled)
        before = len(world.exchanges)
        world["a"].write(DEPLOY, [event(1)])
        world.engine("a")._post_nowait(due)
        if expected == "swept":
            await eventually(lambda: world.equal(DEPLOY, 1))
        else:
            await eventually(lambda: len(world.exchanges) > before)


async def test_a_second_live_instance_of_a_device_is_refused_and_told():
    """Whoever is connected goes on; the other one is a clone, until a person has dealt with it."""
    world = World("ab")
    engine, b = world.engine("a"), device_id("b")
    async with world.running():
        await eventually(world.connected)
        engine.shown(b, b"b" * 8)
        engine.shown(b, b"b" * 8)
        with pytest.raises(ClonedDevice):
            engine.shown(b, b"\2" * 8)
        engine.shown(b, b"b" * 8)
        [view] = engine.peers()
        assert isinstance(view.error, ClonedDevice)
        assert view.state == "connected"
        await engine.resume(b)
        [view] = engine.peers()
        assert view.error is None
