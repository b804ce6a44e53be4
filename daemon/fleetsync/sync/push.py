"""The outbox: what one peer has not been sent yet.

An outbox is a cursor on this device's arrival numbers, never on event time, and holds no items: they
are read from storage when they can be sent, so a peer that does not read costs nothing. What came
from the peer is not sent back to it. An outbox that fell far behind, or whose numbers began anew,
skips to the head: reconciling is cheaper then, and never wrong (but not for a peer that cannot see from
a heartbeat that there is something to reconcile). The change stream empties an outbox
in `changes.py`, offers do in `link.py`; only an exchange proves that anything arrived.
Implements DESIGN §8 (live push) and SEMANTICS §6.2.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import anyio

from fleetsync.devices.notes import Direction
from fleetsync.ports import Arrival, Group, Head, Storage
from fleetsync.records.names import DeviceId
from fleetsync.sync.accord import Accord
from fleetsync.sync.offload import Desk, News
from fleetsync.wire import codec

PAGE_BYTES = 512 << 10
"""Bodies read from storage at a time."""
FAR_BEHIND = 4096
"""Unsent arrivals beyond which a peer is better served by an exchange."""
ECHOES = 64
"""Runs of arrivals remembered as the peer's own; what is forgotten is read once more and skipped."""


@dataclass(frozen=True, slots=True)
class Page:
    """What to send next: `groups` may be empty, `upto` is the arrival number that it reaches.

    `skipped` says that members before `upto` were left to an exchange.
    """

    groups: list[Group]
    upto: int
    head: Head
    skipped: bool = False

    @property
    def is_last(self) -> bool:
        """Whether there is nothing behind it yet."""
        return self.upto >= self.head.arrival


