"""Experience events: one envelope a line in `experience/<stream>/events.jsonl`, never re-spelled.

Reading is tolerant: an object with the four fields of an envelope and an event of some type is an
experience, of whatever kind; what else it holds is carried and not judged. Writing is strict: `compose`
makes only what the reference reads, `require_writable` refuses the rest. An experience keeps the exact
bytes of its line, which are its identity in the set, and a digest of its canonical content, which
tells a repeat from a conflict. Nothing here asks a clock. Implements docs/experience.md.
"""

from __future__ import annotations

import re
from hashlib import sha256

import msgspec

from fleetsync.errors import InvalidQuery, MalformedRecord
from fleetsync.records import strictjson
from fleetsync.records.artifacts import Movement
from fleetsync.records.experience_json import canonical_json, member, plain, print_json
from fleetsync.records.experience_shapes import fields_of, shape_of
from fleetsync.records.experience_times import PLACEHOLDER, Instant, instant, stamp
from fleetsync.records.experience_types import KINDS, RENAMED, ArtifactStateTransitioned, Envelope
from fleetsync.records.experience_values import ArtifactKind, LifecycleEvent, ReplayTrace, Value
from fleetsync.records.experience_words import ArtifactState
from fleetsync.records.strictjson import Json, Object

MAX_ID = 256
"""Characters of an id in an envelope, and bytes of one in an event that is written here."""
MAX_TIME = 64
"""Bytes of `occurred_at`."""
MAX_LINE = 1 << 20
"""Bytes of a line: what does not fit an item does not sync (datasets.py)."""

_ID = re.compile(r"[A-Za-z0-9._-]*")


class Experience(msgspec.Struct, frozen=True, gc=False):
    """One line, and what questions are asked about. Ids that an event does not carry are None."""

    line: bytes
    event_id: str
    occurred_at: str
    tenant_id: str | None
    correlation_id: str | None
    kind: str
    """The kind by its present name; `written_kind` is what the line says."""
    written_kind: str
    chain_id: str | None
    trace_link_id: str | None
    proposal_id: str | None
    artifact_id: str | None
    movement: Movement | None
    content: str
    """SHA-256 of the canonical content, the first 32 hexadecimal digits."""

    @property
    def instant(self) -> Instant | None:
        """When it happened, None if that is not known."""
        return instant(self.occurred_at)

    @property
    def identity(self) -> str:
        """SHA-256 of the exact line, hexadecimal."""
        return sha256(self.line).hexdigest()


# --- reading --------------------------------------------------------------------------------------------


def read(line: bytes) -> Experience:
    """The experience on this line; raises `MalformedRecord` if it is no envelope."""
    value = _object(line)
    event = member(value, "event")
    written = member(event, "type")
    if not isinstance(written, str):
        raise MalformedRecord("event: no type is named")
    kind = RENAMED.get(written, written)
    data = member(event, "data")
    tenant = _optional(value, "tenant_id")
    occurred_at = _required(value, "occurred_at")
    return Experience(
        line,
        _required(value, "event_id"),
        occurred_at,
        tenant,
        _optional(value, "correlation_id"),
        kind,
        written,
        _text(data, "chain_id"),
        _text(data, "trace_link_id"),
        _text(data, "proposal_id") or _text(member(data, "proposal"), "id"),
        _text(data, "artifact_id") or _text(member(data, "rollback"), "artifact_id"),
        _movement(kind, data, tenant, occurred_at),
        sha256(canonical(value).encode("utf-8", "surrogatepass")).hexdigest()[:32],
    )


def typed(line: bytes) -> Envelope:
    """The envelope with its event fully typed; raises `MalformedRecord` for what the reference refuses.

    The older name of a kind is taken too. Members that no type names are left out.
    """
    envelope: Envelope = fields_of(Envelope).read(_renamed(_object(line)))
    return envelope


def canonical(value: Json) -> str:
    """The canonical text of an envelope: equal for two spellings of one content, unknown members included."""
    value = _renamed(value)
    try:
        return fields_of(Envelope).canonical(value)
    except MalformedRecord:
        return canonical_json(value)


def trace_text(line: bytes) -> str:
    """The trace that a `ReplayTraceRecorded` line carries, as JSON on one line."""
    return print_json(plain(_trace(line)))


def trace_content(line: bytes) -> str:
    """The canonical text of the trace that a `ReplayTraceRecorded` line carries."""
    trace = _trace(line)
    try:
        return _TRACE.canonical(trace)
    except MalformedRecord:
        return canonical_json(trace)


def _trace(line: bytes) -> Json:
    return member(member(member(_object(line), "event"), "data"), "trace_link")


def _object(line: bytes) -> Object:
    value = strictjson.parse(line)
    if not isinstance(value, Object):
        raise MalformedRecord("not an object")
    return value


def _renamed(value: Json) -> Json:
    """The envelope with the present name of its kind."""
    event = member(value, "event")
    name = member(event, "type")
    if not isinstance(value, Object) or not isinstance(event, Object) or name not in RENAMED:
        return value
    members = tuple((k, RENAMED[str(v)] if k == "type" else v) for k, v in event.members)
    return Object(tuple((k, Object(members) if k == "event" else v) for k, v in value.members))


def _required(value: Json, name: str) -> str:
    found = member(value, name)
    if not isinstance(found, str):
        raise MalformedRecord(f"{name} is missing or no string")
    return found


def _optional(value: Json, name: str) -> str | None:
    found = member(value, name)
    if found is not None and not isinstance(found, str):
        raise MalformedRecord(f"{name} is no string")
    return found


