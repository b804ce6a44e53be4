"""Pairing over real sockets and TLS on the loopback address, with two real identities."""

from __future__ import annotations

import socket
import ssl
import struct
from contextlib import suppress
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from anyio.streams.tls import TLSStream

from fleetsync.devices import seal
from fleetsync.devices.identity import Identity, ensure_identity
from fleetsync.devices.pairing import Joiner, Party
from fleetsync.devices.trust import Fleet
from fleetsync.devices.words import WORDS
from fleetsync.errors import MalformedMessage, PairingFailed, Unreachable, Unresponsive, UserError
from fleetsync.records.addresses import Address
from fleetsync.wire.pairing import Limits, Offering, join, offer

LOOPBACK = Address("127.0.0.1", 0)
QUICK = Limits(conversation=0.3)


class Device:
    """One side: an identity, a fleet, and the party it makes of them."""

    def __init__(self, state: Path, name: str, port: int) -> None:
        self.identity: Identity = ensure_identity(state, create=seal.new_credentials)
        self.fleet = Fleet.load(state, self.identity)
        self.me = Party.of(self.identity, name, port, self.fleet.removals_between)

    def offer(self, listen: Address = LOOPBACK, limits: Limits | None = None):
        return offer(self.identity, self.me, listen, limits=limits)

    def adopt(self, paired) -> None:
        self.fleet.pair(paired.certificate, paired.name, paired.addresses, paired.records)


@pytest.fixture
def anna(tmp_path: Path) -> Device:
    return Device(tmp_path / "anna", "anna", 8473)


@pytest.fixture
def bert(tmp_path: Path) -> Device:
    return Device(tmp_path / "bert", "bert", 9000)


@pytest.fixture
def cora(tmp_path: Path) -> Device:
    return Device(tmp_path / "cora", "cora", 0)


def wrong(code: str) -> str:
    digit, first, second = code.split("-")
    return f"{digit}-{first}-{WORDS[WORDS.index(second) - 1]}"


async def pair(one: Device, other: Device):
    """What the offerer and the joiner come to."""
    async with one.offer() as offering:
        joined = await join(other.me, offering.code, offering.addresses[0])
        return await offering.paired(), joined


