"""What this device and one peer both carry, and which way items may travel between them.

Each side says for itself what it leaves out; neither ever needs to know why. An accord is what has been
heard of the peer, and the private skills that the peer itself has named: only these are told to it, so
that both can leave them out. Rule of the file: it remembers and derives; it sends nothing.
Implements SEMANTICS §1.4, docs/protocol.md "What both carry".
"""

from __future__ import annotations

from collections.abc import Iterable

from fleetsync.devices.notes import Direction
from fleetsync.selection import EVERYTHING, Selection, as_told
from fleetsync.sync.exchange import RECEIVE_ONLY, SEND_ONLY
from fleetsync.wire.messages import Terms

MAX_NAMED = 10_000
"""Private skills whose names are heard of one peer; what it names beyond is declined all the same."""
_WORDS: dict[Direction, list[str]] = {
    Direction.BOTH: [],
    Direction.RECEIVE: [RECEIVE_ONLY],
    Direction.SEND: [SEND_ONLY],
}


class Accord:
    """What has been heard of one peer; everything, before it has said a word."""

    def __init__(self) -> None:
        self.theirs: Selection = EVERYTHING
        """What the peer carries; of what this device carries too, this is the part to compare."""
        self.gives = True
        """Whether the peer lets items travel to this device."""
        self.takes = True
        """Whether the peer takes items of this device."""
        self.told = 0
        """How often the peer has said so without being asked."""
        self.said: tuple[Selection, Direction] | None = None
        """What this device carries and which way it lets items travel, as the peer has been told last."""
        self._named: set[str] = set()

    @property
    def is_one_way(self) -> bool:
        """Whether the peer lets items travel in one direction only."""
        return not (self.gives and self.takes)

    @property
    def heard(self) -> tuple[Selection, bool, bool]:
        """What the peer has said, to compare with what it says later."""
        return self.theirs, self.gives, self.takes

    def hear(self, excluded: Iterable[str], capabilities: Iterable[str]) -> None:
        """What the peer said of itself last is what counts."""
        self.told += 1
        self._note(excluded, capabilities)

    def hear_answer(self, excluded: Iterable[str], capabilities: Iterable[str], *, told: int) -> None:
        """The same as the answer to a question that was asked when `told` was that. What the peer has said
        by itself since then is newer: it does so whenever it changes its mind.
        """
        if told == self.told:
            self._note(excluded, capabilities)

    def _note(self, excluded: Iterable[str], capabilities: Iterable[str]) -> None:
        words = set(capabilities)
        self.theirs = as_told(excluded)
        self.gives, self.takes = RECEIVE_ONLY not in words, SEND_ONLY not in words

    def named(self, selection: Selection, path: str) -> None:
        """The peer has named a path that is not carried here: it may hear that this is so."""
        skill = selection.private_skill(path)
        if skill is not None and len(self._named) < MAX_NAMED:
            self._named.add(skill)

    def terms(self, selection: Selection, direction: Direction) -> Terms:
        """What this device says of itself to the peer."""
        return Terms(selection.rules_for(self._named), _WORDS[direction])
