"""The `status` and peer documents of CLI.md, from the values of the engine.

Pure: the time comes in, nothing is asked of anyone. Rule of the file: exactly the keys of CLI.md;
times are RFC 3339 UTC with `Z`, durations seconds, ids full strings, unknown is null.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from fleetsync.errors import ClonedDevice, HomeMissing, LocalError, SafetyStop
from fleetsync.ports import Alert, Condition, Head, HomeState
from fleetsync.records.names import DeviceId
from fleetsync.sync.exchange import Exchange
from fleetsync.sync.views import EngineView, PeerView

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Device:
    """What `status` says of this device and does not change while it runs."""

    id: DeviceId
    name: str
    version: str
    listen: str
    home: str


def status_document(
    device: Device, view: EngineView, addresses: Mapping[DeviceId, Sequence[str]], now: float
) -> Document:
    """The document of `fleetsync status`; `now` in seconds since 1970."""
    condition = view.condition
    return {
        "device": {
            "id": device.id,
            "name": device.name,
            "version": device.version,
            "listen": device.listen,
        },
        "home": {
            "path": device.home,
            "items": view.head.count,
            "fingerprint": view.head.fingerprint.hex(),
            "state": str(home_state(condition, view.trouble)),
        },
        "peers": [peer_document(peer, view.head, addresses.get(peer.device, ()), now) for peer in view.peers],
        "parked": condition.parked,
        "parked_for": condition.parked_for,
        "kept_here": condition.kept_here,
        "held": condition.held,
        "refused": condition.refused,
        "malformed": condition.malformed,
        "collisions": condition.collisions,
        "alerts": [msgspec.to_builtins(alert) for alert in alerts(view, now)],
    }


def peer_document(peer: PeerView, local: Head, addresses: Sequence[str], now: float) -> Document:
    """One peer as scripts see it."""
    return {
        "id": peer.device,
        "name": peer.name,
        "addresses": list(addresses),
        "state": str(peer.state),
        "direction": str(peer.direction),
        "converged": peer.converged,
        "last_converged_at": None if peer.converged_at is None else rfc3339(peer.converged_at),
        "items_local": (peer.local or local).count,
        "items_remote": peer.remote.count if peer.remote else None,
        "fingerprint_local": (peer.local or local).fingerprint.hex(),
        "fingerprint_remote": peer.remote.fingerprint.hex() if peer.remote else None,
        "lag_seconds": peer.unsent_seconds,
        "clock_offset_seconds": peer.clock_offset,
        "stale": peer.stale(now),
        "excluded": list(peer.excluded),
        "error": str(peer.error) if peer.error else None,
        "error_code": peer.error.code if peer.error else None,
        "error_next": peer.error.next if peer.error else None,
    }


def exchange_document(exchange: Exchange) -> Document:
    """One row of `fleetsync sync`."""
    return {
        "id": exchange.peer,
        "outcome": str(exchange.ending),
        "received": exchange.received,
        "sent": exchange.sent,
        "bytes_in": exchange.traffic.bytes_in,
        "bytes_out": exchange.traffic.bytes_out,
        "round_trips": exchange.traffic.round_trips,
        "seconds": exchange.seconds,
        "error": str(exchange.error) if exchange.error else None,
    }


def preview_document(exchange: Exchange) -> Document:
    """One row of `fleetsync sync --dry-run`."""
    return {
        "id": exchange.peer,
        "would_receive": _by_path(exchange.would_receive),
        "would_send": _by_path(exchange.would_send),
        "error": str(exchange.error) if exchange.error else None,
    }


def home_state(condition: Condition, trouble: LocalError | None) -> HomeState:
    """How home is; trouble in reading it weighs more than what was known before."""
    if isinstance(trouble, HomeMissing):
        return HomeState.MISSING
    if isinstance(trouble, SafetyStop):
        return HomeState.GUARDED
    return condition.state if trouble is None else HomeState.DEGRADED


def alerts(view: EngineView, now: float) -> list[Alert]:
    """Everything that a person should know now."""
    found = list(view.condition.alerts)
    if view.trouble is not None and all(alert.code != view.trouble.code for alert in found):
        trouble = view.trouble
        found.append(Alert(trouble.code, trouble.title(), trouble.message, trouble.next))
    found += [_stale_alert(peer, now) for peer in view.peers if peer.stale(now)]
    found += [_clone_alert(peer.error) for peer in view.peers if isinstance(peer.error, ClonedDevice)]
    return found


def rfc3339(seconds: float) -> str:
    """Wall time as text, to the millisecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _stale_alert(peer: PeerView, now: float) -> Alert:
    hours = peer.waiting(now) / 3600
    detail = f"{peer.name} has not converged for {hours:.0f} hours"
    if peer.error is not None:
        detail += f": {peer.error}"
    return Alert("peer-stale", "A peer has not converged for a day.", detail, "fleetsync sync")


def _clone_alert(error: ClonedDevice) -> Alert:
    return Alert(error.code, error.title(), error.message, error.next)


def _by_path(counts: Mapping[str, int]) -> list[Document]:
    return [{"path": path, "items": items} for path, items in sorted(counts.items())]