def _text(value: Json, name: str) -> str | None:
    found = member(value, name)
    return found if isinstance(found, str) else None


_KIND = shape_of(ArtifactKind)
_TRACE = shape_of(ReplayTrace)
_STATE = shape_of(ArtifactState)


def _movement(kind: str, data: Json, tenant: str | None, occurred_at: str) -> Movement | None:
    """What the event says of an artifact; None if it says nothing, or nothing that can be read."""
    try:
        if kind == "ArtifactStateTransitioned":
            return _transition(data, tenant, occurred_at)
        return _rollback(data, tenant, occurred_at) if kind == "ArtifactRollbackRecorded" else None
    except MalformedRecord:
        return None


def _transition(data: Json, tenant: str | None, occurred_at: str) -> Movement:
    event = member(data, "event")
    return Movement(
        tenant or _optional(event, "tenant_id") or None,
        _required(data, "artifact_id"),
        _KIND.canonical(member(data, "artifact_kind")),
        _STATE.read(member(event, "from_state")),
        _STATE.read(member(event, "to_state")),
        _known_time(_required(event, "timestamp"), occurred_at),
    )


def _rollback(data: Json, tenant: str | None, occurred_at: str) -> Movement:
    record = member(data, "rollback")
    return Movement(
        tenant or _optional(record, "tenant_id") or None,
        _required(record, "artifact_id"),
        None,
        _STATE.read(member(record, "previous_state")),
        ArtifactState.ROLLED_BACK,
        _known_time(_required(record, "rolled_back_at"), occurred_at),
        rollback=True,
    )


def _known_time(first: str, second: str) -> str:
    return second if instant(first) is None else first


# --- writing --------------------------------------------------------------------------------------------


def compose(
    event: Value,
    *,
    event_id: str,
    occurred_at: str,
    tenant_id: str | None = None,
    correlation_id: str | None = None,
) -> Experience:
    """The experience of this event, its line as the reference writes it.

    `occurred_at` is best made by `stamp`. Raises `InvalidQuery` for what may not be written.
    """
    envelope = Envelope(
        event_id=event_id,
        occurred_at=occurred_at,
        tenant_id=tenant_id,
        correlation_id=correlation_id,
        event=event,
    )
    try:
        found = read(fields_of(Envelope).write(envelope).encode())
    except (MalformedRecord, UnicodeEncodeError) as error:
        raise InvalidQuery(f"{type(event).__name__}: {error}") from error
    require_writable(found)
    return found


def compose_transition(
    artifact_id: str,
    artifact_kind: ArtifactKind,
    lifecycle: LifecycleEvent,
    *,
    event_id: str,
    now: int,
) -> Experience:
    """A transition whose envelope has the time and the tenant of its lifecycle event.

    A lifecycle event that nobody gave a time has that of the clock (`now`, ns since 1970).
    """
    if lifecycle.timestamp == PLACEHOLDER:
        lifecycle = msgspec.structs.replace(lifecycle, timestamp=stamp(now))
    return compose(
        ArtifactStateTransitioned(artifact_id=artifact_id, artifact_kind=artifact_kind, event=lifecycle),
        event_id=event_id,
        occurred_at=lifecycle.timestamp,
        tenant_id=lifecycle.tenant_id,
    )


def require_valid(experience: Experience) -> None:
    """The reference's `validate_envelope`: raises `InvalidQuery` for the first field that is not legal."""
    _require_id("event_id", experience.event_id)
    size = len(experience.occurred_at.encode())
    if size == 0:
        raise InvalidQuery("occurred_at must not be empty")
    if size > MAX_TIME:
        raise InvalidQuery(f"occurred_at exceeds maximum length of {MAX_TIME}")
    if experience.tenant_id is not None:
        _require_id("tenant_id", experience.tenant_id)
    if experience.correlation_id is not None:
        _require_id("correlation_id", experience.correlation_id)


def require_writable(experience: Experience) -> None:
    """Raises `InvalidQuery` unless the reference would read this line, or its kind is one it does not have.

    The ids inside the event are bounded too, and so is the line.
    """
    require_valid(experience)
    require_line(experience)
    if experience.kind in KINDS:
        try:
            typed(experience.line)
        except MalformedRecord as error:
            raise InvalidQuery(f"{experience.kind}: {error.message}") from error
    for name in INNER_IDS:
        found = getattr(experience, name)
        if found is not None and len(found.encode()) > MAX_ID:
            raise InvalidQuery(f"{name} exceeds maximum length of {MAX_ID}")


def require_line(experience: Experience) -> None:
    """Raises `InvalidQuery` for what can be no line of a log."""
    if len(experience.line) > MAX_LINE:
        raise InvalidQuery(f"the event exceeds maximum length of {MAX_LINE}")
    if b"\n" in experience.line or b"\r" in experience.line:
        raise InvalidQuery("a line break inside an event")


INNER_IDS = ("chain_id", "trace_link_id", "proposal_id", "artifact_id")
"""The ids inside events that questions can be asked by."""


def _require_id(name: str, text: str) -> None:
    if not text:
        raise InvalidQuery(f"{name} must not be empty")
    if len(text.encode()) > MAX_ID:
        raise InvalidQuery(f"{name} exceeds maximum length of {MAX_ID}")
    if not _ID.fullmatch(text):
        raise InvalidQuery(f"{name} has invalid characters: letters, digits, - _ . are taken")
