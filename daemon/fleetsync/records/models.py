"""`models.yaml`, the models that agents may use: each entry under `models:` is a value of its own.

An entry travels as the text its author wrote, moved to the left margin; what it says decides whether
it changed (`model_entries.digest`). Put in place, it leaves every other byte of the file alone: the
result is read again and must differ in that entry only. A file that cannot be read is never
replaced. Implements SEMANTICS §2.6 and docs/formats.md, "Models".
"""

from __future__ import annotations

import re
from bisect import bisect, bisect_left
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from fleetsync.errors import MalformedRecord
from fleetsync.records import yamltree
from fleetsync.records.model_entries import check_entry, check_node, digest
from fleetsync.records.yamlscalars import double_quoted, meaning, print_scalar
from fleetsync.records.yamlsplices import (
    Block,
    below_comments,
    blocks,
    dedented,
    ended,
    indented,
    is_flow,
    line_break,
    line_end,
    line_start,
    outline,
    print_flow,
)
from fleetsync.records.yamltree import Mapping, Node, Scalar

_STEP = 2  # how far mur indents
_NOTHING_WRITTEN = re.compile(r"(?:[ \t]*+(?:#[^\n]*+|\r?)(?:\n|\Z))*+")


# --- entries ------------------------------------------------------------------------------------------


def entries(file: bytes) -> dict[str, bytes]:
    """The entries that sync, by name, in the order of the file: what each says, as it was written.

    Raises `MalformedRecord` for a file that mur could not read as a whole.
    """
    return {name: found for name, found in _survey(file) if isinstance(found, bytes)}


def left_out(file: bytes) -> dict[str, str]:
    """The entries that do not sync, by name, and why; they are neither replaced nor removed by
    `splice`. Raises `MalformedRecord` as `entries` does.
    """
    return {name: found for name, found in _survey(file) if isinstance(found, str)}


@lru_cache(maxsize=4)
def _survey(file: bytes) -> tuple[tuple[str, bytes | str], ...]:
    """The same file is asked for again and again while entries are put in."""
    registry = _read(file)
    return tuple((key.text, _value_or_reason(registry, key, node)) for key, node in registry.members)


def _value_or_reason(registry: _Registry, key: Scalar, node: Node) -> bytes | str:
    try:
        return registry.cut(key, node)
    except MalformedRecord as error:
        return error.message


# --- the file -----------------------------------------------------------------------------------------


class _Registry(NamedTuple):
    """The file as it was read. `models` is what stands under `models:`; None if there is no such key."""

    text: str
    root: Mapping
    models: Node | None
    oddities: list[int]

    @property
    def members(self) -> list[tuple[Scalar, Node]]:
        return self.models.members if isinstance(self.models, Mapping) else []

    def position(self, name: str) -> int | None:
        """Which of the members has this name."""
        return next((i for i, (key, _) in enumerate(self.members) if key.text == name), None)

    def cut(self, key: Scalar, node: Node) -> bytes:
        """An entry as it travels; raises `MalformedRecord` for one that does not."""
        if bisect_left(self.oddities, key.span.start) < bisect(self.oddities, node.span.end - 1):
            raise MalformedRecord("the YAML uses an anchor, an alias or a tag")
        wanted = yamltree.digest(check_node(node))
        for written in (self._written(key, node), ended(yamltree.print_node(node, -_STEP).lstrip())):
            value = written.replace("\r\n", "\n").encode()
            if _says(value, wanted):
                check_entry(key.text, value)
                return value
        raise MalformedRecord("an entry that cannot be read by itself")

    def _written(self, key: Scalar, node: Node) -> str:
        if is_flow(self.text, node):
            column = key.span.start - line_start(self.text, key.span.start)
            return dedented(self.text[node.span.start : node.span.end], column)
        [block] = blocks(self.text, Mapping([(key, node)], node.span))
        column = node.span.start - line_start(self.text, node.span.start)
        return ended(dedented(self.text[line_end(self.text, block.colon) : block.end], column))


def _read(file: bytes) -> _Registry:
    """Raises `MalformedRecord` for what mur could not read, and where `models:` is not a plain mapping."""
    if _NOTHING_WRITTEN.fullmatch(_decoded(file)):
        return _Registry(_decoded(file), Mapping([], yamltree.Span(0, 0)), None, [])
    oddities: list[int] = []
    root = yamltree.read(file, oddities)
    if not isinstance(root, Mapping):
        raise MalformedRecord("models.yaml is not a mapping")
    models = root.get("models")
    registry = _Registry(file.decode(), root, models, oddities)
    names = {key.text for key, _ in registry.members}
    if len(names) < len(registry.members):
        raise MalformedRecord("models.yaml has an entry twice")
    if models is not None and not isinstance(models, Mapping) and not _is_nothing(models):
        raise MalformedRecord("models.yaml has something else than entries under `models`")
    if {root.span.start, *([] if models is None else [models.span.start])} & set(oddities):
        raise MalformedRecord("models.yaml uses an anchor, an alias or a tag for all its entries")
    return registry


