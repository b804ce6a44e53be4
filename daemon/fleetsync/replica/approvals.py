"""Channels that an agent uses as its memory of approvals: they stay on their device (SEMANTICS §7.5).

A person's yes to an action is good for the key of one device, and nobody else can answer or revoke it.
mur names such a channel in a marker file in the agent's directory. This module looks for the markers and
nothing else; that their channels are left out is the business of who asks.
"""

from __future__ import annotations

from contextlib import suppress

from fleetsync.errors import FleetsyncError
from fleetsync.files import Folder
from fleetsync.records.hitl import APPROVAL_MARKER, approval_channel
from fleetsync.replica.layout import agents_in

_LONGEST = 4096
"""Bytes of a marker; it holds the id of a channel."""


def concern(path: str) -> bool:
    """Whether something at this path may be a marker, or in a channel that one names."""
    return path.startswith("channels/") or path.rpartition("/")[2] == APPROVAL_MARKER


def is_marker(path: str) -> bool:
    """Whether a path is that of a marker."""
    parts = path.split("/")
    return len(parts) == 3 and (parts[0], parts[2]) == ("agents", APPROVAL_MARKER)


def remembered(root: Folder) -> dict[str, str]:
    """The directory of each such channel, and the agent whose marker names it."""
    found: dict[str, str] = {}
    for agent in agents_in(root):
        with suppress(FileNotFoundError, FleetsyncError), root.enter(f"agents/{agent}") as folder:
            channel = approval_channel(folder.read(APPROVAL_MARKER, _LONGEST))
            if channel is not None:
                found[f"channels/{channel}"] = agent
    return found
