"""Errors as HTTP statuses, and back.

One table. A served request that fails answers with the status of the nearest class in it and a
`Refusal` that carries the code; the caller turns the code into an error of its own. What is local
trouble over there is `PeerInTrouble` here: a peer can never make this device doubt its own disk.
Implements docs/protocol.md, "Failures".
"""

from __future__ import annotations

from fleetsync.errors import (
    ClonedDevice,
    DishonestPeer,
    FleetsyncError,
    LocalError,
    LockBusy,
    MalformedMessage,
    MalformedRecord,
    NotFound,
    NotTrusted,
    PeerError,
    PeerInTrouble,
    ProtocolMismatch,
    StorageFailed,
    TooLarge,
    UnknownRequest,
    Unresponsive,
)
from fleetsync.wire.messages import Refusal

MAX_SHOWN = 500

STATUSES: dict[type[FleetsyncError], int] = {
    MalformedMessage: 400,
    NotTrusted: 403,
    NotFound: 404,
    Unresponsive: 408,
    ClonedDevice: 409,
    TooLarge: 413,
    MalformedRecord: 422,
    DishonestPeer: 422,
    ProtocolMismatch: 426,
    PeerError: 400,
    LockBusy: 503,
    StorageFailed: 507,
    LocalError: 503,
    FleetsyncError: 500,
}

_KNOWN: dict[str, type[PeerError]] = {
    kind.code: kind
    for kind in (
        ClonedDevice,
        DishonestPeer,
        MalformedMessage,
        NotTrusted,
        ProtocolMismatch,
        TooLarge,
        Unresponsive,
    )
} | {NotFound.code: UnknownRequest}


def status_of(error: FleetsyncError) -> int:
    """The HTTP status of the nearest class of this error in the table."""
    return next(STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES)


def shown(text: str) -> str:
    """What another device says, as it may be shown and logged: at most 500 characters, none that acts on a
    terminal.
    """
    text = text[:MAX_SHOWN]
    return text if text.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in text)


def error_of(refusal: Refusal, name: str) -> PeerError:
    """The error to raise here for what the peer called `name` refused."""
    text = f"{name} answers: {shown(refusal.message)}"
    return _KNOWN.get(refusal.code, PeerInTrouble)(text)