def knock_and_reset(at: Address) -> None:
    """What a port scanner does."""
    with socket.create_connection(at) as knocking:
        knocking.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def caller(offering: Offering) -> TLSStream:
    """A bare TLS connection to the pairing port, as anybody can make one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    raw = await anyio.connect_tcp(*offering.addresses[0])
    return await TLSStream.wrap(raw, server_side=False, ssl_context=context, standard_compatible=False)


async def ask(stream: TLSStream, request: bytes) -> bytes:
    await stream.send(request)
    return await stream.receive()


def post(path: str, body: bytes) -> bytes:
    return b"POST %s HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s" % (path.encode(), len(body), body)


# --- that it works -----------------------------------------------------------------------------------


async def test_two_devices_pair_and_trust_each_other(anna, bert):
    """Same words on both sides, addresses to call each other, and trust on both sides afterwards."""
    offered, joined = await pair(anna, bert)
    assert offered.words == joined.words
    assert (offered.name, offered.addresses) == ("bert", ("127.0.0.1:9000",))
    assert (joined.name, joined.addresses) == ("anna", ("127.0.0.1:8473",))
    await anyio.to_thread.run_sync(anna.adopt, offered)
    await anyio.to_thread.run_sync(bert.adopt, joined)
    assert anna.fleet.trusted() == {bert.identity.device: bert.identity.certificate}
    assert bert.fleet.trusted() == {anna.identity.device: anna.identity.certificate}
    assert anna.fleet.digest() == bert.fleet.digest()


async def test_a_third_device_joins_the_whole_fleet(anna, bert, cora):
    """Pair once: records taken from one peer bring trust in the others; no listening port, no address."""
    offered, joined = await pair(anna, bert)
    second, third = await pair(bert, cora)

    def settle() -> None:
        anna.adopt(offered)
        bert.adopt(joined)
        bert.adopt(second)
        cora.adopt(third)
        assert anna.fleet.take(bert.fleet.offer()[0], seal.verify_many).forged == 0
        cora.fleet.take(bert.fleet.offer()[0])  # as the daemon does it, in a child process

    await anyio.to_thread.run_sync(settle)
    everybody = {device.identity.device for device in (anna, bert, cora)}
    for device in (anna, bert, cora):
        assert device.fleet.trusted().keys() == everybody - {device.identity.device}
    assert bert.fleet.peer(cora.identity.device).addresses == ()


async def test_pairing_again_after_a_removal_brings_the_device_back(anna, bert, cora):
    """For everybody, since the new vouches name the removal; the old ones alone do not."""
    offered, joined = await pair(anna, bert)
    second, third = await pair(anna, cora)

    def remove() -> None:
        anna.adopt(offered)
        bert.adopt(joined)
        anna.adopt(second)
        cora.adopt(third)
        anna.fleet.remove(bert.identity.device, seal.signer(anna.identity.key()))
        cora.fleet.take(anna.fleet.offer()[0], seal.verify_many)

    await anyio.to_thread.run_sync(remove)
    assert bert.identity.device not in anna.fleet.trusted()
    assert bert.identity.device not in cora.fleet.trusted()
    offered, joined = await pair(anna, bert)

    def settle() -> None:
        anna.adopt(offered)
        bert.adopt(joined)
        for device in (bert, cora):
            device.fleet.take(anna.fleet.offer()[0], seal.verify_many)

    await anyio.to_thread.run_sync(settle)
    assert bert.identity.device in anna.fleet.trusted()
    assert bert.identity.device in cora.fleet.trusted()
    assert bert.fleet.trusted().keys() == {anna.identity.device, cora.identity.device}


async def test_both_ip_families_take_the_code(anna, bert):
    """`::` listens for both; a v4 caller is remembered by its plain address."""
    async with anna.offer(Address("::", 0)) as offering:
        port = offering.addresses[0].port
        await join(bert.me, offering.code, Address("localhost", port))
        offered = await offering.paired()
    assert offered.addresses[0] in ("127.0.0.1:9000", "[::1]:9000")


async def test_the_listener_is_gone_with_the_code(anna, bert):
    """After the block nothing answers at that port."""
    async with anna.offer() as offering:
        at = offering.addresses[0]
    with pytest.raises(Unreachable):
        await join(bert.me, offering.code, at)


# --- wrong, late, twice ------------------------------------------------------------------------------


async def test_a_wrong_code_burns_it_for_both(anna, bert):
    """Both sides are told, and the right code is refused afterwards."""
    async with anna.offer() as offering:
        with pytest.raises(PairingFailed, match="wrong code"):
            await join(bert.me, wrong(offering.code), offering.addresses[0])
        with pytest.raises(PairingFailed, match="has been used"):
            await join(bert.me, offering.code, offering.addresses[0])
        with pytest.raises(PairingFailed, match="wrong code"):
            await offering.paired()


async def test_a_code_that_cannot_be_one_is_not_tried(anna, bert):
    """A slip in typing leaves the code alive."""
    async with anna.offer() as offering:
        with pytest.raises(UserError):
            await join(bert.me, "7-orbit-falcom", offering.addresses[0])
        await join(bert.me, offering.code.upper().replace("-", " "), offering.addresses[0])
        await offering.paired()


async def test_an_expired_code_fails_on_both_sides(anna, bert):
    """After its life the offerer stops waiting, and a late joiner is told why."""
    async with anna.offer(limits=Limits(life=0.05)) as offering:
        with pytest.raises(PairingFailed, match="expired"):
            await offering.paired()
        with pytest.raises(PairingFailed, match="expired"):
            await join(bert.me, offering.code, offering.addresses[0])


async def test_a_joiner_that_goes_away_burns_the_code(anna, bert):
    """From the moment it has the element it may be guessing at home."""
    async with anna.offer() as offering:
        stream = await caller(offering)
        joiner = Joiner(bert.me, offering.code, anna.identity.certificate, entropy=lambda n: bytes([7]) * n)
        assert (await ask(stream, post("/v1/pair/begin", joiner.begin))).startswith(b"HTTP/1.1 200")
        await stream.aclose()
        with pytest.raises(PairingFailed, match="went away"):
            await offering.paired()
        with pytest.raises(PairingFailed):
            await join(bert.me, offering.code, offering.addresses[0])


async def test_a_joiner_that_falls_silent_burns_the_code(anna, bert):
    """The conversation has a deadline of its own."""
    async with anna.offer(limits=QUICK) as offering:
        stream = await caller(offering)
        joiner = Joiner(bert.me, offering.code, anna.identity.certificate, entropy=lambda n: bytes([7]) * n)
        await ask(stream, post("/v1/pair/begin", joiner.begin))
        with anyio.fail_after(10), pytest.raises(PairingFailed, match="went away"):
            await offering.paired()
        await stream.aclose()


async def test_of_two_joiners_at_once_one_is_paired(anna, bert, cora):
    """The other is told that the code has been used; nobody is paired by halves."""
    outcomes: list[object] = []

    async def attempt(device: Device, code: str, at: Address) -> None:
        try:
            outcomes.append((await join(device.me, code, at)).words)
        except PairingFailed as error:
            outcomes.append(error.message)

    async with anna.offer() as offering:
        async with anyio.create_task_group() as both:
            both.start_soon(attempt, bert, offering.code, offering.addresses[0])
            both.start_soon(attempt, cora, offering.code, offering.addresses[0])
        paired = await offering.paired()
    assert outcomes.count(paired.words) == 1
    assert any("has been used" in str(outcome) for outcome in outcomes)


# --- strangers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /v1/hello HTTP/1.1\r\nhost: x\r\n\r\n", b"400"),
        (b"GET /v1/pair/begin HTTP/1.1\r\nhost: x\r\n\r\n", b"400"),
        (post("/v1/pair/confirm", b""), b"400"),
        (post("/v1/pair/finish", b""), b"400"),
        (post("/v1/pair/begin", b"junk"), b"400"),
        (post("/v1/pair/begin", bytes(17 << 10)), b"413"),
        (b"nonsense\r\n\r\n", b"400"),
        (b"POST /v1/pair/begin HTTP/1.1\r\nhost: x\r\nx: " + b"y" * 9000, b"400"),
    ],
    ids=["hello", "get", "confirm", "finish", "junk", "huge", "noise", "header"],
)
async def test_nothing_but_the_conversation_is_served(anna, bert, request_, status):
    """Whatever else is asked is refused in a few bytes, and the code is still good."""
    async with anna.offer() as offering:
        stream = await caller(offering)
        answer = await ask(stream, request_)
        assert answer.split(b" ")[1] == status
        assert len(answer) < 500
        with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
            await stream.receive()
        await stream.aclose()
        await join(bert.me, offering.code, offering.addresses[0])
        await offering.paired()


async def test_each_step_has_its_own_request(anna, bert):
    """A good beginning at another path or by another method is no beginning, and spends nothing."""
    async with anna.offer() as offering:
        joiner = Joiner(bert.me, offering.code, anna.identity.certificate, entropy=lambda n: bytes([7]) * n)
        for request in (
            post("/v1/pair/confirm", joiner.begin),
            post("/v1/pair/begin", joiner.begin).replace(b"POST", b"PUT", 1),
        ):
            async with await caller(offering) as stream:
                assert (await ask(stream, request)).startswith(b"HTTP/1.1 400")
        await join(bert.me, offering.code, offering.addresses[0])
        await offering.paired()


async def test_a_body_is_refused_before_it_has_arrived(anna):
    """Nobody waits for a gigabyte that was announced: the first bytes over the limit are the last."""
    async with anna.offer() as offering, await caller(offering) as stream:
        head = b"POST /v1/pair/begin HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000000\r\n\r\n"
        with anyio.fail_after(10):
            assert (await ask(stream, head + bytes(17 << 10))).startswith(b"HTTP/1.1 413")


async def test_the_oldest_of_too_many_callers_is_dropped(anna):
    """Connections are few: the ninth silent one ends the first, long before its deadline."""
    async with anna.offer(limits=Limits(connections=8)) as offering:
        silent = [await anyio.connect_tcp(*offering.addresses[0]) for _ in range(9)]
        with anyio.fail_after(10), pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
            await silent[0].receive()
        with anyio.move_on_after(0.1) as still_open:
            await silent[-1].receive()
        assert still_open.cancelled_caught
        for stream in silent:
            await stream.aclose()


async def test_a_caller_without_tls_gets_nothing(anna, bert):
    """Plain HTTP is dropped, and the code is still good."""
    async with anna.offer() as offering:
        async with await anyio.connect_tcp(*offering.addresses[0]) as stream:
            await stream.send(b"GET / HTTP/1.1\r\n\r\n")
            received = b""
            with suppress(anyio.EndOfStream, anyio.BrokenResourceError), anyio.fail_after(10):
                while True:
                    received += await stream.receive()
            assert b"HTTP" not in received
        await join(bert.me, offering.code, offering.addresses[0])


async def test_tls_before_1_3_is_refused(anna):
    """The pairing port speaks TLS 1.3 only."""
    async with anna.offer() as offering:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        raw = await anyio.connect_tcp(*offering.addresses[0])
        with pytest.raises((ssl.SSLError, OSError, anyio.EndOfStream, anyio.BrokenResourceError)):
            await TLSStream.wrap(raw, server_side=False, ssl_context=context, standard_compatible=False)
        await raw.aclose()


async def test_many_silent_callers_do_not_keep_the_joiner_out(anna, bert):
    """The oldest unfinished connection gives way."""
    async with anna.offer() as offering:
        silent = [await anyio.connect_tcp(*offering.addresses[0]) for _ in range(20)]
        await join(bert.me, offering.code, offering.addresses[0])
        await offering.paired()
        for stream in silent:
            await stream.aclose()


async def test_silent_callers_are_dropped_in_time(anna):
    """A connection without a word lives as long as a conversation may."""
    async with (
        anna.offer(limits=QUICK) as offering,
        await anyio.connect_tcp(*offering.addresses[0]) as stream,
    ):
        with anyio.fail_after(10), pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
            await stream.receive()


# --- what the joiner may meet --------------------------------------------------------------------------


async def test_a_port_where_nobody_listens_is_unreachable(bert):
    """With the address in the error."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(Unreachable, match=f"127.0.0.1:{port}"):
        await join(bert.me, "7-orbit-falcon", Address("127.0.0.1", port))


