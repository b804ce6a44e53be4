"""Every request of the protocol between two devices, over real TLS on loopback."""

from __future__ import annotations

import asyncio
import errno
import os

import anyio
import msgspec
import pytest

from fleetsync.errors import (
    DishonestPeer,
    MalformedMessage,
    NetworkForbidden,
    NotTrusted,
    PeerInTrouble,
    ProtocolMismatch,
    StorageFailed,
    TooLarge,
    Unreachable,
)
from fleetsync.ports import Group, Outcome
from fleetsync.records.addresses import Address
from fleetsync.records.names import DeviceId
from fleetsync.wire import server
from fleetsync.wire.client import agree
from fleetsync.wire.dialing import _explain
from fleetsync.wire.listener import Limits
from fleetsync.wire.messages import (
    MAX_SPANS,
    MAX_WANTED,
    NO_TERMS,
    Batch,
    Heartbeat,
    RosterOffer,
    Span,
    Terms,
    Want,
)
from tests.fakes.devices import make_device
from tests.fakes.peer import HEAD, FakePeer, hello_of, line, one_line_batch
from tests.fakes.waiting import eventually
from tests.fakes.wires import impostor, wire

ROSTER = RosterOffer([b"record"], {"a" * 52: ["[::1]:8473"]}, "home-laptop", 8473)


async def test_every_request_is_answered(tmp_path):
    """What the serving device's `Peer` says is what the caller's `Peer` returns."""
    async with wire(tmp_path) as w, w.peer() as peer:
        assert await peer.hello() == w.fake.greeting
        assert await peer.reconcile(b"abc") == b"acb"
        assert await peer.roster(ROSTER) == msgspec.structs.replace(ROSTER, name="work-laptop")
        receipt = await peer.offer(one_line_batch())
        assert (receipt.exceptions, receipt.head) == ({}, HEAD)
        assert w.fake.offered == [one_line_batch()]


async def test_items_come_as_the_batches_that_were_sent(tmp_path):
    """A large answer arrives whole and in order, an empty one as no batch at all."""
    want = Want([b"i" * 32], [Span(0, b"", 2**64 - 1, b"")])
    async with wire(tmp_path) as w, w.peer() as peer:
        async with peer.items(want) as batches:
            assert [batch async for batch in batches] == []
        w.fake.served = [Batch([Group("p", [os.urandom(900_000)])]) for _ in range(5)]
        async with peer.items(want) as batches:
            assert [batch async for batch in batches] == w.fake.served
        assert w.fake.wanted == [want, want]
        await eventually(lambda: w.fake.open_streams == 0)


async def test_the_longest_want_is_one_request(tmp_path):
    """As many ids and spans as may be asked for at once fit a message; one id more is refused there."""
    ids = [n.to_bytes(32, "big") for n in range(MAX_WANTED)]
    spans = [Span(2**64 - n, b"p" * 32, 2**64 - n, b"q" * 32) for n in range(MAX_SPANS + 1, 1, -1)]
    async with wire(tmp_path) as w, w.peer() as peer:
        w.fake.served = [one_line_batch()]
        async with peer.items(Want(ids, spans)) as batches:
            assert [batch async for batch in batches] == [one_line_batch()]
        assert w.fake.wanted == [Want(ids, spans)]
        async with peer.items(Want([*ids, bytes(32)])) as batches:
            with pytest.raises(TooLarge):
                await anext(batches)


async def test_changes_arrive_as_they_happen(tmp_path):
    """The stream begins with a heartbeat, then each frame comes at once, and leaving it ends it."""
    async with wire(tmp_path) as w, w.peer() as peer:
        async with peer.changes() as frames:
            assert await anext(frames) == Heartbeat(HEAD)
            for number in range(3):
                w.fake.publish(one_line_batch(number))
                with anyio.fail_after(1):
                    assert await anext(frames) == one_line_batch(number)
        await eventually(lambda: w.fake.open_streams == 0)


