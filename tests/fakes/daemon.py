"""A daemon without anything behind it, served on a real control socket."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fleetsync import __version__
from fleetsync.devices.notes import Direction
from fleetsync.errors import NotFound, SafetyStop, UserError
from fleetsync.records.names import DeviceId, ReplicaPath
from fleetsync.web.address import SOCKET_NAME
from fleetsync.web.control import control_app
from fleetsync.web.daemon import Document, Paired
from fleetsync.web.listener import Listener, bind_control

OFFICE = DeviceId("office".ljust(52, "a"))
TRAVEL = DeviceId("travel".ljust(52, "a"))


def peer_document(device: str, name: str, **changes: Any) -> Document:
    """A connected, converged peer, with changes."""
    return {
        "id": device,
        "name": name,
        "addresses": ["192.0.2.7:8473"],
        "state": "connected",
        "direction": "both",
        "converged": True,
        "last_converged_at": "2026-05-30T00:00:00Z",
        "items_local": 3,
        "items_remote": 3,
        "fingerprint_local": "ab" * 16,
        "fingerprint_remote": "ab" * 16,
        "lag_seconds": 0.25,
        "clock_offset_seconds": 0.0,
        "stale": False,
        "error": None,
        "error_code": None,
        "error_next": None,
        **changes,
    }


def exchange_document(device: str, **changes: Any) -> Document:
    """One peer's part of the final `sync` document."""
    return {
        "id": device,
        "outcome": "converged",
        "received": 2,
        "sent": 1,
        "bytes_in": 300,
        "bytes_out": 200,
        "round_trips": 1,
        "seconds": 0.01,
        "error": None,
        **changes,
    }


HISTORY_ENTRY = {
    "path": "skills/deploy/skill.yaml",
    "version": 7,
    "kind": "replaced",
    "at": "2026-05-30T00:00:00Z",
    "stamp": None,
    "from_device": None,
    "size": 12,
    "sha256": "00" * 32,
}


class FakeDaemon:
    """Answers from plain attributes and remembers the orders it was given."""

    def __init__(self) -> None:
        self.known = [peer_document(OFFICE, "office"), peer_document(TRAVEL, "travel")]
        self.home_state = "ok"
        self.alerts: list[Document] = []
        self.selection: Document = {"datasets": ["*"], "include": ["**"], "exclude": [], "private": []}
        self.outcomes: list[Document] = [exchange_document(OFFICE)]
        self.progress: list[Document] = []
        move = [{"path": "skills/deploy/events.jsonl", "items": 4}]
        self.plan: list[Document] = [{"id": OFFICE, "would_receive": move, "would_send": [], "error": None}]
        self.orders: list[tuple[Any, ...]] = []
        self.held: list[str] = []
        self.parked_for: dict[str, int] = {}
        self.kept_here: dict[str, str] = {}
        self.failure: Exception | None = None

    async def status(self) -> Document:
        """Everything in order, unless told otherwise."""
        self._fail()
        return {
            "device": {"id": "d" * 52, "name": "here", "version": __version__, "listen": "127.0.0.1:8473"},
            "home": {"path": "/h", "items": 3, "fingerprint": "ab" * 16, "state": self.home_state},
            "selection": self.selection,
            "peers": self.known,
            "parked": sum(self.parked_for.values()),
            "parked_for": self.parked_for,
            "kept_here": self.kept_here,
            "held": 0,
            "refused": 0,
            "malformed": 0,
            "collisions": 0,
            "alerts": self.alerts,
        }

    async def peers(self) -> Sequence[Document]:
        """The peers it knows."""
        self._fail()
        return self.known

    async def guarded(self) -> Document:
        """What it was told to hold back."""
        self._fail()
        return {"cause": "deleted-here" if self.held else None, "paths": self.held}

    async def decide(self, confirm: bool) -> Document:
        """Remembered."""
        document = await self.guarded()
        self.orders.append(("decide", confirm))
        self.held = []
        return document

    async def pause(self, peer: str) -> Document:
        """Remembered."""
        return self._change(peer, state="paused")

    async def resume(self, peer: str) -> Document:
        """Remembered."""
        return self._change(peer, state="connecting")

    async def rename(self, peer: str, name: str) -> Document:
        """Remembered."""
        return self._change(peer, name=name)

    async def direct(self, peer: str, direction: Direction) -> Document:
        """Remembered."""
        return self._change(peer, direction=str(direction))

    async def remove(self, peer: str) -> Document:
        """The peer is gone."""
        gone = self._find(peer)
        self.orders.append(("remove", gone["id"]))
        self.known.remove(gone)
        return gone

    async def adopt(self, paired: Paired) -> Document:
        """The peer is there, and the pairing among the orders."""
        self.orders.append(("adopt", paired))
        self.known.append(peer_document("new".ljust(52, "a"), paired.name))
        return self.known[-1]

    async def sync(self, peer: str | None, wait: float | None) -> AsyncIterator[Document]:
        """The progress, then the failure or the outcomes."""
        self.orders.append(("sync", peer, wait))
        for document in self.progress:
            yield {"progress": document}
        self._fail()
        yield {"peers": self.outcomes}

    async def dry_run(self, peer: str | None) -> Document:
        """The plan."""
        self.orders.append(("dry-run", peer))
        return {"peers": self.plan}

    async def restore(self, path: ReplicaPath, version: int | None) -> Document:
        """Always the same entry."""
        self.orders.append(("restore", path, version))
        self._fail()
        return HISTORY_ENTRY

    async def keep_local(self, path: ReplicaPath) -> Document:
        """Always the same entry."""
        self.orders.append(("keep-local", path))
        return HISTORY_ENTRY

    async def rebuild_stats(self, skill: str) -> None:
        """Remembered."""
        self.orders.append(("rebuild", skill))

    async def reload(self) -> None:
        """Remembered."""
        self.orders.append(("reload",))
        self._fail()

    async def stop(self) -> None:
        """Remembered."""
        self.orders.append(("stop",))

    def guard(self) -> None:
        """Refuse everything as a safety rule would."""
        self.failure = SafetyStop("half of home is gone", next_step="look at home")

    def fail(self, error: Exception) -> None:
        """Answer the next requests with this."""
        self.failure = error

    def _fail(self) -> None:
        if self.failure is not None:
            raise self.failure

    def _change(self, peer: str, **changes: Any) -> Document:
        found = self._find(peer)
        self.orders.append((*changes.values(), found["id"]))
        found.update(changes)
        return found

    def _find(self, text: str) -> Document:
        found = [peer for peer in self.known if text == peer["name"] or peer["id"].startswith(text)]
        if len(found) > 1:
            raise UserError(f"{text!r} is ambiguous")
        if not found:
            raise NotFound(f"no peer is called {text!r}")
        return found[0]


@contextmanager
def serving(daemon: FakeDaemon, state_dir: Path) -> Iterator[FakeDaemon]:
    """Serve the daemon in a thread of its own, as if it were another process."""
    path = state_dir / SOCKET_NAME
    listener = bind_control(path)
    ready, loop = threading.Event(), asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        server = Listener(control_app(daemon), listener, path)
        await server.start()
        ready.set()
        await stop.wait()
        await server.aclose()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    ready.wait(10)
    try:
        yield daemon
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
