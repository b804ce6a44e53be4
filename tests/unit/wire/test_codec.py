"""Payloads, batches and frames: exact within the limits, refused before memory is spent beyond them."""

from __future__ import annotations

import os
import tracemalloc

import msgspec
import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from fleetsync.errors import MalformedMessage, TooLarge
from fleetsync.ports import Group, Item, Key, Outcome, Verdict
from fleetsync.records.names import DeviceId
from fleetsync.wire import codec
from fleetsync.wire.messages import (
    MAX_BODY,
    MAX_ENCODED,
    MAX_EXPANDED,
    MAX_GROUPS,
    MAX_MEMBERS,
    Batch,
    Heartbeat,
    Receipt,
    Want,
)
from tests.fakes.peer import HEAD, hello_of, line, one_line_batch

PATH = "skills/deploy/events.jsonl"

groups = st.lists(
    st.builds(
        Group,
        st.text("abc/", max_size=20),
        st.lists(st.binary(max_size=600), min_size=1, max_size=20),
    ),
    max_size=20,
)


def batch_payload(*arrays: object) -> bytes:
    """A plain batch of any groups."""
    return b"\x00" + msgspec.msgpack.encode([1, list(arrays)])


def bodies_of(batches: list[Batch]) -> list[tuple[str, bytes]]:
    """All bodies of the batches with their paths, in order."""
    return [(g.path, body) for batch in batches for g in batch.groups for body in g.bodies]


@given(groups)
def test_batches_survive_the_round_trip(found):
    """What is encoded is what is decoded, whatever bytes the bodies hold."""
    assert codec.decode_batch(codec.encode(Batch(found))) == Batch(found)


def test_small_messages_are_plain_and_large_ones_compressed():
    """Below 512 bytes a payload is plain; above, it is zstd, and smaller than the message."""
    small, large = codec.encode(one_line_batch()), codec.encode(Batch([Group(PATH, [line(1)] * 100)]))
    assert small[0] == codec.PLAIN
    assert large[0] == codec.ZSTD
    assert len(large) < 1000


def test_what_does_not_compress_is_plain():
    """Compression is never allowed to make a message larger."""
    payload = codec.encode(Batch([Group(PATH, [os.urandom(5000)])]))
    assert payload[0] == codec.PLAIN


def test_the_largest_body_fits_uncompressed():
    """One body of 1 MiB that does not compress, under the longest path, is a legal message."""
    batch = Batch([Group("p" * 512, [os.urandom(MAX_BODY)])])
    assert codec.decode_batch(codec.encode(batch)) == batch


def test_a_message_over_the_limit_is_not_sent():
    """The sender refuses by itself what every receiver would refuse."""
    with pytest.raises(TooLarge):
        codec.encode(Batch([Group(PATH, [os.urandom(MAX_BODY), os.urandom(2000)])]))
    with pytest.raises(TooLarge):
        codec.encode(Batch([Group(PATH, [bytes(MAX_BODY)] * 17)]))


def test_a_payload_may_expand_to_exactly_the_limit_and_not_a_byte_more():
    """The limit on expansion is exact, for plain and for compressed payloads."""
    for encode in (lambda raw: b"\x00" + raw, lambda raw: b"\x01" + zstd.compress(raw, 3)):
        assert len(codec.expand(encode(bytes(1000)), 1000)) == 1000
        with pytest.raises(TooLarge):
            codec.expand(encode(bytes(1001)), 1000)


def test_a_payload_of_the_largest_expanded_size_is_read():
    """16 MiB that another implementation compressed in one frame are within the window we allow."""
    raw = bytes(MAX_EXPANDED)
    assert codec.expand(b"\x01" + zstd.compress(raw, 19), MAX_EXPANDED) == raw


def test_a_compression_bomb_is_refused_before_its_memory_is_spent():
    """512 MiB of zeros in 16 kB cost no more memory than the limit allows."""
    compressor = zstd.ZstdCompressor(level=19)
    bomb = b"".join(compressor.compress(bytes(1 << 20)) for _ in range(512)) + compressor.flush()
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge):
            codec.decode_frame(b"\x01" + bomb)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3 * MAX_EXPANDED


def test_a_window_that_could_never_be_used_is_refused():
    """A frame that asks for a 128 MiB window is refused, however little it holds."""
    options: dict[int, int] = {zstd.CompressionParameter.window_log: 27}
    compressor = zstd.ZstdCompressor(options=options)
    packed = compressor.compress(bytes(1000)) + compressor.flush()
    with pytest.raises(MalformedMessage):
        codec.expand(b"\x01" + packed, MAX_EXPANDED)


