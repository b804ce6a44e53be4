"""Channel events: what mur appends to `channels/<channel>/events.jsonl`, one JSON object per line.

A line is read exactly as mur reads it, or it is malformed; one of a kind of event or actor that mur
does not know is opaque: carried, never written where mur reads. Every device numbers its own file,
so an event travels as its body: the exact bytes of its line less the member `seq`. Cutting never
re-spells anything, and `with_seq` puts a number where the cut finds it again: the body, and with it
the identity, is the same whatever number a device gave it. What mur itself writes takes a short
way; the long way gives the same answers. Implements docs/formats.md, "Channels".
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec

from fleetsync.errors import MalformedRecord
from fleetsync.records import actors, strictjson, timestamps
from fleetsync.records.actors import Actor, UnknownActor
from fleetsync.records.strictjson import Json, Number, Object, print_string
from fleetsync.records.timestamps import Timestamp, plain_micros

KINDS = (
    "message",
    "delegation",
    "handoff",
    "tool-call",
    "tool-result",
    "state-change",
    "artifact",
    "hitl-request",
    "hitl-response",
    "note",
)
"""The kinds of event that mur knows."""

STATES = ("submitted", "working", "input-required", "completed", "failed", "canceled", "rejected", "stale")
"""What a channel can be; `stale` is mur's own."""

FIELDS = ("seq", "ts", "actor", "kind", "payload", "idempotency_key", "sig", "key_version")
"""The members of an event in the order in which mur writes them."""


_LAST_SEQ = 2**64 - 1
_REQUIRED = 4  # of FIELDS, in the array form that mur also reads


class ChannelEvent(msgspec.Struct, frozen=True):
    """An event of one of mur's kinds."""

    seq: int | None  # this device's number for it; None in a body as it travels
    ts: Timestamp
    actor: Actor
    kind: str
    payload: Json = None
    idempotency_key: str | None = None
    sig: str | None = None
    key_version: int | None = None
    line: bytes = b""  # as its author wrote it; empty for an event made here

    @property
    def payload_text(self) -> str:
        """The payload as mur writes it."""
        return print_sorted(self.payload)

    @property
    def canonical(self) -> bytes:
        """The line that mur writes for this event, without a line break."""
        members = [] if self.seq is None else [f'"seq":{self.seq}']
        members += [
            f'"ts":"{self.ts.canonical}"',
            f'"actor":{actors.print_members(actors.members(self.actor))}',
            f'"kind":"{self.kind}"',
            f'"payload":{self.payload_text}',
        ]
        for name in FIELDS[5:]:
            value = getattr(self, name)
            if value is not None:
                members.append(f'"{name}":{print_string(value) if isinstance(value, str) else value}')
        return ("{" + ",".join(members) + "}").encode()


class OpaqueEvent(msgspec.Struct, frozen=True):
    """An event of a kind, or by a kind of actor, that mur, as we know it, does not have."""

    seq: int | None
    ts: Timestamp
    kind: str
    line: bytes


def print_sorted(value: Json) -> str:
    """A value as mur writes it from memory: no spaces, keys in order of their bytes, the last of
    several equal keys.
    """
    if isinstance(value, Object):
        kept = dict(value.members)
        return "{" + ",".join(f"{print_string(k)}:{print_sorted(kept[k])}" for k in sorted(kept)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(print_sorted, value)) + "]"
    if isinstance(value, Number):
        return value.printed
    return print_string(value) if isinstance(value, str) else _WORDS[value]


_WORDS = {True: "true", False: "false", None: "null"}


# --- one line -----------------------------------------------------------------------------------------


def read_event(line: bytes) -> ChannelEvent | OpaqueEvent:
    """The event on this line, numbered or not; raises `MalformedRecord`."""
    value = strictjson.parse_members(line, FIELDS)
    fields = _fields_of_object(value) if isinstance(value, Object) else _fields_of_array(value)
    kind = _kind(fields.get("kind"))
    seq = None if "seq" not in fields else _field("seq", fields["seq"])
    ts: Any = _field("ts", fields.get("ts"))
    try:
        actor = actors.read_actor(fields.get("actor"))
    except UnknownActor:
        return OpaqueEvent(seq, ts, kind, line)
    if kind not in KINDS:
        return OpaqueEvent(seq, ts, kind, line)
    key, sig, version = (_optional(name, fields.get(name)) for name in FIELDS[5:])
    return ChannelEvent(seq, ts, actor, kind, fields.get("payload"), key, sig, version, line)


