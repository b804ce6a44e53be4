"""Attacks on a pairing, over real sockets: a go-between, a recording played again, guesses, a flood.

The code has 16 bits and lives for one guess; everything here tries to get a second one, or to do
without.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio
import msgspec
import pytest
from anyio.abc import SocketStream
from anyio.streams.tls import TLSStream

from fleetsync.devices import seal
from fleetsync.devices.identity import Identity, ensure_identity
from fleetsync.devices.pairing import Begin, Party
from fleetsync.devices.words import WORDS
from fleetsync.errors import FleetsyncError, PairingFailed
from fleetsync.records.addresses import Address
from fleetsync.wire.pairing import Offering, join, offer

LOOPBACK = Address("127.0.0.1", 0)
_OVER = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError, OSError)


class Device:
    """One side of a pairing."""

    def __init__(self, root: Path, name: str) -> None:
        self.identity: Identity = ensure_identity(root / name, create=seal.new_credentials)
        self.me = Party.of(self.identity, name, 8473, lambda _: [])


@pytest.fixture
def anna(tmp_path: Path) -> Device:
    return Device(tmp_path, "anna")


@pytest.fixture
def bert(tmp_path: Path) -> Device:
    return Device(tmp_path, "bert")


@pytest.fixture
def mallory(tmp_path: Path) -> Device:
    return Device(tmp_path, "mallory")


def believing() -> ssl.SSLContext:
    """A caller that believes every certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def serving(identity: Identity) -> ssl.SSLContext:
    """A listener that shows this certificate to anybody."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.certificate_path, identity.key_path)
    return context


Meddle = Callable[[bytes], bytes]


async def opened(client: SocketStream, server: SocketStream, own: Identity) -> tuple[TLSStream, TLSStream]:
    """Both ways with TLS of their own."""
    near = await TLSStream.wrap(client, server_side=True, ssl_context=serving(own), standard_compatible=False)
    far = await TLSStream.wrap(server, server_side=False, ssl_context=believing(), standard_compatible=False)
    return near, far


@asynccontextmanager
async def between(
    at: Address, own: Identity | None, meddle: Meddle = lambda said: said, seen: list[bytes] | None = None
) -> AsyncIterator[Address]:
    """A go-between in front of an offer: with a certificate of its own it opens TLS, else it passes on.

    What the joiner says goes through `meddle` and into `seen`.
    """

    async def pour(
        source: SocketStream | TLSStream, target: SocketStream | TLSStream, change: Meddle
    ) -> None:
        with suppress(*_OVER):
            while True:
                await target.send(change(await source.receive()))
        with suppress(*_OVER):
            await target.aclose()

    def noted(said: bytes) -> bytes:
        if seen is not None:
            seen.append(said)
        return meddle(said)

    async def handle(client: SocketStream) -> None:
        with suppress(*_OVER):
            async with client, await anyio.connect_tcp(*at) as server:
                near, far = (client, server) if own is None else await opened(client, server, own)
                async with anyio.create_task_group() as both:
                    both.start_soon(pour, near, far, noted)
                    both.start_soon(pour, far, near, lambda said: said)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, handle)
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        yield Address("127.0.0.1", port)
        tasks.cancel_scope.cancel()


async def fails(device: Device, code: str, at: Address) -> str:
    """Why a device could not join."""
    with pytest.raises(FleetsyncError) as failure:
        await join(device.me, code, at)
    return failure.value.message


async def is_burnt(offering: Offering) -> bool:
    """Whether an offer has ended in a failure."""
    with anyio.fail_after(10), pytest.raises(PairingFailed):
        await offering.paired()
    return True


# --- somebody in the middle ------------------------------------------------------------------------------


async def test_a_go_between_with_a_certificate_of_its_own(
    anna: Device, bert: Device, mallory: Device
) -> None:
    """It relays every message of the right code, and neither side ends up paired: each proves which
    certificate it has seen, and that one was the go-between's.
    """
    async with offer(anna.identity, anna.me, LOOPBACK) as offering:
        async with between(offering.addresses[0], mallory.identity) as at:
            assert await fails(bert, offering.code, at)
        assert await is_burnt(offering)
        assert await fails(bert, offering.code, offering.addresses[0])


async def test_a_go_between_that_puts_itself_in_the_joiners_place(
    anna: Device, bert: Device, mallory: Device
) -> None:
    """It exchanges the joiner's certificate for its own on the way: the code is burnt for it."""

    def meddle(said: bytes) -> bytes:
        head, cut, body = said.partition(b"\r\n\r\n")
        if b"/begin" not in head or not cut:
            return said
        begin = msgspec.msgpack.decode(body, type=Begin)
        forged = msgspec.msgpack.encode(
            msgspec.structs.replace(begin, certificate=mallory.identity.certificate, name="mallory")
        )
        lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"content-length")]
        return b"\r\n".join([*lines, b"content-length: %d" % len(forged)]) + b"\r\n\r\n" + forged

    async with offer(anna.identity, anna.me, LOOPBACK) as offering:
        async with between(offering.addresses[0], mallory.identity, meddle) as at:
            assert await fails(bert, offering.code, at)
        assert await is_burnt(offering)