class Outbox:
    """What one peer has not been sent; at first, nobody knows what that is.

    Create it inside the event loop; `close` ends its listening. What may not travel by `direction`, and
    what the peer does not take or does not carry by `accord`, is passed over.
    """

    def __init__(
        self, desk: Desk, peer: DeviceId, monotonic: Callable[[], float], accord: Accord | None = None
    ) -> None:
        self.peer = peer
        self.accord = accord or Accord()
        self.direction = Direction.BOTH
        self.changed_at: float | None = None  # when the set last changed, until a heartbeat told it
        self._desk = desk
        self._monotonic = monotonic
        self._cursor: int | None = None
        self._epoch = b""
        self._latest = 0
        self._last_change = float("-inf")
        self._waiting_since: float | None = None
        self._unproven_since: float | None = None  # the oldest that was only streamed
        self._left: int | None = None  # up to this arrival there is something that only an exchange will send
        self._echoes: deque[tuple[int, int]] = deque(maxlen=ECHOES)
        self._streams = 0
        self._streaming = False
        self._woken = anyio.Event()
        self.close = desk.listen(self._on_news)

    def age(self) -> float:
        """Seconds for which the oldest unsent member has been waiting; 0 if none is."""
        return 0.0 if self._waiting_since is None else self._monotonic() - self._waiting_since

    @property
    def left_to_exchange(self) -> bool:
        """Whether something unsent was skipped, and waits for an exchange."""
        return self._left is not None

    def unchanged_for(self) -> float:
        """Seconds since the set last changed while this outbox was there to see it."""
        return self._monotonic() - self._last_change

    def next_event(self) -> anyio.Event:
        """Set at the next change of the set or of the streams; ask before looking, wait after."""
        return self._woken

    # --- taking and sending --------------------------------------------------------------------

    async def take(self) -> Page:
        """What to send next; call `sent` with it once it is on its way."""
        head = await self._desk.head(self.accord.theirs)
        if self._cursor == head.arrival and self._epoch == head.epoch:
            return Page([], head.arrival, head)  # an idle heartbeat wakes no worker
        return await self._desk.call(self._read)

    def sent(self, page: Page) -> None:
        """Move past a page; what it skipped stays unsent until an exchange has dealt with it."""
        self._epoch = page.head.epoch
        self._cursor = page.upto
        if page.groups and self._streaming and self._unproven_since is None:
            self._unproven_since = self._waiting_since or self._monotonic()
        if page.skipped and self._waiting_since is not None:
            self._left = page.upto
        self._note_sent()

    def _note_sent(self) -> None:
        if self._left is None and self._cursor is not None and self._cursor >= self._latest:
            self._waiting_since = None

    def advance(self, head: Head) -> None:
        """An exchange has dealt with all that this device held at `head`."""
        if self._cursor is None or self._epoch != head.epoch or self._cursor <= head.arrival:
            self._unproven_since = None
        if self._left is not None and (self._epoch != head.epoch or self._left <= head.arrival):
            self._left = None
        if self._cursor is None or self._epoch != head.epoch or self._cursor < head.arrival:
            self.sent(Page([], head.arrival, head))
        self._note_sent()

    def rewind(self) -> None:
        """Forget what was sent: some of it may have been lost on the way."""
        self._cursor = None

    def _read(self, storage: Storage) -> Page:
        head = storage.head(self.accord.theirs)
        if self._cursor is None or self._epoch != head.epoch:
            return Page([], head.arrival, head, skipped=True)
        cursor = self._past_echoes(self._cursor)
        if head.arrival - cursor > FAR_BEHIND and not self._is_alone:
            return Page([], head.arrival, head, skipped=True)
        arrivals = storage.arrivals(cursor, PAGE_BYTES) if cursor < head.arrival else []
        upto = arrivals[-1].number if arrivals else head.arrival
        groups = codec.grouped(a.item for a in arrivals if self._is_for_peer(a))
        return Page(list(groups), upto, head)

    @property
    def _gives(self) -> bool:
        return self.direction.sends and self.accord.takes

    @property
    def _is_alone(self) -> bool:
        """Whether only this stream tells the peer what it lacks: in a one-way link no heads ever match."""
        return self._streaming and not (self.direction.receives and self.accord.gives)

    def _is_for_peer(self, arrival: Arrival) -> bool:
        return self._gives and arrival.origin != self.peer and self.accord.theirs.carries(arrival.item.path)

    def _past_echoes(self, cursor: int) -> int:
        for before, after in tuple(self._echoes):
            if before <= cursor < after:
                cursor = after
        return cursor

    def _on_news(self, news: News) -> None:
        self.changed_at = self._last_change = self._monotonic()
        self._latest = news.after.arrival
        if news.origin == self.peer:
            self._remember_echo(news.before.arrival, news.after.arrival)
        elif self._gives and self._waiting_since is None:
            self._waiting_since = self.changed_at
        self._wake()

    def _remember_echo(self, before: int, after: int) -> None:
        if self._echoes and self._echoes[-1][1] == before:
            before = self._echoes.pop()[0]
        self._echoes.append((before, after))

    def _wake(self) -> None:
        self._woken.set()
        self._woken = anyio.Event()

    # --- the change stream that the peer holds -----------------------------------------------------

    @property
    def streaming(self) -> bool:
        """Whether the peer holds a change stream, which then is the one to empty this outbox."""
        return self._streaming

    def begin_stream(self) -> int:
        """A change stream begins and any older one is over; returns its number."""
        self._streams += 1
        self._streaming = True
        self.rewind()
        self._wake()
        return self._streams

    def is_current(self, stream: int) -> bool:
        """Whether that stream is still the one to feed."""
        return self._streaming and stream == self._streams

    def end_stream(self, stream: int | None = None) -> None:
        """That stream (None: whichever there is) is over; what it carried last may be lost, and waits
        until something proves that it arrived.
        """
        if stream is None or stream == self._streams:
            self._streaming = False
            self._waiting_since = self._waiting_since or self._unproven_since
            self.rewind()
            self._wake()
