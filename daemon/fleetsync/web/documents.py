"""Documents of CLI.md that both the daemon and commands without it produce. Pure and light to import."""

from __future__ import annotations

from typing import Any

import msgspec

from fleetsync.merge.register import Stamp
from fleetsync.records import timestamps
from fleetsync.replica.journal import HistoryEntry


def history_document(entry: HistoryEntry) -> dict[str, Any]:
    """One entry of history."""
    return {
        "path": entry.path,
        "version": entry.version,
        "kind": entry.kind,
        "at": time_text(entry.at),
        "stamp": _stamp(entry.stamp),
        "from_device": entry.from_device,
        "size": entry.size,
        "sha256": entry.sha256,
    }


def _stamp(raw: bytes | None) -> dict[str, Any] | None:
    """What decided between versions: two times, the device and the content's hash; None if nothing did."""
    if raw is None:
        return None
    stamp = msgspec.msgpack.decode(raw, type=Stamp)
    return {
        "effective": time_text(stamp.effective),
        "hybrid": time_text(stamp.hybrid),
        "device": stamp.device,
        "sha256": stamp.digest.hex(),
    }


def time_text(micros: int) -> str:
    """µs since 1970 as RFC 3339 UTC."""
    return timestamps.at(micros * 1000).canonical
