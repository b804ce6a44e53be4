"""Blocks give what a sorted list would give, and keep what they promise about size and memory."""

from __future__ import annotations

from hashlib import sha256

import pytest

from fleetsync.merge.ranges import ListRanges, starts_block
from fleetsync.replica import blocks as subject
from fleetsync.replica.blocks import LARGEST, SMALLEST, Blocks, Leaf, Member, Summary


class Rows:
    """A store in dictionaries that counts what it is asked."""

    def __init__(self) -> None:
        self.summaries: dict[int, Summary] = {}
        self.leaves: dict[int, bytes] = {}
        self.reads = 0

    def read_leaf(self, number: int) -> bytes:
        """The packed members of a block."""
        self.reads += 1
        return self.leaves[number]

    def write_block(self, summary: Summary, leaf: bytes) -> None:
        """Keep a block."""
        self.summaries[summary.number], self.leaves[summary.number] = summary, leaf

    def drop_block(self, number: int) -> None:
        """Forget a block."""
        self.summaries.pop(number, None)
        self.leaves.pop(number, None)

    def reopened(self) -> Blocks:
        """What a restart would find."""
        return Blocks(self, self.summaries.values())


def identity(number: int) -> bytes:
    """The id of item `number`."""
    return sha256(str(number).encode()).digest()


def members(count: int, step: int = 7) -> list[Member]:
    """So many members in key order."""
    return sorted((1000 + step * n, identity(n), n + 1) for n in range(count))


def filled(content: list[Member]) -> tuple[Rows, Blocks]:
    """Blocks with these members, written out."""
    rows = Rows()
    blocks = Blocks(rows, [])
    blocks.add(content)
    blocks.flush()
    return rows, blocks


def starts(blocks: Blocks, size: int) -> list[int]:
    """The positions of all block edges behind the first."""
    found = {blocks.snap(0, size, position) for position in range(1, size)}
    return sorted(position for position in found if position)


@pytest.mark.parametrize("step", [0, 7])
def test_like_a_list(step: int) -> None:
    """Positions, keys, bounds and sums agree with a sorted list, timestamps equal or not."""
    content = members(3000, step)
    rows, _ = filled(content)
    blocks, listed = rows.reopened(), ListRanges(member[:2] for member in content)
    assert blocks.size() == 3000
    assert blocks.total() == listed.sum(0, 3000)
    for at in range(0, 3000, 97):
        ts, identity = content[at][:2]
        assert blocks.key(at) == listed.key(at)
        assert blocks.keys(at, at + 60) == listed.keys(at, at + 60)
        assert blocks.sum(at // 2, 3000 - at // 3) == listed.sum(at // 2, 3000 - at // 3)
        assert blocks.sum(at, at + 5) == listed.sum(at, at + 5)
        for bound in ((ts, identity), (ts, identity[:2]), (ts, b""), (ts + 1, b""), (ts, identity + b"\0")):
            assert blocks.lower_bound(bound) == listed.lower_bound(bound)
            assert blocks.lower_bound(bound, at + 9) == listed.lower_bound(bound, at + 9)
    assert blocks.arrivals(100, 900) == [member[2] for member in content[100:900]]


def test_edges_do_not_depend_on_the_way_members_came() -> None:
    """One by one or all at once, two devices cut alike nearly everywhere."""
    content = members(6000)
    _, at_once = filled(content)
    rows = Rows()
    one_by_one = Blocks(rows, [])
    for n in range(13):
        one_by_one.add(content[n::13])
    edges, others = starts(at_once, 6000), starts(one_by_one, 6000)
    assert len(set(edges) & set(others)) > 0.8 * len(edges)
    chopped = [edge for edge in edges if not starts_block(content[edge][1])]
    assert len(chopped) < 0.1 * len(edges)


def test_removing_an_edge_joins_its_block_to_the_one_before() -> None:
    """As on a device that never had the item."""
    content = members(2000)
    _, blocks = filled(content)
    edge = starts(blocks, 2000)[3]
    blocks.remove([content[edge][:2]])
    _, never = filled(content[:edge] + content[edge + 1 :])
    assert starts(blocks, 1999) == starts(never, 1999)
    assert blocks.total() == never.total()


def test_removing_everything_leaves_nothing() -> None:
    """No block, no row, no sum; and it can be filled again."""
    content = members(700)
    rows, blocks = filled(content)
    blocks.remove([member[:2] for member in content])
    blocks.flush()
    assert (blocks.size(), blocks.total(), rows.summaries, rows.leaves) == (0, 0, {}, {})
    blocks.add(content)
    assert blocks.size() == 700


@pytest.mark.parametrize("last", [0, 1])
def test_chosen_ids_make_neither_huge_nor_countless_blocks(last: int) -> None:
    """All ids an edge, or none: sizes stay between the limits."""
    content = [(n, identity(n)[:31] + bytes((last,)), n + 1) for n in range(5000)]
    rows, blocks = filled(content)
    sizes = [summary.size for summary in rows.summaries.values()]
    assert sum(sizes) == 5000
    assert min(sizes) >= SMALLEST
    assert max(sizes) <= LARGEST
    assert blocks.total() == ListRanges(member[:2] for member in content).sum(0, 5000)


def test_sums_at_edges_read_no_members() -> None:
    """A fingerprint between two edges costs no look into the store, however many members it has."""
    rows, blocks = filled(members(20_000))
    edges = starts(blocks, 20_000)
    reopened = rows.reopened()
    assert reopened.sum(edges[2], edges[-2]) == blocks.sum(edges[2], edges[-2])
    assert reopened.sum(0, 20_000) == blocks.total()
    assert reopened.lower_bound(reopened.key(edges[5])) == edges[5]
    assert rows.reads == 0


def test_news_at_the_end_leave_the_rest_alone() -> None:
    """Neither read nor written: only the last block changes."""
    content = members(20_100)
    rows, _ = filled(content[:20_000])
    blocks = rows.reopened()
    blocks.size()
    before = dict(rows.leaves)
    blocks.add(content[20_000:])
    blocks.flush()
    assert rows.reads == 1
    assert sum(before.get(number) != leaf for number, leaf in rows.leaves.items()) <= 6
    assert rows.reopened().total() == blocks.total()


def test_members_in_memory_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The least recently used go, those not yet written into the store before."""
    monkeypatch.setattr(subject, "WARM_LEAVES", 4)
    content = members(5000)
    rows = Rows()
    blocks = Blocks(rows, [])
    blocks.add(content[::2])
    blocks.add(content[1::2])
    assert sum(block.leaf is not None for block in blocks._blocks) == 4
    blocks.flush()
    assert [(key, n) for key, n in zip(blocks.keys(0, 5000), blocks.arrivals(0, 5000), strict=True)] == [
        (member[:2], member[2]) for member in content
    ]


def test_a_packed_leaf_is_the_same_leaf() -> None:
    """48 bytes a member, timestamps up to the last one."""
    leaf = Leaf()
    for member in [(2**64 - 2, identity(1), 5), (0, identity(2), 6), (0, identity(3), 2**40)]:
        leaf.insert(member)
    again = Leaf(leaf.pack())
    assert len(leaf.pack()) == 3 * 48
    assert again.keys(0, 3) == leaf.keys(0, 3) == sorted(leaf.keys(0, 3))
    assert again.arrivals == leaf.arrivals
