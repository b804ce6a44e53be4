"""A skill's counters: mur's `stats.json`, read as mur reads it and written byte for byte as it does.

Members that mur does not know are dropped when it rewrites the file, and so they are here; nothing
of ours can live in it. A file that mur could not read is malformed and must be left alone. Files and
locks are not known here, only what stands in them. Implements docs/formats.md, "stats.json".
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any, TypeAlias

import msgspec

from fleetsync.errors import MalformedRecord
from fleetsync.records import strictjson, timestamps
from fleetsync.records.names import ReplicaPath, parse_path, require_name
from fleetsync.records.strictjson import Json, Object, print_f64, print_string
from fleetsync.records.timestamps import Timestamp

SCHEMA_VERSION = 1


_Counters: TypeAlias = tuple[int, int, int, Timestamp | None, Timestamp | None, Timestamp | None]


class LifecycleState(StrEnum):
    """How far a skill has come; only mur moves it."""

    DRAFT = "draft"
    EMERGING = "emerging"
    STABLE = "stable"
    CANONICAL = "canonical"
    DEPRECATED = "deprecated"
    ARCHIVED = "archived"
    DESTROYED = "destroyed"  # mur reads it but never writes it


class SkillStats(msgspec.Struct, frozen=True):
    """What mur knows of a skill's use, in the order of the file. Counts are 0 … 2^64-1."""

    schema_version: int
    skill_name: str
    skill_version: str
    manifest_digest: str  # SHA-256 of skill.yaml when the counters began, in hex
    lifecycle_state: LifecycleState
    lifecycle_changed_at: Timestamp
    pinned: bool
    pinned_reason: str
    usage_count: int
    success_count: int
    failure_count: int
    last_used_at: Timestamp | None
    last_success_at: Timestamp | None
    first_successful_use_at: Timestamp | None
    anchor_confidence: float
    rebuilt_from_trace_through: Timestamp | None
    resolution_misses: int
    curated_at: Timestamp | None

    @property
    def epoch(self) -> str | None:
        """`rebuilt_from_trace_through` as text: it changes when mur overwrites the counters."""
        through = self.rebuilt_from_trace_through
        return None if through is None else through.canonical

    @property
    def counters(self) -> _Counters:
        """Uses, successes, failures; last use, last success, first success."""
        return (
            self.usage_count,
            self.success_count,
            self.failure_count,
            self.last_used_at,
            self.last_success_at,
            self.first_successful_use_at,
        )

    def with_counters(self, counters: _Counters) -> SkillStats:
        """The same stats with other counters, in the order of `counters`."""
        used, succeeded, failed, last_used, last_success, first_success = counters
        return msgspec.structs.replace(
            self,
            usage_count=used,
            success_count=succeeded,
            failure_count=failed,
            last_used_at=last_used,
            last_success_at=last_success,
            first_successful_use_at=first_success,
        )


def new(skill_name: str, skill_version: str, manifest_digest: str, now: Timestamp) -> SkillStats:
    """The stats of a skill that was never used."""
    return SkillStats(
        schema_version=SCHEMA_VERSION,
        skill_name=skill_name,
        skill_version=skill_version,
        manifest_digest=manifest_digest,
        lifecycle_state=LifecycleState.DRAFT,
        lifecycle_changed_at=now,
        pinned=False,
        pinned_reason="",
        usage_count=0,
        success_count=0,
        failure_count=0,
        last_used_at=None,
        last_success_at=None,
        first_successful_use_at=None,
        anchor_confidence=1.0,
        rebuilt_from_trace_through=None,
        resolution_misses=0,
        curated_at=None,
    )


def is_stale(stats: SkillStats, manifest_digest: str) -> bool:
    """Whether the counters began under another manifest than this one."""
    return stats.manifest_digest != manifest_digest


def reset_for_new_manifest(stats: SkillStats, *, version: str, digest: str, now: Timestamp) -> SkillStats:
    """The counters begin anew; lifecycle state, pin, first success, misses and curation stay."""
    return msgspec.structs.replace(
        stats,
        skill_version=version,
        manifest_digest=digest,
        lifecycle_changed_at=now,
        usage_count=0,
        success_count=0,
        failure_count=0,
        last_used_at=None,
        last_success_at=None,
        anchor_confidence=1.0,
        rebuilt_from_trace_through=None,
    )


