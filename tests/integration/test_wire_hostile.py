"""A paired device is not a friend: what it may send, withhold or refuse to read, on both sides."""

from __future__ import annotations

import asyncio
import os
import time

import anyio
import msgspec
import pytest
from backports import zstd

from fleetsync.errors import MalformedMessage, NotTrusted, PeerInTrouble, TooLarge, Unreachable, Unresponsive
from fleetsync.ports import Group
from fleetsync.wire import allowance, codec
from fleetsync.wire.client import Deadlines
from fleetsync.wire.listener import Limits
from fleetsync.wire.messages import MAX_ENCODED, MAX_RECONCILE, Batch, Heartbeat, Refusal, Want
from fleetsync.wire.server import Patience
from tests.fakes.peer import HEAD, one_line_batch
from tests.fakes.waiting import eventually
from tests.fakes.wires import impostor, read_until_closed, wire

HELLO = b"GET /v1/hello HTTP/1.1\r\nHost: x\r\n\r\n"
QUICK = Limits(header=0.3, closing=0.2)


def post(path: str, body: bytes, announced: int | None = None) -> bytes:
    """A request with a body, of the length it has or of another one."""
    length = len(body) if announced is None else announced
    return b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (path.encode(), length, body)


CUT = (anyio.BrokenResourceError, anyio.EndOfStream, ConnectionError)


async def trickle(stream, data: bytes) -> None:
    """Send a byte at a time, fifty a second, for at most two seconds."""
    with anyio.fail_after(2):
        for byte in data:
            await stream.send(bytes([byte]))
            await anyio.sleep(0.02)


async def answer(stream) -> tuple[int, bytes]:
    """Status and body of the next answer on the stream, which announces its length."""
    data = b""
    with anyio.fail_after(5):
        while b"\r\n\r\n" not in data:
            data += await stream.receive()
        head, _, body = data.partition(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        while len(body) < length:
            body += await stream.receive()
    return int(head.split()[1]), body


async def refusal(stream) -> tuple[int, str]:
    """Status and code of the next answer."""
    status, body = await answer(stream)
    return status, codec.decode(body, Refusal).code


async def still_serves(w) -> None:
    """Another request of the same device is answered."""
    async with w.peer() as peer:
        await peer.hello()


# --- requests ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00\xff\xfe" * 100 + b"\r\n\r\n",
        b"GET /v1/hello\r\n\r\n",
        b"GET /v1/hello HTTP/1.1\r\nno colon\r\n\r\n",
    ],
)
async def test_garbage_instead_of_http_ends_that_connection_only(tmp_path, garbage):
    """What is not HTTP is answered 400 and cut off; the next connection is served."""
    async with wire(tmp_path, QUICK) as w:
        async with w.raw() as stream:
            await stream.send(garbage)
            assert (await read_until_closed(stream)).startswith(b"HTTP/1.1 400")
        await still_serves(w)


async def test_a_request_head_is_bounded(tmp_path):
    """Headers without end are refused after a few kilobytes."""
    async with wire(tmp_path, QUICK) as w, w.raw() as stream:
        await stream.send(b"GET /v1/hello HTTP/1.1\r\n")
        with anyio.fail_after(5):
            try:
                for _ in range(100):
                    await stream.send(b"X-Filler: " + b"x" * 1000 + b"\r\n")
            except (anyio.BrokenResourceError, OSError):
                pass
            await read_until_closed(stream)
        await still_serves(w)


async def test_a_connection_that_asks_nothing_is_dropped(tmp_path):
    """A paired device that connects and stays silent is cut off when the time for a head is over."""
    async with wire(tmp_path, QUICK) as w, w.raw() as stream:
        assert await read_until_closed(stream, 2) == b""


async def test_a_byte_a_second_buys_no_time_for_a_head(tmp_path):
    """The deadline of a head runs from its first byte, however many more trickle in."""
    async with wire(tmp_path, QUICK) as w, w.raw() as stream:
        await stream.send(HELLO)
        assert (await answer(stream))[0] == 200
        began = time.monotonic()
        with pytest.raises(CUT):
            await trickle(stream, HELLO * 100)
        assert time.monotonic() - began < 1


