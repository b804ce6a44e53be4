"""Which of two manifests wins, and why, is the reference's answer."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import yaml

from fleetsync.errors import MalformedRecord
from fleetsync.merge.manifest import resolve_manifest_lww
from fleetsync.records import timestamps
from fleetsync.records.timestamps import Timestamp
from tests.conformance.vectors import Row, each


@dataclass(frozen=True)
class Manifest:
    """A manifest of which only the side and the time matter."""

    side: str
    updated_at: Timestamp


def _manifest(side: str, scalar: str | None) -> Manifest:
    """`scalar` is YAML as it stands in the file; without one the manifest dates from 1970."""
    if scalar is None:
        return Manifest(side, timestamps.EPOCH)
    text = yaml.load(scalar, Loader=yaml.BaseLoader)
    return Manifest(side, timestamps.parse(text if isinstance(text, str) else ""))


@each("lww")
def test_winner(row: Row) -> None:
    """Winner and reason; a manifest whose time cannot be read is malformed as a whole."""
    if row["winner"] is None:
        with pytest.raises(MalformedRecord):
            (_manifest("local", row["local_updated_at"]), _manifest("remote", row["remote_updated_at"]))
        return
    local = _manifest("local", row["local_updated_at"])
    remote = _manifest("remote", row["remote_updated_at"])
    assert local.updated_at.canonical == row["local_parsed"]
    assert remote.updated_at.canonical == row["remote_parsed"]
    winner, reason = resolve_manifest_lww(local, remote, row["force_local"])
    assert (winner.side, reason.value) == (row["winner"], row["reason"])
