"""The pairing conversation, without a socket: SPAKE2 over a short code, both ends as state machines.

    joiner   Begin    name, port, certificate, SPAKE2 element    →
             Answer   name, port, SPAKE2 element                  ← offerer: from here the code is spent
             Confirm  proof of the code, signature, removals      →
             Welcome  proof of the code, vouch for the joiner     ←
             Farewell vouch for the offerer                       →

Rules of the file: one conversation per code and one guess per conversation, for 16 bits are safe only
against a single guess (and `spake2` takes no constant time); the proofs cover everything either side
has seen or sent, both certificates first, so that a go-between with certificates of its own has to
guess the code; every message is bounded before it is read. The offerer has proven its key by TLS, the
joiner does by signing the transcript. Implements DESIGN §7 and SEMANTICS §7.2; loads `cryptography`, so
the daemon never imports it.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable
from enum import Enum, auto
from hashlib import sha256
from typing import NamedTuple, TypeVar

import msgspec
from spake2 import SPAKE2_A, SPAKE2_B
from spake2.spake2 import SPAKEError

from fleetsync.devices import seal
from fleetsync.devices.identity import Identity
from fleetsync.devices.roster import (
    MAX_CERTIFICATE,
    MAX_OVERRIDES,
    MAX_RECORD,
    Claim,
    Record,
    Sign,
    Vouch,
    claim_of,
    device_of,
    read_record,
    require_device_name,
    write_record,
)
from fleetsync.devices.words import Entropy, fingerprint
from fleetsync.errors import (
    IllegalName,
    MalformedMessage,
    MalformedRecord,
    PairingFailed,
    ProtocolMismatch,
    TooLarge,
)
from fleetsync.records.names import DeviceId

VERSION = 1
LIFE_SECONDS = 300.0
MAX_MESSAGE = 16 << 10
_ELEMENT, _ID = 33, 32

Removals = Callable[[DeviceId], Iterable[bytes]]
"""The ids of the removals, known here, of that device or of this one: `Fleet.removals_between`."""


class Party(NamedTuple):
    """This device's side of a pairing. `port` is where its daemon listens, 0 if nowhere."""

    certificate: bytes  # DER
    name: str
    port: int
    sign: Sign
    removals: Removals

    @classmethod
    def of(cls, identity: Identity, name: str, port: int, removals: Removals) -> Party:
        """This device as it pairs; reads the key, so it blocks. Raises `IdentityUnusable`."""
        return cls(identity.certificate, name, port, seal.signer(identity.key()), removals)

    @property
    def device(self) -> DeviceId:
        """Who this is."""
        return device_of(self.certificate)


class Paired(NamedTuple):
    """A finished pairing: what `Fleet.pair` makes a peer of."""

    device: DeviceId
    certificate: bytes  # of the other device, DER
    name: str
    port: int  # where its daemon listens, 0 if nowhere
    words: tuple[str, ...]  # four, the same on both screens
    records: tuple[bytes, bytes]  # roster records: our vouch for it, its vouch for us
    addresses: tuple[str, ...] = ()  # "host:port"; known to whoever holds the connection


class Begin(msgspec.Struct, frozen=True, array_like=True):
    """Joiner → offerer."""

    version_min: int
    version_max: int
    name: str
    port: int
    certificate: bytes
    element: bytes


class Answer(msgspec.Struct, frozen=True, array_like=True):
    """Offerer → joiner."""

    version: int
    name: str
    port: int
    element: bytes


class Confirm(msgspec.Struct, frozen=True, array_like=True):
    """Joiner → offerer: it knows the code, holds its key, and has heard of these removals."""

    mac: bytes
    signature: bytes
    removals: list[bytes]


class Welcome(msgspec.Struct, frozen=True, array_like=True):
    """Offerer → joiner: it knows the code too, and vouches."""

    mac: bytes
    vouch: bytes


class Farewell(msgspec.Struct, frozen=True, array_like=True):
    """Joiner → offerer: it vouches."""

    vouch: bytes


M = TypeVar("M", bound=msgspec.Struct)


class _Agreement(NamedTuple):
    """What both sides hold once elements are exchanged: the peer, and keys that tie code to transcript."""

    certificate: bytes
    name: str
    port: int
    key: bytes
    transcript: bytes

    def mac(self, label: bytes) -> bytes:
        return hmac.digest(self.key, label + b"\0" + self.transcript, "sha256")

    def paired(self, mine: Record, theirs: bytes) -> Paired:
        words = fingerprint(self.mac(b"words"))
        device = device_of(self.certificate)
        return Paired(device, self.certificate, self.name, self.port, words, (mine.raw, theirs))


class _State(Enum):
    WAITING = auto()
    ANSWERED = auto()  # the code is spent unless the right confirmation follows
    WELCOMED = auto()
    OVER = auto()