def _is_nothing(node: Node) -> bool:
    return isinstance(node, Scalar) and node.plain and meaning(node.text) is None


def _decoded(file: bytes) -> str:
    try:
        return file.decode()
    except UnicodeDecodeError:
        raise MalformedRecord("models.yaml is not UTF-8") from None


def _says(data: bytes, wanted: bytes) -> bool:
    try:
        return yamltree.digest(yamltree.read(data)) == wanted
    except MalformedRecord:
        return False


# --- splicing -----------------------------------------------------------------------------------------


def splice(file: bytes, name: str, value: bytes | None) -> bytes:
    """The file with that entry replaced, put in, or (`value` None) taken out.

    An empty file becomes one that mur reads. An entry that says the same already stays as it is
    written. Raises `MalformedRecord` if the file cannot be read, if the value is no entry, if the
    entry that is there does not sync, and when it cannot be done without changing more.
    """
    registry = _read(file)
    at = registry.position(name)
    present = None if at is None else registry.cut(*registry.members[at])
    if value is not None:
        check_entry(name, value)
    if value == present or (value and present and digest(value) == digest(present)):
        return file
    change = _Change(registry, at, name, value)
    for candidate in change.candidates():
        result = candidate.encode()
        if _is_as_meant(result, change):
            return result
    raise MalformedRecord(f"the entry {name[:40]!r} cannot be changed without changing more")


def _is_as_meant(result: bytes, change: _Change) -> bool:
    """Whether the file says what was meant, and the entry can be found in it again."""
    try:
        registry = _read(result)
        return outline(registry.root) == outline(change.meant()) and change.is_found_in(registry)
    except MalformedRecord:
        return False


