"""Safe values: names that have been checked once and need no second look.

A `ReplicaPath` is a path under home that may be opened; a `DeviceId` names a device. Text from a
peer, a file or a person becomes one of these or is refused with `IllegalName`. Nothing here touches
the disk: that a path stays inside home when symlinks are followed is `replica/layout.py`'s duty.
"""

from __future__ import annotations

import re
from typing import NewType

from fleetsync.errors import IllegalName

ReplicaPath = NewType("ReplicaPath", str)
DeviceId = NewType("DeviceId", str)

MAX_PATH_BYTES = 512

_SKILL = re.compile(r"(?!-)[a-z0-9-]{1,64}(?<!-)")
_AGENT = re.compile(r"(?!-)[A-Za-z0-9_-]{1,64}")
_CHANNEL = re.compile(r"[a-z0-9][a-z0-9_-]{0,127}")
_STREAM = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_DEVICE = re.compile(r"[a-z2-7]{52}")  # base32 of 32 bytes without padding
_PART = re.compile(r"(?:[A-Za-z0-9_-]|%[0-9A-F]{2})(?:[A-Za-z0-9._-]|%[0-9A-F]{2})*")

NAME_RULES = {
    "skill": _SKILL,
    "agent": _AGENT,
    "channel": _CHANNEL,
    "stream": _STREAM,
    "device": _DEVICE,
    "part": _PART,
}
"""What each kind of name in a dataset pattern may look like (upstream's own rules, ASCII only); a `part`
is the name of something inside a file, as `part_of` writes it.
"""
_SPELLED_OUT = re.compile(rb"(?:\A\.|[^A-Za-z0-9._-])")


def legal_name(kind: str, text: str) -> bool:
    """Whether `text` is a legal name of that kind (`skill`, `agent`, `channel`, `stream`, `device`)."""
    return NAME_RULES[kind].fullmatch(text) is not None


def require_name(kind: str, text: str) -> str:
    """`text` itself, if it is a legal name of that kind; raises `IllegalName` otherwise."""
    if not legal_name(kind, text):
        raise IllegalName(f"{text[:80]!r} is not a legal {kind} name")
    return text


def folded(path: str) -> str:
    """What the spellings of a path have in common on a filesystem that ignores case.

    Paths are ASCII (`parse_path`), where case folding is lower case and nothing is left to normalise.
    """
    return path.casefold()


def parse_path(text: str) -> ReplicaPath:
    """A relative POSIX path with plain components, at most 512 bytes; raises `IllegalName`.

    Refused: absolute paths, empty, `.` and `..` components, backslashes, colons, control
    characters and anything outside ASCII (case folding and normalisation differ by filesystem).
    """
    plain = text.isascii() and text.isprintable() and 0 < len(text) <= MAX_PATH_BYTES
    if not plain or any(c in text for c in '\\:*?"<>|'):
        raise IllegalName(f"{text[:80]!r} is not a path that may be synced")
    if any(part in ("", ".", "..") for part in text.split("/")):
        raise IllegalName(f"{text[:80]!r} is not a path that may be synced")
    return ReplicaPath(text)


def part_of(name: str) -> str:
    """Any name as the last component of a path: UTF-8, where all but letters, digits, `_`, `-` and a `.`
    that is not the first character is spelled `%` and two upper-case hexadecimal digits.
    """
    return _SPELLED_OUT.sub(lambda found: b"%%%02X" % found[0][0], name.encode(errors="replace")).decode()


def name_of(part: str) -> str:
    """The name that `part_of` wrote so; raises `IllegalName` for anything that it does not write."""
    spelled = re.sub("%([0-9A-F]{2})", lambda found: chr(int(found[1], 16)), part)
    try:
        name = spelled.encode("latin-1").decode()
    except (UnicodeEncodeError, UnicodeDecodeError):
        raise IllegalName(f"{part[:80]!r} spells no name") from None
    if not name or part_of(name) != part:
        raise IllegalName(f"{part[:80]!r} is not how this name is spelled in a path")
    return name


def parse_device_id(text: str) -> DeviceId:
    """A device id in full, grouped with dashes or not; raises `IllegalName`."""
    plain = text.replace("-", "").lower()
    if _DEVICE.fullmatch(plain) is None:
        raise IllegalName(f"{text[:80]!r} is not a device id")
    return DeviceId(plain)


def grouped(device: DeviceId) -> str:
    """The id as shown to people: groups of seven, dashes between."""
    return "-".join(device[i : i + 7] for i in range(0, len(device), 7))
