"""The YAML reader: what it keeps of a text, what it refuses, and that no text can hurt the process."""

from __future__ import annotations

import time

import pytest

from fleetsync.errors import MalformedRecord
from fleetsync.records import yamltree
from fleetsync.records.yamltree import Mapping, Node, Scalar, Sequence


def spelled(text: str, node: Node) -> str:
    return text[node.span.start : node.span.end]


def test_nodes_know_where_they_stand() -> None:
    """Keys and values are found in the text to the character, without comments, also behind 🙂 and CR LF."""
    text = "é🙂: 'it''s' # x\r\nb:\r\n  - [1,\r\n    2] # y\r\n  - |\r\n    z\r\nc:\r\n"
    root = yamltree.read(text.encode())
    assert isinstance(root, Mapping)
    assert [spelled(text, key) for key, _ in root.members] == ["é🙂", "b", "c"]
    quoted, items, nothing = (value for _, value in root.members)
    assert spelled(text, quoted) == "'it''s'"
    assert isinstance(items, Sequence)
    assert [spelled(text, item) for item in items.items] == ["[1,\r\n    2]", "|\r\n    z\r\n"]
    assert nothing == Scalar("", plain=True, tagged=False, span=yamltree.Span(len(text) - 2, len(text) - 2))


@pytest.mark.parametrize(
    "text",
    [
        "&x a: 1",
        "a: &x 1",
        "a: &x {b: 1}",
        "a: [*x]",
        "*x : 1",
        "a: !t 1",
        "a: !t {b: 1}",
        "!t [a]",
        "a: {<<: *x}",
    ],
)
def test_oddities_are_refused_or_noted(text: str) -> None:
    """Anchors, aliases and tags make a text unreadable, or are read over and found where they stand."""
    with pytest.raises(MalformedRecord):
        yamltree.read(text.encode())
    oddities: list[int] = []
    yamltree.read(text.encode(), oddities)
    assert oddities
    assert all(text[at] in "&*!" for at in oddities)
    assert oddities == sorted(oddities)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"# nothing",
        b"a: [",
        b"a: b: c",
        b"'a",
        b"a\n---\nb",
        b"[a]: 1",
        b"\xff",
        b"\xef\xbb\xbfa: 1",
        "a: 1".encode("utf-16"),
        b"a: \x00",
        b"%FOO\n",
        b"? [a]\n: 1",
    ],
)
def test_what_is_no_single_document_is_refused(data: bytes) -> None:
    """Broken, empty and several documents, keys that are no scalars, and other encodings than UTF-8."""
    with pytest.raises(MalformedRecord):
        yamltree.read(data)
    with pytest.raises(MalformedRecord):
        yamltree.read(data, [])


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 500_000,
        b"{a: " * 200_000,
        b"- " * 400_000,
        b"? " * 400_000,
        b"a: [" * 200_000,
        b"[" * 33 + b"]" * 33,
        b"[" + b"a," * 120_000 + b"]",
        b"a: &a [x]\n" + b"".join(b"b%d: [*a, *a]\n" % i for i in range(50_000)),
        b"'" + b"\\" * 1_000_000,
        b"#" * (1 << 20) + b"#",
        b"|" + b"\n" * 1_000_000,
        b"!" * 1_000_000,
        b"&" + b"a" * 1_000_000,
    ],
)
def test_hostile_text_is_refused_in_no_time(data: bytes) -> None:
    """Depth, size and number are bounded: no text takes the process down or holds it up."""
    begun = time.process_time()
    for oddities in (None, list[int]()):
        try:
            node = yamltree.read(data, oddities)
        except MalformedRecord:
            continue
        assert isinstance(node, Scalar)
    assert time.process_time() - begun < 10


def test_the_bounds_are_where_they_are_said_to_be() -> None:
    """32 levels, 100,000 nodes and 1 MiB are read; one more is not."""
    deepest = b"[" * yamltree.MAX_DEPTH + b"]" * yamltree.MAX_DEPTH
    yamltree.read(deepest)
    with pytest.raises(MalformedRecord, match="deeply"):
        yamltree.read(b"[" + deepest + b"]")
    most = b"[" + b"a," * (yamltree.MAX_NODES - 1) + b"]"  # the list is a node too
    yamltree.read(most)
    with pytest.raises(MalformedRecord, match="too many nodes"):
        yamltree.read(most[:-1] + b"a]")
    longest = b"a: " + b"x" * (yamltree.MAX_BYTES - 3)
    yamltree.read(longest)
    with pytest.raises(MalformedRecord, match="1 MiB"):
        yamltree.read(longest + b"x")


