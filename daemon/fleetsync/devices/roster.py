"""Roster records: who vouched for whom, who removed whom, and who is trusted in consequence.

A record is a statement in MessagePack and its author's signature, carried byte for byte as authored;
its id is the SHA-256 of the statement. Records are never changed and know no time. Rule of the file:
trust is a function of the *set* of records and of the pairings made here, so that order, repetition
and detours of the records mean nothing. Pure: no files, no clock, no entropy; signatures are checked
by a function handed in. Implements SEMANTICS §7.1; the wire form is in docs/protocol.md, "Roster".
"""

from __future__ import annotations

from base64 import b32encode
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from hashlib import sha256
from typing import NamedTuple

import msgspec

from fleetsync.errors import IllegalName, MalformedRecord, TooLarge
from fleetsync.records.names import DeviceId, parse_device_id

MAX_CERTIFICATE = 1024  # ours take some 400 bytes
MAX_RECORD = 8192
MAX_OVERRIDES = 64
MAX_PER_AUTHOR = 128
MAX_KEEPS = MAX_PER_AUTHOR
MAX_NAME = 64
MAX_OFFERED = 4096

ROOM_FOR_VOUCHES = 512 << 10
ROOM = 768 << 10
"""Bytes of all records outside of the shares; what vouches cannot fill is for removals."""
RESERVED = 96 << 10
"""Bytes besides, shared out evenly to this device and to each that it has paired with. Even when the
shares shrink, because one more is paired, all fit one message.
"""

_SIGNED = b"fleetsync roster record 1\0"
_ID, _NONCE, _SIGNATURE = 32, 16, 64


# --- values ----------------------------------------------------------------------------------------


class Vouch(msgspec.Struct, frozen=True, tag_field="kind", tag="vouch"):
    """What a device says of another when a person has paired the two: that is one of ours.

    `overrides` names the removals, of either of the two, that the person set aside by pairing.
    """

    by: DeviceId
    subject: DeviceId
    certificate: bytes  # of the subject, DER
    name: str  # of the subject when it was paired
    overrides: tuple[bytes, ...]
    nonce: bytes


class Removal(msgspec.Struct, frozen=True, tag_field="kind", tag="removal"):
    """What a device says of another when a person removes it; `keeps` are its vouches that stay valid."""

    by: DeviceId
    subject: DeviceId
    keeps: tuple[bytes, ...]
    nonce: bytes


Statement = Vouch | Removal


class Record(NamedTuple):
    """A statement as its author signed it; `raw` is what travels and is stored."""

    id: bytes
    statement: Statement
    raw: bytes


class Claim(msgspec.Struct, frozen=True, array_like=True):
    """That the key of a certificate signed a message.

    `subject` is the certificate (DER) that the message introduces, if it introduces one: the claim
    holds only if that one can serve as a device's certificate too.
    """

    author: bytes  # certificate, DER
    message: bytes
    signature: bytes
    subject: bytes = b""


Verify = Callable[[Sequence[Claim]], list[bool]]
"""Which claims hold, in order: `notary.verify_many`, or `seal.verify_many` in process."""

Sign = Callable[[bytes], bytes]
"""A message's signature by this device's key, 64 bytes."""


def device_of(certificate: bytes) -> DeviceId:
    """The device id of a certificate (DER): lower-case base32 of its SHA-256, without padding."""
    return DeviceId(b32encode(sha256(certificate).digest()).decode().rstrip("=").lower())


def require_device_name(text: str) -> str:
    """`text` if it can be shown as a device's name: 1 … 64 printable characters; else `IllegalName`."""
    if not text.strip() or len(text) > MAX_NAME or not text.isprintable():
        raise IllegalName(f"{text[:80]!r} cannot be a device's name")
    return text


# --- bytes -----------------------------------------------------------------------------------------


def write_record(statement: Statement, sign: Sign) -> Record:
    """The statement signed by this device."""
    payload = msgspec.msgpack.encode(statement)
    return read_record(msgspec.msgpack.encode((payload, sign(_SIGNED + payload))))


def read_record(raw: bytes) -> Record:
    """The record in these bytes; its signature is *not* checked. Raises `MalformedRecord`."""
    if len(raw) > MAX_RECORD:
        raise MalformedRecord(f"a roster record of {len(raw)} bytes is over the limit of {MAX_RECORD}")
    try:
        payload, signature = msgspec.msgpack.decode(raw, type=tuple[bytes, bytes])
        statement = msgspec.msgpack.decode(payload, type=Statement)
        spelt_once = _respelt(raw) == raw and _respelt(payload) == payload
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError, TypeError) as error:
        raise MalformedRecord(f"not a roster record: {error}") from error
    if not spelt_once or len(signature) != _SIGNATURE:
        raise MalformedRecord("not a roster record: there is another spelling of it")
    _check(statement)
    return Record(sha256(payload).digest(), statement, raw)