async def test_a_slow_body_is_given_up(tmp_path):
    """A body has a deadline as a whole; the answer says so and the connection survives."""
    async with wire(tmp_path, patience=Patience(body=0.2)) as w, w.raw() as stream:
        await stream.send(post("/v1/reconcile", b"a", announced=100))
        assert await refusal(stream) == (408, "unresponsive")
        await stream.send(b"b" * 99)
        await stream.send(HELLO)
        assert (await answer(stream))[0] == 200


async def test_a_large_body_on_a_slow_link_is_read(tmp_path, monkeypatch):
    """Bytes buy the time that they need: what takes longer than the deadline is read if it keeps coming."""
    monkeypatch.setattr(allowance, "SLOWEST", 1000)
    async with wire(tmp_path, patience=Patience(body=0.2)) as w, w.raw() as stream:
        await stream.send(post("/v1/reconcile", b"", announced=2000))
        for _ in range(4):
            await asyncio.sleep(0.15)
            await stream.send(bytes(500))
        assert (await answer(stream))[0] != 408


async def test_the_rest_of_a_refused_body_may_not_take_for_ever(tmp_path):
    """After the refusal the rest is discarded, but not for longer than a head may take."""
    async with wire(tmp_path, QUICK) as w, w.raw() as stream:
        await stream.send(post("/v1/items", b"", announced=10**12))
        assert await refusal(stream) == (413, "too-large")
        with pytest.raises(CUT):
            await trickle(stream, bytes(1000))
        await still_serves(w)


@pytest.mark.parametrize(("path", "limit"), [("/v1/reconcile", MAX_RECONCILE), ("/v1/items", MAX_ENCODED)])
async def test_body_limits_are_exact(tmp_path, path, limit):
    """A body of the limit is read; one byte more is refused, announced or not, and the connection kept."""
    async with wire(tmp_path) as w, w.raw() as stream:
        await stream.send(post(path, bytes(limit)))
        assert (await answer(stream))[0] != 413
        await stream.send(post(path, bytes(limit + 1)))
        assert await refusal(stream) == (413, "too-large")
        head = b"POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" % path.encode()
        await stream.send(head + b"%x\r\n%s\r\n0\r\n\r\n" % (limit + 1, bytes(limit + 1)))
        assert await refusal(stream) == (413, "too-large")
        await stream.send(HELLO)
        assert (await answer(stream))[0] == 200


