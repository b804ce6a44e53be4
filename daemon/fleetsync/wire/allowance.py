"""How long bytes may take: every deadline of the wire is longer by the time that its bytes need.

A deadline for whole bodies and frames, however large, would keep a slow link from ever carrying a large
one, though nothing is wrong with it. Rule of the file: what is to pass, or has passed, pays at the rate of
the slowest link that is served; a byte a second still buys no time. Implements docs/protocol.md, "Deadlines".
"""

from __future__ import annotations

SLOWEST = 4096
"""Bytes a second: half of 64 kbit/s, since the same link carries other things beside."""


def allowance(size: int) -> float:
    """Seconds that so many bytes may take."""
    return size / SLOWEST
