"""Reconciliation finds exactly what differs: any sets, any profiles, small frames, and churn."""

from __future__ import annotations

from hashlib import sha256

from hypothesis import given, settings
from hypothesis import strategies as st

from fleetsync.merge.negentropy_wire import END, Key, Limits
from fleetsync.merge.ranges import ListRanges
from fleetsync.merge.reconcile import REFERENCE, TUNED, Initiator, Profile, Step, respond

Keys = set[Key]
LIMITS = Limits(rounds=2000)

profiles = st.sampled_from([REFERENCE, TUNED])
frames = st.sampled_from([4096, 5000, 65_536])


def key(number: int, grain: int) -> Key:
    """Item `number`; `grain` items in a row share a timestamp."""
    return 1000 + number // grain * 7, sha256(str(number).encode()).digest()


@st.composite
def sets(draw: st.DrawFn) -> tuple[Keys, Keys]:
    """Two sets with runs in common, runs of one side, holes, ties; possibly empty."""
    grain = draw(st.sampled_from([1, 3, 40, 10_000]))
    runs = draw(st.lists(st.tuples(st.sampled_from("abcc"), st.integers(1, 900)), max_size=7))
    own, theirs, number = set[Key](), set[Key](), 0
    for owner, length in runs:
        run = {key(n, grain) for n in range(number, number + length)}
        number += length
        own |= run if owner != "b" else set()
        theirs |= run if owner != "a" else set()
    holes = draw(st.lists(st.integers(0, max(number, 1)), max_size=40))
    own -= {key(n, grain) for n in holes[::2]}
    theirs -= {key(n, grain) for n in holes[1::2]}
    return own, theirs


def learn(step: Step, own: Keys, theirs: Keys) -> tuple[Keys, Keys]:
    """The items that a step speaks of: those the peer lacks, those it has."""
    have, need = set(step.have), set(step.need)
    lacked = {k for k in own if k[1] in have or any(a <= k < b for a, b in step.have_spans)}
    wanted = {k for k in theirs if k[1] in need or any(a <= k < b for a, b in step.need_spans)}
    return lacked, wanted


@given(sets(), profiles, profiles, frames, frames)
@settings(max_examples=150)
def test_the_outcome_is_the_difference(
    both: tuple[Keys, Keys], asks: Profile, answers: Profile, frame: int, other_frame: int
) -> None:
    """Exactly what only one side has, in messages within each side's frame limit."""
    own, theirs = both
    asking, answering = ListRanges(own), ListRanges(theirs)
    initiator = Initiator(asks, frame, LIMITS)
    message: bytes | None = initiator.initiate(asking)
    have, need = set[Key](), set[Key]()
    while message is not None:
        answer = respond(answering, message, answers, other_frame, LIMITS)
        assert len(message) <= frame
        assert len(answer) <= other_frame
        step = initiator.receive(asking, answer)
        lacked, wanted = learn(step, own, theirs)
        have, need, message = have | lacked, need | wanted, step.message
    # The reference with a frame limit may miss items: see `test_a_full_message_hides_nothing`.
    if asks.tuned and answers.tuned:
        assert (have, need) == (own - theirs, theirs - own)
    else:
        assert have <= own - theirs
        assert need <= theirs - own


@given(sets(), profiles, profiles)
def test_without_small_frames_every_profile_finds_all(
    both: tuple[Keys, Keys], asks: Profile, answers: Profile
) -> None:
    """Also when the two sides differ in how they play."""
    own, theirs = both
    asking, answering = ListRanges(own), ListRanges(theirs)
    initiator = Initiator(asks)
    message: bytes | None = initiator.initiate(asking)
    have, need = set[Key](), set[Key]()
    while message is not None:
        step = initiator.receive(asking, respond(answering, message, answers))
        lacked, wanted = learn(step, own, theirs)
        have, need, message = have | lacked, need | wanted, step.message
    assert (have, need) == (own - theirs, theirs - own)


@given(sets(), st.lists(st.tuples(st.booleans(), st.integers(0, 6000)), max_size=60), frames)
def test_churn_between_messages_hides_no_old_difference(
    both: tuple[Keys, Keys], churn: list[tuple[bool, int]], frame: int
) -> None:
    """Items that appear on either side while a session runs never hide one that differed all along."""
    own, theirs = both
    lacked_by_peer, lacked = own - theirs, theirs - own
    initiator = Initiator(TUNED, frame, LIMITS)
    message: bytes | None = initiator.initiate(ListRanges(own))
    have, need = set[Key](), set[Key]()
    while message is not None:
        for ours, number in (churn.pop() for _ in churn[:3]):
            news = (900 + number, sha256(b"news %d" % number).digest())
            own, theirs = own | {news} if ours else own, theirs if ours else theirs | {news}
        answer = respond(ListRanges(theirs), message, TUNED, frame, LIMITS)
        step = initiator.receive(ListRanges(own), answer)
        told, asked = learn(step, own, theirs)
        have, need, message = have | told, need | asked, step.message
    assert lacked_by_peer <= have
    assert lacked <= need


@given(st.binary(max_size=300), sets(), profiles)
def test_any_bytes_are_answered_or_refused(noise: bytes, both: tuple[Keys, Keys], profile: Profile) -> None:
    """Nothing but `MalformedMessage` comes out of a hostile message."""
    from fleetsync.errors import MalformedMessage

    ranges = ListRanges(both[0])
    initiator = Initiator(profile)
    initiator.initiate(ranges)
    for message in (noise, b"\x61" + noise):
        try:
            assert len(respond(ranges, message, profile, 4096)) <= 4096
            initiator.receive(ranges, message)
        except MalformedMessage:
            pass


def test_bounds_cover_the_whole_order() -> None:
    """The last representable timestamp and id lie below the end."""
    last = (2**64 - 2, b"\xff" * 32)
    assert ListRanges([last]).lower_bound(END) == 1
