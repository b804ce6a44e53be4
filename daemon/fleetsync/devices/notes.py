"""What this device remembers of another: names, addresses, times, the instance it has shown.

Nothing here is trust and nothing is signed; it is what makes a peer findable and showable. Rule of the
file: frozen values and pure functions; what a peer says of itself is kept only if it can be shown or
dialled. `trust.py` keeps the notes on disk. Implements SEMANTICS §7.3.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from enum import StrEnum

import msgspec

from fleetsync.devices.roster import require_device_name
from fleetsync.errors import MalformedRecord
from fleetsync.records.names import DeviceId

MAX_ADDRESSES = 8
MAX_INSTANCES = 16
_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}(%[A-Za-z0-9._-]{1,32})?\]|[A-Za-z0-9._-]{1,253}):\d{1,5}")


class Direction(StrEnum):
    """Which way items may travel between this device and a peer, seen from this device."""

    BOTH = "both"
    RECEIVE = "receive"
    SEND = "send"

    @property
    def receives(self) -> bool:
        """Whether items of the peer are taken."""
        return self is not Direction.SEND

    @property
    def sends(self) -> bool:
        """Whether items are given to the peer."""
        return self is not Direction.RECEIVE


class PeerNote(msgspec.Struct, frozen=True):
    """What this device remembers of another. Times are seconds since 1970, None = never."""

    device: DeviceId
    name: str = ""  # what it calls itself, as far as known
    alias: str = ""  # what the person here calls it
    addresses: tuple[str, ...] = ()  # "host:port", most recent first
    paused: bool = False
    direction: Direction = Direction.BOTH
    last_converged_at: float | None = None
    last_contact: float | None = None
    known_since: float | None = None
    instances: tuple[bytes, ...] = ()  # instance nonces it has shown, newest last

    @property
    def title(self) -> str:
        """How it is shown."""
        return self.alias or self.name or self.device[:7]

    def met(self, now: float, address: str, name: str) -> PeerNote:
        """After contact, perhaps at an address that it listens on, perhaps under a new name."""
        return msgspec.structs.replace(
            self,
            last_contact=now,
            addresses=usable_addresses([address, *self.addresses]),
            name=_showable(name) or self.name,
        )

    def also_at(self, addresses: Sequence[str]) -> PeerNote:
        """With addresses from hearsay: worth a try after what this device knows itself."""
        return msgspec.structs.replace(self, addresses=usable_addresses([*self.addresses, *addresses]))


def usable_addresses(texts: Iterable[str]) -> tuple[str, ...]:
    """Those that can be addresses, each once, as many as are worth trying."""
    return tuple(dict.fromkeys(text for text in texts if _ADDRESS.fullmatch(text)))[:MAX_ADDRESSES]


def judge_instance(seen: Sequence[bytes], live: Collection[bytes], nonce: bytes) -> tuple[bytes, ...] | None:
    """The nonces seen of a device once it shows `nonce`; None if a clone must be showing it.

    `live` are the nonces of its connections that are open now. A state directory that was restored or
    moved shows a new nonce, once; two that take turns, or live side by side, are two machines.
    """
    if set(live) - {nonce} or nonce in seen[:-1]:
        return None
    return tuple(seen) if nonce in seen else (*seen, nonce)[-MAX_INSTANCES:]


def _showable(name: str) -> str:
    try:
        return require_device_name(name)
    except MalformedRecord:
        return ""
