"""Cutting members out of YAML text and putting them in, all else byte for byte as it was.

In block style a member has lines of its own: from its key to its last line, with the remark behind
it and the comment lines below that are indented deeper than its key. What stands above a key belongs
to whoever takes it. Nothing here is sure of its result: a caller reads it again and compares its
`outline` with what was meant. What keys mean is not known here. Implements SEMANTICS §2.6.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple, TypeAlias

from fleetsync.errors import MalformedRecord
from fleetsync.records.yamlscalars import double_quoted, meaning
from fleetsync.records.yamltree import Mapping, Node, Scalar, Sequence

Outline: TypeAlias = tuple[object, ...]
"""What a node says and in which order, but not where it stands or how it is quoted; comparable."""

_COLON = re.compile(r"[ \t]*+:(?=[ \t\r\n]|\Z)")
_REST = re.compile(r"[ \t]*+(?:(?<=[ \t])#[^\n]*+|\r?)(?:\n|\Z)")
_KEEPS = re.compile(r"[|>][0-9]?\+")
_SAFE_IN_FLOW = re.compile(r"[A-Za-z0-9.+~_-]*")
_LINE = re.compile(r"^(?=[^\r\n])", re.MULTILINE)


class Block(NamedTuple):
    """The lines of one member in block style: from the first character of its key's line to the first
    of the line after; `colon` is the character behind its colon, `column` where its key begins.
    """

    key: Scalar
    value: Node
    start: int
    colon: int
    end: int
    column: int


def blocks(text: str, mapping: Mapping) -> list[Block]:
    """The members of a mapping in block style, each on lines of its own.

    Raises `MalformedRecord` for a mapping that is written in any other way.
    """
    return [_block(text, key, value) for key, value in mapping.members]


def _block(text: str, key: Scalar, value: Node) -> Block:
    start = line_start(text, key.span.start)
    colon = _COLON.match(text, key.span.end)
    if text[start : key.span.start].strip(" ") or colon is None or "\n" in text[start : colon.end()]:
        raise MalformedRecord(f"the key {key.text[:40]!r} does not begin a line")
    column = key.span.start - start
    return Block(key, value, start, colon.end(), _end(text, value, column), column)


def _end(text: str, value: Node, column: int) -> int:
    start, end = value.span
    if end > start and text[end - 1] == "\n":
        end = _without_blank_lines(text, last_scalar(value), end)
    else:
        rest = _REST.match(text, end)
        if rest is None:
            raise MalformedRecord("something stands behind a value on its line")
        end = rest.end()
    return below_comments(text, end, column)


def _without_blank_lines(text: str, scalar: Scalar, end: int) -> int:
    """A block scalar reads on over blank lines; they are part of it only if it says so with `+`."""
    if _KEEPS.match(text, scalar.span.start):
        return end
    while not text[(start := line_start(text, end - 1)) : end].strip() and start > scalar.span.start:
        end = start
    return end


def below_comments(text: str, at: int, column: int) -> int:
    """The first character behind the comment lines that follow and are indented deeper than `column`."""
    found = _comments_from(column + 1).match(text, at)
    return at if found is None else found.end()


@lru_cache(maxsize=64)
def _comments_from(column: int) -> re.Pattern[str]:
    return re.compile(rf"(?:(?:[ \t]*+\r?\n)*+ {{{column},}}#[^\n]*+(?:\n|\Z))++")


def last_scalar(node: Node) -> Scalar:
    """What is read last of a node in block style; raises `MalformedRecord` if that is no scalar."""
    while not isinstance(node, Scalar):
        inner = node.items if isinstance(node, Sequence) else [value for _, value in node.members]
        if not inner:
            raise MalformedRecord("the value has no end that can be found")
        node = inner[-1]
    return node


# --- text ---------------------------------------------------------------------------------------------


def line_start(text: str, at: int) -> int:
    """The first character of the line on which a character stands."""
    return text.rfind("\n", 0, at) + 1


def line_end(text: str, at: int) -> int:
    """The first character of the next line, or the end of the text."""
    found = text.find("\n", at)
    return len(text) if found < 0 else found + 1


def line_break(text: str) -> str:
    """How lines end in this text, judged by the first one."""
    first = text.find("\n")
    return "\r\n" if first > 0 and text[first - 1] == "\r" else "\n"


def ended(text: str, line_break: str = "\n") -> str:
    """The text, and a line break unless it is empty or ends with one."""
    return text if not text or text.endswith("\n") else text + line_break


def dedented(text: str, columns: int) -> str:
    """The lines moved to the left, as far as they have spaces to lose."""
    return re.sub(rf"^ {{1,{columns}}}", "", text, flags=re.MULTILINE) if columns else text


def indented(text: str, columns: int) -> str:
    """The lines moved to the right, but for empty ones."""
    return _LINE.sub(" " * columns, text)


def moved(text: str, columns: int) -> str:
    """The lines moved to the right, or to the left if `columns` is negative."""
    return indented(text, columns) if columns > 0 else dedented(text, -columns)


def is_flow(text: str, node: Node) -> bool:
    """Whether a collection is written in brackets or braces."""
    return text.startswith(("{", "["), node.span.start)


def print_flow(node: Node) -> str:
    """The node on one line, in brackets and braces. Plain scalars that are no strings stay as written."""
    if isinstance(node, Scalar):
        keeps = node.plain and _SAFE_IN_FLOW.fullmatch(node.text) and not isinstance(meaning(node.text), str)
        return node.text if keeps else double_quoted(node.text)
    if isinstance(node, Sequence):
        return "[" + ", ".join(map(print_flow, node.items)) + "]"
    members = (f"{double_quoted(key.text)}: {print_flow(value)}" for key, value in node.members)
    return "{" + ", ".join(members) + "}"


# --- comparing ----------------------------------------------------------------------------------------


def outline(node: Node) -> Outline:
    """What the node says: see `Outline`."""
    if isinstance(node, Scalar):
        is_string = not node.plain or isinstance(meaning(node.text), str)
        return (node.text, is_string, node.tagged)
    if isinstance(node, Sequence):
        return ("[", *map(outline, node.items))
    return ("{", *((outline(key), outline(value)) for key, value in node.members))
