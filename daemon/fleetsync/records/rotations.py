"""An agent's keys through time: `agents/<agent>/rotations.jsonl` and `identity.pub`.

A rotation says, signed by the old key, which key comes next. The lines are read as mur reads them
(a bad one is skipped), and the chain they form is believed as a whole or not at all: it begins with
the one unsigned line that every agent has, each further line follows on the one before and is
signed by its key. mur believes a second unsigned line too, whoever wrote it; we do not. An event
names the version of the key that signed it. Implements docs/formats.md, "Signatures".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any

import msgspec

from fleetsync.errors import MalformedRecord
from fleetsync.records import signatures, strictjson
from fleetsync.records.signatures import Check, Signed
from fleetsync.records.strictjson import Json, Object, print_string

REASONS = ("scheduled", "suspect_compromise", "owner_change", "emergency")
FIELDS = (
    "schema",
    "uuid",
    "algorithm",
    "old_pubkey",
    "new_pubkey",
    "old_key_version",
    "new_key_version",
    "rotated_at",
    "reason",
    "signature",
    "bootstrap",
)
"""The members of a rotation in the order in which mur writes them; the last two may be missing."""

_REQUIRED = 9


class Rotation(msgspec.Struct, frozen=True):
    """One line. Keys and signature are multibase text as it was written, not yet looked at."""

    schema: int
    uuid: str
    algorithm: str
    old_pubkey: str
    new_pubkey: str
    old_key_version: int
    new_key_version: int
    rotated_at: str
    reason: str
    signature: str = ""
    bootstrap: bool = False

    @property
    def canonical(self) -> str:
        """The line that mur writes for this rotation."""
        return "{" + ",".join(self._members(FIELDS)) + "}"

    @property
    def sign_input(self) -> bytes:
        """The bytes that the old key has signed."""
        names = [name for name in sorted(FIELDS) if name != "signature"]
        return ("{" + ",".join(self._members(names)) + "}").encode()

    def _members(self, names: Sequence[str]) -> list[str]:
        values = [(name, getattr(self, name)) for name in names]
        return [f'"{name}":{_print(value)}' for name, value in values if value != _OMITTED.get(name)]


_OMITTED: dict[str, object] = {"signature": "", "bootstrap": False}


def _print(value: str | int) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return print_string(value) if isinstance(value, str) else str(value)


# --- reading ------------------------------------------------------------------------------------------


def parse_rotation(line: bytes) -> Rotation:
    """The rotation on this line; raises `MalformedRecord`."""
    value = strictjson.parse_members(line, FIELDS)
    fields = _fields(value)
    return Rotation(**{name: _field(name, fields[name]) for name in fields})


def read_rotations(data: bytes) -> list[Rotation]:
    """The rotations in a file, bad lines left out; none of a file that is not UTF-8."""
    return [rotation for _, rotation in _read(data)]


def lines_of(data: bytes) -> list[str]:
    """The lines of a file that are rotations, as they are written."""
    return [line for line, _ in _read(data)]


def _read(data: bytes) -> list[tuple[str, Rotation]]:
    try:
        lines = data.decode().split("\n")
    except UnicodeDecodeError:
        return []
    found = []
    for line in lines:
        try:
            found.append((line, parse_rotation(line.encode())))
        except MalformedRecord:
            continue
    return found


def _fields(value: Json) -> dict[str, Json]:
    if isinstance(value, list) and _REQUIRED <= len(value) <= len(FIELDS):
        return dict(zip(FIELDS, value, strict=False))
    if not isinstance(value, Object):
        raise MalformedRecord("a rotation is no object")
    fields = dict(value.members)
    if len(fields) != len(value.members) or not fields.keys() >= set(FIELDS[:_REQUIRED]):
        raise MalformedRecord("a rotation lacks a member, or has one twice")
    return fields


def _reason(value: Json) -> str | None:
    """A reason by its name, or as an object with nothing but that name."""
    if isinstance(value, Object) and len(value.members) == 1 and value.members[0][1] is None:
        value = value.members[0][0]
    return value if isinstance(value, str) and value in REASONS else None


def _bool(value: Json) -> bool | None:
    return value if isinstance(value, bool) else None


_READERS: dict[str, Callable[[Json], object]] = {
    "schema": strictjson.as_u32,
    "old_key_version": strictjson.as_u32,
    "new_key_version": strictjson.as_u32,
    "reason": _reason,
    "bootstrap": _bool,
}
"""What a field may hold; the others hold strings."""


def _field(name: str, value: Json) -> Any:
    read = _READERS.get(name, strictjson.as_string)(value)
    if read is None:
        raise MalformedRecord(f"a rotation's {name} is not what mur takes there")
    return read


# --- the chain ----------------------------------------------------------------------------------------


class Flaw(StrEnum):
    """Why a chain is not believed."""

    MISSING_BOOTSTRAP = "it does not begin with the agent's first key"
    DUPLICATE_VERSION = "a key version is there twice"
    VERSION_SKIP = "a key version does not follow on the one before"
    PUBKEY_DISCONTINUITY = "an old key is not the one before"
    EMERGENCY_DISALLOWED = "an emergency rotation that nobody has allowed"
    SECOND_BOOTSTRAP = "a key begins anew, signed by nobody"
    BAD_SIGNATURE = "a rotation is not signed by the old key"


class Broken(msgspec.Struct, frozen=True):
    """A chain that is not believed, and at which key version it breaks."""

    flaw: Flaw
    at_version: int = 0


class Chain(msgspec.Struct, frozen=True):
    """A chain that is believed: its keys (multibase text) by version, from 0 to the last."""

    keys: tuple[str, ...]

    @property
    def head_key_version(self) -> int:
        """The version of the current key."""
        return len(self.keys) - 1

    @property
    def head_pubkey(self) -> str:
        """The current key."""
        return self.keys[-1]


def verify_chain(
    rotations: Sequence[Rotation], check: Check, *, allow_emergency: bool = False
) -> Chain | Broken:
    """The chain that the rotations form, or the first thing wrong with it.

    All signatures are checked at once, and only of a chain that is otherwise whole up to there.
    """
    if not rotations or not rotations[0].bootstrap or rotations[0].new_key_version != 0:
        return Broken(Flaw.MISSING_BOOTSTRAP)
    broken, sound = None, [rotations[0]]
    for rotation in rotations[1:]:
        broken = _misfit(sound[-1], rotation, allow_emergency)
        if broken is not None:
            break
        sound.append(rotation)
    return _forged(sound[1:], check) or broken or Chain(tuple(rotation.new_pubkey for rotation in sound))


def _misfit(before: Rotation, rotation: Rotation, allow_emergency: bool) -> Broken | None:
    """What is wrong with a rotation, its signature aside."""
    version = rotation.new_key_version
    if version <= before.new_key_version:
        return Broken(Flaw.DUPLICATE_VERSION, version)
    if rotation.old_key_version != before.new_key_version or version != before.new_key_version + 1:
        return Broken(Flaw.VERSION_SKIP, version)
    if rotation.old_pubkey != before.new_pubkey:
        return Broken(Flaw.PUBKEY_DISCONTINUITY, version)
    if rotation.reason == "emergency" and not allow_emergency:
        return Broken(Flaw.EMERGENCY_DISALLOWED, version)
    return Broken(Flaw.SECOND_BOOTSTRAP, version) if rotation.bootstrap else None


def _forged(rotations: Sequence[Rotation], check: Check) -> Broken | None:
    """The first rotation that its old key did not sign; an allowed emergency may go without."""
    signed = [r for r in rotations if r.signature or r.reason != "emergency"]
    held = signatures.verify([_claim(rotation) for rotation in signed], check)
    forged = [r for r, holds in zip(signed, held, strict=True) if not holds]
    return Broken(Flaw.BAD_SIGNATURE, forged[0].new_key_version) if forged else None


def _claim(rotation: Rotation) -> Signed:
    """The claim of a rotation; what cannot be read becomes a claim that cannot hold."""
    try:
        key = signatures.read_key(rotation.old_pubkey)
        return Signed(key, rotation.sign_input, signatures.read_signature(rotation.signature), strict=True)
    except MalformedRecord:
        return Signed(b"", b"", b"")


# --- an agent's keys ----------------------------------------------------------------------------------


class AgentKeys(msgspec.Struct, frozen=True):
    """The public keys (32 bytes each) of an agent on one device, by version."""

    versions: dict[int, bytes]
    identity: bytes | None  # of `identity.pub`, where no chain says otherwise
    head: int | None  # None without a chain that is believed

    def of(self, key_version: int | None) -> bytes | None:
        """The key for the version that an event names (None: it names none); None if there is no key."""
        wanted = self.head if key_version is None else key_version
        return self.identity if wanted is None else self.versions.get(wanted, self.identity)


def agent_keys(rotations: bytes | None, identity_pub: bytes | None, check: Check) -> AgentKeys:
    """The keys that an agent's two public files tell of; None for a file that is missing."""
    chain = verify_chain(read_rotations(rotations or b""), check)
    texts = chain.keys if isinstance(chain, Chain) else ()
    found = {version: key for version, text in enumerate(texts) if (key := _key(text)) is not None}
    return AgentKeys(found, _key_in(identity_pub), len(texts) - 1 if texts else None)


def resolve_key(
    rotations: bytes | None, identity_pub: bytes | None, key_version: int | None, check: Check
) -> bytes | None:
    """The key of one version; `agent_keys` for many of them."""
    return agent_keys(rotations, identity_pub, check).of(key_version)


def _key(text: str) -> bytes | None:
    try:
        return signatures.read_key(text)
    except MalformedRecord:
        return None


def _key_in(file: bytes | None) -> bytes | None:
    return None if file is None else _key(file.decode(errors="replace").strip())
