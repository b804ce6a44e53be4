"""THE table of what syncs: path pattern → record type → merge rule (DESIGN §4).

Rules of the table: a path that no row names is never read, sent or written; a row says all that the
rest of the program needs to know about a kind of file; a new dataset is one row here and one file
in `records/`. The deny-list needs no code: it is everything that is not in the table.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import lru_cache

from fleetsync.errors import IllegalName, MalformedRecord
from fleetsync.merge import participants, register
from fleetsync.ports import INFINITY, Key
from fleetsync.records import (
    channel_manifests,
    channels,
    experience_times,
    hitl,
    keyrings,
    manifests,
    model_entries,
    models,
    open_items,
    profiles,
    skills,
)
from fleetsync.records.channels import ChannelEvent
from fleetsync.records.model_entries import SecretProblem
from fleetsync.records.names import (
    MAX_PATH_BYTES,
    NAME_RULES,
    DeviceId,
    ReplicaPath,
    name_of,
    parse_path,
    part_of,
)

MAX_BODY = 1 << 20
"""The largest item, bytes: refused at its author and at every receiver alike (SEMANTICS §1.3)."""


class Kind(Enum):
    """How a dataset merges."""

    LOG = auto()  # set union of lines
    REGISTER = auto()  # one current value


class LogLock(Enum):
    """Which file mur's own writer locks while it appends."""

    ITSELF = auto()
    SIDECAR = auto()  # events.lock beside it


@dataclass(frozen=True)
class Numbering:
    """Lines that carry a number of this device's own, which is no part of what travels."""

    of: Callable[[bytes], int | None]
    without: Callable[[bytes], bytes]  # a line as it travels; raises `MalformedRecord`
    given: Callable[[bytes, int], bytes]  # a line as it is written here
    after: Callable[[int | None], int]  # the number after the highest in a file; None: there is none


@dataclass(frozen=True)
class Parts:
    """A file that holds many registers: the last component of their paths names a part of that file."""

    values: Callable[[bytes], Mapping[str, bytes]]
    """File → name → value, of the parts that sync; raises `MalformedRecord` for one that mur cannot read."""
    left_out: Callable[[bytes], Mapping[str, str]]
    """File → name → why, of the parts that stand there and do not sync."""
    splice: Callable[[bytes, str, bytes | None], bytes]
    """The file with that part replaced, put in or taken out and nothing else changed; raises
    `MalformedRecord` where that cannot be done.
    """
    check: Callable[[str, bytes], None]
    """Raises `MalformedRecord` for a name and a value that no correct peer accepts."""


@dataclass(frozen=True)
class Contents:
    """The registers that a file holds, by path; of those that do not sync, why."""

    values: Mapping[str, bytes]
    left_out: Mapping[str, str]