class Offerer:
    """The side that shows the code. `now` is monotonic seconds; every failure after `answer` is final."""

    def __init__(
        self, me: Party, code: str, *, now: float, entropy: Entropy, life: float = LIFE_SECONDS
    ) -> None:
        require_device_name(me.name)
        self.expires_at = now + life
        self._me = me
        self._code = code
        self._entropy = entropy
        self._state = _State.WAITING
        self._agreed: _Agreement | None = None
        self._mine: Record | None = None

    @property
    def in_use(self) -> bool:
        """Whether somebody has begun: nobody else may any more."""
        return self._state is not _State.WAITING

    def answer(self, begin: bytes, now: float) -> bytes:
        """The answer to the first `Begin`, which spends the code.

        A message that cannot be one (`MalformedMessage`, `ProtocolMismatch`, `TooLarge`) spends
        nothing. Raises `PairingFailed` when the code is spent or expired.
        """
        self._require(_State.WAITING, now)
        said = _read(begin, Begin)
        _check_begin(said, self._me)
        exchange = SPAKE2_B(
            self._code.encode(), *_ids(said.certificate, self._me.certificate), entropy_f=self._entropy
        )
        element = exchange.start()
        key = _finish(exchange, said.element)
        answer = msgspec.msgpack.encode(Answer(VERSION, self._me.name, self._me.port, element))
        transcript = _transcript(self._me.certificate, begin, answer)
        self._agreed = _Agreement(said.certificate, said.name, said.port, key, transcript)
        self._state = _State.ANSWERED
        return answer

    def welcome(self, confirm: bytes, now: float) -> bytes:
        """The welcome to whoever confirms rightly; raises `PairingFailed`, and then the code is burnt."""
        agreed = self._proceed(_State.ANSWERED, now)
        said = _read(confirm, Confirm)
        if not hmac.compare_digest(said.mac, agreed.mac(b"joiner")):
            raise PairingFailed("the other device used a wrong code, so this one is burnt")
        if not seal.verify(Claim(agreed.certificate, _signed(agreed), said.signature)):
            raise PairingFailed("the other device does not hold the key of its certificate")
        self._mine = _vouch(self._me, agreed, said.removals, self._entropy)
        self._state = _State.WELCOMED
        return msgspec.msgpack.encode(Welcome(agreed.mac(b"offerer"), self._mine.raw))

    def finish(self, farewell: bytes, now: float) -> Paired:
        """The finished pairing; raises `PairingFailed`."""
        agreed = self._proceed(_State.WELCOMED, now)
        said = _read(farewell, Farewell)
        _read_vouch(said.vouch, agreed, self._me)
        assert self._mine is not None, "made before the welcome"
        return agreed.paired(self._mine, said.vouch)

    def abandon(self) -> None:
        """Burn the code: whoever used it has gone."""
        self._state = _State.OVER

    def _require(self, state: _State, now: float) -> None:
        if now >= self.expires_at:
            raise PairingFailed("the code has expired")
        if self._state is not state:
            raise PairingFailed("the code has been used")

    def _proceed(self, state: _State, now: float) -> _Agreement:
        """One step of a conversation under way; until it succeeds the code is burnt."""
        expected, self._state = self._state is state, _State.OVER
        if now >= self.expires_at:
            raise PairingFailed("the code has expired")
        if not expected or self._agreed is None:
            raise PairingFailed("the code has been used")
        return self._agreed


class Joiner:
    """The side where the code is typed. One object is one attempt; any failure ends it for good."""

    def __init__(self, me: Party, code: str, offerer: bytes, *, entropy: Entropy) -> None:
        """`offerer` is the certificate (DER) that the other end of this very connection presented.

        Raises `PairingFailed` if that is no device's, or this one's own.
        """
        require_device_name(me.name)
        if seal.device_key(offerer) is None:
            raise PairingFailed("what answers there does not offer a pairing")
        if offerer == me.certificate:
            raise PairingFailed("that is this very device")
        self._me = me
        self._offerer = offerer
        self._entropy = entropy
        ids = _ids(me.certificate, offerer)
        self._exchange: SPAKE2_A | None = SPAKE2_A(code.encode(), *ids, entropy_f=entropy)
        element = self._exchange.start()
        self.begin = msgspec.msgpack.encode(
            Begin(VERSION, VERSION, me.name, me.port, me.certificate, element)
        )
        self._agreed: _Agreement | None = None

    def confirm(self, answer: bytes) -> bytes:
        """The proof that this side knows the code; raises `PeerError`, `PairingFailed`."""
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            raise PairingFailed("one attempt is one answer")
        said = _read(answer, Answer)
        _check_answer(said)
        key = _finish(exchange, said.element)
        transcript = _transcript(self._offerer, self.begin, answer)
        agreed = _Agreement(self._offerer, said.name, said.port, key, transcript)
        self._agreed = agreed
        removals = _limited(self._me.removals(device_of(self._offerer)))
        return msgspec.msgpack.encode(
            Confirm(agreed.mac(b"joiner"), self._me.sign(_signed(agreed)), removals)
        )

    def finish(self, welcome: bytes) -> tuple[bytes, Paired]:
        """The farewell to send and the pairing, which counts once the farewell has been received.

        Raises `PairingFailed` when the other side does not know the code.
        """
        agreed, self._agreed = self._agreed, None
        if agreed is None:
            raise PairingFailed("one attempt is one welcome")
        said = _read(welcome, Welcome)
        if not hmac.compare_digest(said.mac, agreed.mac(b"offerer")):
            raise PairingFailed("the other device does not know the code")
        theirs = _read_vouch(said.vouch, agreed, self._me)
        mine = _vouch(self._me, agreed, theirs.overrides, self._entropy)
        return msgspec.msgpack.encode(Farewell(mine.raw)), agreed.paired(mine, said.vouch)


