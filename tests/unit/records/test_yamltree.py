"""YAML trees: bounded, one document, nothing that hides, and spans that a splice can trust."""

from __future__ import annotations

import pytest

from fleetsync.errors import MalformedRecord
from fleetsync.records import yamltree
from fleetsync.records.yamltree import Mapping, Scalar, Sequence

TEXT = "a: 1\nlist:\n- x: 'é'\n  y: |\n    b\n    c\n- z\n# end\nflow: [1, {k: v}]  # tail\nempty:\n"


def _text_of(text: str, node: yamltree.Node) -> str:
    return text[node.span.start : node.span.end]


def test_scalars_are_text() -> None:
    """Nothing is converted; what was quoted is known to be a string."""
    root = yamltree.read(b"v: 2\nt: 2026-06-16T00:00:00.123456789Z\nq: '2'\ns: !!str 3\n")
    assert isinstance(root, Mapping)
    found = [(s.text, s.plain, s.tagged) for _, s in root.members if isinstance(s, Scalar)]
    assert found[1][0] == "2026-06-16T00:00:00.123456789Z"
    assert [rest for _, *rest in found] == [[True, False], [True, False], [False, False], [False, True]]


def test_spans() -> None:
    """A node's span is its text, without the comments and blank lines that follow it."""
    root = yamltree.read(TEXT.encode())
    assert isinstance(root, Mapping)
    assert _text_of(TEXT, root.members[1][1]) == "- x: 'é'\n  y: |\n    b\n    c\n- z"
    flow = root.get("flow")
    assert flow is not None
    assert _text_of(TEXT, flow) == "[1, {k: v}]"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing",
        "a: 1\n---\nb: 1\n",
        "a: &x 1\nb: *x\n",
        "a: *x\n",
        "a: !!int 1\n",
        "a: !own {b: 1}\n",
        "a: !!seq [1]\n",
        "{[a]: 1}",
        "\ufeffa: 1\n",
        "a: 1\n\tb: 2\n",
        "a: [1\n",
        "a: \x00\n",
        "[" * 33 + "]" * 33,
        "x" * (yamltree.MAX_BYTES + 1),
        "[" + "a," * (yamltree.MAX_NODES + 1) + "]",
        "[" * 25_000,
    ],
)
def test_refused(text: str) -> None:
    """Everything else is malformed, and nothing crashes."""
    with pytest.raises(MalformedRecord):
        yamltree.read(text.encode())


def test_not_utf8() -> None:
    """Bytes that are no text are malformed."""
    with pytest.raises(MalformedRecord):
        yamltree.read(b"a: \xff\n")


def test_digest_sees_values_only() -> None:
    """Order of keys, quotes, comments and layout do not matter; types, values and order of items do."""
    same = ["a: x\nb: [1, 2]\n", "b:\n- 1\n- 2  # c\na: 'x'\n", '{"a": "x", "b": [1, 2]}']
    others = [
        "a: x\nb: [2, 1]\n",
        "a: x\nb: [1, '2']\n",
        "a: x\nb: [1, 2, 3]\n",
        "a: x\n",
        "a: x\nb: '[1, 2]'\n",
    ]
    digests = [yamltree.digest(yamltree.read(text.encode())) for text in same + others]
    assert len(set(digests[:3])) == 1
    assert len(set(digests)) == 6


def test_digest_is_unambiguous() -> None:
    """Lengths are part of what is hashed: no two trees run into each other."""
    texts = ["[[a], b]", "[[a, b]]", "[a, [b]]", "{a: {b: c}}", "{a: b, c: d}", "[ab]", "[a, b]"]
    assert len({yamltree.digest(yamltree.read(text.encode())) for text in texts}) == len(texts)


@pytest.mark.parametrize("text", ["a: 1\na: 2\n", "a: !!str 1\n"])
def test_what_does_not_sync_has_no_digest(text: str) -> None:
    """Repeated keys and tags."""
    with pytest.raises(MalformedRecord):
        yamltree.digest(yamltree.read(text.encode()))


@pytest.mark.parametrize("text", ["[]", "{}", "[a, [], {}, [b, [c]], {d: [e, {f: g}], h: {i: 'j: k'}}]", "x"])
def test_printed_tree_is_the_same_tree(text: str) -> None:
    """Laid out anew, a tree says what it said."""
    node = yamltree.read(text.encode())
    again = yamltree.read(f"k:{yamltree.print_node(node, 0)}\n".encode())
    assert isinstance(again, Mapping)
    printed = again.get("k")
    assert printed is not None
    assert yamltree.digest(printed) == yamltree.digest(node)


def test_layout_is_murs() -> None:
    """Items stand under their key, not indented; a mapping begins on the line of its dash."""
    node = yamltree.read(b"[{actor: {kind: agent, id: 'qa: 1'}, role: owner}]")
    assert isinstance(node, Sequence)
    expected = "\n- actor:\n    kind: agent\n    id: 'qa: 1'\n  role: owner"
    assert yamltree.print_node(node, 0) == expected
