"""Checks of what arrives over a connection: batches, messages, reconciliation, roster, pairing, requests."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from typing import Any

import msgspec

from fleetsync.devices import pairing, roster, seal
from fleetsync.devices.notes import usable_addresses
from fleetsync.devices.roster import Claim
from fleetsync.devices.words import parse_code
from fleetsync.errors import MalformedMessage, MalformedRecord, PairingFailed, PeerError, TooLarge, UserError
from fleetsync.merge import reconcile, register
from fleetsync.merge.ranges import ListRanges
from fleetsync.ports import Group
from fleetsync.records.addresses import parse_address
from fleetsync.records.names import DeviceId
from fleetsync.sync.transfer import covering_versions
from fleetsync.wire import codec
from fleetsync.wire.listener import Caller
from fleetsync.wire.messages import MAX_EXPANDED, Batch, Heartbeat, Hello, Receipt, Refusal, RosterOffer, Want
from fleetsync.wire.server import application
from fleetsync.wire.statuses import error_of
from tests.fakes.peer import FakePeer
from tests.fuzz.target import parts

DEVICE = DeviceId("a" * 52)
_REFUSED = (MalformedMessage, TooLarge)


# --- messages -----------------------------------------------------------------------------------------


def batch(data: bytes) -> None:
    """A batch is within its bounds, and says the same when it is sent on."""
    with suppress(*_REFUSED):
        found = codec.decode_batch(data)
        assert sum(len(group.bodies) for group in found.groups) <= 65_536
        assert codec.decode_batch(codec.encode(found)) == found
        for part in codec.batches(found.groups):
            codec.encode(part)


def frames(data: bytes) -> None:
    """However a stream is cut into pieces, the same frames come out of it, or the same refusal."""
    whole = _frames([data])
    middle = len(data) // 3
    assert whole == _frames([data[:middle], data[middle:]])
    assert whole == _frames([data[at : at + 1] for at in range(len(data))])


def _frames(pieces: Sequence[bytes]) -> list[object]:
    reader, found = codec.FrameReader(), list[object]()
    try:
        for piece in pieces:
            reader.feed(piece)
            while (payload := reader.next()) is not None:
                found.append(codec.decode_frame(payload))
        reader.finish()
    except _REFUSED as error:
        found.append(type(error))
    return found


_KINDS: tuple[tuple[Any, int], ...] = (
    (Hello, codec.MAX_SMALL),
    (Want, codec.MAX_SMALL),
    (RosterOffer, codec.MAX_SMALL),
    (Refusal, codec.MAX_SMALL),
    (Heartbeat, codec.MAX_SMALL),
    (Receipt, MAX_EXPANDED),
)


def message(data: bytes) -> None:
    """A message of any kind is refused, or says the same when it is written again."""
    for kind, limit in _KINDS:
        with suppress(*_REFUSED):
            found = codec.decode(data, kind, limit)
            assert codec.decode(codec.encode(found), kind, limit) == found
            _use(found)


def _use(found: object) -> None:
    if isinstance(found, Refusal):
        assert isinstance(error_of(found, "travel"), PeerError)
    elif isinstance(found, Receipt):
        covering_versions(Batch([Group("skills/deploy/skill.yaml", [b"1", b"2"])]), found)
        codec.fitted(found)
    elif isinstance(found, RosterOffer):
        for addresses in found.addresses.values():
            for text in usable_addresses(addresses):
                with suppress(UserError):
                    parse_address(text)


def version(data: bytes) -> None:
    """A version of a register is whole and consistent; a set of them keeps some, and never all covered."""
    with suppress(MalformedRecord):
        found = register.decode(data)
        assert register.decode(register.encode(found)) == found
        later = register.Dot(found.dot.device, found.dot.n + 1)
        other = msgspec.structs.replace(found, dot=later, vector={found.dot.device: found.dot.n})
        assert register.uncovered([found]) == [found]
        assert register.uncovered([found, other]) == [other]
        register.current([found, other], 2**50)
        register.known_vector([found, other])
        register.is_below(found.floor, 17, bytes(32))


# --- reconciliation -----------------------------------------------------------------------------------


@cache
def _ranges(size: int = 700) -> ListRanges:
    return ListRanges((number // 3, hashlib.sha256(b"%d" % number).digest()) for number in range(size))


def answered(data: bytes) -> None:
    """Any question is answered within the frame limit, or malformed."""
    for profile in (reconcile.TUNED, reconcile.REFERENCE):
        for limit in (4096, reconcile.FRAME_LIMIT):
            with suppress(MalformedMessage):
                assert len(reconcile.respond(_ranges(), data, profile, limit)) <= limit


def asked(data: bytes) -> None:
    """Whatever a responder says, the initiator comes to an end, and has only what is its own."""
    ranges, initiator = _ranges(), reconcile.Initiator()
    own = {key[1] for key in ranges.keys(0, ranges.size())}
    assert len(initiator.initiate(ranges)) < 2048
    told: list[bytes] = []
    with suppress(MalformedMessage):
        for answer in data.split(b"\xff\xff\xff"):
            step = initiator.receive(ranges, b"\x61" + answer)
            assert own >= {*step.have}
            told += [*step.have, *step.need]
            if step.message is None:
                break
    assert len(told) == len({*told})


# --- roster and pairing ---------------------------------------------------------------------------------


def _held(claims: Sequence[Claim]) -> list[bool]:
    return [len(claim.signature) == 64 for claim in claims]


def roster_record(data: bytes) -> None:
    """A record has one spelling; whatever is admitted, trust is worked out and this device not in it."""
    pieces = data.split(b"\xff\xff\xff")
    with suppress(MalformedRecord):
        found = roster.read_record(pieces[0])
        assert roster.read_record(found.raw).id == found.id
        assert len(found.statement.nonce) == 16
    admission = roster.admit({}, pieces[: roster.MAX_OFFERED], b"certificate", _held)
    known = roster.merge({}, admission.new)
    me = roster.device_of(b"certificate")
    judged = roster.judge(known.values(), me, {record.id for record in admission.new})
    assert me not in judged.trusted


def certificate(data: bytes) -> None:
    """A certificate is a device's, and then TLS takes it as an anchor, or nobody's."""
    for der in (data, _signed_anew(data)):
        if seal.device_key(der) is not None:
            assert len(der) <= roster.MAX_CERTIFICATE
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cadata=der)
    assert seal.verify_raw(data[:32], data[32:-64], data[-64:]) in (True, False)


def _signed_anew(data: bytes) -> bytes:
    """Our certificate with other bytes in it (each two of the input: how far on, what), and signed again."""
    der = bytearray(certified())
    at, end = 4, 8 + int.from_bytes(der[6:8], "big")  # the part that is signed, in its sequence
    for step, value in zip(data[::2], data[1::2], strict=False):
        at = 8 + (at + step) % (end - 8)
        der[at] = value
    return bytes(der[:-64]) + _party().sign(bytes(der[4:end]))


@cache
def _party() -> pairing.Party:
    made = seal.new_credentials(None)
    der = ssl.PEM_cert_to_DER_cert(made.certificate.decode())
    return pairing.Party(der, "desk", 8473, seal.signer(made.key), lambda _: [])


def certified() -> bytes:
    """A device's certificate (DER)."""
    return _party().certificate


