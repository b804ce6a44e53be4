"""The outbox and the change stream that empties it."""

from __future__ import annotations

from contextlib import aclosing

import anyio
import pytest

from fleetsync.devices.notes import Direction
from fleetsync.ports import Group
from fleetsync.sync import changes, push
from fleetsync.sync.push import Outbox
from fleetsync.wire.messages import Batch, Heartbeat
from tests.fakes.fleet import Laptop, device_id, event, log_path

DEPLOY = log_path("deploy")
PEER, OTHER = device_id("p"), device_id("q")


@pytest.fixture
def laptop():
    return Laptop("a")


async def begun(laptop: Laptop, peer=PEER) -> Outbox:
    """An outbox after an exchange that proved everything so far."""
    outbox = Outbox(laptop.local.desk, peer, laptop.time.monotonic)
    outbox.advance(await laptop.local.desk.head())
    return outbox


def sent_bodies(page):
    return [body for group in page.groups for body in group.bodies]


async def test_an_outbox_begins_by_leaving_everything_to_an_exchange(laptop):
    """What a new peer has is not known, so nothing is pushed before an exchange."""
    laptop.learn(DEPLOY, [event(1)])
    page = await Outbox(laptop.local.desk, PEER, laptop.time.monotonic).take()
    assert page.skipped
    assert page.groups == []


async def test_new_members_are_sent_once(laptop):
    """What was sent is not sent again, and what is new comes in the order of its arrival."""
    outbox = await begun(laptop)
    await laptop.take_in(DEPLOY, [event(2), event(1)])
    page = await outbox.take()
    assert sent_bodies(page) == [event(2), event(1)]
    outbox.sent(page)
    assert (await outbox.take()).groups == []


async def test_what_was_skipped_is_unsent_until_an_exchange_has_dealt_with_it(laptop, monkeypatch):
    """Too much for a stream is left to an exchange; until then nobody says that nothing is waiting."""
    monkeypatch.setattr(push, "FAR_BEHIND", 3)
    outbox = await begun(laptop)
    await laptop.take_in(DEPLOY, [event(number) for number in range(10)])
    page = await outbox.take()
    assert page.skipped
    outbox.sent(page)
    laptop.time.elapsed += 7
    assert (outbox.age(), outbox.left_to_exchange) == (7, True)
    outbox.advance(await laptop.local.desk.head())
    assert (outbox.age(), outbox.left_to_exchange) == (0, False)


async def test_what_a_broken_stream_carried_waits_until_it_is_proven(laptop):
    """The peer may have failed to write it: nobody calls that converged."""
    outbox = await begun(laptop)
    stream = outbox.begin_stream()
    outbox.advance(await laptop.local.desk.head())
    await laptop.take_in(DEPLOY, [event(1)])
    page = await outbox.take()
    outbox.sent(page)
    laptop.time.elapsed += 7
    assert outbox.age() == 0
    outbox.end_stream(stream)
    assert outbox.age() == 7
    outbox.advance(page.head)
    assert outbox.age() == 0


async def test_a_stream_that_ends_after_a_proof_leaves_nothing_waiting(laptop):
    """What an equal heartbeat has proven is not in doubt again."""
    outbox = await begun(laptop)
    stream = outbox.begin_stream()
    outbox.advance(await laptop.local.desk.head())
    await laptop.take_in(DEPLOY, [event(1)])
    page = await outbox.take()
    outbox.sent(page)
    outbox.advance(page.head)
    laptop.time.elapsed += 7
    outbox.end_stream(stream)
    assert outbox.age() == 0


async def test_a_page_that_was_not_sent_is_taken_again(laptop):
    """Only `sent` moves the cursor."""
    outbox = await begun(laptop)
    await laptop.take_in(DEPLOY, [event(1)])
    assert sent_bodies(await outbox.take()) == sent_bodies(await outbox.take()) == [event(1)]


async def test_nothing_goes_back_to_where_it_came_from(laptop):
    """Members that a peer brought are skipped for it and passed on to the others."""
    to_peer, to_other = await begun(laptop), await begun(laptop, OTHER)
    await laptop.local.desk.apply([Group(DEPLOY, [event(1)])], PEER)
    assert sent_bodies(await to_peer.take()) == []
    assert sent_bodies(await to_other.take()) == [event(1)]
    assert to_peer.age() == 0


async def test_a_peers_own_items_are_not_even_read(laptop, monkeypatch):
    """A first sync of a million lines does not read them all again only to skip them."""
    outbox = await begun(laptop)
    for start in range(0, 300, 100):
        lines = [event(n) for n in range(start, start + 100)]
        await laptop.local.desk.apply([Group(DEPLOY, lines)], PEER)

    def read(after, limit):
        raise AssertionError("they were read")

    monkeypatch.setattr(laptop.storage, "arrivals", read)
    page = await outbox.take()
    assert (page.groups, page.skipped) == ([], False)


