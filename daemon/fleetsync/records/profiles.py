"""Agent profiles: `agents/<agent>/profile.yaml`, of which some blocks belong to the device alone.

All that travels is the text without the local blocks and the comments above them. A peer's text is
taken as it is, and this device's local blocks are put back behind the members they stood behind, byte
for byte. Only block style can be taken apart so; a profile in braces does not sync, nor does one with
anchors, aliases or tags. No key is made here: `lacking` says what a device has to add. Implements
SEMANTICS §2.6–2.7 and docs/formats.md, "Profiles".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

from fleetsync.errors import MalformedRecord
from fleetsync.records import yamltree
from fleetsync.records.yamlsplices import (
    Block,
    Outline,
    below_comments,
    blocks,
    ended,
    is_flow,
    line_end,
    moved,
    outline,
)
from fleetsync.records.yamltree import Mapping

Path: TypeAlias = tuple[str, ...]
"""The keys that lead to a member, from the top."""

LOCAL: frozenset[Path] = frozenset(
    {("identity",), ("transport",), ("deployment",), ("schedule",), ("lifecycle", "schedule")}
)
"""The members that stay on their device."""

NEEDED = ("identity", "transport")
"""Local blocks without which an agent cannot run: its key, and how it is reached."""

_BEGINNING = re.compile(r"^---[^\n]*(?:\n|\Z)", re.MULTILINE)


def travelling(file: bytes) -> bytes:
    """What of a profile travels: its text without the local blocks, all else byte for byte.

    Raises `MalformedRecord` for a profile that does not sync.
    """
    profile = _read(file)
    kept, at = "", 0
    for cut in profile.cuts:
        kept += profile.text[at : cut.start]
        at = cut.end
    value = (kept + profile.text[at:]).encode()
    if not _says(value, outline(_without_local(profile.root))):
        raise MalformedRecord("the local blocks cannot be taken out without changing more")
    return value


def check_value(value: bytes) -> None:
    """The predicate of membership (SEMANTICS §1.3): raises `MalformedRecord` for what no correct peer
    accepts as a profile that has travelled, above all one that still has local blocks.
    """
    if _read(value).cuts:
        raise MalformedRecord("a profile came with blocks that belong to another device")


def digest(value: bytes) -> bytes:
    """The SHA-256 of what a profile that has travelled says, however it is spelled; raises
    `MalformedRecord` as `check_value` does.
    """
    check_value(value)
    return yamltree.digest(yamltree.read(value))


def splice(file: bytes, value: bytes) -> bytes:
    """A peer's text with this device's local blocks where they were.

    `splice(file, travelling(file))` is `file`. Raises `MalformedRecord` if either does not sync, and
    when it cannot be done without changing more.
    """
    check_value(value)
    local, theirs = _read(file), _read(value)
    result = _with_insertions(theirs.text, _insertions(local, theirs)).encode()
    after = _read(result)
    same = outline(_without_local(after.root)) == outline(theirs.root)
    if not same or _local(after.root) != _local(local.root):
        raise MalformedRecord("the local blocks cannot be put back without changing more")
    return result


def fresh(value: bytes, agent: str) -> bytes:
    """The first profile of an agent on a device that had none: as it travelled, without local blocks.

    Raises `MalformedRecord` also if it calls itself by another name than `agent`.
    """
    check_value(value)
    name = _read(value).root.get("name")
    if not isinstance(name, yamltree.Scalar) or name.text != agent:
        raise MalformedRecord(f"the profile of {agent!r} has another name in it")
    return value


def lacking(file: bytes) -> tuple[str, ...]:
    """The blocks that a person must still add on this device (see `NEEDED`); raises `MalformedRecord`."""
    root = _read(file).root
    return tuple(name for name in NEEDED if root.get(name) is None)


# --- taking apart -------------------------------------------------------------------------------------


class _Cut(NamedTuple):
    """A local block in a text, with the comments above it. `after` are the members before it that
    travel, the nearest first.
    """

    path: Path
    after: tuple[str, ...]
    start: int
    end: int
    column: int


class _Level(NamedTuple):
    """A mapping whose members are looked at one by one; `begin` is where its first lines begin."""

    path: Path
    begin: int
    members: list[Block]


class _Profile(NamedTuple):
    text: str
    root: Mapping
    levels: dict[Path, _Level]

    @property
    def cuts(self) -> list[_Cut]:
        """The local blocks in the order of the text."""
        found = [cut for level in self.levels.values() for cut in _cuts(level)]
        return sorted(found, key=lambda cut: cut.start)


def _read(file: bytes) -> _Profile:
    root = yamltree.read(file)
    text = file.decode()
    if not isinstance(root, Mapping) or is_flow(text, root):
        raise MalformedRecord("the profile is not a mapping in block style")
    yamltree.digest(root)  # no key twice, no tags
    beginning = _BEGINNING.search(text, 0, root.span.start)
    top = _level_at(text, (), 0 if beginning is None else beginning.end(), root)
    levels: dict[Path, _Level] = {(): top}
    for block in top.members:
        if _is_mixed(block):
            levels[block.key.text,] = _level_below(text, block)
    return _Profile(text, root, levels)


def _level_below(text: str, block: Block) -> _Level:
    assert isinstance(block.value, Mapping)
    return _level_at(text, (block.key.text,), line_end(text, block.colon), block.value)


def _level_at(text: str, path: Path, begin: int, mapping: Mapping) -> _Level:
    members = blocks(text, mapping)
    return _Level(path, below_comments(text, begin, members[0].column), members)


def _is_mixed(block: Block) -> bool:
    """Whether some of its members are local; only then they are looked at one by one."""
    members = block.value.members if isinstance(block.value, Mapping) else []
    return any((block.key.text, key.text) in LOCAL for key, _ in members)


def _cuts(level: _Level) -> Iterator[_Cut]:
    after: tuple[str, ...] = ()
    begin = level.begin
    for block in level.members:
        path = (*level.path, block.key.text)
        if path in LOCAL:
            yield _Cut(path, after, begin, block.end, block.column)
        else:
            after = (block.key.text, *after)
        begin = block.end


# --- putting together ---------------------------------------------------------------------------------


class _Insertion(NamedTuple):
    at: int
    text: str


def _insertions(local: _Profile, theirs: _Profile) -> list[_Insertion]:
    return [_insertion(local.text[cut.start : cut.end], cut, theirs) for cut in local.cuts]


def _insertion(text: str, cut: _Cut, theirs: _Profile) -> _Insertion:
    """Behind the nearest of the members it stood behind that is still there, or before all others."""
    level = _level(theirs, cut.path[:-1])
    if level is None:
        raise MalformedRecord(f"the profile has no {cut.path[0]} to put a local block into")
    ends = {block.key.text: block.end for block in level.members}
    at = next((ends[name] for name in cut.after if name in ends), level.begin)
    return _Insertion(at, moved(text, level.members[0].column - cut.column))


def _level(profile: _Profile, path: Path) -> _Level | None:
    """The mapping of that path, which may be one that has nothing local."""
    if path in profile.levels:
        return profile.levels[path]
    for block in profile.levels[()].members:
        if (block.key.text,) == path and isinstance(block.value, Mapping) and block.value.members:
            return _level_below(profile.text, block)
    return None


def _with_insertions(text: str, insertions: list[_Insertion]) -> str:
    result, at = "", 0
    for insertion in sorted(insertions, key=lambda insertion: insertion.at):
        result = ended(_then(result, text[at : insertion.at])) + insertion.text
        at = insertion.at
    return _then(result, text[at:])


def _then(text: str, more: str) -> str:
    return ended(text) + more if more else text


# --- comparing ----------------------------------------------------------------------------------------


def _without_local(root: Mapping, path: Path = ()) -> Mapping:
    """What of the profile is not local; local blocks are two keys deep at most."""
    kept = [(key, value) for key, value in root.members if (*path, key.text) not in LOCAL]
    if not path:
        kept = [(k, _without_local(v, (k.text,)) if isinstance(v, Mapping) else v) for k, v in kept]
    return root._replace(members=kept)


def _local(root: Mapping, path: Path = ()) -> dict[Path, Outline]:
    """What the local blocks say."""
    found: dict[Path, Outline] = {}
    for key, value in root.members:
        if (*path, key.text) in LOCAL:
            found[*path, key.text] = outline(value)
        elif not path and isinstance(value, Mapping):
            found |= _local(value, (key.text,))
    return found


def _says(data: bytes, wanted: Outline) -> bool:
    try:
        return outline(_read(data).root) == wanted
    except MalformedRecord:
        return False