def parse_event(line: bytes) -> ChannelEvent:
    """The event on this line of a log, if mur reads it; raises `MalformedRecord`."""
    event = read_event(line)
    if isinstance(event, OpaqueEvent):
        raise MalformedRecord(f"{event.kind[:40]!r} or its actor is nothing that mur knows")
    if event.seq is None:
        raise MalformedRecord("an event without a number")
    return event


def event_identity(line: bytes) -> tuple[bytes, int]:
    """The SHA-256 of the event's body, and its µs since 1970 (negative before).

    The same for a numbered line and for a body as it travels. Raises `MalformedRecord` for what
    mur could not read as an event of any version, and for the array form, which nothing writes.
    """
    written = _written(line)
    if written is not None:
        return sha256(written.body).digest(), written.micros
    event = read_event(line)
    return sha256(_cut(line)).digest(), event.ts.micros


def without_seq(line: bytes) -> bytes:
    """The event's body: this line without `seq`, and without white space around it.

    Raises `MalformedRecord` when this is no event, or one in the array form.
    """
    written = _written(line)
    if written is not None:
        return written.body
    read_event(line)
    return _cut(line)


def with_seq(body: bytes, seq: int) -> bytes:
    """The line to write for this body, numbered: `seq` comes first, as mur writes it.

    A number that the body brought along is replaced. Raises `MalformedRecord` when it is no event.
    """
    if not 0 <= seq <= _LAST_SEQ:
        raise ValueError(f"{seq} is no number for an event")
    return b'{"seq":%d,%b' % (seq, without_seq(body)[1:])


def seq_of(line: bytes) -> int | None:
    """The number on this line, also of an event that only a newer mur reads; None where none does."""
    written = _written(line)
    if written is not None:
        return written.seq
    try:
        return read_event(line).seq
    except MalformedRecord:
        return None


def next_seq(highest: int | None) -> int:
    """The number after the highest one in a log (None: an empty log). After the last u64 comes 0,
    as in mur.
    """
    return 0 if highest is None else (highest + 1) & _LAST_SEQ


def kind_of(line: bytes) -> str | None:
    """The kind of event on this line, also one that mur does not know; None if it is no event."""
    written = _written(line)
    if written is not None:
        return written.kind
    try:
        return read_event(line).kind
    except MalformedRecord:
        return None


def idempotency_key(line: bytes) -> str | None:
    """The key under which mur writes this event at most once; None without one, or if it is no event."""
    written = _written(line)
    if written is not None:
        return None if written.key is None else strictjson.unescape(written.key)
    event = readable_event(line)
    return event.idempotency_key if event else None


def readable_by_mur(line: bytes) -> bool:
    """Whether mur certainly reads this line once it is numbered (SEMANTICS §4.3); in doubt False.

    Beyond what mur accepts, a line must be an object without line breaks, sound throughout, no
    name repeated in it or in its actor, its time written as RFC 3339 has it.
    """
    return _written(line) is not None or _plainly_readable(line)


def _plainly_readable(line: bytes) -> bool:
    try:
        value = strictjson.parse(line)
        event = read_event(line)
    except MalformedRecord:
        return False
    if not isinstance(event, ChannelEvent) or not isinstance(value, Object) or b"\n" in line or b"\r" in line:
        return False
    members = dict(value.members)
    actor = members["actor"]
    if not isinstance(actor, Object) or not isinstance(members["kind"], str):
        return False
    unique = len(members) == len(value.members) and len(dict(actor.members)) == len(actor.members)
    return unique and _RFC3339.fullmatch(event.ts.text) is not None


def signed_event(line: bytes) -> ChannelEvent | None:
    """The event on this line if it is signed; None for any other."""
    if b'sig"' not in line and b"\\u" not in line:
        return None
    event = readable_event(line)
    return event if event is not None and event.sig is not None else None


def unknown_kind(line: bytes) -> str | None:
    """The kind of a well-formed event that mur, as we know it, does not have; None for any other."""
    try:
        event = read_event(line)
    except MalformedRecord:
        return None
    return kind_of(line) if isinstance(event, OpaqueEvent) else None


# --- the short way ------------------------------------------------------------------------------------

_PLAIN = r'[^"\\\x00-\x1f]*+'
_TEXT = rf'{_PLAIN}(?:\\(?:["\\bfnrt]|u00[01][0-9a-f]){_PLAIN})*+'
_CLOCK = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
_RFC3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(?:Z|[+-][0-9]{2}:[0-9]{2})"
)
_HEAD = re.compile(
    rf'\{{(?:"seq":(0|[1-9][0-9]{{0,18}}+),)?"ts":"({_CLOCK}(?:\.[0-9]{{3}}(?:[0-9]{{3}}){{0,2}})?Z)"'
    rf',"actor":\{{"kind":(?:"human","name":"{_TEXT}"|"agent","id":"{_TEXT}"|"system")\}}'
    rf',"kind":"({"|".join(KINDS)})","payload":'
)
_TAIL = re.compile(
    rf'(?:,"idempotency_key":"({_TEXT})")?(?:,"sig":"{_PLAIN}")?(?:,"key_version":(?:0|[1-9][0-9]{{0,8}}+))?\}}'
)
_HALF_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class _Written(NamedTuple):
    """What a line such as mur writes it says; `key` is the idempotency key with its escapes."""

    seq: int | None
    micros: int
    kind: str
    key: str | None
    body: bytes


