"""The guard: many things gone at once, or gone back in time, are more likely an accident than a wish.
So is more from one peer than `allowance.py` allows; of that alone nothing else is held back.

Rule of the file: it only decides and remembers. While it holds, nothing is minted or applied; a
person confirms or undoes with one command (SEMANTICS §2.5, §3.5).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum

import msgspec

from fleetsync.replica.allowance import Allowance
from fleetsync.replica.journal import Journal

WINDOW = 600_000_000
"""µs within which deletions count together."""
FEW = 5
"""So many at once are always taken for a wish."""
SHARE = 5
"""One in so many may go at once."""
_HELD, _RECENT = "guard", "recent-deletions"
_NONE: Mapping[str, str] = {}


class Cause(StrEnum):
    """Why the guard holds; in the order in which a person is asked."""

    DELETED_HERE = "deleted-here"
    DELETED_ELSEWHERE = "deleted-elsewhere"
    RESTORED = "restored"
    FLOODED = "flooded"


class Held(msgspec.Struct, frozen=True, array_like=True):
    """What a person is asked about: register paths, and why. Of a restored home also what it held: the
    SHA-256 of the values, which are in history.
    """

    cause: Cause
    paths: list[str]
    digests: dict[str, str] = {}


class Guard:
    """Counts deletions and holds back what is too much; `now` gives µs since 1970."""

    def __init__(self, journal: Journal, now: Callable[[], int]) -> None:
        self._journal = journal
        self._now = now
        self.allowance = Allowance(journal, now)
        self._asked = {each.cause: each for each in _decoded(journal.get(_HELD))}

    @property
    def held(self) -> Held | None:
        """What a person is asked about first; the next question follows when this one is answered."""
        return next((self._asked[cause] for cause in Cause if cause in self._asked), None)

    def asks(self, cause: Cause) -> bool:
        """Whether a person is asked, now or next, because of this."""
        return cause in self._asked

    @property
    def stops(self) -> bool:
        """Whether nothing may be minted or applied; a restored home is only told of."""
        return self.held is not None and self.held.cause is not Cause.RESTORED

    def allows(self, dataset: str, units: int, total: int) -> bool:
        """Whether `units` more directories of a dataset that has `total` may go now."""
        recent = sum(count for at, name, count in self._recent() if name == dataset)
        return recent + units <= max(FEW, total // SHARE)

    def note(self, dataset: str, units: int) -> None:
        """So many directories of a dataset have just gone."""
        rows = [*self._recent(), (self._now(), dataset, units)]
        self._journal.put(_RECENT, msgspec.msgpack.encode(rows))

    def hold(self, cause: Cause, paths: Iterable[str], digests: Mapping[str, str] = _NONE) -> None:
        """Stop and ask; what was asked about already stays asked about."""
        before = self._asked.get(cause, Held(cause, []))
        asked = sorted({*before.paths, *paths})
        self._asked[cause] = Held(cause, asked, {**before.digests, **digests})
        self._remember()

    def release(self) -> None:
        """A person has decided what was asked first, and it is done."""
        held = self.held
        if held is not None:
            del self._asked[held.cause]
        self._remember()
        self._journal.drop(_RECENT)

    def _remember(self) -> None:
        if self._asked:
            self._journal.put(_HELD, msgspec.msgpack.encode(list(self._asked.values())))
        else:
            self._journal.drop(_HELD)

    def _recent(self) -> list[tuple[int, str, int]]:
        raw = self._journal.get(_RECENT)
        rows = msgspec.msgpack.decode(raw, type=list[tuple[int, str, int]]) if raw else []
        return [row for row in rows if row[0] > self._now() - WINDOW]


def _decoded(raw: bytes | None) -> list[Held]:
    if raw is None:
        return []
    try:
        return msgspec.msgpack.decode(raw, type=list[Held])
    except msgspec.ValidationError:  # earlier journals hold one question
        return [msgspec.msgpack.decode(raw, type=Held)]