@dataclass(frozen=True)
class Dataset:
    """One row. Sibling names are relative to the directory of the matching file."""

    name: str
    pattern: str
    kind: Kind
    identity: Callable[[bytes], tuple[bytes, int]] | None = None
    """Log: line → (identity bytes, µs); raises `MalformedRecord` for a line that cannot be keyed."""
    readable: Callable[[bytes], bool] = lambda line: True
    """Log: whether mur certainly reads this line; anything else is parked (SEMANTICS §4.3)."""
    kind_of: Callable[[bytes], str | None] = lambda line: None
    """Log: the kind of a line that is unreadable only because mur, as we know it, has no such kind."""
    numbering: Numbering | None = None
    """Log: how lines are numbered in the file; None where they stand as they travel."""
    once: Callable[[bytes], str | None] = lambda line: None
    """Log: a key of which mur writes only the first line (SEMANTICS §1.2); later ones are parked."""
    asks: Callable[[bytes], str | None] = lambda line: None
    """Log: the id of a question that only the device that asked can take an answer to (§7.5)."""
    answers: Callable[[bytes], str | None] = lambda line: None
    """Log: the id of the question that this line answers."""
    signed: Callable[[bytes], ChannelEvent | None] | None = None
    """Log: the event on a line that is signed; only set where lines may be (SEMANTICS §7.4)."""
    published: bool = False
    """Register: no file of home, but what the device that its path names says of itself."""
    check: Callable[[bytes], object] = lambda value: None
    """Register: raises `MalformedRecord` for a value that no correct peer accepts."""
    value_of: Callable[[bytes], bytes] = lambda file: file
    """Register: what of the file travels; raises `MalformedRecord` for a file that does not sync."""
    file_of: Callable[[bytes | None, bytes], bytes] = lambda _file, value: value
    """Register: the file with this value, from the one that stands there (None: there is none)."""
    rewritten: bool = False
    """Register: mur writes the whole file anew, without a lock, from what it had read before."""
    parts: Parts | None = None
    """Register: how the file named by all but the last component of the path is taken apart; None where
    the path names the file itself.
    """
    digest: Callable[[bytes], bytes] = register.digest_of
    """Register: what two spellings of one value have in common (SEMANTICS §2.6)."""
    merged: Callable[[Sequence[bytes]], bytes] = lambda values: values[0]
    """Register: what to apply, from all live values, the winner first; nothing is minted for it."""
    problem: Callable[[bytes, Callable[[str], bool]], SecretProblem | None] | None = None
    """Register: what is wrong with a value on this device; `resolves` says whether a reference leads to
    something here.
    """
    newer: Callable[[bytes], int | None] = lambda value: None
    """Register: the version of a value that is of a newer mur than is known here: carried, not merged."""
    updated_at: Callable[[bytes], int | None] = lambda value: None
    """Register: the value's own time in µs, if it carries one."""
    lock: LogLock = LogLock.ITSELF
    manifest: tuple[str, ...] = ()
    """Log: siblings of which one must be live before lines are written."""
    stats: str | None = None
    """Log: the sibling into which a peer's lines are counted, exactly once."""
    counters: bool = False
    """Register: applying a peer's value resets the counters in the `stats.json` beside it."""
    regex: re.Pattern[str] = field(init=False, compare=False)
    file_regex: re.Pattern[str] = field(init=False, compare=False)

    @property
    def glob(self) -> str:
        """A glob that fits every path of this row (`selection.py`)."""
        return re.sub(r"<\w+>", "*", self.pattern)

    def __post_init__(self) -> None:
        """Compile the patterns: `<skill>` stands for a legal skill name, and so on."""
        object.__setattr__(self, "regex", _compiled(self.pattern))
        object.__setattr__(self, "file_regex", _compiled(self.file_pattern))

    @property
    def file_pattern(self) -> str:
        """Of the files under home; differs from `pattern` where a file holds many registers."""
        return self.pattern if self.parts is None else self.pattern.rpartition("/")[0]


def _compiled(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"<(\w+)>", pattern)
    rules = [re.escape(p) if i % 2 == 0 else f"(?:{NAME_RULES[p].pattern})" for i, p in enumerate(parts)]
    return re.compile("".join(rules))


def _skill_identity(line: bytes) -> tuple[bytes, int]:
    key, micros = skills.event_key(line)
    return key.encode(), micros


def _manifest_row(name: str, pattern: str, *, dated: bool) -> Dataset:
    updated_at = manifests.updated_at if dated else (lambda value: None)
    return Dataset(name, pattern, Kind.REGISTER, updated_at=updated_at, counters=True)