def _finite(lexeme: str) -> None:
    if abs(float(lexeme)) == float("inf"):
        raise ValueError("out of range")


def _refuse(constant: str) -> None:
    raise ValueError(constant)


_scan = json.JSONDecoder(parse_int=_finite, parse_float=_finite, parse_constant=_refuse).raw_decode


def _written(line: bytes) -> _Written | None:
    """The parts of a line such as mur writes it; None for any other, which may still be good."""
    try:
        text = line.decode()
        head = _HEAD.match(text)
        if head is None or _HALF_SURROGATE.search(text):
            return None
        if text.count("[") + text.count("{") > strictjson.MAX_DEPTH:
            return None
        tail = _TAIL.fullmatch(text, _scan(text, head.end())[1])
    except ValueError:
        return None
    micros = plain_micros(head[2])
    if tail is None or micros is None:
        return None
    if head[1] is None:
        return _Written(None, micros, head[3], tail[1], line)
    return _Written(int(head[1]), micros, head[3], tail[1], b"{" + line[head.end(1) + 1 :])


# --- the long way -------------------------------------------------------------------------------------

_MEMBER = re.compile(r'[ \t\n\r]*+("(?:[^"\\]|\\.)*+")[ \t\n\r]*+:[ \t\n\r]*+')
_BETWEEN = re.compile(r"[ \t\n\r]*+([,}])")


def _cut(line: bytes) -> bytes:
    """A good event's line, trimmed, without its member `seq` and the comma that parts it from the next.

    The last member goes with the comma before it. White space outside of that stays where it is.
    """
    text = line.decode().strip(" \t\n\r")
    if not text.startswith("{"):
        raise MalformedRecord("an event in the array form, which does not travel")
    at, comma = 1, 0
    while True:
        name = _require(_MEMBER.match(text, at))
        after = _require(_BETWEEN.match(text, strictjson.extent(text, name.end())))
        if strictjson.unescape(name[1][1:-1]) == "seq":
            start, end = (name.start(1), after.end()) if after[1] == "," else (comma, after.start(1))
            return (text[:start] + text[end:]).encode()
        if after[1] == "}":
            return text.encode()
        at, comma = after.end(), after.start(1)


def _require(found: re.Match[str] | None) -> re.Match[str]:
    if found is None:
        raise MalformedRecord("not an object")
    return found


def readable_event(line: bytes) -> ChannelEvent | None:
    """The event, if the line is one of a kind and an actor that are known here."""
    try:
        event = read_event(line)
    except MalformedRecord:
        return None
    return event if isinstance(event, ChannelEvent) else None


def _fields_of_object(value: Object) -> dict[str, Json]:
    fields = dict(value.members)
    if len(fields) != len(value.members):
        raise MalformedRecord("a member is there twice")
    return fields


def _fields_of_array(value: Json) -> dict[str, Json]:
    """The array form that mur also reads: the fields in its order."""
    if not isinstance(value, list) or not _REQUIRED <= len(value) <= len(FIELDS):
        raise MalformedRecord("neither an object nor an array of an event's members")
    return dict(zip(FIELDS, value, strict=False))


def _kind(value: Json) -> str:
    """A kind by its name, or as an object with nothing but that name."""
    if isinstance(value, Object) and len(value.members) == 1 and value.members[0][1] is None:
        value = value.members[0][0]
    if not isinstance(value, str):
        raise MalformedRecord("no kind of event is named")
    return value


def _read_ts(value: Json) -> Timestamp | None:
    return timestamps.parse(value) if isinstance(value, str) else None


_READERS: dict[str, Callable[[Json], object]] = {
    "seq": strictjson.as_u64,
    "ts": _read_ts,
    "key_version": strictjson.as_u32,
}
"""What a field may hold; the others hold strings."""


def _field(name: str, value: Json) -> Any:
    read = _READERS.get(name, strictjson.as_string)(value)
    if read is None:
        raise MalformedRecord(f"{name} is missing or not what mur takes there")
    return read


def _optional(name: str, value: Json) -> Any:
    return None if value is None else _field(name, value)