# --- what both sides do alike ------------------------------------------------------------------------


def _read(message: bytes, kind: type[M]) -> M:
    if len(message) > MAX_MESSAGE:
        raise TooLarge("a pairing message is larger than any may be")
    try:
        return msgspec.msgpack.decode(message, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedMessage(f"not a pairing message: {error}") from error


def _check_begin(said: Begin, me: Party) -> None:
    if not said.version_min <= VERSION <= said.version_max:
        spoken = f"{said.version_min} to {said.version_max}"
        raise ProtocolMismatch(f"pairing is spoken in version {VERSION} here, in {spoken} there")
    _check_party(said.name, said.port, said.element)
    if len(said.certificate) > MAX_CERTIFICATE or seal.device_key(said.certificate) is None:
        raise MalformedMessage("not a device's certificate")
    if said.certificate == me.certificate:
        raise MalformedMessage("that is this very device")


def _check_answer(said: Answer) -> None:
    if said.version != VERSION:
        raise ProtocolMismatch(f"pairing is spoken in version {VERSION} here, in {said.version} there")
    _check_party(said.name, said.port, said.element)


def _check_party(name: str, port: int, element: bytes) -> None:
    try:
        require_device_name(name)
    except IllegalName as error:
        raise MalformedMessage(error.message) from error
    if not 0 <= port <= 65535 or len(element) != _ELEMENT:
        raise MalformedMessage("a pairing message breaks the limits of its fields")


def _ids(joiner: bytes, offerer: bytes) -> tuple[bytes, bytes]:
    """Roles and certificates as SPAKE2 binds them."""
    return b"joiner " + device_of(joiner).encode(), b"offerer " + device_of(offerer).encode()


def _finish(exchange: SPAKE2_A | SPAKE2_B, element: bytes) -> bytes:
    try:
        key: bytes = exchange.finish(element)
    except (SPAKEError, ValueError, AssertionError) as error:  # how the library refuses an element
        raise MalformedMessage("not an element of the group") from error
    return key


def _transcript(offerer: bytes, begin: bytes, answer: bytes) -> bytes:
    """Everything seen and sent so far; the joiner's certificate, names, ports and versions are inside."""
    seen = msgspec.msgpack.encode(("fleetsync pairing", VERSION, offerer, begin, answer))
    return sha256(seen).digest()


def _signed(agreed: _Agreement) -> bytes:
    return b"fleetsync pairing 1 joiner\0" + agreed.transcript


def _limited(removals: Iterable[bytes]) -> list[bytes]:
    ids = sorted(set(removals))
    if len(ids) > MAX_OVERRIDES or any(len(i) != _ID for i in ids):
        raise PairingFailed("too many removals stand between the two devices")
    return ids


def _vouch(me: Party, agreed: _Agreement, removals: Iterable[bytes], entropy: Entropy) -> Record:
    """Our vouch, naming the removals of either side that either side has heard of."""
    subject = device_of(agreed.certificate)
    overrides = _limited([*removals, *me.removals(subject)])
    said = Vouch(me.device, subject, agreed.certificate, agreed.name, tuple(overrides), entropy(16))
    return write_record(said, me.sign)


def _read_vouch(raw: bytes, agreed: _Agreement, me: Party) -> Vouch:
    if len(raw) > MAX_RECORD:
        raise TooLarge("a roster record is larger than any may be")
    try:
        record = read_record(raw)
    except MalformedRecord as error:
        raise PairingFailed(f"the other device sent no vouch: {error.message}") from error
    said = record.statement
    about_us = isinstance(said, Vouch) and said.certificate == me.certificate
    by_them = said.by == device_of(agreed.certificate) and seal.verify(claim_of(record, agreed.certificate))
    if not isinstance(said, Vouch) or not about_us or not by_them:
        raise PairingFailed("the other device does not vouch for this one")
    return said
