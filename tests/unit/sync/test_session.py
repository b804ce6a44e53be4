"""One exchange between two devices in one process."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace

import msgspec
import pytest

from fleetsync.devices.notes import Direction
from fleetsync.errors import (
    ClonedDevice,
    DishonestPeer,
    NotProven,
    NotTrusted,
    Paused,
    ProtocolMismatch,
    StorageFailed,
    Unreachable,
)
from fleetsync.ports import END, HELD, START, Group, Outcome, Verdict
from fleetsync.sync.exchange import WHOLE_SET, Ending
from fleetsync.sync.responder import Responder
from fleetsync.sync.session import Session
from fleetsync.wire import codec
from fleetsync.wire.messages import NO_TERMS, Batch, Span, Terms, Want
from tests.fakes.fleet import Laptop, event, log_path, manifest_path

DEPLOY = log_path("deploy")


@pytest.fixture
def a():
    return Laptop("a")


@pytest.fixture
def b():
    return Laptop("b")


async def exchange(here: Laptop, there: Laptop, **options):
    return await Session(here.local, there.as_peer_of(here), **options).run()


async def test_equal_devices_need_one_round_trip(a, b):
    """When nothing changed, an exchange is one question and one answer."""
    for laptop in (a, b):
        laptop.learn(DEPLOY, [event(1)])
    result = await exchange(a, b)
    assert result.ending is Ending.CONVERGED
    assert result.traffic.round_trips == 1
    assert (result.received, result.sent) == (0, 0)


async def test_what_a_cut_stream_has_not_brought_is_asked_for_again(a, b):
    """An exchange outlives a stream that breaks, as long as each brings something that was asked for."""
    a.learn(DEPLOY, [event(n) for n in range(0, 200, 2)])
    b.learn(DEPLOY, [event(n) for n in range(1, 200, 2)])
    asked = []

    class Short(Responder):
        @asynccontextmanager
        async def items(self, want):
            asked.append(len(want.ids))
            async with super().items(Want(want.ids[:30])) as batches:
                yield cut_after(batches)

    async def cut_after(batches):
        async for batch in batches:
            yield batch
        raise Unreachable("the connection broke")

    result = await Session(a.local, Short(b.local, b.caller(a))).run()
    assert result.ending is Ending.CONVERGED
    assert asked == [100, 70, 40, 10]
    assert a.lines(DEPLOY) == b.lines(DEPLOY) == {event(n) for n in range(200)}


async def test_both_sides_end_with_the_union(a, b):
    """What either side had when the exchange began, both have when it ends."""
    a.learn(DEPLOY, [event(1), event(2)])
    b.learn(DEPLOY, [event(2), event(3), event(4)])
    result = await exchange(a, b)
    assert result.ending is Ending.CONVERGED
    assert (result.received, result.sent) == (2, 1)
    assert a.lines(DEPLOY) == b.lines(DEPLOY) == {event(n) for n in (1, 2, 3, 4)}
    assert result.closing.equal


@pytest.mark.parametrize("full_side", ["a", "b"])
async def test_first_sync_moves_everything_in_either_direction(a, b, full_side):
    """An empty device asks for, or is given, whole ranges and ends with all of it."""
    full = {"a": a, "b": b}[full_side]
    for skill in range(20):
        full.learn(log_path(f"skill-{skill}"), [event(skill * 1000 + n) for n in range(150)])
    result = await exchange(a, b)
    assert result.ending is Ending.CONVERGED
    assert result.closing.equal
    assert result.received + result.sent == 3000


async def test_a_long_absence_is_made_up_for(a, b):
    """Scattered differences on both sides are found and moved, whatever their number."""
    shared = [event(n) for n in range(2000)]
    for laptop in (a, b):
        laptop.learn(DEPLOY, shared)
    a.learn(DEPLOY, [event(n, "a") for n in range(0, 2000, 3)])
    b.learn(DEPLOY, [event(n, "b") for n in range(0, 2000, 2)])
    result = await exchange(a, b)
    assert result.ending is Ending.CONVERGED
    assert (result.received, result.sent) == (1000, 667)
    assert result.closing.equal


async def test_concurrent_edits_end_alike(a, b):
    """Both edits of a manifest reach both sides, and both apply the same one."""
    path = manifest_path("deploy")
    a.home.files[path], b.home.files[path] = b"from: a\n", b"from: b\n"
    for laptop in (a, b):
        laptop.storage.scan([path])
    result = await exchange(a, b)
    assert result.ending is Ending.CONVERGED
    assert (result.received, result.sent) == (1, 1)
    assert a.home.files[path] == b.home.files[path]


async def test_a_superseded_answer_brings_the_covering_version(a, b):
    """Whoever offers a version that was replaced meanwhile learns its replacement in the same exchange."""
    path = manifest_path("deploy")
    a.home.files[path] = b"v: 1\n"
    a.storage.scan([path])
    await exchange(a, b)
    b.home.files[path] = b"v: 2\n"
    b.storage.scan([path])
    [covered] = [item for page in a.storage.between(START, END) for item in page]

    class Stale(Responder):
        """Reconciles as if it had nothing, so that everything is offered to it."""

        async def reconcile(self, message):
            return bytes.fromhex("6100000200")

    result = await Session(a.local, Stale(b.local, b.caller(a))).run()
    assert covered.body
    assert a.home.files[path] == b"v: 2\n"
    assert result.refused == ()


async def test_a_body_that_was_not_asked_for_makes_the_peer_dishonest(a, b):
    """A peer that gives another body than the one asked for is named, and nothing of it is applied."""
    a.learn(DEPLOY, [event(1), event(2)])
    b.learn(DEPLOY, [event(1), event(3)])

    class Liar(Responder):
        @asynccontextmanager
        async def items(self, want):
            async def lies():
                yield Batch([Group(DEPLOY, [event(99)])])

            yield lies()

    result = await Session(a.local, Liar(b.local, b.caller(a))).run()
    assert result.ending is Ending.FAILED
    assert isinstance(result.error, DishonestPeer)
    assert b.device in result.error.message
    assert event(99) not in a.lines(DEPLOY)


async def test_items_that_are_announced_and_withheld_are_not_proven(a, b):
    """Withholding is partial the first time and, with nothing new, an error with names the second."""
    a.learn(DEPLOY, [event(1)])
    b.learn(DEPLOY, [event(1), event(2)])

    class Miser(Responder):
        @asynccontextmanager
        async def items(self, want):
            async def nothing():
                return
                yield

            yield nothing()

    first = await Session(a.local, Miser(b.local, b.caller(a))).run()
    assert first.ending is Ending.PARTIAL
    second = await Session(a.local, Miser(b.local, b.caller(a)), previous=first).run()
    assert second.ending is Ending.FAILED
    assert isinstance(second.error, NotProven)
    assert b.device in second.error.message


async def test_a_withheld_span_is_not_proven(a, b):
    """An empty device that asks for everything and is given half does not call itself converged."""
    b.learn(DEPLOY, [event(n) for n in range(3000)])

    class Miser(Responder):
        @asynccontextmanager
        async def items(self, want):
            async def half():
                if want.spans:
                    yield Batch([Group(DEPLOY, [event(n) for n in range(1000)])])

            yield half()

    result = await Session(a.local, Miser(b.local, b.caller(a))).run()
    assert result.ending is Ending.PARTIAL


async def test_refused_items_are_named(a, b):
    """What one side will not take is partial, with the path, the reason and who refused."""
    a.learn(DEPLOY, [event(1), event(2)])
    b.storage.apply = lambda groups, origin: [
        Verdict(Outcome.REFUSED, "no room for it") for group in groups for _ in group.bodies
    ]
    first = await exchange(a, b)
    assert first.ending is Ending.PARTIAL
    assert first.sent == 0
    assert {(r.path, r.by, r.reason) for r in first.refused} == {(DEPLOY, b.device, "no room for it")}
    second = await exchange(a, b, previous=first)
    assert second.ending is Ending.FAILED
    assert DEPLOY in second.error.message
    assert "no room for it" in second.error.message


async def test_trouble_with_the_disk_fails_the_exchange_and_keeps_what_arrived(a, b):
    """A full disk ends this exchange with its path and reason; the next one goes on."""
    b.learn(DEPLOY, [event(n) for n in range(10)])
    apply = a.storage.apply

    def full(groups, origin):
        raise StorageFailed(f"{DEPLOY}: No space left on device")

    a.storage.apply = full
    result = await exchange(a, b)
    assert result.ending is Ending.FAILED
    assert "No space left" in result.error.message
    a.storage.apply = apply
    assert (await exchange(a, b, previous=result)).ending is Ending.CONVERGED


@pytest.mark.parametrize(
    ("direction", "on_a", "on_b"),
    [(Direction.RECEIVE, 3, 2), (Direction.SEND, 2, 3)],
)
async def test_one_way_moves_one_way(a, b, direction, on_a, on_b):
    """A direction limits what travels and what must be proven."""
    a.learn(DEPLOY, [event(1), event(2)])
    b.learn(DEPLOY, [event(2), event(3)])
    result = await exchange(a, b, direction=direction)
    assert result.ending is Ending.CONVERGED
    assert result.one_way
    assert (len(a.lines(DEPLOY)), len(b.lines(DEPLOY))) == (on_a, on_b)


async def test_the_peers_direction_counts_too(a, b):
    """A peer that only takes is not asked, and one that only gives is offered nothing."""
    a.learn(DEPLOY, [event(1)])
    b.learn(DEPLOY, [event(2)])
    caller = b.caller(a)
    caller.direction = Direction.RECEIVE
    result = await Session(a.local, Responder(b.local, caller)).run()
    assert (result.received, result.sent) == (0, 1)
    assert not result.refused


async def test_a_direction_is_enforced_by_the_one_who_set_it(a, b):
    """A caller that ignores the agreement is given nothing and its offers are refused."""
    b.learn(DEPLOY, [event(2)])
    caller = b.caller(a)
    caller.direction = Direction.RECEIVE
    async with Responder(b.local, caller).items(Want([], [Span(0, b"", 2**64 - 1, b"")])) as batches:
        assert [batch async for batch in batches] == []
    caller.direction = Direction.SEND
    receipt = await Responder(b.local, caller).offer(Batch([Group(DEPLOY, [event(1)])]))
    assert receipt.exceptions[0].outcome is Outcome.REFUSED
    assert b.lines(DEPLOY) == {event(2)}


async def test_a_preview_moves_nothing(a, b):
    """A dry run counts by path what would travel and leaves both sides as they are."""
    a.learn(DEPLOY, [event(1), event(2)])
    b.learn(log_path("test"), [event(3)])
    result = await Session(a.local, b.as_peer_of(a)).preview()
    assert result.would_send == {DEPLOY: 2}
    assert result.would_receive == {log_path("test"): 1}
    assert a.lines(log_path("test")) == b.lines(DEPLOY) == set()


async def test_rosters_go_first(a, b):
    """When the digests differ, rosters are swapped before any item; a removed peer gets none."""
    a.roster.records, b.roster.records = {b"one"}, {b"two"}
    await exchange(a, b)
    assert a.roster.records == b.roster.records == {b"one", b"two"}
    b.learn(DEPLOY, [event(1)])
    b.roster.records.add(b"three")
    a.roster.removed.add(b.device)
    result = await exchange(a, b)
    assert result.ending is Ending.FAILED
    assert isinstance(result.error, NotTrusted)
    assert not a.lines(DEPLOY)


async def test_a_clone_is_refused(a, b):
    """One device key with two instances is a copied state directory."""
    await exchange(a, b)
    b.local.card = replace(b.local.card, instance=b"another!")
    assert isinstance((await exchange(a, b)).error, ClonedDevice)


async def test_no_common_version_is_explained(a, b):
    """Both version ranges are named."""

    class Old(Responder):
        async def hello(self, terms: Terms = NO_TERMS):
            return msgspec.structs.replace(await super().hello(), protocol_min=7, protocol_max=9)

    result = await Session(a.local, Old(b.local, b.caller(a))).run()
    assert isinstance(result.error, ProtocolMismatch)
    assert "7 to 9" in result.error.message
    assert "1 to 1" in result.error.message


async def test_own_numbers_are_learnt_from_peers(a, b):
    """After losing its journal a device mints above what its peers remember of it."""
    path = manifest_path("deploy")
    a.home.files[path] = b"v: 1\n"
    a.storage.learn_dot(6)
    a.storage.scan([path])
    await exchange(a, b)
    reborn = Laptop("a")
    await exchange(reborn, b)
    assert reborn.storage.highest_dot(a.device) == 7


async def test_equal_sets_are_told_to_a_peer_that_cannot_ask(a, b):
    """A device that is called but cannot call learns that both are equal."""
    for laptop in (a, b):
        laptop.learn(DEPLOY, [event(1)])
    caller = b.caller(a)
    await Session(a.local, Responder(b.local, caller), tell=True).run()
    assert [head.fingerprint for head in caller.equal] == [b.storage.head().fingerprint]
    await b.take_in(DEPLOY, [event(2)])
    await Responder(b.local, caller).reconcile(WHOLE_SET + a.storage.head().fingerprint)
    assert len(caller.equal) == 1


async def test_the_clock_of_the_peer_is_compared():
    """The offset is the peer's wall clock less one's own."""
    result = await exchange(Laptop("a"), Laptop("b", skew=90.0))
    assert result.clock_offset == pytest.approx(90.0)


@pytest.mark.parametrize("decision", [{"paused": True}, {"direction": Direction.RECEIVE}])
async def test_a_decision_ends_what_is_being_given(decision, a, b, monkeypatch):
    """However much a peer has asked for in one question: it gets an error, never the end of the answer."""
    monkeypatch.setattr(codec, "BATCH_BYTES", 1000)
    b.learn(DEPLOY, [event(n) for n in range(100)])
    caller = b.caller(a)
    async with Responder(b.local, caller).items(Want([], [Span(0, b"", 2**64 - 1, b"")])) as batches:
        assert (await anext(batches)).groups
        vars(caller).update(decision)
        with pytest.raises(Paused):
            await anext(batches)


async def test_what_is_held_is_told():
    """A version from a clock that runs ahead is taken in, proven, and named with its reason."""
    a, b = Laptop("a"), Laptop("b", skew=7200.0)
    path = manifest_path("deploy")
    b.learn(path, [b"name: deploy"])
    result = await exchange(a, b)
    assert (result.ending, result.refused) == (Ending.CONVERGED, ())
    assert [(item.path, item.by, item.reason) for item in result.held] == [(path, a.device, HELD)]


async def test_a_peer_that_is_not_there(a, b):
    """Nobody answering is an outcome of its own; nothing else is known then."""

    class Gone(Responder):
        async def hello(self, terms: Terms = NO_TERMS):
            raise Unreachable("no route")

    result = await Session(a.local, Gone(b.local, b.caller(a))).run()
    assert (result.ending, result.reached) == (Ending.UNREACHABLE, False)


async def test_lines_that_appear_meanwhile_do_not_disturb_the_proof(a, b):
    """The cut is what was there at the start; a writer that never stops cannot keep it from being proven."""
    a.learn(DEPLOY, [event(n) for n in range(3000)])
    b.learn(DEPLOY, [event(5000)])
    numbers = iter(range(10_000, 20_000))

    class Writing(Responder):
        async def offer(self, batch):
            await b.take_in(DEPLOY, [event(next(numbers))])
            await a.take_in(DEPLOY, [event(next(numbers))])
            return await super().offer(batch)

        async def hello(self, terms: Terms = NO_TERMS):
            await b.take_in(DEPLOY, [event(next(numbers))])
            return await super().hello()

    result = await Session(a.local, Writing(b.local, b.caller(a))).run()
    assert result.ending is Ending.CONVERGED
    assert not result.closing.equal
    assert {event(n) for n in range(3000)} <= b.lines(DEPLOY)
    assert event(5000) in a.lines(DEPLOY)


async def test_what_the_peer_fetched_meanwhile_is_not_sent_again(a, b):
    """An exchange of the peer that ends while this one compares has moved what was found: look again."""
    a.learn(DEPLOY, [event(n) for n in range(50)])
    caller = a.caller(b)

    class Quicker(Responder):
        async def reconcile(self, message):
            answer = await super().reconcile(message)
            if not b.lines(DEPLOY):
                result = await Session(b.local, Responder(a.local, caller)).run()
                assert result.received == 50
                a.time.elapsed += 1  # nothing moves any more
            return answer

        async def offer(self, batch):
            raise AssertionError("it has all of that already")

    peer = Quicker(b.local, b.caller(a))
    result = await Session(a.local, peer, rival=caller.rival).run()
    assert result.ending is Ending.CONVERGED


async def test_steps_say_what_took_how_long(a, b):
    """The steps name each part with its count."""
    a.learn(DEPLOY, [event(1)])
    b.learn(DEPLOY, [event(2)])
    steps = [(step.name, step.count) for step in (await exchange(a, b)).steps]
    assert steps == [
        ("hello", 1),
        ("reconcile", 1),
        ("fetch", 1),
        ("apply", 1),
        ("offer", 1),
        ("prove", 1),
    ]
