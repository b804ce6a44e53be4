"""Skill events: what mur appends to `skills/<skill>/events.jsonl`, one JSON object per line.

A line is read exactly as mur reads it, or it is malformed. Of a kind that mur does not know only
time and device are read: such a line is opaque, carried and never counted. Two events with the same
key are the same event. What mur itself writes takes a short way, a regular expression that accepts
nothing else; the long way gives the same answers. Implements docs/formats.md, "Skill events".
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from fleetsync.errors import MalformedRecord
from fleetsync.records import loglines, strictjson, timestamps
from fleetsync.records.strictjson import Json, Object, print_f64, print_string
from fleetsync.records.timestamps import Timestamp, is_day, plain_micros


class KeyedEvent(msgspec.Struct, frozen=True):
    """What every event has, of whatever kind."""

    kind: str
    ts: Timestamp
    device_id: str  # as mur wrote it: often just `cli`, and not a fleetsync device id

    @property
    def dedup_key(self) -> str:
        """`<µs>:<kind>:<device>`: events with equal keys are one event."""
        return f"{self.ts.micros}:{self.kind}:{self.device_id}"

    @property
    def micros(self) -> int:
        """µs since 1970, rounded down; negative before 1970."""
        return self.ts.micros


class SkillEvent(KeyedEvent, frozen=True):
    """An event of one of mur's four kinds; all but `extra` and `line` belong to `execution` only."""

    outcome: str | None = None  # `success`; anything else counts as a failure
    error: str | None = None
    step: str | None = None
    duration_ms: int | None = None
    exit_code: int | None = None
    env_class: str | None = None
    confidence: float | None = None
    trigger: str | None = None
    extra: tuple[tuple[str, Json], ...] = ()  # members that mur does not know and would drop
    line: bytes = b""  # as its author wrote it; empty for an event made here

    @property
    def canonical(self) -> bytes:
        """The line that mur writes for this event, without a line break."""
        members = [
            f'{{"kind":"{self.kind}","ts":"{self.ts.canonical}","device_id":{print_string(self.device_id)}'
        ]
        for name in FIELDS[self.kind][2:]:
            value = getattr(self, name)
            if value is not None:
                members.append(f'"{name}":{_print(value)}')
        return (",".join(members) + "}").encode()

    @property
    def order(self) -> tuple[int, int, str, bytes]:
        """Where the event stands in a merged log: by time, and among equals by what it says."""
        return self.ts.secs, self.ts.nanos, self.dedup_key, self.line or self.canonical


class OpaqueEvent(KeyedEvent, frozen=True):
    """An event of a kind that mur, as we know it, does not have."""

    line: bytes

    @property
    def order(self) -> tuple[int, int, str, bytes]:
        """As `SkillEvent.order`."""
        return self.ts.secs, self.ts.nanos, self.dedup_key, self.line


class CountableEvent(NamedTuple):
    """An event as far as counting looks at it."""

    kind: str
    ts: Timestamp
    outcome: str | None


_SHORT = ("ts", "device_id")
FIELDS: dict[str, tuple[str, ...]] = {
    "retrieval": _SHORT,
    "execution": (
        *_SHORT,
        "outcome",
        "error",
        "step",
        "duration_ms",
        "exit_code",
        "env_class",
        "confidence",
        "trigger",
    ),
    "dismissed": _SHORT,
    "superseded": _SHORT,
}
"""The kinds mur knows, and their fields in the order in which it writes them."""

_REQUIRED = {"ts", "device_id", "outcome"}


def _read_ts(value: Json) -> Timestamp | None:
    return timestamps.parse(value) if isinstance(value, str) else None


_READERS: dict[str, Callable[[Json], object]] = {
    "ts": _read_ts,
    "duration_ms": strictjson.as_u64,
    "exit_code": strictjson.as_i32,
    "confidence": strictjson.as_f64,
}
"""What a field may hold; the others hold strings."""


# --- one line -----------------------------------------------------------------------------------------


def read_event(line: bytes) -> SkillEvent | OpaqueEvent:
    """The event on this line; raises `MalformedRecord` if it has no key or mur could not read it."""
    written = _written(line)
    if written is None or not is_day(written[2][:10]):
        return _event(strictjson.parse(line), line)
    return _event_as_written(written, line)


def parse_event(line: bytes) -> SkillEvent:
    """The event on this line, if mur reads it; raises `MalformedRecord` for unknown kinds too."""
    event = read_event(line)
    if isinstance(event, OpaqueEvent):
        raise MalformedRecord(f"{event.kind[:40]!r} is no kind of event that mur knows")
    return event