async def test_local_lines_between_a_peers_items_are_not_lost(laptop):
    """Echoes are skipped exactly: a local line before, between or after them is sent."""
    outbox = await begun(laptop)
    sent = []
    for number in range(0, 40, 2):
        await laptop.take_in(DEPLOY, [event(number)])
        await laptop.local.desk.apply([Group(DEPLOY, [event(number + 1)])], PEER)
        if number % 6 == 0:
            page = await outbox.take()
            sent += sent_bodies(page)
            outbox.sent(page)
    while (page := await outbox.take()).groups:
        sent += sent_bodies(page)
        outbox.sent(page)
    assert sent == [event(number) for number in range(0, 40, 2)]


async def test_far_behind_is_left_to_an_exchange(laptop, monkeypatch):
    """A peer that is thousands of members behind is better served by reconciling."""
    monkeypatch.setattr(push, "FAR_BEHIND", 10)
    outbox = await begun(laptop)
    await laptop.take_in(DEPLOY, [event(n) for n in range(11)])
    page = await outbox.take()
    assert page.skipped
    assert page.upto == page.head.arrival


async def test_another_epoch_is_left_to_an_exchange(laptop):
    """Arrival numbers of another index mean nothing."""
    outbox = await begun(laptop)
    await laptop.take_in(DEPLOY, [event(1)])
    laptop.storage._epoch = b"another!"
    assert (await outbox.take()).skipped


async def test_age_is_that_of_the_oldest_unsent_member(laptop):
    """The lag counts from the first unsent member and ends when it is sent."""
    outbox = await begun(laptop)
    await laptop.take_in(DEPLOY, [event(1)])
    laptop.time.elapsed += 3
    await laptop.take_in(DEPLOY, [event(2)])
    laptop.time.elapsed += 4
    assert outbox.age() == 7
    outbox.sent(await outbox.take())
    assert outbox.age() == 0


async def test_what_arrives_while_a_page_is_on_its_way_still_waits(laptop):
    """Sending a page says nothing of what became known after it was read."""
    outbox = await begun(laptop)
    await laptop.take_in(DEPLOY, [event(1)])
    page = await outbox.take()
    await laptop.take_in(DEPLOY, [event(2)])
    laptop.time.elapsed += 2
    outbox.sent(page)
    assert outbox.age() == 2


async def test_a_stream_begins_with_a_heartbeat_and_goes_on_with_what_is_new(laptop):
    """From now on: the head first, then only what appears after it, then a heartbeat when it is quiet."""
    laptop.learn(DEPLOY, [event(1)])
    outbox = Outbox(laptop.local.desk, PEER, laptop.time.monotonic)
    with anyio.fail_after(5):
        async with aclosing(changes.frames(outbox, laptop.time.monotonic, lambda: 0.5)) as frames:
            assert await anext(frames) == Heartbeat(laptop.storage.head())
            await laptop.take_in(DEPLOY, [event(2)])
            assert await anext(frames) == Batch([Group(DEPLOY, [event(2)])])
            laptop.time.elapsed += changes.QUIET_SECONDS
            assert await anext(frames) == Heartbeat(laptop.storage.head())
    assert not outbox.streaming


async def test_a_newer_stream_ends_the_older_one(laptop):
    """Two streams of one peer would steal from each other, so the older one ends."""
    outbox = Outbox(laptop.local.desk, PEER, laptop.time.monotonic)
    with anyio.fail_after(5):
        old = changes.frames(outbox, laptop.time.monotonic, lambda: 0.5)
        new = changes.frames(outbox, laptop.time.monotonic, lambda: 0.5)
        async with aclosing(old), aclosing(new):
            await anext(old)
            await anext(new)
            assert await anext(old, None) is None
            assert outbox.streaming


async def test_what_a_broken_stream_carried_is_left_to_an_exchange(laptop):
    """Nobody knows what of it arrived."""
    outbox = await begun(laptop)
    async with aclosing(changes.frames(outbox, laptop.time.monotonic, lambda: 0.5)) as frames:
        await anext(frames)
        await laptop.take_in(DEPLOY, [event(1)])
        await anext(frames)
    assert (await outbox.take()).skipped


async def test_an_outdated_stream_does_not_touch_the_cursor(laptop):
    """What it sent last may be lost: the newer one must not begin behind it."""
    outbox = await begun(laptop)
    async with aclosing(changes.frames(outbox, laptop.time.monotonic, lambda: 0.5)) as frames:
        await anext(frames)
        await laptop.take_in(DEPLOY, [event(1)])
        assert isinstance(await anext(frames), Batch)
        outbox.begin_stream()
        assert await anext(frames, None) is None
        assert (await outbox.take()).skipped


async def test_a_one_way_peer_is_sent_nothing(laptop):
    """An outbox that does not send moves on silently and never lags."""
    outbox = await begun(laptop)
    outbox.direction = Direction.RECEIVE
    await laptop.take_in(DEPLOY, [event(1)])
    page = await outbox.take()
    assert (page.groups, page.skipped, outbox.age()) == ([], False, 0)