def path_of(skill: str, *, agent: str | None = None) -> ReplicaPath:
    """Where the stats of a skill are, or an agent's own stats of it; raises `IllegalName`."""
    path = f"skills/{require_name('skill', skill)}/stats.json"
    return parse_path(path if agent is None else f"agents/{require_name('agent', agent)}/{path}")


# --- reading ------------------------------------------------------------------------------------------


def loads(data: bytes) -> SkillStats:
    """The stats in these bytes; raises `MalformedRecord` where mur would fail.

    Unknown members are dropped, as mur drops them.
    """
    value = strictjson.parse_members(data, _READERS)
    if isinstance(value, Object):
        return _stats(_members(value))
    if isinstance(value, list):
        return _stats(_elements(value))
    raise MalformedRecord("stats.json holds neither an object nor an array")


def _members(value: Object) -> dict[str, Json]:
    members = dict(value.members)
    if len(members) < len(value.members):
        raise MalformedRecord("stats.json has the same member twice")
    return members


def _elements(value: list[Json]) -> dict[str, Json]:
    """The array form that mur also reads: values in its order, of which the last two may be missing."""
    names = list(_READERS)
    if not len(names) - 2 <= len(value) <= len(names):
        raise MalformedRecord(f"stats.json is an array of {len(value)} values")
    return dict(zip(names, value, strict=False))


def _stats(members: dict[str, Json]) -> SkillStats:
    values: dict[str, Any] = {name: _field(name, members) for name in _READERS}
    return SkillStats(**values)


def _field(name: str, members: dict[str, Json]) -> object:
    if name not in members and name in _DEFAULTS:
        return _DEFAULTS[name]
    value = members.get(name)
    if value is None and name in _NULLABLE:
        return None
    read = _READERS[name](value)
    if read is None:
        raise MalformedRecord(f"{name} in stats.json is missing or not what mur takes there")
    return read


def _read_time(value: Json) -> Timestamp | None:
    return timestamps.parse(value) if isinstance(value, str) else None


def _read_bool(value: Json) -> bool | None:
    return value if isinstance(value, bool) else None


def _read_state(value: Json) -> LifecycleState | None:
    if isinstance(value, Object) and len(value.members) == 1 and value.members[0][1] is None:
        value = value.members[0][0]  # mur also reads {"draft":null}
    return LifecycleState(value) if isinstance(value, str) and value in _STATES else None


_STATES = frozenset(LifecycleState)

_READERS: dict[str, Callable[[Json], object]] = {
    "schema_version": strictjson.as_u32,
    "skill_name": strictjson.as_string,
    "skill_version": strictjson.as_string,
    "manifest_digest": strictjson.as_string,
    "lifecycle_state": _read_state,
    "lifecycle_changed_at": _read_time,
    "pinned": _read_bool,
    "pinned_reason": strictjson.as_string,
    "usage_count": strictjson.as_u64,
    "success_count": strictjson.as_u64,
    "failure_count": strictjson.as_u64,
    "last_used_at": _read_time,
    "last_success_at": _read_time,
    "first_successful_use_at": _read_time,
    "anchor_confidence": strictjson.as_f64,
    "rebuilt_from_trace_through": _read_time,
    "resolution_misses": strictjson.as_u64,
    "curated_at": _read_time,
}
"""What each member may hold, in the order in which mur writes them."""

_NULLABLE = {
    "last_used_at",
    "last_success_at",
    "first_successful_use_at",
    "rebuilt_from_trace_through",
    "curated_at",
}
_DEFAULTS: dict[str, object] = {"pinned_reason": "", "resolution_misses": 0}


# --- writing ------------------------------------------------------------------------------------------


def dumps(stats: SkillStats) -> bytes:
    """The file as mur writes it: two spaces, no final newline."""
    members = [f"  {print_string(name)}: {_print(getattr(stats, name))}" for name in _READERS]
    return ("{\n" + ",\n".join(members) + "\n}").encode()


def _print(value: str | bool | int | float | Timestamp | None) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Timestamp):
        return print_string(value.canonical)
    if isinstance(value, str):
        return print_string(value)
    return print_f64(value) if isinstance(value, float) else str(value)
