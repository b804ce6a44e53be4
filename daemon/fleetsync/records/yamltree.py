"""YAML text as a tree of the scalars that were written, without believing it.

Only the event API of PyYAML is used, bounded in size, depth and number of nodes: loaders recurse,
cut nanoseconds and change types. Refused: several documents, anchors, aliases, and every tag but
`!!str` on a scalar. A node knows where it stands, so that a part of the text can be exchanged and
the rest kept as its author wrote it. What the keys mean is not known here. Implements SEMANTICS §2.6.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import Any, NamedTuple, TypeAlias

import yaml

from fleetsync.errors import MalformedRecord
from fleetsync.records.yamlscalars import meaning, print_scalar, stacked

MAX_BYTES = 1 << 20
MAX_DEPTH = 32
MAX_NODES = 100_000

_LOADER: type[yaml.CBaseLoader] | type[yaml.BaseLoader] = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
_STRING_TAG = "tag:yaml.org,2002:str"


class Span(NamedTuple):
    """Where a node begins and ends, in characters of the text; no comment after it is in it."""

    start: int
    end: int


class Scalar(NamedTuple):
    """A single value as text; `plain` if it was written without quotes, as no block and without a tag."""

    text: str
    plain: bool
    tagged: bool
    span: Span


class Sequence(NamedTuple):
    """Items in order."""

    items: list[Node]
    span: Span


class Mapping(NamedTuple):
    """Members in order, repeated keys included."""

    members: list[tuple[Scalar, Node]]
    span: Span

    def get(self, key: str) -> Node | None:
        """The member of that name; raises `MalformedRecord` if it is repeated."""
        found = [value for name, value in self.members if name.text == key]
        if len(found) > 1:
            raise MalformedRecord(f"the key {key[:40]!r} is there twice")
        return found[0] if found else None


Node: TypeAlias = Scalar | Sequence | Mapping


def read(data: bytes, oddities: list[int] | None = None) -> Node:
    """The one document in this text; raises `MalformedRecord` for anything else, beyond the bounds
    too, and for what cannot be synced (see the head of this module).

    With `oddities`, nodes with an anchor or a tag and aliases are read all the same, the aliases as
    tagged scalars, and the list gets the characters at which they stand, in ascending order.
    """
    if len(data) > MAX_BYTES:
        raise MalformedRecord("the YAML is larger than 1 MiB")
    builder = _Builder(oddities)
    try:
        for event in yaml.parse(_decode(data), Loader=_LOADER):
            builder.take(event)
    except (yaml.YAMLError, ValueError) as error:
        raise MalformedRecord(f"not YAML: {str(error).splitlines()[0]}") from None
    if builder.root is None:
        raise MalformedRecord("the YAML is empty")
    return builder.root


def digest(node: Node) -> bytes:
    """The SHA-256 of the value tree: scalars as text, keys sorted, nothing of how it was spelled.

    Only strings and what is none differ (`'1'` and `1`). Raises `MalformedRecord` for repeated keys
    and for tags: such a value does not sync.
    """
    hasher = sha256()
    _hash(node, hasher.update)
    return hasher.digest()


def _hash(node: Node, update: Callable[[bytes], None]) -> None:
    if isinstance(node, Scalar):
        _hash_scalar(node, update)
    elif isinstance(node, Sequence):
        update(b"[%d:" % len(node.items))
        for item in node.items:
            _hash(item, update)
    else:
        update(b"{%d:" % len(node.members))
        if len({name.text for name, _ in node.members}) < len(node.members):
            raise MalformedRecord("the YAML has a key twice")
        for name, value in sorted(node.members, key=lambda member: member[0].text):
            update(b"%d:%b" % (len(name.text.encode()), name.text.encode()))
            _hash(value, update)


def _hash_scalar(node: Scalar, update: Callable[[bytes], None]) -> None:
    if node.tagged:
        raise MalformedRecord("the YAML uses a tag")
    is_string = not node.plain or isinstance(meaning(node.text), str)
    text = node.text.encode()
    update(b"%b%d:%b" % (b"s" if is_string else b"p", len(text), text))


def print_node(node: Node, indent: int) -> str:
    """The node as mur would lay it out, at the end of the line of its key or dash.

    `indent` is the column of that key or dash. Plain scalars stay as they were written.
    """
    if isinstance(node, Scalar):
        return " " + (node.text if node.plain else print_scalar(node.text, indent + 2))
    if isinstance(node, Sequence):
        items = (" " * indent + "-" + _as_item(item, indent) for item in node.items)
        return "\n" + stacked(items) if node.items else " []"
    lines = (" " * (indent + 2) + _print_member(*member, indent + 2) for member in node.members)
    return "\n" + stacked(lines) if node.members else " {}"


def _as_item(node: Node, indent: int) -> str:
    """A collection begins on the line of its dash."""
    deeper = indent + 2 if isinstance(node, Sequence) else indent
    printed = print_node(node, deeper)
    return " " + printed.lstrip("\n ") if printed.startswith("\n") else printed


def _print_member(key: Scalar, value: Node, indent: int) -> str:
    return f"{key.text if key.plain else print_scalar(key.text, indent)}:{print_node(value, indent)}"


def _decode(data: bytes) -> str:
    text = data.decode()
    if text.startswith("\ufeff"):
        raise MalformedRecord("the YAML begins with a byte order mark")
    return text


class _Open:
    """A collection that is being read; `key` waits for its value."""

    def __init__(self, node: Sequence | Mapping, *, is_flow: bool) -> None:
        self.node = node
        self.is_flow = is_flow
        self.key: Scalar | None = None

    def closed(self, end: int) -> Node:
        """The collection whole: one in brackets ends at `end`, any other with what it holds last."""
        if not self.is_flow and isinstance(self.node, Sequence) and self.node.items:
            end = self.node.items[-1].span.end
        elif not self.is_flow and isinstance(self.node, Mapping) and self.node.members:
            end = self.node.members[-1][1].span.end
        return self.node._replace(span=Span(self.node.span.start, end))

    def add(self, value: Node) -> None:
        if isinstance(self.node, Sequence):
            self.node.items.append(value)
        elif self.key is not None:
            self.node.members.append((self.key, value))
            self.key = None
        elif isinstance(value, Scalar):
            self.key = value
        else:
            raise MalformedRecord("a key that is no scalar")


class _Builder:
    """Puts events together, counting depth and nodes."""

    def __init__(self, oddities: list[int] | None) -> None:
        self.root: Node | None = None
        self._oddities = oddities
        self._open: list[_Open] = []
        self._nodes = 0

    def take(self, event: Any) -> None:
        if isinstance(event, yaml.DocumentStartEvent) and self.root is not None:
            raise MalformedRecord("the YAML holds several documents")
        if isinstance(event, yaml.NodeEvent) and event.anchor is not None:
            self._note(event, "an anchor or an alias")
        if isinstance(event, yaml.AliasEvent):
            self._add(_alias(event))
        elif isinstance(event, yaml.ScalarEvent):
            if event.tag not in (None, _STRING_TAG):
                self._note(event, "a tag")
            self._add(_scalar(event))
        elif isinstance(event, yaml.CollectionStartEvent):
            self._begin(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._add(self._open.pop().closed(_end(event)))

    def _begin(self, event: Any) -> None:
        if event.tag is not None:
            self._note(event, "a tag")
        if len(self._open) >= MAX_DEPTH:
            raise MalformedRecord("the YAML is nested too deeply")
        span = Span(event.start_mark.index, event.start_mark.index)
        is_sequence = isinstance(event, yaml.SequenceStartEvent)
        node = Sequence([], span) if is_sequence else Mapping([], span)
        self._open.append(_Open(node, is_flow=bool(event.flow_style)))

    def _note(self, event: Any, what: str) -> None:
        if self._oddities is None:
            raise MalformedRecord(f"the YAML uses {what}")
        self._oddities.append(event.start_mark.index)

    def _add(self, node: Node) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise MalformedRecord("the YAML has too many nodes")
        if self._open:
            self._open[-1].add(node)
        else:
            self.root = node


def _end(event: Any) -> int:
    index: int = event.end_mark.index
    return index


def _alias(event: Any) -> Scalar:
    return Scalar(event.anchor, plain=False, tagged=True, span=Span(event.start_mark.index, _end(event)))


def _scalar(event: Any) -> Scalar:
    tagged = event.tag is not None
    span = Span(event.start_mark.index, event.end_mark.index)
    return Scalar(event.value, not tagged and not event.style, tagged, span)
