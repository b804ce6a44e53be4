"""The order of the set in memory: blocks with their sums, so that no fingerprint costs a scan.

Members in key order are cut into blocks of about 128 at places that their ids decide, the same on
every device. Of each block the first and last key, the size and the sum of ids stay in memory;
its members come from the store when needed, in compact arrays, and the least recently used go
again. Sums and positions in front of each block are kept up to the first block that changed, so
news at the end of the order cost nothing elsewhere. Knows nothing of SQL: see `LeafStore`.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import NamedTuple, Protocol

from fleetsync.merge.fingerprint import MODULUS
from fleetsync.merge.ranges import BLOCK, starts_block
from fleetsync.ports import Key

ID = 32  # bytes
MEMBER = 8 + ID + 8  # bytes of one member in a packed leaf

SMALLEST = 8
"""No cut makes a smaller block: ids chosen on purpose must not make a block of every item."""

LARGEST = 4 * BLOCK
"""A longer block is cut wherever: ids chosen on purpose must not make one endless block."""

CROWDED = 2 * LARGEST
"""A block that is being filled is cut at the latest at this size."""

WARM_LEAVES = 256
"""How many blocks' members stay in memory: about 3 MB."""

_EDGE = bytes(starts_block(bytes((last,))) for last in range(256))

Member = tuple[int, bytes, int]
"""(timestamp, id, arrival number)."""


class Summary(NamedTuple):
    """What is always in memory of one block."""

    number: int  # of its row; says nothing about the order
    size: int
    sum: int
    first: Key
    last: Key


class LeafStore(Protocol):
    """Where blocks are kept. Called inside a transaction when it writes."""

    def read_leaf(self, number: int) -> bytes:
        """The packed members of a block."""

    def write_block(self, summary: Summary, leaf: bytes) -> None:
        """Keep a block, new or not."""

    def drop_block(self, number: int) -> None:
        """Forget a block; it may never have been written."""


class Leaf:
    """The members of one block in three arrays."""

    __slots__ = ("arrivals", "ids", "times")

    def __init__(self, data: bytes = b"") -> None:
        count = len(data) // MEMBER
        self.times = array("Q", data[: 8 * count])
        self.arrivals = array("Q", data[8 * count : 16 * count])
        self.ids = bytearray(data[16 * count :])

    def pack(self) -> bytes:
        """The bytes that make an equal leaf."""
        return b"".join((self.times, self.arrivals, self.ids))

    def __len__(self) -> int:
        return len(self.times)

    def id(self, at: int) -> bytes:
        """The id at a position."""
        return bytes(self.ids[ID * at : ID * at + ID])

    def key(self, at: int) -> Key:
        """The key at a position."""
        return Key(self.times[at], self.id(at))

    def keys(self, start: int, stop: int) -> list[Key]:
        """The keys at start … stop-1."""
        ids = bytes(self.ids[ID * start : ID * stop])
        parts = [ids[at : at + ID] for at in range(0, len(ids), ID)]
        return list(map(Key, self.times[start:stop], parts))

    def sum(self, start: int, stop: int) -> int:
        """The sum of the ids at start … stop-1, not reduced."""
        ids, number = bytes(self.ids[ID * start : ID * stop]), int.from_bytes
        return sum([number(ids[at : at + ID], "little") for at in range(0, len(ids), ID)])

    def lower_bound(self, bound: tuple[int, bytes]) -> int:
        """The first position whose key is not below `bound`, by halving also inside equal times."""
        low = bisect_left(self.times, bound[0])
        high = bisect_right(self.times, bound[0], low)
        while low < high:
            middle = (low + high) // 2
            if self.id(middle) < bound[1]:
                low = middle + 1
            else:
                high = middle
        return low

    def insert(self, member: Member) -> None:
        """Put a member in its place."""
        times = self.times
        at = self.lower_bound(member[:2]) if times and member[0] <= times[-1] else len(times)
        times.insert(at, member[0])
        self.ids[ID * at : ID * at] = member[1]
        self.arrivals.insert(at, member[2])

    def delete(self, at: int) -> None:
        """Take out the member at a position."""
        del self.times[at], self.arrivals[at], self.ids[ID * at : ID * at + ID]

    def extend(self, other: Leaf) -> None:
        """Append the members of the block behind this one."""
        self.times += other.times
        self.arrivals += other.arrivals
        self.ids += other.ids

    def cuts(self) -> list[int]:
        """Where this leaf is to be cut: at edges, and where a piece would become too large."""
        count, previous, cuts = len(self), 0, []
        edges = bytes(self.ids[ID - 1 :: ID]).translate(_EDGE)
        while previous < count:
            cut = edges.find(1, previous + SMALLEST, count - SMALLEST + 1)
            end = cut if cut >= 0 else count
            if end - previous > LARGEST:
                end = previous + LARGEST
            if end < count:
                cuts.append(end)
            previous = end
        return cuts

    def split(self, cuts: Sequence[int]) -> list[Leaf]:
        """The pieces between the cuts, all of them new."""
        pieces = []
        for start, stop in zip([0, *cuts], [*cuts, len(self)], strict=True):
            piece = Leaf()
            piece.times = self.times[start:stop]
            piece.arrivals = self.arrivals[start:stop]
            piece.ids = self.ids[ID * start : ID * stop]
            pieces.append(piece)
        return pieces