def digest(text: str) -> bytes:
    return yamltree.digest(yamltree.read(text.encode()))


def test_the_digest_is_of_what_is_said() -> None:
    """Quotes, style, order of keys, comments and line breaks do not matter."""
    assert len(digest("a: 1")) == 32
    plain = digest("a: x\nb:\n- 1\n- 'two words'\nc: |\n  l\n")
    assert digest("# why\n{c: \"l\\n\", 'b': [1, two words], a: 'x'} # so\r\n") == plain


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a: 1", "a: '1'"),
        ("a: 1", "a: 1.0"),
        ("a: null", "a: 'null'"),
        ("a: []", "a: {}"),
        ("a: [b, c]", "a: [c, b]"),
        ("a: [b]", "a: [[b]]"),
        ("a: {b: c}", "a: {}\nb: c"),
        ("ab: c", "a: bc"),
    ],
)
def test_the_digest_tells_values_apart(one: str, other: str) -> None:
    """What means something else has another digest."""
    assert digest(one) != digest(other)


@pytest.mark.parametrize("text", ["a: 1\n'a': 2", "a: {b: 1, b: 1}", "a: !!str 1", "a: [*x]"])
def test_what_cannot_be_compared_has_no_digest(text: str) -> None:
    """Repeated keys and tags mean different things to different readers."""
    with pytest.raises(MalformedRecord):
        yamltree.digest(yamltree.read(text.encode(), []))


@pytest.mark.parametrize(
    ("text", "hexadecimal"),
    [
        ("a: 1\nb: [x, '1', {}]\n", "d1cfbbb83e3fc954eadc3ecca8031cd82df6571039c8cf52cce3f854076dcd07"),
        ("~", "5aadfce808791f8faae5c3d03fe9f4886250882c2c02ab0889ead973620d7017"),
        ("é: ''", "b029c6fa93d295ed722e9dd40108f492005a160da33512d19185f9c669d4821e"),
    ],
)
def test_the_digest_never_changes(text: str, hexadecimal: str) -> None:
    """Devices of different versions compare it: it is part of every stamp of a spliced register."""
    assert digest(text).hex() == hexadecimal


def test_an_alias_is_told_by_its_anchor() -> None:
    """Read over, two aliases are as different as what they stand for may be."""
    one, other = (yamltree.read(text, []) for text in (b"a: *x", b"a: *y"))
    assert isinstance(one, Mapping)
    assert isinstance(other, Mapping)
    assert [node.text for _, node in (*one.members, *other.members) if isinstance(node, Scalar)] == ["x", "y"]


LAID_OUT = """
k:
- a: 1
  b c:
  - - x
    - 'y: z'
  - []
  '': {}
- |-
  l1
  l2
- - d: ~
- - []
m:
  n: |
    p
  o: |+
    q

  '7': '7'
e: []"""


def test_a_node_is_laid_out_as_mur_lays_it_out() -> None:
    """Collections begin on the line of their dash, plain scalars stay as they were written, and a block of
    text has no empty line more than belongs to it.
    """
    text = """{k: [{a: 1, "b c": [[x, "y: z"], []], '': {}}, "l1\\nl2", [{d: ~}], [[]]],
        m: {n: "p\\n", o: "q\\n\\n", "7": "7"}, e: []}"""
    node = yamltree.read(text.encode())
    assert yamltree.print_node(node, -2) == LAID_OUT
    assert yamltree.print_node(node, 2) == LAID_OUT.replace("\n", "\n    ").replace("    \n", "\n")
    for indent in (-2, 0, 3):
        again = yamltree.read(
            ("x:" + yamltree.print_node(node, indent) if indent >= 0 else LAID_OUT).encode()
        )
        assert isinstance(again, Mapping)
        assert yamltree.digest(again.members[0][1] if indent >= 0 else again) == yamltree.digest(node)


def test_the_digest_of_many_keys_takes_no_time() -> None:
    """A mapping with as many keys as are allowed is digested as quickly as it is read."""
    data = b"".join(b"%d: 1\n" % i for i in range(49_000))
    begun = time.process_time()
    yamltree.digest(yamltree.read(data))
    assert time.process_time() - begun < 10