PACKED = zstd.compress(bytes(1000), 3)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x02abc",
        b"\x01",
        b"\x01not zstd",
        b"\x01" + PACKED[:-1],
        b"\x01" + PACKED + b"x",
        b"\x01" + PACKED + PACKED,
        b"\x00",
        b"\x00\xc1",
        b"\x00\x92\x01\x90\x00",
        b"\x00\x92\x03\x90",
        b"\x00\x91\x01",
        b"\x00\x92\x01\x91\x91\xa1a",
        b"\x00\x92\x01\x91\x92\xa1\xff\x90",
        b"\x00\x92\x01\x91\x92\xa1a\x91\x05",
        b"\x00\x93\x01\x90" + b"\x91" * 100_000,
        b"\x00" + b"\x91" * 100_000,
    ],
)
def test_payloads_that_break_the_protocol_are_malformed(payload):
    """Unknown encodings, torn or doubled zstd, wrong types and endless nesting are all one error."""
    with pytest.raises(MalformedMessage):
        codec.decode_frame(payload)


def test_a_payload_is_exactly_one_zstd_frame():
    """A message that is whole is refused all the same if bytes follow it, or if its frame is torn."""
    raw = msgspec.msgpack.encode(Batch([Group(PATH, [line(1)] * 10)]))
    options: dict[int, int] = {zstd.CompressionParameter.checksum_flag: 1}
    packed = zstd.compress(raw, options=options)
    codec.decode_batch(b"\x01" + packed)
    for wrong in (packed + b"x", packed + packed, packed[:-1]):
        with pytest.raises(MalformedMessage, match="not exactly one zstd frame"):
            codec.decode_batch(b"\x01" + wrong)


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_but_a_peer_error(garbage):
    """Whatever arrives, the decoder answers with a message or with one of its two errors."""
    for decode in (codec.decode_frame, codec.decode_batch, codec.decode_receipt):
        try:
            decode(garbage)
        except (MalformedMessage, TooLarge):
            continue


def test_fields_of_later_versions_are_ignored():
    """Trailing fields, in the message and in its parts, are left unread."""
    longer = msgspec.msgpack.encode([1, [[PATH, [b"line"], "later"]], "later", None])
    assert codec.decode_frame(b"\x00" + longer) == Batch([Group(PATH, [b"line"])])


def test_frames_are_told_apart():
    """A change stream carries batches and heartbeats; a batch request accepts batches only."""
    beat = codec.encode(Heartbeat(HEAD))
    assert codec.decode_frame(beat) == Heartbeat(HEAD)
    with pytest.raises(MalformedMessage):
        codec.decode_batch(beat)


def test_a_batch_is_bounded_in_objects_as_well_as_in_bytes():
    """Millions of tiny groups or bodies, which fit 16 MiB easily, are refused before they exist."""
    many_groups = b"\x92\x01\xdd" + (5_000_000).to_bytes(4, "big") + b"\x92\xa0\x90" * 5_000_000
    many_bodies = b"\x92\x01\x91\x92\xa0\xdd" + (4_000_000).to_bytes(4, "big") + b"\xc4\x02ab" * 4_000_000
    tracemalloc.start()
    try:
        for raw in (many_groups, many_bodies):
            with pytest.raises((MalformedMessage, TooLarge)):
                codec.decode_batch(b"\x01" + zstd.compress(raw, 3))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * MAX_EXPANDED