async def test_a_port_that_speaks_no_tls_offers_no_pairing(bert):
    """Something that greets first, like a mail server, is said to be something else."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    at = Address("127.0.0.1", listener.extra(anyio.abc.SocketAttribute.local_port))

    async def greet(stream) -> None:
        async with stream:
            await stream.send(b"220 mail.example ESMTP\r\n")

    async with anyio.create_task_group() as server:
        server.start_soon(listener.serve, greet)
        with pytest.raises(PairingFailed, match="does not offer a pairing"):
            await join(bert.me, "7-orbit-falcon", at)
        server.cancel_scope.cancel()
    await listener.aclose()


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\njunk", MalformedMessage),
        (b"HTTP/1.1 404 Not Found\r\ncontent-length: 4\r\n\r\njunk", MalformedMessage),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 99999\r\n\r\n" + bytes(99999), None),
        (b"\0" * 9000, MalformedMessage),
        (b"", PairingFailed),
    ],
    ids=["junk", "404", "huge", "noise", "hangs up"],
)
async def test_a_hostile_offerer_is_an_error_in_words(anna, bert, answer, error):
    """Whatever answers at the other end of TLS, the attempt fails as a FleetsyncError, in bounded memory."""
    from fleetsync.errors import TooLarge

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(anna.identity.certificate_path, anna.identity.key_path)
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    at = Address("127.0.0.1", listener.extra(anyio.abc.SocketAttribute.local_port))

    async def reply(stream) -> None:
        try:
            tls = await TLSStream.wrap(
                stream, server_side=True, ssl_context=context, standard_compatible=False
            )
            await tls.receive()
            await tls.send(answer)
        except (anyio.BrokenResourceError, anyio.EndOfStream):
            pass
        finally:
            await stream.aclose()

    async with anyio.create_task_group() as server:
        server.start_soon(listener.serve, reply)
        with pytest.raises(error or TooLarge):
            await join(bert.me, "7-orbit-falcon", at)
        server.cancel_scope.cancel()
    await listener.aclose()


async def test_an_offerer_that_never_answers_is_unresponsive(bert):
    """The joiner waits no longer than a conversation may take."""
    with socket.create_server(("127.0.0.1", 0)) as deaf, pytest.raises(Unresponsive):
        await join(bert.me, "7-orbit-falcon", Address(*deaf.getsockname()), limits=QUICK)


async def test_a_go_between_is_found_out(anna, bert, cora):
    """Who ends both TLS connections itself, with a certificate of its own, gets neither side's trust."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cora.identity.certificate_path, cora.identity.key_path)
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    at = Address("127.0.0.1", listener.extra(anyio.abc.SocketAttribute.local_port))

    async with anna.offer() as offering:

        async def pump(source: TLSStream, sink: TLSStream) -> None:
            with suppress(anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                while True:
                    await sink.send(await source.receive())

        async def relay(stream) -> None:
            near = await TLSStream.wrap(
                stream, server_side=True, ssl_context=context, standard_compatible=False
            )
            far = await caller(offering)
            async with near, far, anyio.create_task_group() as pumps:
                pumps.start_soon(pump, near, far)
                await pump(far, near)
                pumps.cancel_scope.cancel()

        async with anyio.create_task_group() as server:
            server.start_soon(listener.serve, relay)
            with pytest.raises(PairingFailed):
                await join(bert.me, offering.code, at)
            with pytest.raises(PairingFailed, match="wrong code"):
                await offering.paired()
            server.cancel_scope.cancel()
    await listener.aclose()


async def test_a_connection_that_is_reset_at_once_is_nobody(anna, bert, caplog):
    """A port scanner costs neither the code nor a word on the screen."""
    async with anna.offer() as offering:
        for _ in range(3):
            await anyio.to_thread.run_sync(knock_and_reset, offering.addresses[0])
        joined = await join(bert.me, offering.code, offering.addresses[0])
        assert joined.device == anna.identity.device
        await offering.paired()
    assert caplog.text == ""
