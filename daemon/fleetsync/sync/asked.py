"""What was asked of a peer by id, held against what it gives.

A peer that is asked for items by id must give bodies with these ids and no others. Anything else is
`DishonestPeer`, and nothing of that batch is applied (SEMANTICS §1.6, §7.4). What comes for a span
is not checked here: whether a span is complete only a new comparison shows, and computing every id
twice would double the cost of a first sync. A body that cannot be keyed is left to storage to refuse.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from fleetsync.errors import DishonestPeer, MalformedRecord, TooLarge
from fleetsync.ports import Group, Key


class Asked:
    """The open question to one peer: the ids that have not come yet."""

    def __init__(self, peer: str, identify: Callable[[str, bytes], Key], ids: Iterable[bytes]) -> None:
        self.missing = set(ids)
        self._peer = peer
        self._identify = identify

    def check(self, groups: Sequence[Group]) -> None:
        """These bodies have come; raises `DishonestPeer` if one was not asked for, or came before."""
        for group in groups:
            for body in group.bodies:
                self._check_one(group.path, body)

    def _check_one(self, path: str, body: bytes) -> None:
        try:
            identity = self._identify(path, body).id
        except (MalformedRecord, TooLarge):
            return
        if identity not in self.missing:
            raise DishonestPeer(f"{self._peer} gave an item of {path} that was not asked for, or gave two")
        self.missing.discard(identity)