def _respelt(data: bytes) -> bytes:
    """The one spelling that counts: shortest lengths and numbers, no key twice.

    So no two implementations can read different things in the same signed bytes.
    """
    return msgspec.msgpack.encode(msgspec.msgpack.decode(data))


def _check(statement: Statement) -> None:
    by, subject = parse_device_id(statement.by), parse_device_id(statement.subject)
    if (by, subject) != (statement.by, statement.subject) or by == subject:
        raise MalformedRecord("a roster record must name two devices in full")
    ids = statement.overrides if isinstance(statement, Vouch) else statement.keeps
    limit = MAX_OVERRIDES if isinstance(statement, Vouch) else MAX_KEEPS
    if len(statement.nonce) != _NONCE or len(ids) > limit or any(len(i) != _ID for i in ids):
        raise MalformedRecord("a roster record breaks the limits of its fields")
    if isinstance(statement, Vouch):
        _check_introduction(statement)


def _check_introduction(vouch: Vouch) -> None:
    require_device_name(vouch.name)
    if len(vouch.certificate) > MAX_CERTIFICATE or device_of(vouch.certificate) != vouch.subject:
        raise MalformedRecord("a roster record introduces a device by another device's certificate")


def claim_of(record: Record, author: bytes) -> Claim:
    """What must hold for a record to count; `author` is its author's certificate (DER)."""
    payload, signature = msgspec.msgpack.decode(record.raw, type=tuple[bytes, bytes])
    introduced = record.statement.certificate if isinstance(record.statement, Vouch) else b""
    return Claim(author, _SIGNED + payload, signature, introduced)


# --- taking in -------------------------------------------------------------------------------------


class Admission(NamedTuple):
    """What became of offered records."""

    new: tuple[Record, ...]  # signed by who they say; whether they count is `judge`'s business
    malformed: int
    forged: int
    orphaned: int  # nobody has shown the author's certificate


def admit(known: Mapping[bytes, Record], offered: Sequence[bytes], mine: bytes, verify: Verify) -> Admission:
    """Read and verify what a peer offers; `mine` is this device's certificate (DER).

    A device id is the hash of a certificate, so an author's certificate may come from anywhere.
    Raises `TooLarge` before any work is done.
    """
    if len(offered) > MAX_OFFERED or sum(map(len, offered)) > 2 * ROOM:
        raise TooLarge("the roster is larger than any roster may be")
    fresh, malformed = _read_all(known, offered)
    certificates = {device_of(mine): mine}
    for record in (*known.values(), *fresh):
        if isinstance(record.statement, Vouch):
            certificates[record.statement.subject] = record.statement.certificate
    signed = [record for record in fresh if record.statement.by in certificates]
    holds = verify([claim_of(record, certificates[record.statement.by]) for record in signed])
    new = tuple(record for record, held in zip(signed, holds, strict=True) if held)
    return Admission(new, malformed, len(signed) - len(new), len(fresh) - len(signed))


def _read_all(known: Mapping[bytes, Record], offered: Sequence[bytes]) -> tuple[list[Record], int]:
    fresh: dict[bytes, Record] = {}
    malformed = 0
    for raw in offered:
        try:
            record = read_record(raw)
        except MalformedRecord:
            malformed += 1
            continue
        # Two signatures of one statement must not hide each other: a forged one may come first.
        if record.id not in known:
            fresh[raw] = record
    return list(fresh.values()), malformed


def merge(
    known: Mapping[bytes, Record], new: Iterable[Record], near: Collection[DeviceId] = ()
) -> dict[bytes, Record]:
    """The union, within bounds that no paired device can use to push out another's removals.

    Of one author 128 records count, its removals first, then by id: the same set in whatever order
    they come. Beyond the room there is for all, nothing new is taken; but each of the devices in `near`
    has a share that only its own records fill, so that nobody can make itself impossible to remove.
    """
    union = {record.id: record for record in new} | dict(known)
    records = _by_author(union.values())
    reserved = _within_shares(known, records, near)
    return reserved | _within_room(known, [record for record in records if record.id not in reserved])