async def test_a_go_between_that_only_passes_on(anna: Device, bert: Device) -> None:
    """Bytes may take any way: who does not touch them learns nothing, and the two are paired."""
    seen: list[bytes] = []
    async with offer(anna.identity, anna.me, LOOPBACK) as offering:
        async with between(offering.addresses[0], None, seen=seen) as at:
            joined = await join(bert.me, offering.code, at)
        paired = await offering.paired()
    assert paired.words == joined.words
    passed = b"".join(seen)
    assert passed
    for secret in (
        offering.code.encode(),
        b"bert",
        bert.identity.certificate,
        *map(str.encode, joined.words),
    ):
        assert secret not in passed


async def test_a_byte_changed_on_the_way(anna: Device, bert: Device) -> None:
    """Changed inside of TLS it breaks the connection; the code does not survive what had begun."""
    for at_byte in (0, 700, 1500):
        count = 0

        def meddle(said: bytes, at_byte: int = at_byte) -> bytes:
            nonlocal count
            before, count = count, count + len(said)
            if not before <= at_byte < count:
                return said
            place = at_byte - before
            return said[:place] + bytes([said[place] ^ 0x55]) + said[place + 1 :]

        async with (
            offer(anna.identity, anna.me, LOOPBACK) as offering,
            between(offering.addresses[0], None, meddle) as at,
        ):
            assert await fails(bert, offering.code, at)


# --- once more -------------------------------------------------------------------------------------------


async def said(at: Address, *requests: bytes) -> list[bytes]:
    """What a listener answers to these requests on one connection; it may hang up."""
    answers: list[bytes] = []
    with suppress(*_OVER), anyio.move_on_after(10):
        raw = await anyio.connect_tcp(*at)
        async with await TLSStream.wrap(
            raw, server_side=False, ssl_context=believing(), standard_compatible=False
        ) as stream:
            for request in requests:
                await stream.send(request)
                answers.append(await stream.receive())
    return answers


async def test_a_recording_played_again(anna: Device, bert: Device, mallory: Device) -> None:
    """All that a joiner once said is worth nothing, to the same offer or to a new one with the same code."""
    seen: list[bytes] = []
    async with offer(anna.identity, anna.me, LOOPBACK) as offering:
        async with between(offering.addresses[0], mallory.identity, seen=seen) as at:
            await fails(bert, offering.code, at)
        again = await said(offering.addresses[0], *seen)
        assert not any(answer.startswith(b"HTTP/1.1 200") for answer in again)
    async with offer(anna.identity, anna.me, LOOPBACK) as fresh:
        fresh._offerer._code = offering.code
        answers = await said(fresh.addresses[0], *seen)
        assert not any(answer.startswith(b"HTTP/1.1 200") for answer in answers[1:])
        assert await is_burnt(fresh)


async def test_one_guess_and_no_second(anna: Device, mallory: Device) -> None:
    """A guesser is told once that it was wrong, and from then on that the code is used, right or wrong."""
    async with offer(anna.identity, anna.me, LOOPBACK) as offering:
        digit, first, second = offering.code.split("-")
        guesses = [f"{digit}-{first}-{word}" for word in WORDS if word != second][:5]
        reasons = [await fails(mallory, guess, offering.addresses[0]) for guess in guesses]
        assert "wrong code" in reasons[0]
        assert all("has been used" in reason for reason in reasons[1:])
        assert "has been used" in await fails(mallory, offering.code, offering.addresses[0])
        assert await is_burnt(offering)


async def test_guesses_at_the_same_time(anna: Device, mallory: Device) -> None:
    """Of many at once exactly one is a guess at all."""
    reasons: list[str] = []

    async def guess(word: str) -> None:
        with pytest.raises(FleetsyncError) as failure:
            await join(mallory.me, f"{digit}-{first}-{word}", offering.addresses[0])
        reasons.append(failure.value.message)

    async with offer(anna.identity, anna.me, LOOPBACK) as offering:
        digit, first, second = offering.code.split("-")
        async with anyio.create_task_group() as guessers:
            for word in [word for word in WORDS if word != second][:8]:
                guessers.start_soon(guess, word)
        assert sum("wrong code" in reason for reason in reasons) <= 1
        assert await is_burnt(offering)