def read_countable(line: bytes) -> CountableEvent | None:
    """What counting wants to know of this line; None for a kind that mur does not know.

    Raises `MalformedRecord` exactly when `read_event` does.
    """
    written = _written(line)
    if written is not None:
        kind, text, outcome = written.group(1, 2, 4)
        ts = timestamps.plain(text)
        if ts is not None:
            return CountableEvent(kind, ts, _text(outcome))
    event = _event(strictjson.parse(line), line)
    return None if isinstance(event, OpaqueEvent) else CountableEvent(event.kind, event.ts, event.outcome)


def event_key(line: bytes) -> tuple[str, int]:
    """The dedup key of this line, and its µs since 1970 (negative before).

    Raises `MalformedRecord` exactly when `read_event` does.
    """
    written = _written(line)
    if written is not None:
        kind, ts, device = written.group(1, 2, 3)
        micros = plain_micros(ts)
        if micros is not None:
            return f"{micros}:{kind}:{device}", micros
    event = _event(strictjson.parse(line), line)
    return event.dedup_key, event.micros


def readable_by_mur(line: bytes) -> bool:
    """Whether mur certainly reads this line (SEMANTICS §4.3). In doubt False: the line is parked.

    Beyond what mur accepts, a line must be an object without line breaks or repeated names, and
    its time must be written as RFC 3339 has it.
    """
    written = _written(line)
    if written is None:
        return _plainly_readable(line)
    return is_day(written[2][:10])


def unknown_kind(line: bytes) -> str | None:
    """The kind of a well-formed event that mur, as we know it, does not have; None for any other line.

    A mur that writes such a kind itself reads it too (SEMANTICS §4.3).
    """
    try:
        event = read_event(line)
    except MalformedRecord:
        return None
    return event.kind if isinstance(event, OpaqueEvent) and _RFC3339.fullmatch(event.ts.text) else None


def _plainly_readable(line: bytes) -> bool:
    try:
        value = strictjson.parse(line)
        event = _event(value, line)
    except MalformedRecord:
        return False
    if not isinstance(event, SkillEvent) or not isinstance(value, Object) or b"\n" in line or b"\r" in line:
        return False
    names = [name for name, _ in value.members]
    return len(set(names)) == len(names) and _RFC3339.fullmatch(event.ts.text) is not None


# --- the short way ------------------------------------------------------------------------------------

_PLAIN = r'[^"\\\x00-\x1f]*+'
_TEXT = rf'"({_PLAIN}(?:\\(?:["\\bfnrt]|u00[01][0-9a-f]){_PLAIN})*+)"'
_CLOCK = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
_RFC3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(?:Z|[+-][0-9]{2}:[0-9]{2})"
)
_WRITTEN = re.compile(
    r'\{"kind":"(retrieval|execution|dismissed|superseded)"'
    rf',"ts":"({_CLOCK}(?:\.[0-9]{{3}}(?:[0-9]{{3}}){{0,2}})?Z)","device_id":"({_PLAIN})"'
    rf'(?:,"outcome":{_TEXT}(?:,"error":{_TEXT})?(?:,"step":{_TEXT})?'
    r'(?:,"duration_ms":(0|[1-9][0-9]{0,18}+))?(?:,"exit_code":(0|-?[1-9][0-9]{0,8}+))?'
    rf'(?:,"env_class":{_TEXT})?(?:,"confidence":((?:0|[1-9][0-9]{{0,15}}+)\.[0-9]{{1,20}}+))?'
    rf'(?:,"trigger":{_TEXT})?)?\}}'
)


def _written(line: bytes) -> re.Match[str] | None:
    """The parts of a line such as mur writes it; None for any other, which may still be good."""
    try:
        found = _WRITTEN.fullmatch(line.decode())
    except UnicodeDecodeError:
        return None
    if found is None or (found[1] == "execution") != (found[4] is not None):
        return None
    return found


def _event_as_written(found: re.Match[str], line: bytes) -> SkillEvent:
    kind, ts, device, outcome, error, step, duration, code, env_class, confidence, trigger = found.groups()
    return SkillEvent(
        kind,
        timestamps.parse(ts),
        device,
        _text(outcome),
        _text(error),
        _text(step),
        None if duration is None else int(duration),
        None if code is None else int(code),
        _text(env_class),
        None if confidence is None else float(confidence),
        _text(trigger),
        line=line,
    )


def _text(raw: str | None) -> str | None:
    return raw if raw is None or "\\" not in raw else strictjson.unescape(raw)


# --- the long way -------------------------------------------------------------------------------------


def _event(value: Json, line: bytes) -> SkillEvent | OpaqueEvent:
    if isinstance(value, Object):
        return _event_of_object(value, line)
    if isinstance(value, list):
        return _event_of_array(value, line)
    raise MalformedRecord("neither an object nor an array")


