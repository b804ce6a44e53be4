"""`Daemon`: the running daemon as its user's commands see it.

A port: `app/house.py` implements it, `web/control.py` serves it, tests serve a fake. Documents are those
of CLI.md, as plain values ready to be written as JSON; every call may raise `FleetsyncError`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, Protocol

import msgspec

from fleetsync.devices.notes import Direction
from fleetsync.records.names import ReplicaPath

Document = dict[str, Any]
"""One of the documents of CLI.md, ready to be written as JSON."""


class Paired(msgspec.Struct, frozen=True):
    """A finished pairing: what `Daemon.adopt` makes a peer of. Bytes travel as base64."""

    certificate: bytes  # DER, as proven by the conversation
    name: str
    addresses: list[str]  # "host:port", most likely first
    records: list[bytes]  # roster records to take in, the vouch for the new device among them


class Daemon(Protocol):
    """What the running daemon can be asked.

    Every call may raise `FleetsyncError`. `peer` is as a person names it: a name, an id or the
    beginning of an id; `NotFound` for none, `UserError` for several. What changes a peer answers with
    its document as it is then.
    """

    async def status(self) -> Document:
        """The `status` document of CLI.md."""

    async def peers(self) -> Sequence[Document]:
        """The peer documents, in the order in which they are shown."""

    async def pause(self, peer: str) -> Document:
        """Exchange nothing with that peer until resumed; survives a restart. Idempotent."""

    async def resume(self, peer: str) -> Document:
        """Undo `pause` and exchange at once. Idempotent."""

    async def rename(self, peer: str, name: str) -> Document:
        """Call that peer so on this device."""

    async def direct(self, peer: str, direction: Direction) -> Document:
        """Let items travel both ways, or only receive them from that peer, or only send them to it;
        survives a restart, counts at once. Idempotent.
        """

    async def remove(self, peer: str) -> Document:
        """Distrust that device, drop its connections and tell the fleet; its document as it was."""

    async def adopt(self, paired: Paired) -> Document:
        """Trust a device that has just been paired and exchange with it at once; its peer document."""

    def sync(self, peer: str | None, wait: float | None) -> AsyncIterator[Document]:
        """Exchange now with one peer or with all, as progress documents and one final `sync` document.

        Progress is `{"progress": {"id", "left", "total"}}` in items, or `{}` as a sign of life. With `wait`
        (seconds) peers are tried again until converged or until the time is over. Closing the iterator
        stops the waiting, not an exchange under way.
        """

    async def dry_run(self, peer: str | None) -> Document:
        """What an exchange would move, per peer, moving nothing: the `sync --dry-run` document."""

    async def restore(self, path: ReplicaPath, version: int | None) -> Document:
        """Bring back an entry of history (the newest one if None); the new entry."""

    async def keep_local(self, path: ReplicaPath) -> Document:
        """Make the local side of a file or directory win over every peer's; the new entry."""

    async def guarded(self) -> Document:
        """What waits for a person's word: `{"cause", "paths"}`, null and empty if nothing does."""

    async def decide(self, confirm: bool) -> Document:
        """It was meant, or it is undone; the same document, as it was."""

    async def rebuild_stats(self, skill: str) -> None:
        """Write the counters folded from that skill's log into its stats.json."""

    async def reload(self) -> None:
        """Read the configuration again. Raises `BrokenConfig` and keeps the last good one."""

    async def stop(self) -> None:
        """Begin to shut down; returns at once."""