async def test_one_connection_is_kept_for_many_requests(tmp_path):
    """Requests one after the other share a connection; a stream beside them takes a second one."""
    async with wire(tmp_path) as w, w.peer() as peer:
        for _ in range(5):
            await peer.hello()
        assert w.listener.callers == {w.caller.device: 1}
        async with peer.changes() as frames:
            await anext(frames)
            await peer.hello()
            assert w.listener.callers == {w.caller.device: 2}


async def test_requests_run_concurrently(tmp_path):
    """An offer that takes long holds up nothing else; no more than two are being applied at once."""
    async with wire(tmp_path) as w, w.peer() as peer:
        w.fake.hold_offers = anyio.Event()
        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(peer.offer, one_line_batch())
            await eventually(lambda: w.fake.offering == 2)
            await peer.hello()
            w.fake.hold_offers.set()
        assert len(w.fake.offered) == 4
        assert w.fake.most_offering == 2


async def test_a_receipt_with_large_covering_versions_is_still_a_receipt(tmp_path):
    """Ten superseded bodies whose covering versions would not fit one message get ten verdicts."""
    async with wire(tmp_path) as w, w.peer() as peer:
        w.fake.covering = os.urandom(200_000)
        receipt = await peer.offer(Batch([Group("p", [b"x"] * 10)]))
        assert {v.outcome for v in receipt.exceptions.values()} == {Outcome.SUPERSEDED}
        assert receipt.exceptions[0].covering == w.fake.covering
        assert receipt.exceptions[9].covering is None


# --- failures ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (StorageFailed("index.db: no space left on device"), PeerInTrouble),
        (TooLarge("too much"), TooLarge),
        (NotTrusted("removed"), NotTrusted),
        (MalformedMessage("nonsense"), MalformedMessage),
    ],
)
async def test_errors_cross_the_wire_with_their_meaning(tmp_path, raised, expected):
    """Requests and streams that fail before they begin raise what the other device meant."""
    async with wire(tmp_path) as w, w.peer() as peer:
        w.fake.fails = raised
        with pytest.raises(expected, match=f"laptop answers: {raised}"):
            await peer.hello()
        async with peer.changes() as frames:
            with pytest.raises(expected):
                await anext(frames)
        async with peer.items(Want([b"i" * 32])) as batches:
            with pytest.raises(expected):
                await anext(batches)


@pytest.mark.parametrize("call", ["hello", "changes"])
async def test_an_unforeseen_error_is_told_as_trouble_and_logged_here(tmp_path, caplog, call):
    """A bug in one request is logged with its traceback, tells the peer nothing and ends nothing."""
    async with wire(tmp_path) as w, w.peer() as peer:
        w.fake.fails = RuntimeError("secret detail")
        async with peer.changes() as frames:
            with pytest.raises(PeerInTrouble) as caught:
                await (peer.hello() if call == "hello" else anext(frames))
        assert "secret" not in str(caught.value)
        assert any(r.exc_info and "secret detail" in str(r.exc_info[1]) for r in caplog.records)
        w.fake.fails = None
        await peer.hello()


async def test_a_stream_that_breaks_raises_and_never_ends(tmp_path):
    """Half an answer cannot be taken for the whole: what was sent arrives, then it is an error."""
    async with wire(tmp_path) as w, w.peer() as peer:
        w.fake.served, w.fake.breaks_after = [one_line_batch(1), one_line_batch(2)], 1
        async with peer.items(Want([b"i" * 32])) as batches:
            assert await anext(batches) == one_line_batch(1)
            with pytest.raises(Unreachable):
                await anext(batches)


async def test_a_kept_connection_that_was_closed_is_not_an_error(tmp_path):
    """The listener drops idle connections; the next request opens a new one by itself."""
    async with wire(tmp_path, Limits(idle=0.05, closing=0.05)) as w, w.peer() as peer:
        await peer.hello()
        await eventually(lambda: not w.listener.callers)
        await peer.hello()


async def test_a_dropped_peer_connects_again(tmp_path):
    """`aclose` may be called at any time and twice; the next call works."""
    async with wire(tmp_path) as w, w.peer() as peer:
        await peer.hello()
        await peer.aclose()
        await peer.aclose()
        await eventually(lambda: not w.listener.callers)
        await peer.hello()


