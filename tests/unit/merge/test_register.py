"""Versions of a register: what covers what, and who wins."""

from __future__ import annotations

import time

import msgspec
import pytest

from fleetsync.errors import MalformedRecord
from fleetsync.merge import register
from fleetsync.merge.register import Dot, Floor, Stamp, Version


def version(
    device: str, n: int, *, vector: dict[str, int] | None = None, time: int = 0, value: bytes | None = b"v"
) -> Version:
    stamp = Stamp(time, time, device, register.digest_of(value))
    return Version(Dot(device, n), vector or {}, stamp, value)


def test_an_edit_made_in_knowledge_of_another_wins_whatever_the_clocks_say() -> None:
    """Causality comes before time: a slow clock does not lose an edit to what it replaced."""
    first = version("a", 1, time=900, value=b"old")
    second = version("b", 1, vector={"a": 1}, time=5, value=b"new")
    assert register.current([first, second], horizon=1000) == second
    assert register.uncovered([first, second]) == [second]


def test_concurrent_versions_are_decided_by_stamp_on_every_device_alike() -> None:
    """The order in which versions arrive plays no part."""
    one, two = version("a", 1, time=10, value=b"x"), version("b", 1, time=20, value=b"y")
    assert register.current([one, two], 1000) == register.current([two, one], 1000) == two


def test_equal_times_are_decided_by_device_and_then_by_content() -> None:
    """There is no tie that "local" could break."""
    low, high = version("a", 1, time=10), version("b", 1, time=10)
    assert register.current([high, low], 1000) == high
    same = [version("a", 1, time=10, value=v) for v in (b"x", b"y", b"z")]
    orders = (same, same[::-1], [same[1], same[2], same[0]])
    assert len({register.current(order, 1000).value for order in orders}) == 1


def test_a_version_from_the_future_is_a_member_but_not_applied() -> None:
    """A stamp beyond the allowed skew is held until its time has come."""
    now, future = version("a", 1, time=10), version("b", 1, time=5000, value=b"later")
    assert register.uncovered([now, future]) == [future, now]
    assert register.current([now, future], horizon=1000) == now
    assert register.current([now, future], horizon=5000) == future


def test_a_deletion_is_a_version_like_any_other() -> None:
    """It wins by causality and can be followed by a new value."""
    made = version("a", 1, time=1)
    gone = version("b", 1, vector={"a": 1}, time=2, value=None)
    again = version("a", 2, vector={"a": 1, "b": 1}, time=3, value=b"again")
    assert register.current([made, gone], 1000) == gone
    assert register.current([gone, again, made], 1000) == again


def test_the_vector_of_an_author_covers_all_that_its_predecessors_covered() -> None:
    """So what is covered once stays covered by every later version."""
    first = version("a", 1)
    second = version("b", 7, vector={"a": 1})
    third = version("c", 1, vector=register.known_vector([second]))
    assert register.covers(third, first)
    assert register.covers(third, second)


def test_a_version_survives_its_encoding_with_fields_this_program_does_not_know() -> None:
    """Bytes are carried: a later program's extra field does not make a version unreadable."""
    plain = version("a", 4, vector={"b": 3})
    with_floor = msgspec.structs.replace(plain, floor=Floor(5, [b"\1" * 32]))
    assert register.decode(register.encode(with_floor)) == with_floor
    raw = msgspec.msgpack.decode(register.encode(plain))
    assert register.decode(msgspec.msgpack.encode([*raw, "from the future"])) == plain


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"\xc1",
        b"\x93\x01\x02\x03",
        msgspec.msgpack.encode([["a", -1], {}, [0, 0, "a", register.digest_of(b"v")], b"v"]),
        msgspec.msgpack.encode([["a", 1], {}, [0, 0, "a", register.digest_of(b"other")], b"v"]),
        msgspec.msgpack.encode([["a", 1], {}, [0, 0, "b", register.digest_of(b"v")], b"v"]),
        msgspec.msgpack.encode([["a", 1], {"a": 1}, [0, 0, "a", register.digest_of(b"v")], b"v"]),
        msgspec.msgpack.encode([["a", 1], {"a": 2**63}, [0, 0, "a", register.digest_of(b"v")], b"v"]),
        msgspec.msgpack.encode([["a", 1], {"b": 2}, [0, 0, "a", register.digest_of(b"v")], b"v"]),
        msgspec.msgpack.encode([["a", 2**53], {}, [0, 0, "a", register.digest_of(b"v")], b"v"]),
        msgspec.msgpack.encode([["a", 1], {}, [0, 0, "a", b""], None, [-1, []]]),
        msgspec.msgpack.encode([["a", 1], {}, [0, 0, "a", b""], None, [5, [b""] * 9]]),
    ],
)
def test_bytes_that_are_no_consistent_version_are_refused(broken: bytes) -> None:
    """A stamp for another value, another device's stamp, a version that covers itself: none is one."""
    with pytest.raises(MalformedRecord):
        register.decode(broken)


def test_a_manifest_time_counts_only_within_the_skew() -> None:
    """A manifest dated next year does not win for a year."""
    assert register.effective_time(100, hybrid=90, skew=20) == 100
    assert register.effective_time(120, hybrid=90, skew=20) == 90
    assert register.effective_time(None, hybrid=90, skew=20) == 90
    assert register.effective_time(-5, hybrid=90, skew=20) == 0


