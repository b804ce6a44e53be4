"""Single values are read out of a manifest, or it is malformed: never half of it, never without a bound."""

from __future__ import annotations

import pytest

from fleetsync.errors import MalformedRecord
from fleetsync.records import manifests
from fleetsync.records.manifests import MAX_BYTES, MAX_DEPTH, MAX_EVENTS


def test_scalars_at_the_top_are_read_as_they_are_written() -> None:
    """No types, no lost digits; what stands deeper is nobody's, whatever kind it is."""
    text = b"""\
name: deploy
version: 1.10
updated_at: 2026-05-30T00:00:00.123456789Z
quoted: "a: b"
empty:
list: [name, {version: 2}]
map: {name: {of: other}, version: 3}
'12': last
"""
    assert manifests.top_scalars(text) == {
        "name": "deploy",
        "version": "1.10",
        "updated_at": "2026-05-30T00:00:00.123456789Z",
        "quoted": "a: b",
        "empty": "",
        "12": "last",
    }


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"- a\n", "not a mapping"),
        (b"a: &x 1\nb: *x\n", "alias"),
        (b"a: !!map {}\n", "tag"),
        (b"!x\na: 1\n", "tag"),
        (b"a: 1\n---\na: 1\n", "several documents"),
        (b"a: 1\nb: 2\na: 1\n", "'a' twice"),
        (b"a" * 50 + b": 1\n" + b"a" * 50 + b": 2\n", f"key '{'a' * 40}' twice"),
        (b"a: [\n", "not YAML: "),
        (b"a: \xff\n", "not YAML: "),
    ],
)
def test_what_is_not_one_plain_mapping_is_malformed(text: bytes, why: str) -> None:
    """In a word that fits into one line of a terminal."""
    with pytest.raises(MalformedRecord, match=why) as refused:
        manifests.top_scalars(text)
    assert "\n" not in refused.value.message


def test_a_key_may_stand_again_deeper_down_and_may_be_a_collection() -> None:
    """Only the keys of the mapping itself are counted; a mapping as a key names nothing."""
    assert manifests.top_scalars(b"a: {a: 1, a: 2}\nb: 3\n") == {"b": "3"}
    assert manifests.top_scalars(b"? [x]\n: {y: z}\nb: 3\n") == {"b": "3"}


def nested(depth: int) -> bytes:
    """A mapping with lists in it, so deep in all."""
    return b"a: " + b"[" * (depth - 1) + b"]" * (depth - 1) + b"\nb: 1\n"


def test_the_bounds_are_where_they_are_said_to_be() -> None:
    """In bytes, in depth and in nodes; what lies at a bound is read."""
    exact = b"a: " + b"x" * (MAX_BYTES - 4) + b"\n"
    assert len(exact) == MAX_BYTES
    assert len(manifests.top_scalars(exact)["a"]) == MAX_BYTES - 4
    with pytest.raises(MalformedRecord, match="larger"):
        manifests.top_scalars(exact + b"\n")
    assert manifests.top_scalars(nested(MAX_DEPTH)) == {"b": "1"}
    with pytest.raises(MalformedRecord, match="deep"):
        manifests.top_scalars(nested(MAX_DEPTH + 1))
    # a stream, a document, a mapping and a list begin; key `a`; and all but the list's end end
    most = b"a: [" + b"x," * (MAX_EVENTS - 8) + b"]\n"
    assert manifests.top_scalars(most) == {}
    with pytest.raises(MalformedRecord, match="nodes"):
        manifests.top_scalars(most.replace(b"]", b"x,x]"))


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        (b"updated_at: 1970-01-01T00:00:01.5Z\n", 1_500_000),
        (b"updated_at: 1970-01-01T00:00:00Z\n", 0),
        (b"updated_at: 1969-12-31T23:59:59Z\n", -1_000_000),
        (b"updated_at: yesterday\n", None),
        (b"updated_at: {at: 1970-01-01T00:00:01Z}\n", None),
        (b"name: deploy\n", None),
        (b"updated_at: [\n", None),
        (b"", None),
    ],
)
def test_when_a_manifest_was_updated(text: bytes, micros: int | None) -> None:
    """Where it says so; a manifest that cannot be read says nothing."""
    assert manifests.updated_at(text) == micros
