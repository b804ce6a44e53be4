"""Channel manifests: read from JSON and YAML, and written back, as the reference does.

On purpose different: anchors and aliases are refused, because what uses them does not sync
(SEMANTICS §2.6); so are collections nested beyond the bounds of the reader.
"""

from __future__ import annotations

import pytest
import yaml

from fleetsync.errors import MalformedRecord
from fleetsync.records import channel_manifests
from fleetsync.records.channel_manifests import Channel
from tests.conformance.vectors import Row, each


def _read(row: Row) -> Channel:
    if "json" in row:
        return channel_manifests.parse_channel_json(row["json"].encode())
    return channel_manifests.parse_channel(row["yaml"].encode())


def _has_anchor(text: str) -> bool:
    return any(getattr(event, "anchor", None) for event in yaml.parse(text))


@each("channel_manifests")
def test_manifest(row: Row) -> None:
    """The reference's JSON and its exact YAML text; malformed where it fails."""
    if not row["ok"] or _has_anchor(row.get("yaml", "")):
        with pytest.raises(MalformedRecord):
            _read(row)
        return
    channel = _read(row)
    assert channel.canonical_json == row["canonical_json"]
    assert channel.canonical_yaml == row["channel_yaml"]


@each("channel_manifests")
def test_what_the_reference_writes(row: Row) -> None:
    """Both of its texts read as the manifest that it wrote."""
    if row["ok"]:
        expected = row["canonical_json"]
        from_json = channel_manifests.parse_channel_json(expected.encode())
        from_yaml = channel_manifests.parse_channel(row["channel_yaml"].encode())
        assert from_json.canonical_json == from_yaml.canonical_json == expected