@cache
def _other() -> pairing.Party:
    return _party.__wrapped__()


def _entropy(count: int) -> bytes:
    return b"\x07" * count


_PAIRING_REFUSED = (PeerError, PairingFailed)


def pairing_begin(data: bytes) -> None:
    """What a joiner says first is answered or refused; then one guess burns the code."""
    offerer = pairing.Offerer(_party(), "7-orbit-falcon", now=0, entropy=_entropy)
    begin, confirm = parts(data, 2, b"\xff\xff\xff")
    with suppress(*_PAIRING_REFUSED):
        offerer.answer(begin, 1)
        assert offerer.in_use
        offerer.welcome(confirm, 2)
        raise AssertionError("paired without the code")


def pairing_answer(data: bytes) -> None:
    """What an offerer says never pairs without the code."""
    joiner = pairing.Joiner(_other(), "7-orbit-falcon", _party().certificate, entropy=_entropy)
    answer, welcome = parts(data, 2, b"\xff\xff\xff")
    with suppress(*_PAIRING_REFUSED):
        joiner.confirm(answer)
        joiner.finish(welcome)
        raise AssertionError("paired without the code")


def typed_text(data: bytes) -> None:
    """What a person types: codes and addresses."""
    text = data.decode(errors="replace")
    for reader in (parse_code, parse_address):
        with suppress(UserError):
            reader(text)


# --- requests -------------------------------------------------------------------------------------------


@cache
def _runner() -> asyncio.Runner:
    return asyncio.Runner()


@cache
def _fake() -> FakePeer:
    return FakePeer(DEVICE, served=[Batch([Group("open-items.jsonl", [b"{}"])])])


@cache
def _application() -> Callable[..., Any]:
    return application(lambda _: _fake())


_PATHS = ("hello", "reconcile", "items/get", "items", "roster", "nothing")


def request(data: bytes) -> None:
    """Any body to any request is answered, never with 500 and never by an exception."""
    for path in (data[1:].decode("latin-1")[:50], *_PATHS):
        for method in ("GET", "POST"):
            status = _runner().run(_asked(method, f"/v1/{path}", data))
            assert status in (200, 400, 404, 413, 426)


async def _asked(method: str, path: str, body: bytes) -> int:
    if path == "/v1/changes":
        return 200  # has no end
    statuses: list[int] = []
    state = {"caller": Caller(DEVICE, lambda: None)}
    scope: dict[str, Any] = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode("latin-1"),
    }
    scope |= {"headers": [(b"host", b"x")], "query_string": b"", "state": state, "http_version": "1.1"}
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        return messages.pop() if messages else await asyncio.Future()

    async def send(said: dict[str, Any]) -> None:
        if said["type"] == "http.response.start":
            statuses.append(said["status"])

    await _application()(scope, receive, send)
    return statuses[0]