def test_thousands_of_rivals_are_told_apart_at_once() -> None:
    """A peer can mint as many versions as it likes that know nothing of each other: the time grows with
    their number and not with its square, and covered ones are still left out.
    """
    rivals = [version(f"d{number}", 5) for number in range(20_000)]
    heir = version("heir", 9, vector={f"d{number}": 5 for number in range(200)}, time=10)
    began = time.process_time()
    live = register.uncovered([*rivals, heir])
    assert time.process_time() - began < 10
    assert len(live) == 19_801
    assert live[0] == heir


def test_a_long_floor_is_asked_at_once() -> None:
    """A deletion may list as many ids as an item holds, and is held against every line of a log."""
    ids = [number.to_bytes(32, "big") for number in range(30_000)]
    floor = Floor(5, ids[::2])
    began = time.process_time()
    below = sum(register.is_below(floor, 6, identity) for identity in ids)
    assert time.process_time() - began < 5
    assert below == 15_000
    assert register.is_below(floor, 5, bytes(32))
    assert not register.is_below(None, 5, bytes(32))


def test_the_digest_of_a_value_is_its_sha256_and_of_none_nothing() -> None:
    """Other programs compute it too."""
    assert (
        register.digest_of(b"v").hex() == "4c94485e0c21ae6c41ce1dfe7b6bfaceea5ab68e40a2476f50208e526f506080"
    )
    assert register.digest_of(None) == b""


def test_who_knows_nothing_covers_nothing() -> None:
    """Not even the first version of a device."""
    assert not register.covers(version("a", 1), version("b", 1))


def test_nothing_counts_while_nothing_has_its_time() -> None:
    """Neither of no versions nor of held ones; either of the two times holds a version back."""
    early = version("a", 1, time=10)
    late_by_name = msgspec.structs.replace(early, stamp=Stamp(99, 10, "a", register.digest_of(b"v")))
    late_by_clock = msgspec.structs.replace(early, stamp=Stamp(10, 99, "a", register.digest_of(b"v")))
    assert register.current([], 50) is None
    assert register.current([late_by_name], 50) is None
    assert register.current([late_by_clock], 50) is None
    assert register.current([early], 10) == early


def test_what_an_author_has_not_read_is_not_covered_but_what_it_replaced_is() -> None:
    """The vector of who edits beside a version that has arrived and is not in the file yet."""
    arrived = version("b", 9, vector={"a": 4, "b": 3})
    assert register.known_vector([], [arrived]) == {"a": 4, "b": 3}
    assert register.known_vector([arrived]) == {"a": 4, "b": 9}


def test_a_vector_keeps_the_highest_number_of_each_device() -> None:
    """In whatever order the versions are taken."""
    high, low = version("a", 9, vector={"b": 2}), version("b", 1, vector={"a": 3})
    for order in ([high, low], [low, high]):
        assert register.known_vector(order) == {"a": 9, "b": 2}
    assert register.known_vector([version("a", 0)]) == {"a": 0}


def test_two_bodies_of_one_number_are_ordered_by_all_their_bytes() -> None:
    """A device that was restored may mint a number twice; all others still agree about its versions."""
    one, two = version("a", 5, vector={"b": 1}), version("a", 5, vector={"c": 1})
    assert register.uncovered([one, two]) == register.uncovered([two, one])
    assert len(register.uncovered([one, two])) == 2


def test_a_line_at_the_floor_is_below_it_and_later_ones_only_if_listed() -> None:
    """What a deletion had seen, and what is as old."""
    floor = Floor(100, [b"\1" * 32])
    assert register.is_below(floor, 100, b"\2" * 32)
    assert register.is_below(floor, 101, b"\1" * 32)
    assert not register.is_below(floor, 101, b"\2" * 32)
    assert not register.is_below(None, 0, b"\2" * 32)


@pytest.mark.parametrize(
    "sound",
    [
        Version(Dot("a", 2**53 - 1), {}, Stamp(2**53 - 1, 2**53 - 1, "a", b""), None),
        Version(Dot("a", 1), {"b": 0}, Stamp(0, 0, "a", b""), None),
        Version(Dot("a", 1), {"b": 1}, Stamp(0, 0, "a", b""), None),
        Version(Dot("a", 1), {f"d{n}": 1 for n in range(256)}, Stamp(0, 0, "a", b""), None),
        Version(Dot("a", 1), {}, Stamp(0, 0, "a", b""), None, Floor(0, [])),
        Version(Dot("a", 1), {}, Stamp(0, 0, "a", b""), None, Floor(2**64 - 1, [])),
    ],
)
def test_what_lies_at_a_limit_is_sound(sound: Version) -> None:
    """The largest numbers and vectors, the smallest, and a vector that knows as much as its author."""
    assert register.decode(register.encode(sound)) == sound


def test_one_device_more_than_a_vector_may_hold_is_refused() -> None:
    """So that no version costs without bound."""
    stamp = Stamp(0, 0, "a", b"")
    with pytest.raises(MalformedRecord):
        register.decode(register.encode(Version(Dot("a", 1), {f"d{n}": 1 for n in range(257)}, stamp, None)))


def test_a_time_at_the_edge_of_the_skew_counts() -> None:
    """Only what lies beyond it does not."""
    assert register.effective_time(110, hybrid=90, skew=20) == 110
    assert register.effective_time(111, hybrid=90, skew=20) == 90
