"""Who takes part in a channel, united over all live versions of its manifest (SEMANTICS §2.7).

The winner's list stays as it is, but for those that only a concurrent version knows: they are put
in, and then the list stands in the order of joining. A function of the set of versions: the same on
every device, and nothing is minted. What an entry is made of is not known here.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Any, Protocol, TypeVar


class Member(Protocol):
    """An entry of the list, as far as uniting looks at it."""

    @property
    def actor(self) -> Hashable:
        """Who it is about."""

    @property
    def order(self) -> tuple[Any, ...]:
        """When it joined, then who it is: a total order over different actors."""


M = TypeVar("M", bound=Member)


def unite(lists: Iterable[Sequence[M]]) -> list[M]:
    """The winner's entries and of each later list those whose actor no earlier one has.

    The lists come with the winner's first, then by falling stamp. If nothing is added the winner's
    order stays, otherwise all are ordered.
    """
    found: list[M] = []
    winners = None
    for entries in lists:
        known = {entry.actor for entry in found}
        found += [entry for entry in entries if entry.actor not in known]
        winners = len(found) if winners is None else winners
    return found if len(found) == winners else sorted(found, key=lambda entry: entry.order)