def _within_shares(
    known: Mapping[bytes, Record], records: Iterable[Record], near: Collection[DeviceId]
) -> dict[bytes, Record]:
    """Of each author what its share holds: what is known keeps its place, then come removals."""
    kept: dict[bytes, Record] = {}
    left = {author: RESERVED // len(near) for author in near}
    for record in _known_first(known, records):
        author = record.statement.by
        if len(record.raw) <= left.get(author, 0):
            kept[record.id] = record
            left[author] -= len(record.raw)
    return kept


def _by_author(records: Iterable[Record]) -> list[Record]:
    authors: defaultdict[DeviceId, list[Record]] = defaultdict(list)
    for record in sorted(records, key=lambda r: (isinstance(r.statement, Vouch), r.id)):
        authors[record.statement.by].append(record)
    return [record for mine in authors.values() for record in mine[:MAX_PER_AUTHOR]]


def _within_room(known: Mapping[bytes, Record], records: list[Record]) -> dict[bytes, Record]:
    """What is known stays; removals come before vouches."""
    kept: dict[bytes, Record] = {}
    size = 0
    for record in _known_first(known, records):
        room = ROOM_FOR_VOUCHES if isinstance(record.statement, Vouch) else ROOM
        if record.id in known or size + len(record.raw) <= room:
            kept[record.id] = record
            size += len(record.raw)
    return kept


def _known_first(known: Mapping[bytes, Record], records: Iterable[Record]) -> list[Record]:
    return sorted(records, key=lambda r: (r.id not in known, isinstance(r.statement, Vouch), r.id))


def digest(ids: Iterable[bytes]) -> bytes:
    """Eight bytes that differ when two rosters differ."""
    return sha256(b"".join(sorted(ids))).digest()[:8]


# --- judging ---------------------------------------------------------------------------------------


class Judgement(NamedTuple):
    """What a set of records means to one device."""

    trusted: dict[DeviceId, bytes]  # device → certificate (DER), without this device
    standing: frozenset[bytes]  # ids of the vouches that count


def trusted(records: Iterable[Record], me: DeviceId, pairings: Collection[bytes]) -> dict[DeviceId, bytes]:
    """The certificates (DER) of the devices that `me` trusts, given the ids of its own pairings."""
    return judge(records, me, pairings).trusted


def judge(records: Iterable[Record], me: DeviceId, pairings: Collection[bytes]) -> Judgement:
    """Walk from this device's own pairings through the vouches that no removal voids.

    A removal counts if its author was ever vouched for, removed since or not: without clocks nobody
    can tell which of two removals came first, so both hold (a stolen device can therefore make
    others unpaired, never trusted). Nobody else's removal of `me` shakes what was paired here.
    """
    vouches = _vouches(records := list(records), me, pairings)
    heard = known_authors(records, me, pairings)
    removals: defaultdict[DeviceId, list[Record]] = defaultdict(list)
    for record in records:
        said = record.statement
        if isinstance(said, Removal) and said.by in heard and said.subject != me:
            removals[said.subject].append(record)
    return _walk(me, vouches, removals)


def known_authors(
    records: Iterable[Record], me: DeviceId, pairings: Collection[bytes]
) -> frozenset[DeviceId]:
    """Everybody ever vouched for, directly or not, whatever was removed since; `me` included."""
    vouches = _vouches(records, me, pairings)
    heard, ahead = {me}, [me]
    while ahead:
        subjects = {vouch.subject for _, vouch in vouches[ahead.pop()]} - heard
        heard |= subjects
        ahead += subjects
    return frozenset(heard)


_Vouches = Mapping[DeviceId, list[tuple[bytes, Vouch]]]


def _vouches(records: Iterable[Record], me: DeviceId, pairings: Collection[bytes]) -> _Vouches:
    """Vouches with their ids by author; of `me` only the pairings made here, for a key may be stolen."""
    found: defaultdict[DeviceId, list[tuple[bytes, Vouch]]] = defaultdict(list)
    for record in records:
        if isinstance(record.statement, Vouch) and (record.statement.by != me or record.id in pairings):
            found[record.statement.by].append((record.id, record.statement))
    return found


def _walk(me: DeviceId, vouches: _Vouches, removals: Mapping[DeviceId, list[Record]]) -> Judgement:
    """Grow two sets until nothing is added: the trusted, and the removed whose kept vouches carry on."""
    certificates: dict[DeviceId, bytes] = {}
    standing: set[bytes] = set()
    reached: set[tuple[DeviceId, bool]] = set()
    ahead = [(me, True)]
    while ahead:
        author, is_trusted = ahead.pop()
        if (author, is_trusted) in reached:
            continue
        reached.add((author, is_trusted))
        for id_, vouch in vouches.get(author, ()):
            if not _stands(id_, vouch, removals.get(author, ()), is_trusted):
                continue
            standing.add(id_)
            welcome = all(r.id in vouch.overrides for r in removals.get(vouch.subject, ()))
            if welcome and vouch.subject != me:
                certificates[vouch.subject] = vouch.certificate
            ahead.append((vouch.subject, welcome))
    return Judgement(certificates, frozenset(standing))


def _stands(id_: bytes, vouch: Vouch, removals: Collection[Record], author_is_trusted: bool) -> bool:
    """Whether no removal of its author voids a vouch.

    A vouch made after a removal names it. From an author who is still removed that is not enough,
    for it could name what it was told of: then some remover must have kept the vouch.
    """
    kept = [id_ in r.statement.keeps for r in removals if isinstance(r.statement, Removal)]
    excused = all(k or r.id in vouch.overrides for k, r in zip(kept, removals, strict=True))
    return excused and (author_is_trusted or any(kept))
