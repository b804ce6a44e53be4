"""Range-based set reconciliation (Negentropy V1) as a machine without I/O.

Two devices find what differs between their ordered sets in bytes that grow with the difference.
The initiator opens with fingerprints of ranges of its set; whoever sees a fingerprint that is not
its own answers with fingerprints of parts of that range, or with the ids once they are few. Only
the initiator learns the outcome. The responder keeps nothing between messages, and the set may
change between them: what differed all along is still found.

`REFERENCE` answers byte for byte as the reference implementation. `TUNED` is what the daemon
speaks, to any V1 responder: see `Profile`. Implements docs/protocol.md, "Reconciliation".
"""

from __future__ import annotations

from dataclasses import dataclass, field

from fleetsync.errors import MalformedMessage
from fleetsync.merge.fingerprint import fingerprint
from fleetsync.merge.negentropy_wire import (
    END,
    FINGERPRINT,
    ID_SIZE,
    SKIP,
    START,
    VERSION,
    Bound,
    Limits,
    Range,
    Writer,
    minimal_bound,
    read_ranges,
    read_version,
    split_ids,
)
from fleetsync.merge.ranges import BLOCK, Ranges

FRAME_LIMIT = 1 << 20
"""The largest message this device sends, in bytes; 0 stands for none, else at least 4096."""

FRAME_SLACK = 200  # the reference stops this many bytes before the limit

LIMITS = Limits()

Span = tuple[Bound, Bound]
"""All members with lower ≤ key < upper."""


@dataclass(frozen=True)
class Profile:
    """How a device plays its part where the protocol leaves it free.

    A range of fewer than `leaf_asking` own items (as initiator) or `leaf_answering` (as responder)
    is listed, any other split into at most `buckets`. An initiator that lists pays twice, because
    the list is answered by a list; a responder that lists ends the matter.

    `tuned` adds: the first message is finest at the newest items, so that the usual news cost one
    round trip; large splits snap to block edges; a range which only one side holds is reported as
    a span and not listed; when a message is full the rest keeps its ranges.
    """

    buckets: int
    leaf_asking: int
    leaf_answering: int
    tuned: bool


REFERENCE = Profile(buckets=16, leaf_asking=32, leaf_answering=32, tuned=False)
TUNED = Profile(buckets=16, leaf_asking=4, leaf_answering=32, tuned=True)

TAIL_STEP = 16  # tail-first: each range of the first message is this many times the one after it
SPAN_SIZE = 1024  # items in a row that the peer lacks become a span from here on
WINDOW = 1 << 17
"""Bytes of new questions in a message: answers to more would not fit into one."""

EMPTY = fingerprint(0, 0)

HEAD_SIZE = 8  # ids answered at once to a peer that has little where this device has much


@dataclass(frozen=True)
class Step:
    """What the initiator learnt from one message; `message` is the next to send, None at the end.

    `have` are ids of own members that the peer lacks, `need` ids that the peer has and this device
    lacks; each is told once per session. A span stands for all members in it: of the peer
    (`need_spans`, this device holds none there) or of this device (`have_spans`, the peer none).
    """

    message: bytes | None
    have: list[bytes] = field(default_factory=list)
    need: list[bytes] = field(default_factory=list)
    need_spans: list[Span] = field(default_factory=list)
    have_spans: list[Span] = field(default_factory=list)


def respond(
    ranges: Ranges,
    message: bytes,
    profile: Profile = TUNED,
    frame_limit: int = FRAME_LIMIT,
    limits: Limits = LIMITS,
) -> bytes:
    """Answer one message of an initiator; raises `MalformedMessage`."""
    if read_version(message, limits) != VERSION:
        return bytes((VERSION,))
    return _Answer(ranges, profile, profile.leaf_answering, frame_limit).run(message, limits)


class Initiator:
    """The side that asks, for one session of up to `limits.rounds` round trips.

    `window` is how many bytes of new questions a message has: answers have about eight times as many.
    """

    def __init__(
        self,
        profile: Profile = TUNED,
        frame_limit: int = FRAME_LIMIT,
        limits: Limits = LIMITS,
        window: int = WINDOW,
    ) -> None:
        self._profile = profile
        self._frame_limit = frame_limit
        self._limits = limits
        self._window = window
        self._rounds = 0
        self._told: set[bytes] = set()

    def initiate(self, ranges: Ranges) -> bytes:
        """The first message, below 2 KiB."""
        turn = _Question(ranges, self._profile, self._profile.leaf_asking, 0, self._window)
        if self._profile.tuned:
            turn.open()
        else:
            turn.split(0, ranges.size(), END)
        return bytes(turn.writer.out)

    def receive(self, ranges: Ranges, message: bytes) -> Step:
        """Take in the answer to the last message; raises `MalformedMessage`."""
        self._rounds += 1
        if self._rounds > self._limits.rounds:
            raise MalformedMessage(f"no end after {self._limits.rounds} round trips")
        if read_version(message, self._limits) != VERSION:
            raise MalformedMessage("the peer reconciles in another version")
        leaf, frame_limit = self._profile.leaf_asking, self._frame_limit
        turn = _Question(ranges, self._profile, leaf, frame_limit, self._window)
        reply = turn.run(message, self._limits)
        return Step(
            message=reply if len(reply) > 1 else None,
            have=self._untold(turn.have),
            need=self._untold(turn.need),
            need_spans=turn.need_spans,
            have_spans=turn.have_spans,
        )

    def _untold(self, ids: list[bytes]) -> list[bytes]:
        fresh = [identity for identity in dict.fromkeys(ids) if identity not in self._told]
        self._told.update(fresh)
        return fresh


