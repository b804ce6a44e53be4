"""Last writer wins: three reasons, and strictly newer means strictly."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from fleetsync.merge.manifest import Reason, resolve_manifest_lww


class Manifest(NamedTuple):
    """A manifest of the simplest kind, its time a number."""

    side: str
    updated_at: int


@pytest.mark.parametrize(
    ("local", "remote", "force_local", "winner", "reason"),
    [
        (1, 2, False, "remote", Reason.REMOTE_NEWER),
        (2, 1, False, "local", Reason.LOCAL_NEWER_OR_EQUAL),
        (1, 1, False, "local", Reason.LOCAL_NEWER_OR_EQUAL),
        (1, 2, True, "local", Reason.FORCE_LOCAL),
        (2, 1, True, "local", Reason.FORCE_LOCAL),
    ],
)
def test_winner_and_reason(local: int, remote: int, force_local: bool, winner: str, reason: Reason) -> None:
    """Newer wins, a tie and force keep the local one."""
    won = resolve_manifest_lww(Manifest("local", local), Manifest("remote", remote), force_local)
    assert (won[0].side, won[1]) == (winner, reason)
