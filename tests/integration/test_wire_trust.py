"""Nobody unpaired gets a byte: who passes the handshake, who does not, and what changes while it runs."""

from __future__ import annotations

import asyncio
import selectors
import ssl

import anyio
import pytest

from fleetsync.errors import NotTrusted, Unreachable
from fleetsync.records.addresses import Address
from fleetsync.wire import tls
from fleetsync.wire.listener import Limits
from fleetsync.wire.messages import Heartbeat
from tests.fakes.devices import make_device
from tests.fakes.peer import HEAD
from tests.fakes.waiting import eventually
from tests.fakes.wires import encrypted, read_until_closed, wire

REQUEST = b"GET /v1/hello HTTP/1.1\r\nHost: x\r\n\r\n"


def anonymous() -> ssl.SSLContext:
    """A caller that believes everybody and shows nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


async def answer_to(address: Address, context: ssl.SSLContext) -> bytes:
    """What a request over a connection made with that context gets back."""
    async with await encrypted(address, context) as stream:
        try:
            await stream.send(REQUEST)
        except (anyio.BrokenResourceError, OSError):
            return b""
        return await read_until_closed(stream)


async def test_a_paired_device_is_answered(tmp_path):
    """The counter-test of all that follows: with the right certificate the same request succeeds."""
    async with wire(tmp_path, Limits(idle=0.1)) as w:
        context = tls.client_context(w.caller, w.server.certificate)
        assert (await answer_to(w.address, context)).startswith(b"HTTP/1.1 200")


async def test_a_stranger_without_a_certificate_gets_nothing(tmp_path):
    """No certificate, no byte of an answer, and no connection counted."""
    async with wire(tmp_path) as w:
        assert await answer_to(w.address, anonymous()) == b""
        assert w.listener.callers == {}


async def test_a_stranger_with_a_certificate_of_its_own_gets_nothing(tmp_path):
    """A well-made certificate under the paired device's name is still somebody else's."""
    async with wire(tmp_path) as w:
        (tmp_path / "elsewhere").mkdir()
        stranger = make_device(tmp_path / "elsewhere", "caller")
        async with w.peer(stranger) as peer:
            with pytest.raises(NotTrusted, match="not trusted by that peer"):
                await peer.hello()
        assert w.listener.callers == {}


async def test_a_paired_certificate_cannot_vouch_for_another(tmp_path):
    """A certificate that a paired device has signed for somebody else is refused."""
    async with wire(tmp_path) as w:
        child = make_device(tmp_path, "child", issuer=w.caller)
        async with w.peer(child) as peer:
            with pytest.raises(NotTrusted):
                await peer.hello()


async def test_with_nobody_trusted_nobody_is_answered(tmp_path):
    """A device without peers listens, and refuses everyone."""
    async with wire(tmp_path) as w:
        w.listener.trust({})
        async with w.peer() as peer:
            with pytest.raises(NotTrusted):
                await peer.hello()
        assert await answer_to(w.address, anonymous()) == b""


async def test_older_tls_and_plain_http_get_no_answer(tmp_path):
    """TLS 1.2 fails in the handshake even for a paired device; plain HTTP gets no HTTP back."""
    async with wire(tmp_path) as w:
        old = tls.client_context(w.caller, w.server.certificate)
        old.minimum_version = ssl.TLSVersion.TLSv1_2
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises((ssl.SSLError, anyio.EndOfStream)):
            await answer_to(w.address, old)
        async with await anyio.connect_tcp(*w.address) as plain:
            await plain.send(REQUEST)
            assert b"HTTP" not in await read_until_closed(plain)


async def test_nothing_is_resumed(tmp_path):
    """No session tickets: a resumed session would skip the look at the certificate."""
    async with wire(tmp_path) as w:
        context = tls.client_context(w.caller, w.server.certificate)
        reader, writer = await asyncio.open_connection(*w.address, ssl=context)
        writer.write(REQUEST)
        await reader.readuntil(b"\r\n\r\n")
        session = writer.get_extra_info("ssl_object").session
        assert session is None or not session.has_ticket
        writer.transport.abort()


async def test_the_caller_speaks_only_to_the_device_it_means(tmp_path):
    """A server with another certificate gets no request, however well it is made."""
    async with wire(tmp_path) as w:
        other = make_device(tmp_path, "other")
        async with w.peer() as peer:
            peer._dialer._context = tls.client_context(w.caller, other.certificate)
            with pytest.raises(NotTrusted, match="another device answers there"):
                await peer.hello()
            # Even if TLS were satisfied, the fingerprint is looked at again.
            peer._dialer._context = tls.client_context(w.caller, w.server.certificate)
            peer._dialer._device = other.device
            with pytest.raises(NotTrusted, match="another device answers there"):
                await peer.hello()


# --- while it runs -------------------------------------------------------------------------------


async def test_a_device_added_at_run_time_is_answered_at_once(tmp_path):
    """Pairing needs no restart, and the devices that were connected stay so."""
    async with (
        wire(tmp_path) as w,
        w.peer(new := make_device(tmp_path, "new")) as second,
        w.peer() as first,
        first.changes() as frames,
    ):
        await anext(frames)
        with pytest.raises(NotTrusted):
            await second.hello()
        w.listener.trust({each.device: each.certificate for each in (w.caller, new)})
        await second.hello()
        w.fake.publish(Heartbeat(HEAD))
        await anext(frames)


async def test_a_removed_device_is_cut_off_at_once_and_nobody_else_is(tmp_path):
    """Removal ends an open change stream and every later attempt; the other device keeps its stream."""
    async with (
        wire(tmp_path) as w,
        w.peer() as removed,
        w.peer(kept_identity := make_device(tmp_path, "kept")) as kept,
    ):
        w.listener.trust({each.device: each.certificate for each in (w.caller, kept_identity)})
        async with kept.changes() as frames:
            await anext(frames)
            async with removed.changes() as lost:
                await anext(lost)
                w.listener.trust({kept_identity.device: kept_identity.certificate})
                assert w.listener.callers == {kept_identity.device: 1}
                with pytest.raises(Unreachable), anyio.fail_after(2):
                    await anext(lost)
            with pytest.raises(NotTrusted):
                await removed.hello()
            w.fake.publish(Heartbeat(HEAD))
            await anext(frames)
            await eventually(lambda: w.fake.open_streams == 1)


async def test_a_device_removed_during_its_handshake_does_not_slip_through(tmp_path):
    """The trust that counts is that of the moment when the connection is made, not when it was begun."""
    async with wire(tmp_path) as w:
        w.listener._trusted = frozenset()  # as between the handshake and `connection_made`
        async with w.peer() as peer:
            with pytest.raises(NotTrusted):
                await peer.hello()


async def test_one_device_cannot_hold_every_descriptor(tmp_path):
    """Beyond its number of connections a device loses its oldest."""
    async with wire(tmp_path, Limits(per_device=2)) as w, w.raw() as first, w.raw(), w.raw():
        assert await read_until_closed(first) == b""
        assert w.listener.callers == {w.caller.device: 2}


async def test_strangers_who_say_nothing_keep_nobody_out(tmp_path):
    """Half-open handshakes are few, time out, and give way to the one who comes next."""
    async with wire(tmp_path, Limits(unfinished=2, handshake=0.3)) as w, w.peer() as peer:
        silent = [await anyio.connect_tcp(*w.address) for _ in range(6)]
        with anyio.fail_after(2):
            await peer.hello()
        for each in silent:
            assert await read_until_closed(each) == b""
            await each.aclose()


async def test_a_stranger_who_closes_half_of_the_connection_is_dropped(tmp_path):
    """An end of file in the middle of the handshake ends it."""
    async with wire(tmp_path) as w:
        async with await anyio.connect_tcp(*w.address) as half:
            await half.send(b"\x16\x03\x01")
            await half.send_eof()
            await read_until_closed(half)
        async with w.peer() as peer:
            await peer.hello()


# --- closing, and doing nothing ------------------------------------------------------------------


async def test_closing_cuts_endless_streams_within_a_second_and_leaves_no_task(tmp_path):
    """A listener with an open change stream closes promptly and frees its port."""
    async with wire(tmp_path) as w, w.peer() as peer, peer.changes() as frames:
        await anext(frames)
        address = w.address
        before = asyncio.get_running_loop().time()
        await w.listener.aclose()
        await w.listener.aclose()
        assert asyncio.get_running_loop().time() - before < 1.5
        assert not w.listener._state.tasks
        with pytest.raises(Unreachable):
            await anext(frames)
        with pytest.raises(OSError, match="connection attempts failed"):
            await anyio.connect_tcp(*address)


def test_an_idle_listener_does_not_wake_up(tmp_path):
    """With a kept connection and an open change stream, two seconds pass without one wake-up."""

    class Counting(selectors.DefaultSelector):
        wakeups = 0

        def select(self, timeout=None):
            found = super().select(timeout)
            Counting.wakeups += 1
            return found

    async def idle() -> int:
        async with wire(tmp_path) as w, w.peer() as peer:
            await peer.hello()
            async with peer.changes() as frames:
                await anext(frames)
                await asyncio.sleep(0.2)
                before = Counting.wakeups
                await asyncio.sleep(2)
                return Counting.wakeups - before

    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(Counting())) as runner:
        assert runner.run(idle()) <= 2  # the end of the sleep itself