async def test_a_compression_bomb_is_refused_and_the_connection_kept(tmp_path):
    """64 MiB in a few kilobytes are not expanded."""
    bomb = b"\x01" + zstd.compress(bytes(64 << 20), 3)
    async with wire(tmp_path) as w, w.raw() as stream:
        for path in ("/v1/items", "/v1/items/get", "/v1/roster"):
            await stream.send(post(path, bomb))
            assert await refusal(stream) == (413, "too-large")
        await stream.send(HELLO)
        assert (await answer(stream))[0] == 200
        assert not w.fake.offered
        assert not w.fake.wanted


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (b"", (400, "malformed-message")),
        (b"\x00\xc1", (400, "malformed-message")),
        (b"\x00" + msgspec.msgpack.encode([[b"short"], []]), (400, "malformed-message")),
        (b"\x00" + msgspec.msgpack.encode([[b"i" * 32] * 16_385]), (413, "too-large")),
        (b"\x00" + msgspec.msgpack.encode([[], [[0, b"", 1, b""]] * 4_097]), (413, "too-large")),
        (b"\x00" + msgspec.msgpack.encode([[b"i" * 32] * 2]), (400, "malformed-message")),
        (b"\x00" + msgspec.msgpack.encode([[], [[0, b"", 9, b""]] * 2]), (400, "malformed-message")),
        (
            b"\x00" + msgspec.msgpack.encode([[], [[5, b"b", 9, b""], [0, b"", 5, b"b\x01"]]]),
            (400, "malformed-message"),
        ),
    ],
)
async def test_a_want_out_of_bounds_is_refused(tmp_path, message, expected):
    """Ids of the wrong length, more than may be asked for at once, and the same twice never reach storage."""
    async with wire(tmp_path) as w, w.raw() as stream:
        await stream.send(post("/v1/items/get", message))
        assert await refusal(stream) == expected
        assert w.fake.wanted == []


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET /", 404),
        (b"GET /v1/", 404),
        (b"GET /v1/hello/", 404),
        (b"GET /v1/pair", 404),
        (b"GET /v1/%0a/", 404),
        (b"GET /v2/hello", 426),
        (b"GET /v1/items", 404),
        (b"POST /v1/hello", 400),  # terms that are none
        (b"POST /v1/changes", 404),
        (b"HEAD /v1/changes", 404),
        (b"DELETE /v1/items", 404),
    ],
)
async def test_there_is_nothing_but_the_protocol(tmp_path, request_line, status):
    """Every other path is unknown, and so is every other method."""
    async with wire(tmp_path, QUICK) as w, w.raw() as stream:
        await stream.send(request_line + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert (await read_until_closed(stream)).startswith(b"HTTP/1.1 %d" % status)


async def test_broken_chunks_after_the_answer_end_that_connection_only(tmp_path, caplog):
    """Framing that breaks when the refusal is already out is no error in this program's log."""
    head = b"POST /v1/nothing HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with wire(tmp_path, QUICK) as w:
        async with w.raw() as stream:
            await stream.send(head)
            assert (await answer(stream))[0] == 404
            await stream.send(b"no chunk size\r\n")
            await read_until_closed(stream)
        await still_serves(w)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_a_caller_that_leaves_ends_its_stream(tmp_path):
    """Half-closed or reset, a connection whose caller is gone holds no stream open."""
    async with wire(tmp_path) as w:
        for leave in ("send_eof", "aclose"):
            async with w.raw() as stream:
                await stream.send(b"GET /v1/changes HTTP/1.1\r\nHost: x\r\n\r\n")
                await eventually(lambda: w.fake.open_streams == 1)
                if leave == "send_eof":
                    await stream.transport_stream.send_eof()
                else:
                    await stream.transport_stream.aclose()
                await eventually(lambda: w.fake.open_streams == 0)
        await still_serves(w)


async def test_a_caller_that_stops_reading_is_cut_off(tmp_path):
    """A stream that nobody reads is given up after the write deadline, and its memory freed."""
    async with wire(tmp_path, patience=Patience(write=0.3)) as w:
        w.fake.served = [Batch([Group("p", [os.urandom(900_000)])])] * 40
        async with w.raw() as stream:
            await stream.send(post("/v1/items/get", codec.encode(Want([b"i" * 32]))))
            await eventually(lambda: w.fake.open_streams == 1)
            await eventually(lambda: w.fake.open_streams == 0)
            await eventually(lambda: not w.listener.callers)
        await still_serves(w)


async def test_the_last_frame_must_be_read_too(tmp_path):
    """A caller that leaves the end of an answer unread is cut off like any other."""
    async with wire(tmp_path, patience=Patience(write=0.3)) as w:
        w.fake.served = [Batch([Group("p", [os.urandom(900_000)])])] * 8
        async with w.raw() as stream:
            await stream.send(post("/v1/items/get", codec.encode(Want([b"i" * 32]))))
            await eventually(lambda: w.fake.wanted)
            await eventually(lambda: not w.listener.callers)


# --- answers -------------------------------------------------------------------------------------


def talking(*pieces: bytes, pause: float = 0.0, hold: bool = False):
    """A server that reads one request and answers these bytes."""

    async def talk(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause)
        if hold:
            await reader.read()

    return talk


OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """A chunk of a chunked answer."""
    return b"%x\r\n%s\r\n" % (len(data), data)


BEAT = codec.frame(codec.encode(Heartbeat(HEAD)))


@pytest.mark.parametrize(
    ("talk", "expected"),
    [
        (talking(hold=True), Unresponsive),
        (talking(*[b"H"] * 100, pause=0.02), Unresponsive),
        (talking(OK + b"Content-Length: 1000\r\n\r\n", *[b"x"] * 100, pause=0.02), Unresponsive),
        (talking(), NotTrusted),
        (talking(b"HTTP/1.1 20"), Unreachable),
        (talking(OK + b"Content-Length: 1000\r\n\r\nabc"), Unreachable),
        (talking(OK + b"X: y\r\n" * 100_000, hold=True), MalformedMessage),
        (talking(OK + b"Content-Length: 99999999\r\n\r\n", bytes(MAX_ENCODED + 1), hold=True), TooLarge),
        (talking(OK + b"Content-Length: 3\r\n\r\n\x00\xc1\x00"), MalformedMessage),
        (talking(OK + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n\x00\xc1"), MalformedMessage),
        (talking(b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n"), PeerInTrouble),
    ],
    ids=[
        "silent",
        "slow-head",
        "slow-body",
        "hangs-up",
        "torn-head",
        "torn-body",
        "endless-head",
        "oversize",
        "nonsense",
        "encoded",
        "redirect",
    ],
)
async def test_an_answer_may_be_late_torn_endless_or_nonsense(tmp_path, talk, expected):
    """Each way not to answer becomes one error of the peer, within the deadline."""
    async with (
        wire(tmp_path) as w,
        impostor(w.server, w.caller.certificate, talk) as address,
        w.peer(None, address, answer=0.5) as peer,
    ):
        with pytest.raises(expected), anyio.fail_after(3):
            await peer.hello()


@pytest.mark.parametrize(
    ("talk", "frames", "expected"),
    [
        (talking(CHUNKED + chunk(BEAT), hold=True), 1, Unresponsive),
        (talking(CHUNKED + chunk(BEAT + b"\0\0\1\0"), *[chunk(b"x")] * 100, pause=0.02), 1, Unresponsive),
        (talking(CHUNKED + chunk(BEAT + BEAT)), 2, Unreachable),
        (talking(CHUNKED + chunk(BEAT + BEAT[:9]) + b"0\r\n\r\n"), 1, MalformedMessage),
        (talking(CHUNKED + chunk(BEAT + b"\xff\xff\xff\xff"), hold=True), 1, TooLarge),
        (talking(CHUNKED + chunk(BEAT + b"\x00\x00\x00\x01\x07"), hold=True), 1, MalformedMessage),
        (talking(CHUNKED + chunk(BEAT) + b"nonsense\r\n", hold=True), 1, MalformedMessage),
    ],
    ids=["silent", "a-byte-at-a-time", "cut", "torn", "oversize", "nonsense", "broken-chunk"],
)
async def test_a_change_stream_may_fall_silent_or_break(tmp_path, talk, frames, expected):
    """The frames that came whole are delivered, then the stream raises; it never just ends."""
    async with (
        wire(tmp_path) as w,
        impostor(w.server, w.caller.certificate, talk) as address,
        w.peer(None, address, silence=0.5) as peer,
        peer.changes() as stream,
    ):
        with anyio.fail_after(3):
            for _ in range(frames):
                assert await anext(stream) == Heartbeat(HEAD)
            with pytest.raises(expected):
                await anext(stream)


async def test_a_large_frame_on_a_slow_link_arrives(tmp_path, monkeypatch):
    """A frame that takes longer than the longest silence is no silence while it keeps coming."""
    monkeypatch.setattr(allowance, "SLOWEST", 50)
    pieces = [chunk(BEAT[at : at + 10]) for at in range(0, len(BEAT), 10)]
    async with (
        wire(tmp_path) as w,
        impostor(w.server, w.caller.certificate, talking(CHUNKED, *pieces, pause=0.15, hold=True)) as address,
        w.peer(None, address, silence=0.2) as peer,
        peer.changes() as stream,
    ):
        assert len(pieces) > 2
        assert await anext(stream) == Heartbeat(HEAD)


async def test_a_peer_that_does_not_take_an_offer_is_given_up(tmp_path, monkeypatch):
    """A request that nobody reads ends with the deadline of the offer and what its bytes may take."""
    monkeypatch.setattr(allowance, "SLOWEST", 1_000_000)

    async def stuck(reader, writer):
        writer.transport.pause_reading()
        await asyncio.sleep(10)

    batch = Batch([Group("p", [os.urandom(900_000)])])
    async with (
        wire(tmp_path) as w,
        impostor(w.server, w.caller.certificate, stuck) as address,
        w.peer(None, address, offer=0.5) as peer,
    ):
        with pytest.raises(Unresponsive), anyio.fail_after(3):
            await peer.offer(batch)


async def test_nothing_too_large_is_sent(tmp_path):
    """The caller refuses by itself what the other side would have to."""
    async with wire(tmp_path) as w, w.peer() as peer:
        with pytest.raises(TooLarge):
            await peer.reconcile(bytes(MAX_RECONCILE + 1))
        with pytest.raises(TooLarge):
            await peer.offer(Batch([Group("p", [os.urandom(2 << 20)])]))
        await peer.offer(one_line_batch())
    assert Deadlines().silence == 90.0
