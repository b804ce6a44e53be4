"""This device as its peers meet it: its card, its desk and its half of the trust.

Session, responder and engine share one `LocalDevice`; time and randomness come in with it. What it
refuses to know: who the peers are, and how messages travel.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Protocol

from fleetsync import datasets
from fleetsync.ports import Head, Key
from fleetsync.records.names import DeviceId
from fleetsync.selection import EVERYTHING, Selection
from fleetsync.sync.offload import Desk
from fleetsync.sync.tempo import Tempo
from fleetsync.wire.messages import PROTOCOL_MAX, PROTOCOL_MIN, Hello, RosterOffer, Terms


class RosterBook(Protocol):
    """The roster of this device: who belongs to the fleet, and who says so (SEMANTICS §7.1)."""

    def digest(self) -> bytes:
        """8 bytes that are equal on two devices when their rosters are."""

    def offer(self) -> RosterOffer:
        """All that this device knows of the roster."""

    async def take(self, offer: RosterOffer, sender: DeviceId) -> bool:
        """Believe what may be believed of a peer's roster; True if that changed who is trusted."""

    def trusts(self, device: DeviceId) -> bool:
        """Whether that device belongs to the fleet now."""


@dataclass(frozen=True, slots=True)
class Card:
    """What this device says of itself in a hello."""

    device: DeviceId
    name: str
    instance: bytes  # 8 bytes, new at each installation of the state directory


Meet = Callable[[DeviceId, bytes, Collection[bytes]], None]
"""Told the instance of each device met, and which instances of it are connected now; raises
`ClonedDevice` for two machines with one key.
"""


@dataclass
class LocalDevice:
    """This device. `card` and `selection` may be replaced at run time (a new name, another choice)."""

    card: Card
    desk: Desk
    roster: RosterBook
    wall: Callable[[], float]  # seconds since 1970
    monotonic: Callable[[], float]  # seconds, never set back
    random: Callable[[], float]  # 0 … 1
    meet: Meet
    identify: Callable[[str, bytes], Key] = field(default=datasets.identify)
    tempo: Tempo = field(default_factory=Tempo)
    selection: Selection = EVERYTHING

    def hello(self, head: Head, highest_dot: int, terms: Terms) -> Hello:
        """The card, the terms and the state of the set, as a peer is told."""
        return Hello(
            device=self.card.device,
            name=self.card.name,
            protocol_min=PROTOCOL_MIN,
            protocol_max=PROTOCOL_MAX,
            capabilities=terms.capabilities,
            clock=int(self.wall() * 1e6),
            head=head,
            instance=self.card.instance,
            roster=self.roster.digest(),
            highest_dot=highest_dot,
            excluded=terms.excluded,
        )
