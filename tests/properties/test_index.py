"""The index behaves like a sorted list of members, whatever is done to it and whenever it restarts."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from fleetsync.merge.fingerprint import fingerprint
from fleetsync.merge.ranges import ListRanges
from fleetsync.merge.reconcile import Initiator, respond
from fleetsync.ports import Bound, Head, Key
from fleetsync.replica.index import Entry, Index
from fleetsync.selection import Selection

NUMBERS = st.integers(0, 4000)


def entry(number: int) -> Entry:
    """Item `number`; forty in a row share a timestamp, every eighth starts a block."""
    identity = sha256(str(number).encode()).digest()
    identity = identity[:31] + (b"\0" if number % 8 == 0 else identity[31:])
    return Entry(Key(number // 40, identity), f"path-{number % 5}", number, 1, None)


class IndexMachine(RuleBasedStateMachine):
    """Add, remove, fail, restart."""

    @initialize()
    def start(self) -> None:
        """An empty index and an empty model."""
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name, "index.db")
        self.index = Index.open(self.path, bytes)
        self.model: dict[bytes, Entry] = {}
        self.arrival = 0

    @rule(start=NUMBERS, length=st.integers(1, 1500), step=st.integers(1, 5), backwards=st.booleans())
    def add(self, start: int, length: int, step: int, backwards: bool) -> None:
        """A run of lines, some of them known."""
        given = [entry(number) for number in range(start, start + length, step)]
        if backwards:
            given.reverse()
        new = [one for one in given if one.key.id not in self.model]
        expected = [one._replace(arrival=self.arrival + n) for n, one in enumerate(new, 1)]
        assert self.index.add(given) == expected
        self.arrival += len(new)
        self.model.update((one.key.id, one) for one in expected)

    @rule(start=NUMBERS, length=st.integers(1, 1500), step=st.integers(1, 7))
    def remove(self, start: int, length: int, step: int) -> None:
        """Lines that may or may not be members."""
        gone = [entry(number).key.id for number in range(start, start + length, step)]
        self.index.remove(gone)
        for identity in gone:
            self.model.pop(identity, None)

    @rule(start=NUMBERS)
    def fail(self, start: int) -> None:
        """A transaction that does not reach its end."""
        with suppress(ZeroDivisionError), self.index.transaction():
            self.index.add([entry(number) for number in range(start, start + 300)])
            self.index.remove(list(self.model)[:100])
            _ = 1 / 0

    @rule()
    def restart(self) -> None:
        """Closed and opened again."""
        self.index.close()
        self.index = Index.open(self.path, bytes)

    @rule(start=NUMBERS, length=st.integers(1, 300))
    def look_up(self, start: int, length: int) -> None:
        """By id, and in key order."""
        asked = [entry(number).key.id for number in range(start, start + length)]
        assert self.index.find(asked) == [self.model[i] for i in asked if i in self.model]
        assert self.index.has(asked) == self.model.keys() & set(asked)
        lower, upper = Bound(*entry(start).key), Bound(*entry(start + length).key)
        found = [one for page in self.index.between(lower, upper) for one in page]
        assert found == sorted(one for one in self.model.values() if lower <= one.key < upper)

    @rule(missing=st.integers(1, 50))
    def reconcile(self, missing: int) -> None:
        """With a peer that lacks some members, through the index's own ranges."""
        peer = ListRanges(one.key for one in list(self.model.values())[missing:])
        initiator = Initiator()
        message: bytes | None = initiator.initiate(peer)
        need, spans = set[bytes](), []
        while message is not None:
            step = initiator.receive(peer, respond(self.index.ranges(), message))
            need |= set(step.need)
            spans += step.need_spans
            message = step.message
        need |= {one.key.id for one in self.model.values() if any(a <= one.key < b for a, b in spans)}
        assert need == set(list(self.model)[:missing])

    @rule(kept=st.sets(st.integers(0, 4)))
    def leave_out(self, kept: set[int]) -> None:
        """A part of the set is what a list of its members would be, in every answer."""
        carried = Selection(("**", *(f"!path-{number}" for number in sorted(kept))))
        keys = sorted(one.key for one in self.model.values() if carried.carries(one.path))
        listed, ranges = ListRanges(keys), self.index.ranges(carried)
        count = len(keys)
        head = self.index.head(carried)
        assert (head.count, head.fingerprint) == (count, fingerprint(listed.sum(0, count), count))
        assert ranges.size() == count
        assert ranges.keys(0, count) == keys
        for at in range(0, count, 1 + count // 7):
            assert ranges.key(at) == keys[at]
            assert ranges.keys(at // 3, at) == keys[at // 3 : at]
            assert ranges.sum(at // 2, count - at // 3) == listed.sum(at // 2, count - at // 3)
            assert ranges.lower_bound(keys[at], at // 2) == at
            assert ranges.lower_bound((keys[at].ts, b"")) == listed.lower_bound((keys[at].ts, b""))
            assert 0 <= ranges.snap(0, count, at) <= count

    @invariant()
    def agrees(self) -> None:
        """Head, order, positions and sums are those of the sorted list."""
        keys = sorted(one.key for one in self.model.values())
        listed, ranges = ListRanges(keys), self.index.ranges()
        total = listed.sum(0, len(keys))
        assert self.index.head() == Head(bytes(8), self.arrival, len(keys), fingerprint(total, len(keys)))
        assert ranges.keys(0, len(keys)) == keys
        for at in range(0, len(keys), 1 + len(keys) // 9):
            assert ranges.sum(at // 2, len(keys) - at // 3) == listed.sum(at // 2, len(keys) - at // 3)
            assert ranges.lower_bound(keys[at]) == at

    def teardown(self) -> None:
        """Sound to the end."""
        self.index.check()
        self.index.close()
        self.folder.cleanup()


IndexMachine.TestCase.settings = settings(max_examples=25, stateful_step_count=20)
TestIndex = IndexMachine.TestCase