class _Change:
    """One entry to be changed, and the ways in which that may be written."""

    def __init__(self, registry: _Registry, at: int | None, name: str, value: bytes | None) -> None:
        self.registry = registry
        self._text = registry.text
        self._break = line_break(registry.text)
        self._at = at
        self._name = name
        self._value = "" if value is None else value.decode().replace("\r\n", "\n")
        self._node = None if value is None else yamltree.read(value)

    # --- what is meant ---

    def meant(self) -> Mapping:
        """What the file shall say."""
        root, models = self.registry.root, self.registry.models
        wanted = Mapping(self._members(), root.span)
        if models is not None:
            members = [(key, wanted if node is models else node) for key, node in root.members]
            return root._replace(members=members)
        version = [] if root.members else [(_plain("schema_version"), _plain("1"))]
        return root._replace(members=[*version, *root.members, (_plain("models"), wanted)])

    def is_found_in(self, registry: _Registry) -> bool:
        """Whether the entry that was put in can be cut out of that file as what it is."""
        at = registry.position(self._name)
        if self._node is None or at is None:
            return self._node is None
        return digest(registry.cut(*registry.members[at])) == yamltree.digest(self._node)

    def _members(self) -> list[tuple[Scalar, Node]]:
        members = list(self.registry.members)
        if self._node is None:
            members = [member for member in members if member[0].text != self._name]
        elif self._at is None:
            members.insert(self._place(), (_plain(self._name)._replace(plain=False), self._node))
        else:
            members[self._at] = (members[self._at][0], self._node)
        return members

    def _place(self) -> int:
        """Among sorted names where it belongs, else at the end."""
        names = [key.text for key, _ in self.registry.members]
        return bisect(names, self._name) if names == sorted(names) else len(names)

    # --- how it may be written ---

    def candidates(self) -> Iterator[str]:
        """The file as it might become, what keeps most of the author's text first."""
        registry = self.registry
        if registry.models is not None and is_flow(self._text, registry.models) and registry.members:
            return self._in_flow(registry.models)
        if is_flow(self._text, registry.root):
            return self._in_flow(registry.root if registry.models is None else registry.models)
        return self._in_lines()

    def _in_lines(self) -> Iterator[str]:
        found = blocks(self._text, Mapping(self.registry.members, self.registry.root.span))
        if self._node is None:
            yield self._without(found)
            return
        printed = yamltree.print_node(self._node, -_STEP)
        for value in (self._value.rstrip(), self._value, printed.lstrip()):
            lines = ended(value).replace("\n", self._break)
            if self._at is not None:
                yield self._replaced(found[self._at], lines)
            elif found:
                yield self._inserted(found, lines)
            else:
                yield self._begun(lines)

    def _without(self, found: list[Block]) -> str:
        assert self._at is not None
        gone = found[self._at]
        kept = self._text[: gone.start], self._text[gone.end :]
        if len(found) > 1:
            return "".join(kept)
        colon = self._models_block().colon
        return kept[0][:colon] + " {}" + kept[0][colon:] + kept[1]

    def _replaced(self, old: Block, lines: str) -> str:
        remark_from = old.value.span.end if is_flow(self._text, old.value) else old.colon
        remark = self._text[remark_from : line_end(self._text, remark_from)].rstrip("\r\n")
        value = self._laid_out(lines, remark, old.column, _step(self._text, [old]))
        return self._text[: old.colon] + value + self._text[old.end :]

    def _inserted(self, found: list[Block], lines: str) -> str:
        place = self._place()
        top = line_end(self._text, self._models_block().colon)
        at = found[place - 1].end if place else below_comments(self._text, top, found[0].column)
        before = ended(self._text[:at], self._break)
        return before + self._entry(lines, found[0].column, _step(self._text, found)) + self._text[at:]

    def _begun(self, lines: str) -> str:
        """The first entry of all, under a `models:` that may have to be made."""
        text, root = self._text, self.registry.root
        if self.registry.models is not None:
            key = self._models_block()
            rest = text[key.value.span.end : line_end(text, key.value.span.end)]
            head = ended(text[: key.value.span.start].rstrip(" ") + rest, self._break)
            entry = self._entry(lines, key.column + _STEP, _STEP)
            tail = text[key.value.span.end + len(rest) :]
            at = below_comments(tail, 0, key.column + _STEP)
            return ended(head + tail[:at], self._break) + entry + tail[at:]
        top = blocks(text, root)
        column, at = (top[-1].column, top[-1].end) if top else (0, len(text))
        version = "" if top else "schema_version: 1" + self._break
        entry = version + " " * column + "models:" + self._break + self._entry(lines, column + _STEP, _STEP)
        return ended(text[:at], self._break) + entry + text[at:]

    def _models_block(self) -> Block:
        root = self.registry.root
        member = next(member for member in root.members if member[0].text == "models")
        return blocks(self._text, root._replace(members=[member]))[0]

    def _entry(self, lines: str, column: int, step: int) -> str:
        name = print_scalar(self._name, column + _STEP)
        return " " * column + name + ":" + self._laid_out(lines, "", column, step)

    def _laid_out(self, lines: str, remark: str, column: int, step: int) -> str:
        """A value behind the colon of its key, which begins at `column`."""
        if lines.startswith("{"):
            head, _, more = lines.rstrip("\r\n").partition("\n")
            rest = "\n" + indented(more, column) if more else ""
            return " " + head + rest + remark + self._break
        return remark + self._break + indented(lines, column + step)

    # --- inside braces ---

    def _in_flow(self, mapping: Node) -> Iterator[str]:
        if not isinstance(mapping, Mapping):
            return
        if self._node is None:
            yield self._flow_without(mapping)
            return
        for value in (self._value.rstrip("\n"), print_flow(self._node)):
            if value.startswith("{") and "\n" not in value:
                yield self._flow_with(mapping, value)

    def _flow_with(self, mapping: Mapping, value: str) -> str:
        text = self._text
        if self._at is not None:
            start, end = mapping.members[self._at][1].span
            return text[:start] + value + text[end:]
        member = double_quoted(self._name) + ": " + value
        if mapping is not self.registry.models:
            version = "" if mapping.members else '"schema_version": 1, '
            member = f'{version}"models": {{{member}}}'
        place = self._place() if mapping is self.registry.models else len(mapping.members)
        if not mapping.members:
            at = mapping.span.start + 1
        elif place:
            at, member = mapping.members[place - 1][1].span.end, ", " + member
        else:
            at, member = mapping.members[0][0].span.start, member + ", "
        return text[:at] + member + text[at:]

    def _flow_without(self, mapping: Mapping) -> str:
        assert self._at is not None
        key, node = mapping.members[self._at]
        before, after = self._text[: key.span.start], self._text[node.span.end :]
        comma = re.match(r"\s*,[ \t]*", after)
        if comma is not None:
            return before + after[comma.end() :]
        return re.sub(r",\s*\Z", "", before) + after


def _plain(text: str) -> Scalar:
    return Scalar(text, plain=True, tagged=False, span=yamltree.Span(0, 0))


def _step(text: str, found: list[Block]) -> int:
    """How much deeper than its name the contents of an entry stand in this file."""
    for block in found:
        if not is_flow(text, block.value) and isinstance(block.value, Mapping):
            start = block.value.span.start
            return max(1, start - line_start(text, start) - block.column)
    return _STEP