def _event_of_object(value: Object, line: bytes) -> SkillEvent | OpaqueEvent:
    kind = _only(value, "kind")
    if not isinstance(kind, str):
        raise MalformedRecord("no kind of event is named")
    known = FIELDS.get(kind)
    fields = {name: _only(value, name) for name, _ in value.members if name in (known or _SHORT)}
    if known is None:
        return OpaqueEvent(kind, *_when_and_where(fields), line)
    extra = tuple(member for member in value.members if member[0] != "kind" and member[0] not in known)
    return _skill_event(kind, fields, extra, line)


def _event_of_array(value: list[Json], line: bytes) -> SkillEvent:
    """The array form that mur also reads: `["retrieval", ts, device]`, the fields in its order."""
    kind = value[0] if value else None
    if not isinstance(kind, str) or kind not in FIELDS or len(value) > 1 + len(FIELDS[kind]):
        raise MalformedRecord("an array that is no event")
    return _skill_event(kind, dict(zip(FIELDS[kind], value[1:], strict=False)), (), line)


def _skill_event(
    kind: str, fields: dict[str, Json], extra: tuple[tuple[str, Json], ...], line: bytes
) -> SkillEvent:
    values: dict[str, Any] = {name: _field(name, fields.get(name)) for name in FIELDS[kind]}
    return SkillEvent(kind, extra=extra, line=line, **values)


def _when_and_where(fields: dict[str, Json]) -> tuple[Timestamp, str]:
    ts: Any = _field("ts", fields.get("ts"))
    device: Any = _field("device_id", fields.get("device_id"))
    return ts, device


def _field(name: str, value: Json) -> object:
    if value is None and name not in _REQUIRED:
        return None
    read = _READERS.get(name, strictjson.as_string)(value)
    if read is None:
        raise MalformedRecord(f"{name} is missing or not what mur takes there")
    return read


def _only(value: Object, wanted: str) -> Json:
    """The member of that name; raises `MalformedRecord` if it is repeated."""
    found = [member for name, member in value.members if name == wanted]
    if len(found) > 1:
        raise MalformedRecord(f"{wanted} is there twice")
    return found[0] if found else None


def _print(value: str | int | float) -> str:
    if isinstance(value, str):
        return print_string(value)
    return print_f64(value) if isinstance(value, float) else str(value)


# --- a whole log --------------------------------------------------------------------------------------


class Placed(NamedTuple):
    """An event and where it is: the number of its line from 1, and its first byte in the log."""

    number: int
    offset: int
    event: SkillEvent | OpaqueEvent


class Malformed(NamedTuple):
    """Bytes that are no event, where they are, and why; or a whole line that is only good in parts."""

    number: int
    offset: int
    body: bytes
    reason: str


class SkillLog(NamedTuple):
    """All that a log holds, each list in the order of the file."""

    events: list[Placed]
    opaque: list[Placed]
    malformed: list[Malformed]


def parse_log(data: bytes) -> SkillLog:
    """Every event in a log, whatever else is in it; never raises.

    mur reads such a log only if `opaque` and `malformed` are empty (see `read_log`).
    """
    log = SkillLog([], [], [])
    for line in loglines.lines(data):
        dropped, body = loglines.trim(line.body)
        try:
            _place(log, line.number, line.offset + dropped, body)
        except MalformedRecord as error:
            _place_pieces(log, line, error.message)
    return log


def _place(log: SkillLog, number: int, offset: int, body: bytes) -> None:
    event = read_event(body)
    found = log.opaque if isinstance(event, OpaqueEvent) else log.events
    found.append(Placed(number, offset, event))


def _place_pieces(log: SkillLog, line: loglines.Line, reason: str) -> None:
    found = loglines.pieces(line.body)
    for piece in found:
        offset = line.offset + piece.offset
        if not piece.whole:
            log.malformed.append(Malformed(line.number, offset, piece.body, reason))
            continue
        try:
            _place(log, line.number, offset, piece.body)
        except MalformedRecord as error:
            log.malformed.append(Malformed(line.number, offset, piece.body, error.message))
    if not log.malformed or log.malformed[-1].number != line.number:
        reason = "several records on one line" if found else "a blank line that is not empty"
        log.malformed.append(Malformed(line.number, line.offset, line.body, reason))


def read_log(data: bytes) -> list[SkillEvent]:
    """The events as mur reads a log: one line that it cannot read, and it reads none.

    Raises `MalformedRecord` as mur would fail: also for bytes that are not UTF-8 and for a blank line.
    """
    return [parse_event(line.body) for line in loglines.lines(data)]