def _digest_by(of_content: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """mur re-spells the whole file: its content counts; one that cannot be read counts as its bytes."""

    def digest(value: bytes) -> bytes:
        try:
            return of_content(value)
        except MalformedRecord:
            return register.digest_of(value)

    return digest


def _profile_file(file: bytes | None, value: bytes) -> bytes:
    """A peer's profile with this device's own blocks where they were; the first one has none."""
    if file is None:
        profiles.check_value(value)
        return value
    return profiles.splice(file, value)


def _models_with(file: bytes, name: str, value: bytes | None) -> bytes:
    """An entry that mur could not read would cost it the whole file (SEMANTICS §4.3)."""
    if value is not None and not model_entries.readable_by_mur(value):
        raise MalformedRecord(f"the entry {name[:40]!r} may be one that mur here could not read")
    return models.splice(file, name, value)


def _model_problem(value: bytes, resolves: Callable[[str], bool]) -> SecretProblem | None:
    try:
        return model_entries.secret_problem(value, resolves)
    except MalformedRecord:
        return None


def _with_all_participants(values: Sequence[bytes]) -> bytes:
    """The winner, with the participants of all live versions (SEMANTICS §2.7)."""
    try:
        lists = [channel_manifests.entries(value) for value in values]
        if lists[0] is None:
            return values[0]
        united = participants.unite(each for each in lists if each is not None)
        return channel_manifests.with_entries(values[0], united)
    except MalformedRecord:
        return values[0]


DATASETS: tuple[Dataset, ...] = (
    Dataset(
        "skill-events",
        "skills/<skill>/events.jsonl",
        Kind.LOG,
        identity=_skill_identity,
        readable=skills.readable_by_mur,
        kind_of=skills.unknown_kind,
        manifest=("skill.yaml", "skill.md"),
        stats="stats.json",
    ),
    _manifest_row("skill-manifest", "skills/<skill>/skill.yaml", dated=True),
    _manifest_row("skill-manifest-legacy", "skills/<skill>/skill.md", dated=False),
    _manifest_row("agent-skill-manifest", "agents/<agent>/skills/<skill>/skill.yaml", dated=True),
    _manifest_row("agent-skill-manifest-legacy", "agents/<agent>/skills/<skill>/skill.md", dated=False),
    Dataset(
        "channel-events",
        "channels/<channel>/events.jsonl",
        Kind.LOG,
        identity=channels.event_identity,
        readable=channels.readable_by_mur,
        kind_of=channels.unknown_kind,
        lock=LogLock.SIDECAR,
        manifest=("channel.yaml",),
        numbering=Numbering(channels.seq_of, channels.without_seq, channels.with_seq, channels.next_seq),
        once=channels.idempotency_key,
        asks=hitl.question,
        answers=hitl.answer,
        signed=channels.signed_event,
    ),
    Dataset(
        "channel-manifest",
        "channels/<channel>/channel.yaml",
        Kind.REGISTER,
        updated_at=manifests.updated_at,
        rewritten=True,
        digest=_digest_by(channel_manifests.content_digest),
        merged=_with_all_participants,
        newer=channel_manifests.newer_version,
    ),
    Dataset(
        "agent-profile",
        "agents/<agent>/profile.yaml",
        Kind.REGISTER,
        check=profiles.check_value,
        value_of=profiles.travelling,
        file_of=_profile_file,
        rewritten=True,
        digest=_digest_by(profiles.digest),
    ),
    Dataset("agent-prompt", "agents/<agent>/sys_prompt.md", Kind.REGISTER),
    Dataset(
        "model",
        "models.yaml/<part>",
        Kind.REGISTER,
        rewritten=True,
        parts=Parts(models.entries, models.left_out, _models_with, model_entries.check_entry),
        digest=_digest_by(model_entries.digest),
        problem=_model_problem,
    ),
    Dataset(
        "agent-keys",
        "devices/<device>/agent-keys",
        Kind.REGISTER,
        published=True,
        check=keyrings.published,
    ),
    Dataset(
        "open-items",
        "open-items.jsonl",
        Kind.LOG,
        identity=open_items.identity,
        readable=open_items.readable_by_mur,
        kind_of=open_items.unknown_kind,
    ),
    Dataset(
        "experience-events",
        "experience/<stream>/events.jsonl",
        Kind.LOG,
        identity=lambda line: (line, experience_times.item_time(line)),
    ),
)


def find(path: str) -> Dataset | None:
    """The row that names this path, or None."""
    return _find(path) if len(path) <= MAX_PATH_BYTES else None


@lru_cache(maxsize=8192)  # of short texts only: it is asked for whatever a peer calls a path
def _find(path: str) -> Dataset | None:
    return next((row for row in DATASETS if row.regex.fullmatch(path)), None)


def find_file(file: str) -> Dataset | None:
    """The row whose items stand in this file under home, or None."""
    return _find_file(file) if len(file) <= MAX_PATH_BYTES else None


@lru_cache(maxsize=8192)
def _find_file(file: str) -> Dataset | None:
    return next((row for row in DATASETS if not row.published and row.file_regex.fullmatch(file)), None)


def file_of(path: str) -> str:
    """The file under home in which the items of this path stand."""
    row = find(path)
    return path if row is None or row.parts is None else path.rpartition("/")[0]


def require(path: str) -> tuple[ReplicaPath, Dataset]:
    """The checked path and its row; raises `IllegalName` for what does not sync."""
    checked = parse_path(path)
    row = find(checked)
    if row is None:
        raise IllegalName(f"{path[:80]!r} belongs to no dataset")
    return checked, row


def identify(path: str, body: bytes) -> Key:
    """Where a body of this path stands in the set, the same on every device.

    This is the one predicate of membership (SEMANTICS §1.3): raises `IllegalName` or
    `MalformedRecord` for what no correct peer accepts and no author offers.
    """
    _, row = require(path)
    return identify_in(row, path, body)


def carried(row: Dataset, line: bytes) -> bytes:
    """A line as it travels; raises `MalformedRecord`."""
    return line if row.numbering is None else row.numbering.without(line)


def identify_in(row: Dataset, path: str, body: bytes) -> Key:
    """`identify` for a path whose row is already known."""
    if len(body) > MAX_BODY:
        raise MalformedRecord(f"{path}: an item of {len(body)} bytes is over the limit of {MAX_BODY}")
    if row.identity is None:
        version = register.decode(body)
        _check_version(row, path, version)
        return Key(_clamped(version.stamp.hybrid), _hash(path, body))
    if b"\n" in body or b"\r" in body:
        raise MalformedRecord(f"{path}: a line break inside a line")
    identity, micros = row.identity(body)
    return Key(_clamped(micros), _hash(path, identity))


def publication(row: Dataset, device: DeviceId) -> ReplicaPath:
    """The path under which a device publishes its record of this row."""
    return parse_path(row.pattern.replace("<device>", device))


def publisher(path: str) -> DeviceId:
    """The device that publishes at this path."""
    return DeviceId(path.split("/")[1])


def _check_version(row: Dataset, path: str, version: register.Version) -> None:
    if row.published:
        _check_publication(path, version)
    if version.value is not None:
        row.check(version.value)
    if row.parts is not None:
        name = name_of(path.rpartition("/")[2])
        for value in (version.value, version.before):
            if value is not None:
                row.parts.check(name, value)


def _check_publication(path: str, version: register.Version) -> None:
    """A device speaks for itself alone, and what it has said it cannot unsay."""
    if version.dot.device != publisher(path):
        raise MalformedRecord(
            f"{path}: minted by {version.dot.device[:7]}, which may not speak for this device"
        )
    if version.value is None:
        raise MalformedRecord(f"{path}: a record that a device publishes cannot be deleted")


# --- register files -----------------------------------------------------------------------------------


def contents(row: Dataset, file: str, data: bytes) -> Contents:
    """What of a register file travels; raises `MalformedRecord` for a file that does not sync."""
    if row.parts is None:
        return Contents({file: row.value_of(data)}, {})
    return Contents(
        {f"{file}/{part_of(name)}": value for name, value in row.parts.values(data).items()},
        {f"{file}/{part_of(name)}": why for name, why in row.parts.left_out(data).items()},
    )


def rewritten(path: str, data: bytes | None, value: bytes | None) -> bytes:
    """The file (`data` None: there is none) with this value at this path; `value` None takes a part out.

    Raises `MalformedRecord` where that cannot be done without changing anything else.
    """
    row = require(path)[1]
    if row.parts is None:
        return row.file_of(data, value or b"")
    return row.parts.splice(data or b"", name_of(path.rpartition("/")[2]), value)


def sibling(path: str, name: str) -> ReplicaPath:
    """The path of a file beside this one."""
    return ReplicaPath(path.rpartition("/")[0] + "/" + name)


def logs_beside(manifest: str) -> list[tuple[ReplicaPath, Dataset]]:
    """The logs whose lines need this manifest, with their rows."""
    name = manifest.rpartition("/")[2]
    beside = [
        (sibling(manifest, row.pattern.rpartition("/")[2]), row)
        for row in DATASETS
        if row.kind is Kind.LOG and name in row.manifest
    ]
    return [(path, row) for path, row in beside if find(path) is row]


def _clamped(micros: int) -> int:
    return min(max(micros, 0), INFINITY - 1)


def _hash(path: str, identity: bytes) -> bytes:
    return hashlib.sha256(path.encode() + b"\0" + identity).digest()
