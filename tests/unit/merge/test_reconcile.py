"""What the tuned profile adds, and what neither profile puts up with."""

from __future__ import annotations

import time
from hashlib import sha256

import pytest

from fleetsync.errors import MalformedMessage
from fleetsync.merge.fingerprint import fingerprint
from fleetsync.merge.negentropy_wire import (
    END,
    FINGERPRINT,
    ID_LIST,
    START,
    Key,
    Limits,
    Writer,
    read_ranges,
)
from fleetsync.merge.ranges import ListRanges, starts_block
from fleetsync.merge.reconcile import FRAME_LIMIT, REFERENCE, TUNED, Initiator, Profile, Step, respond


def keys(start: int, stop: int) -> list[Key]:
    """Members start … stop-1 of a log with one line per second."""
    return [
        (1_748_000_000_000_000 + n * 1_000_000, sha256(str(n).encode()).digest()) for n in range(start, stop)
    ]


def exchange(own: list[Key], theirs: list[Key]) -> tuple[list[Step], int]:
    """A whole session of the tuned profile: its steps and its bytes."""
    asking, answering = ListRanges(own), ListRanges(theirs)
    initiator, steps, size = Initiator(), [Step(None)], 0
    message: bytes | None = initiator.initiate(asking)
    while message is not None:
        answer = respond(answering, message)
        size += len(message) + len(answer)
        steps.append(initiator.receive(asking, answer))
        message = steps[-1].message
    return steps[1:], size


def test_equal_sets_cost_one_small_round_trip() -> None:
    """A no-change reconciliation stays below 300 bytes both ways."""
    steps, size = exchange(keys(0, 50_000), keys(0, 50_000))
    assert steps == [Step(None)]
    assert size < 300


@pytest.mark.parametrize("news", [1, 100])
def test_news_of_the_peer_cost_one_round_trip(news: int) -> None:
    """The first message is finest where news are."""
    steps, size = exchange(keys(0, 20_000), keys(0, 20_000 + news))
    assert [sorted(step.need) for step in steps] == [sorted(key[1] for key in keys(20_000, 20_000 + news))]
    assert size < 500 + 33 * news


