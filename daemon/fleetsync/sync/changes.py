"""The change stream as its sender sees it: batches as they appear, heartbeats between them.

A heartbeat carries the head and means: you have been sent all up to here. It comes first, after a
silence, and soon after the last change, so that both sides learn within seconds whether they are
equal. Rule of the file: an unfinished or outdated stream ends; it never skips without saying so.
Implements DESIGN §8 (`GET /v1/changes`) and SEMANTICS §6.2.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable

import anyio

from fleetsync.sync.push import Outbox, Page
from fleetsync.wire.messages import HEARTBEAT_SECONDS, Batch, Frame, Heartbeat

QUIET_SECONDS = 1.0
"""How long after the last change the heartbeat comes that tells it."""


class Pulse:
    """When the next heartbeat is due."""

    def __init__(self, outbox: Outbox, monotonic: Callable[[], float], random: Callable[[], float]) -> None:
        self._outbox = outbox
        self._monotonic = monotonic
        self._random = random
        self._regular = 0.0

    def due_in(self) -> float:
        """Seconds until then; not above 0 when it is due."""
        changed = self._outbox.changed_at
        due = self._regular if changed is None else min(self._regular, changed + QUIET_SECONDS)
        return due - self._monotonic()

    def spoken(self) -> None:
        """Something was sent: the silence starts again."""
        self._regular = self._monotonic() + HEARTBEAT_SECONDS * (0.8 + 0.2 * self._random())


async def frames(
    outbox: Outbox, monotonic: Callable[[], float], random: Callable[[], float]
) -> AsyncGenerator[Frame]:
    """Feed the peer from its outbox until a newer stream begins or the outbox ends this one."""
    stream = outbox.begin_stream()
    pulse = Pulse(outbox, monotonic, random)
    try:
        while outbox.is_current(stream):
            event, changed = outbox.next_event(), outbox.changed_at
            page = await outbox.take()
            frame = _frame(page, pulse)
            if frame is not None:
                yield frame
                pulse.spoken()
            if not outbox.is_current(stream):
                break  # whether this page arrived is not known, and the cursor is another's now
            outbox.sent(page)
            if isinstance(frame, Heartbeat) and outbox.changed_at == changed:
                outbox.changed_at = None
            if not page.groups and page.is_last:
                with anyio.move_on_after(max(0.0, pulse.due_in())):
                    await event.wait()
    finally:
        outbox.end_stream(stream)


def _frame(page: Page, pulse: Pulse) -> Frame | None:
    """What the peer should hear now, if anything."""
    if page.groups:
        return Batch(page.groups)
    if page.skipped or pulse.due_in() <= 0:
        return Heartbeat(page.head)
    return None
