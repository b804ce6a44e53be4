"""Taking YAML text apart: a member in block style has lines of its own."""

from __future__ import annotations

import pytest

from fleetsync.errors import MalformedRecord
from fleetsync.records import yamlsplices, yamltree
from fleetsync.records.yamlsplices import Block
from fleetsync.records.yamltree import Mapping


def blocks(text: str) -> list[Block]:
    root = yamltree.read(text.encode(), [])
    assert isinstance(root, Mapping)
    return yamlsplices.blocks(text, root)


def lines(text: str) -> dict[str, str]:
    return {block.key.text: text[block.start : block.end] for block in blocks(text)}


def test_remarks_and_deeper_comments_belong_to_a_member() -> None:
    """What stands behind a value on its line, or below it and deeper than its key, goes with it."""
    text = "# head\na: 1 # remark\n  # deeper\n\n  # more\n\n# above b\nb:\n  c: 1\n # one deeper\n# tail\n"
    assert lines(text) == {
        "a": "a: 1 # remark\n  # deeper\n\n  # more\n",
        "b": "b:\n  c: 1\n # one deeper\n",
    }


def test_blank_lines_belong_to_a_block_scalar_only_if_it_keeps_them() -> None:
    """`|` and `>-` end with their last line of text, `|+` with the last blank line."""
    text = "a: |\n  x\n\n\nb: >-\n  y\n   \nc:\n- |+\n  z\n\n\nd: |\n\n\ne: |2+\n\n"
    assert lines(text) == {
        "a": "a: |\n  x\n",
        "b": "b: >-\n  y\n",
        "c": "c:\n- |+\n  z\n\n\n",
        "d": "d: |\n",
        "e": "e: |2+\n\n",
    }


def test_a_missing_last_line_break_and_cr_lf_are_taken_as_they_are() -> None:
    """The last member ends where the text ends."""
    assert lines("a: 1\r\n\r\nb: {x: 1,\r\n  y: 2}  # z") == {
        "a": "a: 1\r\n",
        "b": "b: {x: 1,\r\n  y: 2}  # z",
    }


@pytest.mark.parametrize("text", ["{a: 1}", "? a\n: 1", "? a", "{a: 1,\n b: 2}", "? |\n  a\n: 1"])
def test_any_other_style_is_refused(text: str) -> None:
    """A member that shares its lines cannot be cut out by lines."""
    with pytest.raises(MalformedRecord):
        blocks(text)


def test_text_moves_by_whole_lines() -> None:
    """Empty lines stay empty; a line loses no more than the spaces it has."""
    assert yamlsplices.indented("a\n\n b\r\n\r\n", 2) == "  a\n\n   b\r\n\r\n"
    assert yamlsplices.dedented("  a\n\n b\n    c", 2) == "a\n\nb\n  c"
    assert yamlsplices.dedented("  a", 0) == "  a"
    assert yamlsplices.moved("  a", -1) == " a"
    assert yamlsplices.moved("a", 1) == " a"


def test_lines_begin_behind_a_break_and_end_with_one() -> None:
    """The first begins with the text, the last ends with it."""
    text = "\nab\n\nc"
    assert [yamlsplices.line_start(text, at) for at in range(6)] == [0, 1, 1, 1, 4, 5]
    assert [yamlsplices.line_end(text, at) for at in range(7)] == [1, 4, 4, 4, 5, 6, 6]


@pytest.mark.parametrize(
    ("text", "line_break"),
    [("", "\n"), ("a", "\n"), ("a\nb\r\n", "\n"), ("a\r\nb\n", "\r\n"), ("\r\n", "\r\n"), ("\na\r", "\n")],
)
def test_lines_end_as_the_first_one_does(text: str, line_break: str) -> None:
    """A text without a break gets the plain one."""
    assert yamlsplices.line_break(text) == line_break


def test_brackets_and_braces_are_flow() -> None:
    """A block, a scalar and nothing are not."""
    text = "[{a: [1], b: x}]"
    root = yamltree.read(text.encode())
    assert yamlsplices.is_flow(text, root)
    for text in ("a:\n- 1\n", "x", "a:\n"):
        assert not yamlsplices.is_flow(text, yamltree.read(text.encode()))


@pytest.mark.parametrize(
    "text",
    [
        "a: x",
        "a: [1, 0x1f, 1e3, true, ~, .inf, -1]",
        "a: {'1': \"1\", b c: 'null', \"d: e\": ''}",
        'a: "\\x00\\t\\u2028 🙂 \\" \\\\"',
        "a: |\n  one\n  two, {three}\n",
        "a:\n- b: []\n  c: {}\n",
    ],
)
def test_a_value_on_one_line_says_the_same(text: str) -> None:
    """Printed in braces and read again, a value is what it was."""
    node = yamltree.read(text.encode())
    printed = yamlsplices.print_flow(node)
    assert "\n" not in printed
    again = yamltree.read(printed.encode())
    assert yamlsplices.outline(again) == yamlsplices.outline(node)
    assert yamltree.digest(again) == yamltree.digest(node)


def test_an_outline_knows_order_and_kind() -> None:
    """Other than a digest it sees the order of keys; like it, it sees no quotes but what they mean."""

    def outline(text: str) -> object:
        return yamlsplices.outline(yamltree.read(text.encode()))

    assert outline("a: x\nb: 1") == outline("{'a': \"x\", b: 1}")
    assert outline("a: x\nb: 1") != outline("b: 1\na: x")
    assert outline("a: 1") != outline("a: '1'")
