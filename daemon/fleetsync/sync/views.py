"""How things stand, as values: what `status` is made of and what the engine hands out.

Pure: derived words such as *converged* and *stale* are functions of what was seen and of the time
(SEMANTICS §6.1, DESIGN §5.8).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from fleetsync.devices.notes import Direction
from fleetsync.errors import FleetsyncError, LocalError
from fleetsync.ports import Condition, Head
from fleetsync.records.names import DeviceId
from fleetsync.sync.tempo import Tempo


class PeerState(StrEnum):
    """How the connection to a peer is."""

    CONNECTED = "connected"
    CONNECTING = "connecting"
    OFFLINE = "offline"
    PAUSED = "paused"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class PeerView:
    """What is known of a peer at one instant; times are wall seconds since 1970."""

    device: DeviceId
    name: str
    state: PeerState
    direction: Direction
    cut_proven: bool  # by the last exchange, or by equal sets since
    unsent_seconds: float | None  # age of the oldest unsent item; None before the first exchange
    converged_at: float | None  # when a cut was last proven
    known_since: float
    remote: Head | None
    clock_offset: float | None
    error: FleetsyncError | None
    tempo: Tempo = field(default_factory=Tempo)
    local: Head | None = None  # of the part of this device's set that the peer carries too
    excluded: tuple[str, ...] = ()  # what the peer does not carry, by its own words

    @property
    def converged(self) -> bool:
        """The last cut succeeded and nothing is older than twice the push interval."""
        return self.cut_proven and (self.unsent_seconds or 0.0) <= self.tempo.lag

    def stale(self, now: float) -> bool:
        """Whether it has not converged for a day; a peer that a person paused is not stale."""
        return self.waiting(now) > self.tempo.stale and self.state is not PeerState.PAUSED

    def waiting(self, now: float) -> float:
        """Seconds since it converged last or, if it never did, since it is known. A time ahead of the clock,
        which was wrong then, says nothing.
        """
        moments = (at for at in (self.converged_at, self.known_since) if at is not None and at <= now)
        return now - next(moments, now)


@dataclass(frozen=True, slots=True)
class EngineView:
    """Everything that the engine knows, at one instant.

    `trouble` is why home could not be read the last time.
    """

    head: Head
    condition: Condition
    trouble: LocalError | None
    peers: tuple[PeerView, ...]
