"""How much one request and its answer have with a peer: less where connections do not live long.

Some middleboxes end every connection after so many bytes, or at any moment; a step that is larger than what
one connection carries never passes, however often it is tried. Only sizes; who sends is elsewhere.
Implements docs/protocol.md, "HTTP binding".
"""

from __future__ import annotations

from dataclasses import dataclass

from fleetsync.merge.reconcile import FRAME_LIMIT, WINDOW
from fleetsync.wire import codec

LEAST = 1 / 16
IDS = 2048


@dataclass(frozen=True, slots=True)
class Stride:
    """Sizes as a share of the usual ones."""

    share: float = 1.0

    @property
    def is_whole(self) -> bool:
        """Whether it is the usual one."""
        return self.share == 1.0

    @property
    def frame(self) -> int:
        """Bytes of one comparing message; where it is short an answer has up to eight times as many."""
        return FRAME_LIMIT if self.is_whole else int(WINDOW * self.share)

    @property
    def window(self) -> int:
        """Bytes of new questions in it."""
        return WINDOW if self.is_whole else self.frame // 4

    @property
    def batch(self) -> int:
        """Bytes of bodies offered at once."""
        return int(codec.BATCH_BYTES * self.share)

    @property
    def ids(self) -> int:
        """Ids asked for at once: with their bodies a few hundred KB where nothing is wrong."""
        return int(IDS * self.share)

    def shorter(self) -> Stride:
        """After a connection broke."""
        return Stride(max(self.share / 4, LEAST))


WHOLE = Stride()
