"""Open items: what mur's agents note as left undone, in `open-items.jsonl`, one JSON object per line.

A line opens an item or resolves one; mur folds them by their time, so neither order nor repetition
matters and the exact line is the identity. mur skips what it cannot read; yet only what it certainly
reads is written here, as everywhere. Implements SEMANTICS §1.1–1.2 and docs/formats.md, "Open items".
"""

from __future__ import annotations

from fleetsync.errors import MalformedRecord
from fleetsync.records import strictjson, timestamps
from fleetsync.records.strictjson import Json, Object

FIELDS: dict[str, tuple[str, ...]] = {"open": ("id", "agent", "title", "next", "at"), "resolve": ("id", "at")}
"""The kinds mur knows, and their fields in the order in which it writes them."""

_OPTIONAL = "next"


def identity(line: bytes) -> tuple[bytes, int]:
    """The line itself, and the µs since 1970 of its `at`: 0 if that is missing or cannot be read.

    Raises `MalformedRecord` for a line that is no JSON object.
    """
    return line, _micros(_members(line))


def readable_by_mur(line: bytes) -> bool:
    """Whether mur certainly reads this line (SEMANTICS §4.3). In doubt False: the line is parked.

    Beyond what mur accepts, a line must be an object without line breaks or repeated names, and its
    time must be written as mur writes it.
    """
    try:
        members = _members(line)
    except MalformedRecord:
        return False
    fields = dict(members)
    kind = fields.get("kind")
    if b"\n" in line or b"\r" in line or len(fields) < len(members) or not isinstance(kind, str):
        return False
    return kind in FIELDS and all(_fits(name, fields.get(name)) for name in FIELDS[kind])


def unknown_kind(line: bytes) -> str | None:
    """The kind of a well-formed record that mur, as we know it, does not have; None for any other line.

    A mur that writes such a kind itself reads it too (SEMANTICS §4.3).
    """
    try:
        members = _members(line)
    except MalformedRecord:
        return None
    kind = dict(members).get("kind")
    repeated = len(dict(members)) < len(members)
    return kind if isinstance(kind, str) and kind not in FIELDS and not repeated else None


def _members(line: bytes) -> tuple[tuple[str, Json], ...]:
    value = strictjson.parse(line)
    if not isinstance(value, Object):
        raise MalformedRecord("an open item that is no object")
    return value.members


def _micros(members: tuple[tuple[str, Json], ...]) -> int:
    found = [value for name, value in members if name == "at"]
    if len(found) != 1 or not isinstance(found[0], str):
        return 0
    try:
        return timestamps.parse(found[0]).micros
    except MalformedRecord:
        return 0


def _fits(name: str, value: Json) -> bool:
    if value is None:
        return name == _OPTIONAL
    return isinstance(value, str) and (name != "at" or _is_as_mur_writes(value))


def _is_as_mur_writes(text: str) -> bool:
    try:
        return timestamps.parse(text).canonical == text
    except MalformedRecord:
        return False