@pytest.mark.parametrize("few", [1, 2, 9, 40])
def test_members_of_one_instant_are_told_apart_by_id(few: int) -> None:
    """Where time says nothing the bounds between parts are prefixes of ids; nothing falls between two."""
    theirs = sorted((7, sha256(str(n).encode()).digest()) for n in range(3000))
    own = sorted([*theirs[:: len(theirs) // few], *((7, sha256(b"own %d" % n).digest()) for n in range(few))])
    steps, _ = exchange(own, theirs)
    spans = [span for step in steps for span in step.need_spans]
    asked = [key[1] for key in theirs if any(lower <= key < upper for lower, upper in spans)]
    asked += [identity for step in steps for identity in step.need]
    told = {key[1] for key in own if any(a <= key < b for step in steps for a, b in step.have_spans)}
    told |= {identity for step in steps for identity in step.have}
    assert sorted(asked) == sorted({key[1] for key in theirs} - {key[1] for key in own})
    assert told == {key[1] for key in own} - {key[1] for key in theirs}


@pytest.mark.parametrize(("members", "parts"), [(1, 1), (2, 2), (17, 2), (18, 3), (273, 3), (274, 4)])
def test_the_first_message_is_finest_at_the_newest_items(members: int, parts: int) -> None:
    """The newest item by id; before it sixteen, then sixteen times as many, and so on down to the oldest."""
    opening = list(read_ranges(Initiator().initiate(ListRanges(keys(0, members))), Limits()))
    assert [part.mode for part in opening] == [FINGERPRINT] * (parts - 1) + [ID_LIST]
    assert opening[-1][:3] == (END, ID_LIST, keys(members - 1, members)[0][1])
    cuts = [part.upper for part in opening[:-1]][-2:]
    assert cuts == [(keys(n, n + 1)[0][0], b"") for n in (members - 17, members - 1) if n > 0]


def test_an_empty_set_asks_for_the_whole_span() -> None:
    """Who has nothing lists nothing and is listed nothing."""
    steps, size = exchange([], keys(0, 5000))
    assert [(step.need, step.need_spans) for step in steps] == [([], [(START, END)])]
    assert size < 500


def test_an_empty_peer_lacks_spans() -> None:
    """Who meets an empty peer is told spans of its own members, and the odd newest one by id."""
    own = keys(0, 20_000)
    steps, size = exchange(own, [])
    assert len(steps) == 1
    spans = steps[0].have_spans
    told = {key[1] for key in own if any(lower <= key < upper for lower, upper in spans)}
    assert len(steps[0].have) < 500
    assert told | set(steps[0].have) == {key[1] for key in own}
    assert size < 500


def test_a_month_offline_asks_for_a_span() -> None:
    """Ten thousand news of the peer are one span and a few ids, not ten thousand ids."""
    steps, size = exchange(keys(0, 1000), keys(0, 11_000))
    assert len(steps) == 1
    (lower, upper), news = steps[0].need_spans[0], keys(1000, 11_000)
    assert {key[1] for key in news if lower <= key < upper} | set(steps[0].need) == {key[1] for key in news}
    assert size < 1200


def test_a_peer_with_few_of_many_leaves_spans_between_them() -> None:
    """Long runs of own members between those that the peer lists are spans."""
    own = keys(0, 9000)
    steps, _ = exchange(own, [own[3000], own[3001], own[7000]])
    told = {key[1] for step in steps for s in step.have_spans for key in own if s[0] <= key < s[1]}
    told |= {identity for step in steps for identity in step.have}
    assert told == {key[1] for n, key in enumerate(own) if n not in (3000, 3001, 7000)}
    assert sum(len(step.have) for step in steps) < 2000


@pytest.mark.parametrize("few", [1, 2, 1023, 1024])
def test_a_run_that_the_peer_lacks_is_a_span_from_1024_members_on(few: int) -> None:
    """Fewer are told by id."""
    own = keys(0, few)
    writer = Writer()
    writer.id_list(END, b"")
    initiator = Initiator()
    initiator.initiate(ListRanges(own))
    step = initiator.receive(ListRanges(own), bytes(writer.out))
    assert step == (
        Step(None, have_spans=[(own[0], END)]) if few == 1024 else Step(None, [i for _, i in own])
    )


def test_nothing_is_told_twice() -> None:
    """An id is news once per session, however often the peer repeats it."""
    writer = Writer()
    writer.id_list(END, keys(5, 6)[0][1] * 2)
    initiator, own = Initiator(), ListRanges(keys(0, 2))
    initiator.initiate(own)
    first, second = (initiator.receive(own, bytes(writer.out)) for _ in range(2))
    assert (len(first.have), first.need) == (2, [keys(5, 6)[0][1]])
    assert (second.have, second.need) == ([], [])


def test_large_splits_stand_on_block_edges() -> None:
    """So that neither side needs to look inside a block to compare."""
    own = keys(0, 30_000)
    edges = {key[0] for key in own if starts_block(key[1])}
    answer = respond(ListRanges(own), bytes(_whole(bytes(16)).out))
    parts = list(read_ranges(answer, Limits()))
    assert len(parts) == TUNED.buckets
    assert {part.mode for part in parts} == {FINGERPRINT}
    assert {part.upper[0] for part in parts[:-1]} <= edges
    opening = list(read_ranges(Initiator().initiate(ListRanges(own)), Limits()))
    assert {part.upper[0] for part in opening[:-3]} <= edges


@pytest.mark.parametrize("members", [16 * 64, 16 * 64 - 1])
def test_parts_of_half_a_block_stand_on_block_edges(members: int) -> None:
    """Smaller ones are equally large."""
    own = keys(0, members)
    answer = respond(ListRanges(own), bytes(_whole(bytes(16)).out))
    cuts = {part.upper[0] for part in read_ranges(answer, Limits())} - {END[0]}
    if members == 16 * 64:
        assert cuts <= {key[0] for key in own if starts_block(key[1])}
    else:
        assert cuts == {own[64 * n][0] for n in range(1, 16)}


def test_two_strangers_with_long_histories_need_few_round_trips() -> None:
    """When messages are full, what was already narrowed down is not lost."""
    own, theirs = ListRanges(keys(0, 20_000)[::2]), ListRanges(keys(0, 20_000)[1::2])
    initiator, rounds, frame = Initiator(frame_limit=1 << 16), 0, 1 << 16
    message: bytes | None = initiator.initiate(own)
    while message is not None:
        message = initiator.receive(own, respond(theirs, message, frame_limit=frame)).message
        rounds += 1
    assert rounds <= 8


def test_no_more_is_asked_than_can_be_answered() -> None:
    """Questions are held back while their answers would not fit into the next message."""
    own, theirs = ListRanges(keys(0, 60_000)[::2]), ListRanges(keys(0, 60_000)[1::2])
    initiator, largest = Initiator(), 0
    message: bytes | None = initiator.initiate(own)
    while message is not None:
        largest = max(largest, len(message))
        message = initiator.receive(own, respond(theirs, message)).message
    assert 100_000 < largest < 200_000


def test_a_full_message_hides_nothing() -> None:
    """Where the frame limit cuts, the fingerprint of the rest covers all that was not answered.

    The reference leaves out the range at which it stops, and a peer that lacks just that one
    never hears of it.
    """
    theirs = keys(0, 20_000)
    ranges = ListRanges(theirs)
    writer = Writer()
    for start in range(0, 15_000, 5):
        equal = fingerprint(ranges.sum(start, start + 5), 5)
        writer.fingerprint((theirs[start + 5][0], b""), bytes(16) if start % 2 else equal)
    answer = respond(ranges, bytes(writer.out), frame_limit=4096)
    assert 3000 < len(answer) <= 4096
    position = 0
    for part in read_ranges(answer, Limits()):
        stop = ranges.lower_bound(part.upper, position)
        if part.mode == FINGERPRINT:
            assert part.payload == fingerprint(ranges.sum(position, stop), stop - position)
        position = stop
    assert position == len(theirs)


def test_the_frame_limit_is_always_on() -> None:
    """Asking for everything at once gets at most 1 MiB, in either profile."""
    writer = Writer()
    writer.id_list(END, b"")
    for profile in (REFERENCE, TUNED):
        answer = respond(ListRanges(keys(0, 40_000)), bytes(writer.out), profile)
        assert FRAME_LIMIT - 1000 < len(answer) <= FRAME_LIMIT


@pytest.mark.parametrize(("profile", "most"), [(TUNED, 121), (REFERENCE, 122)])
def test_a_list_that_just_fits_is_given_whole(profile: Profile, most: int) -> None:
    """With one member more it ends in front of that."""
    own, writer = keys(0, most + 1), Writer()
    writer.id_list(END, b"")
    for members, upper in ((own[:most], END), (own, own[most])):
        answer = respond(ListRanges(members), bytes(writer.out), profile, 4096)
        first = next(read_ranges(answer, Limits()))
        assert first[:3] == (upper, ID_LIST, b"".join(identity for _, identity in own[:most]))


@pytest.mark.parametrize(("frame_limit", "modes"), [(4109, [ID_LIST]), (4108, [ID_LIST, FINGERPRINT])])
def test_a_message_may_be_exactly_full(frame_limit: int, modes: list[int]) -> None:
    """As in the reference: what is longer by a byte gives up the rest."""
    writer = Writer()
    writer.id_list(END, b"")
    answer = respond(ListRanges(keys(0, 122)), bytes(writer.out), REFERENCE, frame_limit)
    assert [part.mode for part in read_ranges(answer, Limits())] == modes


@pytest.mark.parametrize(("behind", "ids"), [(0, 121), (1, 120), (30, 97), (100, 60), (400, 60)])
def test_a_long_list_leaves_room_for_the_ranges_behind_it(behind: int, ids: int) -> None:
    """A quarter more than their question had, and half of the message at most."""
    own, writer = keys(0, 1000), Writer()
    writer.id_list(own[500], b"")
    for n in range(501, 501 + behind):
        writer.fingerprint((own[n][0], b""), bytes(16))
    answer = respond(ListRanges(own), bytes(writer.out), TUNED, 4096)
    first = next(read_ranges(answer, Limits()))
    assert first[:3] == (own[ids], ID_LIST, b"".join(identity for _, identity in own[:ids]))


def test_a_flood_of_bogus_fingerprints_is_answered_in_linear_time() -> None:
    """45,000 fingerprints that match nothing: one message of at most 1 MiB, quickly."""
    writer = Writer()
    for ts, _ in keys(0, 45_000):
        writer.fingerprint((ts, b""), bytes(16))
    ranges = ListRanges(keys(0, 50_000))
    began = time.process_time()
    assert len(respond(ranges, bytes(writer.out))) <= FRAME_LIMIT
    assert time.process_time() - began < 5


def test_a_short_list_of_a_small_range_is_answered_by_a_list() -> None:
    """Only much against little is answered by fingerprints, and never an empty list."""
    theirs = ListRanges(keys(0, 500))
    for listed, modes in ((b"", [ID_LIST]), (keys(0, 1)[0][1], [ID_LIST] + [FINGERPRINT] * 16)):
        writer = Writer()
        writer.id_list(END, listed)
        assert [part.mode for part in read_ranges(respond(theirs, bytes(writer.out)), Limits())] == modes


@pytest.mark.parametrize(("listed", "own", "ids"), [(1, 132, 132), (1, 133, 8), (10, 168, 168), (10, 169, 8)])
def test_much_is_a_block_and_four_members_more_for_each_that_is_listed(
    listed: int, own: int, ids: int
) -> None:
    """So much is answered by its first eight members, and parts of what follows."""
    writer = Writer()
    writer.id_list(END, b"".join(identity for _, identity in keys(0, listed)))
    answer = list(read_ranges(respond(ListRanges(keys(0, own)), bytes(writer.out)), Limits()))
    assert answer[0].payload == b"".join(identity for _, identity in keys(0, ids))
    assert [part.mode for part in answer[1:]] == ([] if ids == own else [FINGERPRINT] * 16)


def test_an_endless_peer_is_left() -> None:
    """A responder that never agrees is given up after 64 round trips."""
    initiator, own = Initiator(), ListRanges(keys(0, 100))
    initiator.initiate(own)
    answer = bytes(_whole(bytes(16)).out)
    for _ in range(64):
        assert initiator.receive(own, answer).message
    with pytest.raises(MalformedMessage, match="64"):
        initiator.receive(own, answer)


@pytest.mark.parametrize("message", [b"", b"\x60", b"\xff", b"\x61\x80", b"\x61\x00\x00\x07"])
def test_an_initiator_refuses_what_it_cannot_read(message: bytes) -> None:
    """Also another version, which a responder answers with its own."""
    initiator, own = Initiator(), ListRanges(keys(0, 3))
    initiator.initiate(own)
    with pytest.raises(MalformedMessage):
        initiator.receive(own, message)
    if message == b"\x60":
        assert respond(own, message) == b"\x61"
    else:
        with pytest.raises(MalformedMessage):
            respond(own, message)


def _whole(payload: bytes) -> Writer:
    writer = Writer()
    writer.fingerprint(END, payload)
    return writer