def test_bodies_are_counted_over_all_groups():
    """The bound on bodies holds for the batch, not for each group of it."""
    half = [PATH, [b"x"] * (MAX_MEMBERS // 2)]
    assert len(codec.decode_batch(b"\x01" + zstd.compress(batch_payload(half, half)[1:])).groups) == 2
    with pytest.raises(TooLarge):
        codec.decode_batch(b"\x01" + zstd.compress(batch_payload(half, half, [PATH, [b"x"]])[1:]))


def test_small_messages_may_not_expand_to_sixteen_mebibytes():
    """Only batches and receipts carry bodies; the rest is bounded by 1 MiB expanded."""
    want = msgspec.msgpack.encode(Want([b"i" * 32] * 40_000))
    with pytest.raises(TooLarge):
        codec.decode(b"\x01" + zstd.compress(want, 3), Want)


# --- receipts ------------------------------------------------------------------------------------


def test_a_receipt_drops_covering_versions_rather_than_its_verdicts():
    """However large the covering versions are, every verdict is told and the receipt can be sent."""
    verdict = Verdict(Outcome.SUPERSEDED, covering=os.urandom(100_000))
    fitted = codec.fitted(Receipt(dict.fromkeys(range(50), verdict), HEAD))
    assert [v.outcome for v in fitted.exceptions.values()] == [Outcome.SUPERSEDED] * 50
    assert sum(v.covering is not None for v in fitted.exceptions.values()) == 5
    assert codec.decode_receipt(codec.encode(fitted)) == fitted


# --- cutting -------------------------------------------------------------------------------------


@given(groups)
def test_cutting_keeps_every_body_and_the_order(found):
    """The bodies of all batches, read in turn, are the bodies of the groups."""
    assert bodies_of(list(codec.batches(found))) == bodies_of([Batch(found)])


@pytest.mark.parametrize(
    "found",
    [
        [Group(PATH, [line(n) for n in range(30_000)])],
        [Group(f"skills/{n}/events.jsonl", [line(n)]) for n in range(10_000)],
        [Group(PATH, [b""] * 100_000)],
        [Group(PATH, [os.urandom(MAX_BODY), b"x", os.urandom(MAX_BODY)])],
        [Group(PATH, [os.urandom(300_000)] * 20)],
    ],
    ids=["lines", "paths", "empty", "largest", "random"],
)
def test_every_cut_batch_is_sent_and_accepted(found):
    """Many lines, many paths, many empty bodies and incompressible ones all travel."""
    cut = list(codec.batches(found))
    assert bodies_of([codec.decode_batch(codec.encode(batch)) for batch in cut]) == bodies_of([Batch(found)])
    assert all(len(batch.groups) <= MAX_GROUPS // 2 for batch in cut)


def test_cutting_makes_few_batches():
    """A batch is filled before the next one begins."""
    lines = [line(n) for n in range(30_000)]
    expected = sum(map(len, lines)) / codec.BATCH_BYTES
    assert len(list(codec.batches([Group(PATH, lines)]))) <= expected * 1.1 + 1


def test_items_of_one_path_become_one_group():
    """Neighbours of one path share a group; the order of the items is the order of the bodies."""
    items = [Item(Key(n, bytes(32)), path, b"%d" % n) for n, path in enumerate("aabba")]
    assert list(codec.grouped(items)) == [
        Group("a", [b"0", b"1"]),
        Group("b", [b"2", b"3"]),
        Group("a", [b"4"]),
    ]
    assert list(codec.grouped([])) == []


# --- frames --------------------------------------------------------------------------------------


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=10), st.data())
def test_frames_are_found_however_the_stream_is_cut(payloads, data):
    """Any division of the stream into pieces gives the same payloads."""
    stream = b"".join(map(codec.frame, payloads))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    reader, found = codec.FrameReader(), []
    for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        reader.feed(stream[start:stop])
        while (payload := reader.next()) is not None:
            found.append(payload)
    reader.finish()
    assert found == payloads


def test_an_announced_length_over_the_limit_is_refused_before_the_frame_is_read():
    """Four bytes suffice to refuse; the frame itself never arrives."""
    largest, larger = codec.FrameReader(), codec.FrameReader()
    largest.feed(MAX_ENCODED.to_bytes(4, "big"))
    assert largest.next() is None
    larger.feed((MAX_ENCODED + 1).to_bytes(4, "big"))
    with pytest.raises(TooLarge):
        larger.next()


def test_an_empty_frame_is_malformed():
    """A payload has at least its byte of encoding."""
    reader = codec.FrameReader()
    reader.feed(bytes(4))
    with pytest.raises(MalformedMessage):
        reader.next()


@pytest.mark.parametrize("torn", [b"\x00\x00", b"\x00\x00\x00\x05abc"])
def test_a_stream_that_ends_within_a_frame_is_malformed(torn):
    """The end of a stream is only good between two frames."""
    reader = codec.FrameReader()
    reader.feed(torn)
    with pytest.raises(MalformedMessage):
        reader.finish()


def test_a_hello_is_small():
    """The whole of a no-change exchange: the message of a device with 100,000 items."""
    assert len(codec.encode(hello_of(DeviceId("a" * 52)))) < 200
