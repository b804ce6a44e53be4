"""Set union of two logs: what merging a log means.

A member is known by its key alone; of several bodies with one key the least in the total order is
kept, so the result is a function of the set: commutative, associative, idempotent, whatever repeats
inside either side. The order is by time first, so the result can be read from top to bottom. What
an event is made of is not known here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar


class Member(Protocol):
    """Anything that can stand in a merged log."""

    @property
    def dedup_key(self) -> str:
        """Equal keys are one member."""

    @property
    def order(self) -> tuple[int, int, str, bytes]:
        """A total order by time; equal only for members that say the same."""


M = TypeVar("M", bound=Member)


def union_events(a: Iterable[M], b: Iterable[M] = ()) -> list[M]:
    """All members of both, each once, in order."""
    kept: dict[str, M] = {}
    for side in (a, b):
        for member in side:
            rival = kept.setdefault(member.dedup_key, member)
            if rival is not member and member.order < rival.order:
                kept[member.dedup_key] = member
    return sorted(kept.values(), key=lambda member: member.order)
