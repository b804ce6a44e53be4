"""What a disk would still hold after the power failed: a model of names and contents.

Names change in a journal, as on ext4, XFS, Btrfs and APFS: the changes since the last honest fsync of
a directory that took part in them survive up to some point and not beyond. Contents survive as they
were at the last honest fsync of the file, and perhaps some of what came later. Pure but for reading a
file's bytes when it is synced.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

Place = tuple[int, str]
"""A name in a directory: the directory's number and the name."""


@dataclass(eq=False)
class Node:
    """A file or a directory, by whatever name."""

    number: int
    is_directory: bool
    durable: bytes = b""  # of a file: its bytes at the last honest fsync
    place: Place = (0, "")  # the last name that it was given


Change = list[tuple[Place, Node | None]]
"""What one call did to names, all at once; None = nothing has that name now."""


@dataclass
class Names:
    """Every name on a disk, as the program sees it and as it would be after a power loss."""

    nodes: dict[int, Node] = field(default_factory=dict)
    now: dict[Place, Node] = field(default_factory=dict)
    durable: dict[Place, Node] = field(default_factory=dict)
    pending: list[Change] = field(default_factory=list)

    def change(self, change: Change) -> None:
        """Names have changed."""
        _carry_out(self.now, change)
        self.pending.append(change)

    def synced(self, directory: int) -> None:
        """A directory was fsynced, honestly: its changes, and all before them, are durable."""
        touched = [n for n, each in enumerate(self.pending) if any(p[0] == directory for p, _ in each)]
        if touched:
            self._settle(touched[-1] + 1)

    def lose(self, dice: random.Random) -> int:
        """The power fails; returns how many changes of names were lost."""
        kept = dice.randint(0, len(self.pending)) if self.pending else 0
        lost = len(self.pending) - kept
        self._settle(kept)
        self.pending.clear()
        self.now = dict(self.durable)
        for place, node in self.now.items():
            node.place = place
        return lost

    def _settle(self, count: int) -> None:
        for change in self.pending[:count]:
            _carry_out(self.durable, change)
        del self.pending[:count]

    def place_of(self, node: Node) -> Place:
        """A name of this node, as the program sees it; raises `KeyError` if it has none."""
        if self.now.get(node.place) is not node:
            for place, each in self.now.items():
                if each is node:
                    node.place = place
                    break
            else:
                raise KeyError(node)
        return node.place

    def below(self, number: int) -> Iterator[tuple[Place, Node]]:
        """All names in a directory and under it, those above first."""
        for place, node in [*self.now.items()]:
            if place[0] == number:
                yield place, node
                if node.is_directory:
                    yield from self.below(node.number)


def _carry_out(names: dict[Place, Node], change: Change) -> None:
    for place, node in change:
        if node is None:
            names.pop(place, None)
        else:
            names[place] = node
            node.place = place


def surviving(node: Node, content: bytes, dice: random.Random) -> bytes:
    """The bytes of a file after a power loss: what was durable and perhaps some of what came later."""
    if content.startswith(node.durable):
        return content[: dice.randint(len(node.durable), len(content))]
    return content if dice.random() < 0.5 else node.durable