class _Turn:
    """One message being answered, range by range, in the order of the set.

    The current range begins at `_bound`, its first member stands at `_position` (after a skip of the
    peer's: or later). Ranges that need no word leave `_silent`, and become one skip before the next
    that does.
    """

    def __init__(self, ranges: Ranges, profile: Profile, leaf: int, frame_limit: int) -> None:
        self.ranges = ranges
        self.profile = profile
        self.writer = Writer()
        self._leaf = leaf
        self._full = frame_limit - FRAME_SLACK if frame_limit else 1 << 62
        self._bound = START
        self._position = 0
        self._passed = False  # the peer skipped: `_position` lags behind `_bound`
        self._silent = False
        self._left = 0

    def run(self, message: bytes, limits: Limits) -> bytes:
        """The whole reply."""
        for part in read_ranges(message, limits):
            if part.mode == SKIP:
                self._silent = self._passed = True
            elif not self._answer(part):
                break
            self._bound = part.upper
        return bytes(self.writer.out)

    def _answer(self, part: Range) -> bool:
        """Answer one range; False when the message is full and the rest has been summed up."""
        start = self._position
        if self._passed:
            self._passed, start = False, self.ranges.lower_bound(self._bound, start)
        stop = self.ranges.lower_bound(part.upper, start)
        mark, silent = self.writer.mark(), self._silent
        self._left = part.left
        if part.mode == FINGERPRINT:
            self._compare(start, stop, part)
        else:
            start = stop = self._take_ids(start, stop, part)
            mark, silent = self.writer.mark(), self._silent
        self._position = stop
        if len(self.writer) <= self._full:
            return True
        self._sum_up_rest(mark, silent, start, stop)
        return False

    def _compare(self, start: int, stop: int, part: Range) -> None:
        own = fingerprint(self.ranges.sum(start, stop), stop - start)
        if own == part.payload:
            self._silent = True
        else:
            must_wait = self._must_wait()
            self._flush()
            if must_wait:
                self.writer.fingerprint(part.upper, own)
            else:
                self.split(start, stop, part.upper)

    def _take_ids(self, start: int, stop: int, part: Range) -> int:
        raise NotImplementedError

    def split(self, start: int, stop: int, upper: Bound) -> None:
        """Write own items start … stop as their ids, or as fingerprints of parts of the range."""
        count = stop - start
        if count < self._leaf:
            self.writer.id_list(upper, self._ids(start, stop))
            return
        buckets = min(self.profile.buckets, count // 2)
        size, larger = divmod(count, buckets)
        cuts = [start + i * size + min(i, larger) for i in range(1, buckets)]
        if self.profile.tuned and size >= BLOCK // 2:
            cuts = sorted({self.ranges.snap(start, stop, cut) for cut in cuts})
        self._fingerprints(start, [*cuts, stop], upper)

    def _fingerprints(self, start: int, cuts: list[int], upper: Bound) -> None:
        """One fingerprint per part start … cuts[0] … cuts[-1]; the last one reaches up to `upper`."""
        for cut in cuts[:-1]:
            self._fingerprint(start, cut, minimal_bound(self.ranges.key(cut - 1), self.ranges.key(cut)))
            start = cut
        self._fingerprint(start, cuts[-1], upper)

    def _fingerprint(self, start: int, stop: int, upper: Bound) -> None:
        self.writer.fingerprint(upper, fingerprint(self.ranges.sum(start, stop), stop - start))

    def _ids(self, start: int, stop: int) -> bytes:
        return b"".join([key[1] for key in self.ranges.keys(start, stop)])

    def _flush(self) -> None:
        if self._silent:
            self._silent = False
            self.writer.skip(self._bound)

    def _room(self) -> int:
        """Bytes that may be written for this range so that each one after it still has its own."""
        return self._full - len(self.writer) - min(self._left * 5 // 4, self._full // 2)

    def _must_wait(self) -> bool:
        """Whether this range is only named again, because the message is as good as full.

        Never so for the first one of a message, so that every round trip settles something.
        """
        return self.profile.tuned and self._room() < HEAD_SIZE * BLOCK

    def _sum_up_rest(self, mark: tuple[int, int], silent: bool, start: int, stop: int) -> None:
        """The frame limit: give up what came after `mark` and send one fingerprint for all of it.

        The reference sums from `stop` on although it has given up start … stop. If the peer lacks
        exactly those items the sums agree, and it never hears of them; so not in our profile.
        """
        self.writer.rewind(mark)
        if self.profile.tuned and silent:
            self.writer.skip(self._bound)
        self._fingerprint(start if self.profile.tuned else stop, self.ranges.size(), END)


class _Answer(_Turn):
    """The responder's: a list is answered by the own list, which tells the initiator what differs."""

    def _take_ids(self, start: int, stop: int, part: Range) -> int:
        if not self.profile.tuned:
            return self._list(start, stop, part.upper, (self._full - len(self.writer)) // ID_SIZE + 1)
        must_wait, room = self._must_wait(), self._room()
        self._flush()
        if must_wait:
            self._fingerprint(start, stop, part.upper)
        elif stop - start > BLOCK + len(part.payload) // ID_SIZE * 4 and part.payload:
            self._list_head(start, stop, part.upper)
        elif (cut := self._list(start, stop, part.upper, room // ID_SIZE)) < stop:
            self._fingerprint(cut, stop, part.upper)
        return stop

    def _list(self, start: int, stop: int, upper: Bound, most: int) -> int:
        """List at most that many of start … stop; the position behind the last one."""
        self._flush()
        cut = start + most
        if cut >= stop:
            self.writer.id_list(upper, self._ids(start, stop))
            return stop
        self.writer.id_list(self.ranges.key(cut), self._ids(start, cut))
        return cut

    def _list_head(self, start: int, stop: int, upper: Bound) -> None:
        """The peer has little where there is much here: most likely all that follows is new to it.

        Where it holds nothing it asks for the span. (Never for an empty list: an initiator of the
        reference answers fingerprints with that, again and again.)
        """
        head = start + HEAD_SIZE
        bound = minimal_bound(self.ranges.key(head - 1), self.ranges.key(head))
        self.writer.id_list(bound, self._ids(start, head))
        self.split(head, stop, upper)


class _Question(_Turn):
    """The initiator's: a list is compared with the own members of its range, and that range is done."""

    def __init__(self, ranges: Ranges, profile: Profile, leaf: int, frame_limit: int, window: int) -> None:
        super().__init__(ranges, profile, leaf, frame_limit)
        self._window = window
        self.have: list[bytes] = []
        self.need: list[bytes] = []
        self.need_spans: list[Span] = []
        self.have_spans: list[Span] = []

    def open(self) -> None:
        """The tuned first message: the newest item by id, fingerprints of ever larger ranges before it.

        An empty set says so with a fingerprint: a list would be answered by all that the peer has.
        """
        size = self.ranges.size()
        if not size:
            self.writer.fingerprint(END, EMPTY)
            return
        cuts, step = [size - 1], TAIL_STEP
        while (cut := cuts[-1] - step) > 0:
            cuts.append(self.ranges.snap(0, cuts[-1], cut) if step > BLOCK else cut)
            step *= TAIL_STEP
        if size > 1:
            last = minimal_bound(self.ranges.key(size - 2), self.ranges.key(size - 1))
            self._fingerprints(0, cuts[::-1], last)
        self.writer.id_list(END, self._ids(size - 1, size))

    def _room(self) -> int:
        return min(super()._room(), self._window - len(self.writer))

    def _compare(self, start: int, stop: int, part: Range) -> None:
        if self.profile.tuned and start == stop:
            self._silent = True
            if part.payload != EMPTY:
                self._need_span(part.upper)
        else:
            super()._compare(start, stop, part)

    def _need_span(self, upper: Bound) -> None:
        lower = self._bound
        if self.need_spans and self.need_spans[-1][1] == lower:
            lower = self.need_spans.pop()[0]
        self.need_spans.append((lower, upper))

    def _take_ids(self, start: int, stop: int, part: Range) -> int:
        self._silent = True
        theirs = dict.fromkeys(split_ids(part.payload))
        lacking = start  # own members from here on are unknown to the peer
        for page in range(start, stop, SPAN_SIZE):
            if not theirs:
                break
            for position, key in enumerate(self.ranges.keys(page, min(page + SPAN_SIZE, stop)), page):
                if key[1] in theirs:
                    del theirs[key[1]]
                    self._have(lacking, position, key)
                    lacking = position + 1
        self._have(lacking, stop, part.upper)
        self.need += theirs
        return stop

    def _have(self, start: int, stop: int, upper: Bound) -> None:
        """The peer lacks the own members start … stop, which lie below `upper`."""
        if self.profile.tuned and stop - start >= SPAN_SIZE:
            self.have_spans.append((self.ranges.key(start), upper))
        elif start < stop:
            self.have += [key[1] for key in self.ranges.keys(start, stop)]