class Block:
    """One block; `leaf` is None while its members are in the store only."""

    __slots__ = ("first", "last", "leaf", "number", "size", "sum")

    def __init__(self, summary: Summary, leaf: Leaf | None = None) -> None:
        self.number, self.size, self.sum, self.first, self.last = summary
        self.leaf = leaf

    @classmethod
    def of(cls, number: int, leaf: Leaf) -> Block:
        """The block of these members, of which there is at least one."""
        size = len(leaf)
        return cls(Summary(number, size, leaf.sum(0, size) % MODULUS, leaf.key(0), leaf.key(size - 1)), leaf)

    def summary(self) -> Summary:
        """What is always in memory."""
        return Summary(self.number, self.size, self.sum, self.first, self.last)


class Blocks:
    """The ordered set; implements `ports.Ranges`.

    Changes stay in memory until `flush`, except for members that must make room before.
    """

    def __init__(self, store: LeafStore, summaries: Iterable[Summary]) -> None:
        self._store = store
        self._blocks = [Block(s) for s in sorted(summaries, key=lambda s: s.first)]
        self._firsts = [block.first for block in self._blocks]
        self._starts = [0]  # position of the first member of each block, and the size
        self._sums = [0]  # sum of all ids in front of each block, not reduced
        self._stale = True
        self._next_number = 1 + max((block.number for block in self._blocks), default=0)
        self._warm: OrderedDict[int, Block] = OrderedDict()
        self._dirty: dict[int, Block] = {}
        self._dropped: list[int] = []

    # what reconciliation asks

    def size(self) -> int:
        """How many members there are."""
        if self._stale:
            self._settle()
        return self._starts[-1]

    def total(self) -> int:
        """The sum of all ids, mod 2^256."""
        if self._stale:
            self._settle()
        return self._sums[-1] % MODULUS

    def key(self, position: int) -> Key:
        """The key at a position in 0 … size-1."""
        block, at = self._find(position)
        if at == 0:
            return block.first
        return block.last if at == block.size - 1 else self._leaf(block).key(at)

    def keys(self, start: int, stop: int) -> list[Key]:
        """The keys at start … stop-1."""
        return [key for leaf, low, high in self._pieces(start, stop) for key in leaf.keys(low, high)]

    def lower_bound(self, bound: tuple[int, bytes], start: int = 0) -> int:
        """The first position at or after `start` whose key is not below `bound`."""
        if self._stale:
            self._settle()
        starts = self._starts
        behind = bisect_left(self._firsts, bound)
        if behind and self._blocks[behind - 1].last >= bound:
            at = self._leaf(self._blocks[behind - 1]).lower_bound(bound)
            return max(start, starts[behind - 1] + at)
        return max(start, starts[behind])

    def sum(self, start: int, stop: int) -> int:
        """The sum of the ids at start … stop-1, mod 2^256; looks into at most two blocks."""
        if start >= stop:
            return 0
        if self._stale:
            self._settle()
        starts = self._starts
        low, high = bisect_right(starts, start) - 1, bisect_right(starts, stop) - 1
        if low == high:
            leaf = self._leaf(self._blocks[low])
            return leaf.sum(start - starts[low], stop - starts[low]) % MODULUS
        return (self._sum_before(high, stop) - self._sum_before(low, start)) % MODULUS

    def snap(self, start: int, stop: int, position: int) -> int:
        """The block edge inside start … stop that is nearest to `position`, else `position`."""
        if self._stale:
            self._settle()
        starts = self._starts
        behind = bisect_left(starts, position)
        edges = [edge for edge in starts[max(behind - 1, 0) : behind + 1] if start < edge < stop]
        return min(edges, key=lambda edge: abs(edge - position), default=position)

    def arrivals(self, start: int, stop: int) -> list[int]:
        """The arrival numbers at start … stop-1."""
        return [n for leaf, low, high in self._pieces(start, stop) for n in leaf.arrivals[low:high]]

    def _settle(self) -> None:
        """Bring starts and sums up to date behind the first block that changed."""
        changed = self._blocks[len(self._starts) - 1 :]
        self._starts += accumulate([block.size for block in changed], initial=self._starts.pop())
        self._sums += accumulate([block.sum for block in changed], initial=self._sums.pop())
        self._stale = False

    def _unsettle(self, number: int) -> None:
        """Block `number` in the order changed, or those behind it did."""
        del self._starts[number + 1 :]
        del self._sums[number + 1 :]
        self._stale = True

    def _find(self, position: int) -> tuple[Block, int]:
        if self._stale:
            self._settle()
        starts = self._starts
        number = bisect_right(starts, position) - 1
        return self._blocks[number], position - starts[number]

    def _pieces(self, start: int, stop: int) -> Iterable[tuple[Leaf, int, int]]:
        """The leaves that hold start … stop-1, each with the part of it that does."""
        while start < stop:
            block, at = self._find(start)
            end = min(block.size, at + stop - start)
            yield self._leaf(block), at, end
            start += end - at

    def _sum_before(self, number: int, position: int) -> int:
        """The sum in front of a position inside that block, over the shorter part of the block."""
        at = position - self._starts[number]
        if not at:
            return self._sums[number]
        block = self._blocks[number]
        if 2 * at <= block.size:
            return self._sums[number] + self._leaf(block).sum(0, at)
        return self._sums[number + 1] - self._leaf(block).sum(at, block.size)

    # changes

    def add(self, members: Sequence[Member]) -> None:
        """Take in members in key order, none of which is known."""
        at = 0
        while at < len(members):
            if not self._blocks:
                self._place(0, 0, [self._new_leaf(members[at])])
                at += 1
                continue
            number = max(bisect_right(self._firsts, members[at][:2]) - 1, 0)
            at = self._fill(number, members, at)
            self._recut(number)

    def remove(self, keys: Iterable[tuple[int, bytes]]) -> None:
        """Take out members, all of which are known."""
        for key in keys:
            number = bisect_right(self._firsts, key) - 1
            leaf = self._leaf(self._blocks[number])
            at = leaf.lower_bound(key)
            leaf.delete(at)
            if not len(leaf):
                self._place(number, number + 1, [])
            elif at == 0 and number:
                self._merge(number)
            else:
                self._recut(number)

    def flush(self) -> None:
        """Write all changes to the store."""
        for number in self._dropped:
            self._store.drop_block(number)
        for block in self._dirty.values():
            self._write(block)
        self._dropped.clear()
        self._dirty.clear()

    def _fill(self, number: int, members: Sequence[Member], at: int) -> int:
        """Insert from `at` on what belongs into that block; the first position that did not go in."""
        leaf = self._leaf(self._blocks[number])
        above = self._firsts[number + 1] if number + 1 < len(self._firsts) else None
        while at < len(members) and len(leaf) < CROWDED and (above is None or members[at] < above):
            leaf.insert(members[at])
            at += 1
        return at

    def _merge(self, number: int) -> None:
        """The edge that began this block is gone: its members belong to the block before."""
        before, block = self._blocks[number - 1 : number + 1]
        leaf = self._leaf(before)
        leaf.extend(self._leaf(block))
        self._place(number, number + 1, [])
        self._recut(number - 1)

    def _recut(self, number: int) -> None:
        """The members of that block changed: cut it where it is to be cut, and sum it up."""
        leaf = self._leaf(self._blocks[number])
        cuts = leaf.cuts()
        self._place(number, number + 1, leaf.split(cuts) if cuts else [leaf])

    def _place(self, start: int, stop: int, leaves: Sequence[Leaf]) -> None:
        """Put blocks of these leaves in the place of start … stop-1; the first keeps its row."""
        old = [block.number for block in self._blocks[start:stop]]
        numbers = [*old[: len(leaves)], *range(self._next_number, self._next_number + len(leaves) - len(old))]
        self._next_number = max([self._next_number, *(number + 1 for number in numbers)])
        for number in old:
            self._warm.pop(number, None)
            self._dirty.pop(number, None)
        self._dropped += old[len(leaves) :]
        blocks = [Block.of(number, leaf) for number, leaf in zip(numbers, leaves, strict=True)]
        self._blocks[start:stop] = blocks
        self._firsts[start:stop] = [block.first for block in blocks]
        self._unsettle(start)
        for block in blocks:
            self._dirty[block.number] = block
            self._keep_warm(block)

    @staticmethod
    def _new_leaf(member: Member) -> Leaf:
        leaf = Leaf()
        leaf.insert(member)
        return leaf

    # members in memory

    def _leaf(self, block: Block) -> Leaf:
        if block.leaf is not None:
            self._warm.move_to_end(block.number)
            return block.leaf
        block.leaf = leaf = Leaf(self._store.read_leaf(block.number))
        self._keep_warm(block)
        return leaf

    def _keep_warm(self, block: Block) -> None:
        self._warm[block.number] = block
        if len(self._warm) > WARM_LEAVES:
            _, coldest = self._warm.popitem(last=False)
            if self._dirty.pop(coldest.number, None):
                self._write(coldest)
            coldest.leaf = None

    def _write(self, block: Block) -> None:
        assert block.leaf is not None
        self._store.write_block(block.summary(), block.leaf.pack())
