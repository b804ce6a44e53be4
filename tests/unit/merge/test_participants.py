"""Uniting participants is a function of the versions, whatever an entry is made of."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from fleetsync.merge.participants import unite


class Entry(NamedTuple):
    """An actor and when it joined."""

    actor: str
    joined: int

    @property
    def order(self) -> tuple[int, str]:
        """By time, then by actor."""
        return self.joined, self.actor


ENTRIES = st.lists(
    st.builds(Entry, st.sampled_from("abcdef"), st.integers(0, 5)), unique_by=lambda e: e.actor
)


@given(st.lists(ENTRIES, max_size=4))
def test_everybody_is_there_once(lists: list[list[Entry]]) -> None:
    """Each actor as the first version that knows it says."""
    united = unite(lists)
    assert {entry.actor for entry in united} == {entry.actor for entries in lists for entry in entries}
    for entry in united:
        assert entry == next(e for entries in lists for e in entries if e.actor == entry.actor)
    assert len({entry.actor for entry in united}) == len(united)


@given(ENTRIES, st.lists(ENTRIES, max_size=4))
def test_an_order_for_additions_only(winner: list[Entry], others: list[list[Entry]]) -> None:
    """The winner's list stays as it is unless somebody is added; then all stand in order of joining."""
    united = unite([winner, *others])
    assert united == (winner if len(united) == len(winner) else sorted(united, key=lambda e: e.order))


@given(st.lists(ENTRIES, min_size=1, max_size=4))
def test_uniting_again_adds_nothing(lists: list[list[Entry]]) -> None:
    """What was united already is what comes out."""
    united = unite(lists)
    assert unite([united, *lists]) == united


def test_nobody() -> None:
    """No versions, no participants."""
    assert unite([]) == unite([[]]) == []
