"""A set less some of its members is the set of those that stay, with the sums and edges of the whole one."""

from __future__ import annotations

from hashlib import sha256
from itertools import accumulate, combinations_with_replacement

import pytest

from fleetsync.merge.negentropy_wire import Key
from fleetsync.merge.ranges import BLOCK, SNAP_REACH, ListRanges, Without

SIZE = 5 * BLOCK
KEYS: list[Key] = sorted((n // 3, sha256(b"%d" % n).digest()) for n in range(SIZE))
LEFT_OUT: dict[str, list[Key]] = {
    "none": [],
    "the first": KEYS[:1],
    "the last": KEYS[-1:],
    "a block": KEYS[BLOCK : 2 * BLOCK],
    "every second": KEYS[::2],
    "two of three": [key for n, key in enumerate(KEYS) if n % 3],
    "all but one": KEYS[:300] + KEYS[301:],
    "all": KEYS,
}
PLACES = [0, 1, 2, 63, BLOCK - 1, BLOCK, BLOCK + 1, 300, 2 * BLOCK, SIZE // 2, SIZE - 1, SIZE]


SETS = pytest.mark.parametrize("left_out", LEFT_OUT.values(), ids=LEFT_OUT)


@SETS
def test_it_behaves_as_the_set_of_those_that_stay(left_out: list[Key]) -> None:
    """Size, keys, bounds and sums, for any range."""
    stays = ListRanges(set(KEYS) - set(left_out))
    without = Without(ListRanges(KEYS), left_out)
    assert without.size() == stays.size() == SIZE - len(left_out)
    places = sorted({min(place, stays.size()) for place in PLACES})
    for start, stop in combinations_with_replacement(places, 2):
        assert without.keys(start, stop) == stays.keys(start, stop)
        assert without.sum(start, stop) == stays.sum(start, stop)
    for place in places[:-1]:
        assert without.key(place) == stays.key(place)
    for key in (*KEYS[::7], (0, b""), (SIZE, b"")):
        assert without.lower_bound(key) == stays.lower_bound(key)
        for start in places:
            assert without.lower_bound(key, start) == stays.lower_bound(key, start)


@SETS
def test_it_splits_where_the_whole_set_does(left_out: list[Key]) -> None:
    """So both sides split at the same members; where that lies at an end of what stays, as was asked."""
    whole = ListRanges(KEYS)
    without = Without(whole, left_out)
    gone = set(left_out)
    staying_before = list(accumulate((key not in gone for key in KEYS), initial=0))
    for position in range(1, without.size(), 11):
        edge = staying_before[whole.snap(0, SIZE, KEYS.index(without.key(position)))]
        expected = edge if 0 < edge < without.size() else position
        assert without.snap(0, without.size(), position) == expected


def test_the_nearest_edge_in_reach_is_taken() -> None:
    """Never an end of the range; without an edge in reach the place that was asked for."""
    edges = {100, 110, 500}
    keys = [(n, bytes(31) + (b"\0" if n in edges else b"\1")) for n in range(1000)]
    ranges = ListRanges(keys)
    assert [ranges.snap(0, 1000, at) for at in (100, 104, 106, 111, 400)] == [100, 100, 110, 110, 500]
    assert ranges.snap(100, 1000, 101) == 110
    assert ranges.snap(0, 100, 99) == 99
    assert ranges.snap(100, 110, 105) == 105
    assert ranges.snap(0, 1000, 500 + SNAP_REACH - 1) == 500
    assert ranges.snap(0, 1000, 500 + SNAP_REACH) == 500 + SNAP_REACH