async def test_dropping_the_connections_ends_what_is_under_way(tmp_path):
    """A change stream whose connection is dropped here says so, and does not blame the peer's trust."""
    async with wire(tmp_path) as w, w.peer() as peer:
        w.fake.hold_offers = anyio.Event()
        failures = []

        async def offer():
            try:
                await peer.offer(one_line_batch())
            except Unreachable as error:
                failures.append(error)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(offer)
            await eventually(lambda: w.fake.offering)
            await peer.aclose()
        assert "were dropped" in str(failures[0])
        w.fake.hold_offers.set()


# --- who answers ---------------------------------------------------------------------------------


async def test_the_first_address_that_answers_as_the_device_wins(tmp_path):
    """Dead addresses and other devices on the way are passed over; the good one is remembered."""
    other = FakePeer(make_device(tmp_path, "other").device)
    (tmp_path / "second").mkdir()
    async with wire(tmp_path) as w, wire(tmp_path / "second") as another:
        addresses = [Address("127.0.0.1", 1), another.address, w.address]
        async with w.peer(None, *addresses) as peer:
            assert (await peer.hello()).device == w.server.device != other.device
            assert peer.reached == w.address


async def test_a_silent_address_does_not_hold_up_the_next(tmp_path):
    """An address that says nothing costs a quarter of a second, and only until another has answered."""
    calls: list[asyncio.StreamWriter] = []
    silent = await asyncio.start_server(lambda _, writer: calls.append(writer), "127.0.0.1", 0)
    async with wire(tmp_path) as w:
        blackhole = Address(*silent.sockets[0].getsockname())
        async with w.peer(None, blackhole, w.address) as peer:
            with anyio.fail_after(2):
                await peer.hello()
            assert len(calls) == 1
            await peer.aclose()
            await peer.hello()
            assert len(calls) == 1
    for writer in calls:
        writer.transport.abort()
    silent.close()


async def test_nobody_there_is_unreachable_and_names_every_address(tmp_path):
    """The error of a device found nowhere says what each address answered."""
    async with wire(tmp_path) as w:
        async with w.peer(None, Address("127.0.0.1", 1), Address("::1", 1)) as peer:
            with pytest.raises(Unreachable, match=r"127.0.0.1:1: connection refused; \[::1\]:1: ") as caught:
                await peer.hello()
            assert "laptop" in str(caught.value)
        async with w.peer() as peer:
            peer._dialer._addresses = list
            with pytest.raises(Unreachable, match="no address of laptop is known"):
                await peer.hello()


@pytest.mark.parametrize("host", ["x" * 300, "a\0b", "..", "\u2603" * 70])
async def test_an_address_that_cannot_be_one_is_a_failure_like_any_other(tmp_path, host):
    """Addresses come from other devices: a host that no resolver takes does not hide the good one."""
    async with wire(tmp_path) as w:
        async with w.peer(None, Address(host, 1)) as peer:
            with pytest.raises(Unreachable, match="laptop cannot be reached"):
                await peer.hello()
        async with w.peer(None, Address(host, 1), w.address) as peer:
            await peer.hello()


def test_a_refusal_by_macos_is_told_from_a_missing_route():
    """No route within milliseconds on macOS is the Local Network setting; elsewhere, or later, it is not."""
    failures = {Address("10.0.0.5", 8473): OSError(errno.EHOSTUNREACH, "No route to host")}
    blocked = _explain("p", failures, 0.004, "darwin")
    assert isinstance(blocked, NetworkForbidden)
    assert "Privacy & Security → Local Network" in blocked.next
    assert _explain("p", failures, 3.0, "darwin").next == Unreachable.next_step
    assert _explain("p", failures, 0.004, "linux").next == Unreachable.next_step


async def test_a_device_that_claims_to_be_another_is_dishonest(tmp_path):
    """The id in the hello must be the one that the certificate proves."""
    async with wire(tmp_path) as w, w.peer() as peer:
        w.fake.greeting = hello_of(DeviceId("a" * 52))
        with pytest.raises(DishonestPeer):
            await peer.hello()


