"""Union looks at keys and order only, never at what a member is."""

from __future__ import annotations

from typing import NamedTuple

from fleetsync.merge.union import union_events


class Thing(NamedTuple):
    """A member of the simplest kind."""

    dedup_key: str
    time: int
    body: bytes = b""

    @property
    def order(self) -> tuple[int, int, str, bytes]:
        """By time, key and body."""
        return self.time, 0, self.dedup_key, self.body


def test_nothing_and_nothing_is_nothing() -> None:
    """Empty logs merge to an empty log."""
    assert union_events([], []) == []


def test_repeated_members_stand_once() -> None:
    """Inside the first, inside the second, and in both."""
    a, b = Thing("a", 2), Thing("b", 1)
    assert union_events([a, a, b], [b, b, a]) == [b, a]
    assert union_events([a, a]) == [a]


def test_one_key_keeps_the_least_body_from_whichever_side() -> None:
    """Not the first seen: that would depend on who asks."""
    early, late = Thing("k", 1, b"y"), Thing("k", 1, b"z")
    assert union_events([late], [early]) == union_events([early], [late]) == [early]


def test_equal_times_are_ordered_by_key() -> None:
    """The order is total, so two devices print the same log."""
    assert union_events([Thing("b", 1)], [Thing("a", 1)]) == [Thing("a", 1), Thing("b", 1)]
