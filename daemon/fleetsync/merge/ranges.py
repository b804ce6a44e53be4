"""The ordered set as reconciliation sees it, and the smallest thing that behaves like one.

`Ranges` is a protocol by shape: `ports.Ranges` has the same one. `ListRanges` keeps all keys and
prefix sums in lists; it is the specification for the index of `replica/`, and good for small sets.

Where a range is split is free. If both devices split at the same items, each can keep the sums of
the pieces in between and needs no look at their members; so splits snap to items that start a
block, which the id alone decides.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Protocol

from fleetsync.merge.fingerprint import MODULUS, id_number, id_sum
from fleetsync.merge.negentropy_wire import Bound, Key

BLOCK = 128
"""How many items a block has on average."""

SNAP_REACH = 2 * BLOCK
"""How far a split moves to find a block's edge."""


def starts_block(identity: bytes) -> bool:
    """Whether an item with this id is the first of a block.

    The last byte decides: a run of equal timestamps is sorted by the first bytes, and would have
    all its edges in one place.
    """
    return identity[-1] % BLOCK == 0


class Ranges(Protocol):
    """The ordered set; positions are 0 … size. Valid until the set changes."""

    def size(self) -> int:
        """How many members there are."""

    def key(self, position: int) -> Key:
        """The key at a position in 0 … size-1."""

    def keys(self, start: int, stop: int) -> Sequence[Key]:
        """The keys at start … stop-1, ascending."""

    def lower_bound(self, bound: Bound, start: int = 0) -> int:
        """The first position at or after `start` whose key is not below `bound`."""

    def sum(self, start: int, stop: int) -> int:
        """Σ of the ids in start … stop-1 as little-endian integers, mod 2^256; costs no scan."""

    def snap(self, start: int, stop: int, position: int) -> int:
        """A good place to split start … stop near `position` (a block edge); may be `position`."""


class ListRanges:
    """An ordered set in lists."""

    def __init__(self, keys: Iterable[Key]) -> None:
        self._keys = sorted({(ts, identity) for ts, identity in keys})
        self._sums = list(accumulate((id_number(i) for _, i in self._keys), initial=0))

    def size(self) -> int:
        """How many members there are."""
        return len(self._keys)

    def key(self, position: int) -> Key:
        """The key at a position."""
        return self._keys[position]

    def keys(self, start: int, stop: int) -> list[Key]:
        """The keys at start … stop-1."""
        return self._keys[start:stop]

    def lower_bound(self, bound: Bound, start: int = 0) -> int:
        """The first position at or after `start` whose key is not below `bound`."""
        return bisect_left(self._keys, bound, start)

    def sum(self, start: int, stop: int) -> int:
        """The sum of the ids at start … stop-1."""
        return (self._sums[stop] - self._sums[start]) % MODULUS

    def snap(self, start: int, stop: int, position: int) -> int:
        """The block edge nearest to `position` inside start … stop, if one is in reach."""
        for distance in range(SNAP_REACH):
            for near in (position - distance, position + distance):
                if start < near < stop and starts_block(self._keys[near][1]):
                    return near
        return position


class Without:
    """An ordered set less some of its members, with the sums that the whole set keeps.

    Costs 8 bytes for each member left out, and a sum for every `BLOCK` of them. Valid as long as `whole`.
    """

    def __init__(self, whole: Ranges, left_out: Sequence[Key]) -> None:
        """`left_out` are members of `whole`, ascending."""
        self._whole = whole
        # Position n of the whole set that is left out, less n: how many members stay in front of it.
        self._gaps = array("Q", (whole.lower_bound(key) - n for n, key in enumerate(left_out)))
        blocks = (left_out[at : at + BLOCK] for at in range(0, len(left_out), BLOCK))
        self._sums = list(accumulate((id_sum(i for _, i in block) for block in blocks), initial=0))

    def size(self) -> int:
        """How many members stay."""
        return self._whole.size() - len(self._gaps)

    def key(self, position: int) -> Key:
        """The key at a position."""
        return self._whole.key(self._place(position))

    def keys(self, start: int, stop: int) -> list[Key]:
        """The keys at start … stop-1."""
        found: list[Key] = []
        while start < stop:
            gap = bisect_right(self._gaps, start)
            end = min(stop, self._gaps[gap]) if gap < len(self._gaps) else stop
            found += self._whole.keys(start + gap, end + gap)
            start = end
        return found

    def lower_bound(self, bound: Bound, start: int = 0) -> int:
        """The first position at or after `start` whose key is not below `bound`."""
        return max(start, self._position(self._whole.lower_bound(bound)))

    def sum(self, start: int, stop: int) -> int:
        """The sum of the ids at start … stop-1."""
        low, high = bisect_right(self._gaps, start), bisect_right(self._gaps, stop)
        whole = self._whole.sum(start + low, stop + high)
        return (whole - self._sum_before(high) + self._sum_before(low)) % MODULUS

    def snap(self, start: int, stop: int, position: int) -> int:
        """What stays at the edge that the whole set would choose."""
        edge = self._whole.snap(self._place(start), self._place(stop), self._place(position))
        near = self._position(edge)
        return near if start < near < stop else position

    def _place(self, position: int) -> int:
        """Where a member that stays stands in the whole set."""
        return position + bisect_right(self._gaps, position)

    def _position(self, place: int) -> int:
        """How many members stay in front of a place in the whole set."""
        return place - bisect_left(range(len(self._gaps)), place, key=lambda n: self._gaps[n] + n)

    def _sum_before(self, gap: int) -> int:
        """The sum of the members left out before that one."""
        begun = gap // BLOCK * BLOCK
        rest = (self._whole.key(self._gaps[n] + n)[1] for n in range(begun, gap))
        return self._sums[gap // BLOCK] + id_sum(rest)