# --- versions ------------------------------------------------------------------------------------


def test_the_highest_common_version_is_spoken():
    """Overlapping ranges agree; others are refused with both ranges named."""
    old, new = (
        msgspec.structs.replace(hello_of(DeviceId("a" * 52)), protocol_min=low, protocol_max=high)
        for low, high in ((1, 3), (2, 3))
    )
    assert agree(old, "laptop") == 1
    with pytest.raises(ProtocolMismatch, match="laptop speaks protocol versions 2 to 3, this device 1 to 1"):
        agree(new, "laptop")


async def test_another_version_in_the_path_is_refused_by_name(tmp_path):
    """A caller of a later version learns what this device speaks; unknown requests are merely unknown."""
    async with wire(tmp_path) as w, w.peer() as peer:
        peer._version = 2
        with pytest.raises(ProtocolMismatch, match="version 2 was asked for; this device speaks 1 to 1"):
            await peer.reconcile(b"a")
        peer._version = 1
        with pytest.raises(PeerInTrouble, match="no such request"):
            await peer._ask("GET", "/v1/nothing")


async def test_terms_travel_with_the_request_for_a_hello(tmp_path):
    """A caller that leaves something out says so; one that does not asks as ever."""
    terms = Terms(["experience", "**/skills/x"], ["send-only"])
    async with wire(tmp_path) as w, w.peer() as peer:
        assert await peer.hello(terms) == w.fake.greeting
        assert w.fake.terms == terms
        await peer.hello()
        assert w.fake.terms == NO_TERMS


async def test_a_host_older_than_terms_is_asked_without(tmp_path, monkeypatch):
    """Its 404 is no failure: the hello is had all the same."""
    known = server._route
    monkeypatch.setattr(
        server,
        "_route",
        lambda method, path, endpoint: known(
            method, "/v1/later" if (method, path) == ("POST", "/v1/hello") else path, endpoint
        ),
    )
    async with wire(tmp_path) as w, w.peer() as peer:
        assert await peer.hello(Terms(["experience"])) == w.fake.greeting
        assert w.fake.terms == NO_TERMS


# --- what it costs -------------------------------------------------------------------------------


async def test_the_byte_budgets_hold(tmp_path):
    """On a kept connection: a no-change exchange within 400 bytes, one pushed line within 600, all told."""
    async with wire(tmp_path) as w, w.peer() as peer:
        await peer.hello()
        before = peer.traffic.bytes_in + peer.traffic.bytes_out
        await peer.hello()
        assert peer.traffic.bytes_in + peer.traffic.bytes_out - before <= 400
        async with peer.changes() as frames:
            await anext(frames)
            before = peer.traffic.bytes_in + peer.traffic.bytes_out
            w.fake.publish(Batch([Group("skills/deploy/events.jsonl", [line(1)])]))
            await anext(frames)
            assert peer.traffic.bytes_in + peer.traffic.bytes_out - before <= 600


async def test_a_caller_whose_peer_is_not_fleetsync_is_told(tmp_path):
    """Something else at the address is named as such; a paired device that talks nonsense is malformed."""
    async with wire(tmp_path) as w:

        async def nonsense(reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
            await reader.read()

        async with (
            impostor(w.server, w.caller.certificate, nonsense) as address,
            w.peer(None, address) as peer,
        ):
            with pytest.raises(MalformedMessage, match="breaks the rules of HTTP"):
                await peer.hello()

        async with await anyio.create_tcp_listener(local_host="127.0.0.1") as plain:

            async def greet(stream):
                async with stream:
                    await stream.receive()
                    await stream.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(plain.serve, greet)
                where = Address(*plain.extra(anyio.abc.SocketAttribute.local_address))
                async with w.peer(None, where) as peer:
                    with pytest.raises(Unreachable, match="is not fleetsync"):
                        await peer.hello()
                tasks.cancel_scope.cancel()
