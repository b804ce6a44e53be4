"""Moving items: batches from storage, questions cut to size, reading ahead."""

from __future__ import annotations

import anyio
import pytest

from fleetsync.errors import Unreachable
from fleetsync.ports import END, START, Bound
from fleetsync.sync import transfer
from fleetsync.sync.stride import WHOLE
from fleetsync.wire.messages import MAX_SPANS
from tests.fakes.fleet import Laptop, event, log_path, manifest_path


@pytest.fixture
def laptop():
    laptop = Laptop("a")
    padding = b',"note":"' + b"x" * 2000 + b'"}'
    for skill in range(4):
        laptop.home.files[manifest_path(f"skill-{skill}")] = b"name: skill\n"
        laptop.write(log_path(f"skill-{skill}"), [event(n)[:-1] + padding for n in range(300)])
    laptop.storage.scan(None)
    return laptop


def everything(laptop: Laptop) -> list[tuple[str, bytes]]:
    return [(item.path, item.body) for page in laptop.storage.between(START, END) for item in page]


async def collected(laptop: Laptop, ids, spans):
    batches = [batch async for batch in transfer.read(laptop.local.desk, ids, spans)]
    flat = [(g.path, body) for batch in batches for g in batch.groups for body in g.bodies]
    sizes = [sum(len(body) for g in batch.groups for body in g.bodies) for batch in batches]
    return flat, sizes


async def test_a_span_is_read_as_few_full_batches(laptop):
    """Pages of storage are joined, so that every batch but the last is full."""
    flat, sizes = await collected(laptop, [], [(START, END)])
    assert sorted(flat) == sorted(everything(laptop))
    assert len(sizes) == 7
    assert all(size > 380_000 for size in sizes[:-1])


@pytest.mark.parametrize("count", [100, 1100])
async def test_registers_come_first(laptop, count, monkeypatch):
    """However many ids there are, and in whatever order, manifests travel before lines."""
    monkeypatch.setattr(transfer, "SLICE_IDS", 256)
    ids = [item.key.id for page in laptop.storage.between(START, END) for item in page]
    asked = ids[::-1][:count]
    flat, _ = await collected(laptop, [*asked[: count // 2], *ids[:4], *asked[count // 2 :]], [])
    assert [path.endswith("skill.yaml") for path, _ in flat[:4]] == [True] * 4
    assert not any(path.endswith("skill.yaml") for path, _ in flat[4:])
    assert len(flat) == len({*asked, *ids[:4]})


async def test_batches_are_merged_to_be_applied(laptop, monkeypatch):
    """Merging changes neither bodies nor their order, only how many come at once; paths are joined."""
    monkeypatch.setattr(transfer, "APPLY_BYTES", 1_200_000)
    apart = [batch async for batch in transfer.read(laptop.local.desk, [], [(START, END)])]
    before = [(g.path, body) for batch in apart for g in batch.groups for body in g.bodies]
    merged = [batch async for batch in transfer.merged(transfer.read(laptop.local.desk, [], [(START, END)]))]
    assert [(g.path, body) for batch in merged for g in batch.groups for body in g.bodies] == before
    assert (len(apart), len(merged)) == (7, 2)
    for batch in merged:
        paths = [group.path for group in batch.groups]
        assert len(paths) == len(set(paths))


async def test_what_came_before_a_failure_is_applied(laptop):
    """A source that breaks off gives all that it gave, then its error: the next try needs that no more."""

    async def broken():
        async for batch in transfer.read(laptop.local.desk, [], [(START, END)]):
            yield batch
            raise Unreachable("the connection broke")

    merged = transfer.merged(broken())
    first = await anext(merged)
    assert sum(len(body) for group in first.groups for body in group.bodies) > 380_000
    with pytest.raises(Unreachable):
        await anext(merged)


async def test_nothing_makes_no_batch(laptop):
    """Ids that are no members and empty spans give nothing at all."""
    flat, sizes = await collected(laptop, [bytes(32)], [(Bound(1), Bound(2))])
    assert (flat, sizes) == ([], [])


def test_questions_are_cut_to_size():
    """Every id and every span is asked for once, in questions that the wire allows."""
    ids = [n.to_bytes(32, "big") for n in range(2 * WHOLE.ids + 1)]
    wants = list(transfer.wants(ids))
    assert [len(want.ids) for want in wants] == [WHOLE.ids, WHOLE.ids, 1]
    assert [identity for want in wants for identity in want.ids] == ids
    spans = [(Bound(n), Bound(n + 1)) for n in range(MAX_SPANS + 1)]
    wants = list(transfer.span_wants(spans))
    assert [len(want.spans) for want in wants] == [MAX_SPANS, 1]
    assert wants[1].spans[0].lower_ts == MAX_SPANS
    assert list(transfer.wants([])) == list(transfer.span_wants([])) == []


class Source:
    """Counts to `count`, then fails if told to; knows whether it was closed, and in which task."""

    def __init__(self, count: int, failure: Exception | None = None) -> None:
        self.count = count
        self.failure = failure
        self.given = 0
        self.tasks: set[int] = set()

    async def numbers(self):
        self.tasks.add(anyio.get_current_task().id)
        try:
            for number in range(self.count):
                self.given = number + 1
                yield number
            if self.failure:
                raise self.failure
        finally:
            self.tasks.add(anyio.get_current_task().id)
            self.given = -1


async def test_reading_ahead_changes_nothing_but_the_time():
    """All elements, in order, and the source is closed."""
    source = Source(10)
    async with transfer.ahead(source.numbers()) as numbers:
        assert [number async for number in numbers] == list(range(10))
    assert source.given == -1


async def test_reading_ahead_is_bounded():
    """While one element is worked on no more than two others wait."""
    source = Source(100)
    async with transfer.ahead(source.numbers()) as numbers:
        await anext(numbers)
        for _ in range(20):
            await anyio.lowlevel.checkpoint()
        assert source.given == 3


async def test_a_failing_source_fails_where_it_is_read():
    """What came before the failure is still given."""
    seen: list[int] = []

    async def read_all() -> None:
        async with transfer.ahead(Source(3, ValueError("broken")).numbers()) as numbers:
            async for number in numbers:
                seen.append(number)  # noqa: PERF401 - what was read before the failure counts

    with pytest.raises(ValueError, match="broken"):
        await read_all()
    assert seen == [0, 1, 2]


async def test_a_failing_reader_leaves_as_itself():
    """Its error is no group, and the source is closed in the task that opened it."""
    source = Source(100)

    async def read_one() -> None:
        async with transfer.ahead(source.numbers()) as numbers:
            await anext(numbers)
            raise KeyError

    with pytest.raises(KeyError):
        await read_one()
    assert source.given == -1
    assert len(source.tasks) == 1
