"""The engine: all links, the reading of home, the schedule and the wakes, in one task group.

It decides when things happen and to whom; how an exchange goes is `session.py`, how one peer is kept
is `link.py`. Rule of the file: nothing that a peer, the disk or the clock does ends the engine, and it
ends within two seconds when told to. Implements DESIGN §9.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Coroutine
from dataclasses import replace
from typing import Any

import anyio
from anyio.abc import TaskGroup, TaskStatus

from fleetsync.devices.notes import Direction
from fleetsync.errors import FleetsyncError, NotFound, NotTrusted
from fleetsync.records.names import DeviceId
from fleetsync.selection import Selection
from fleetsync.stores.recorder import RunRecorder
from fleetsync.sync import wake
from fleetsync.sync.exchange import Ending, Exchange
from fleetsync.sync.link import Link, PeerSettings
from fleetsync.sync.local import LocalDevice
from fleetsync.sync.milestones import Milestones
from fleetsync.sync.reading import Reading
from fleetsync.sync.responder import Responder
from fleetsync.sync.rounds import Rounds
from fleetsync.sync.schedule import Due, Schedule, Timetable
from fleetsync.sync.tempo import Tempo
from fleetsync.sync.views import EngineView, PeerView
from fleetsync.wire.peer import Peer

logger = logging.getLogger(__name__)

CLOSING_SECONDS = 1.0
"""How long peers may take to let go of their connections at the end."""

Connect = Callable[[DeviceId], Peer]
Schedules = Callable[[Callable[[Due], None], Tempo], Timetable]
Watch = Callable[[Callable[[set[wake.Change]], Awaitable[None]]], Coroutine[Any, Any, None]]


class Engine:
    """This device's engine. Create it inside the event loop, then `run` it once.

    `connect` makes the `Peer` to call a device by; it must not block. `rounds` keeps the record of
    every exchange (without it there is none), `purge` is called daily, `watch` tells of sleep and
    network changes, `schedule` makes what says when the regular work is due.
    """

    def __init__(
        self,
        local: LocalDevice,
        connect: Connect,
        milestones: Milestones,
        *,
        rounds: Rounds | None = None,
        purge: Callable[[], Awaitable[None]] | None = None,
        watch: Watch | None = None,
        schedule: Schedules = Schedule,
    ) -> None:
        self._local = local
        self._connect = connect
        self._milestones = milestones
        self._rounds = rounds or Rounds(RunRecorder(lambda _: None, local.card.device))
        self._purge = purge
        self._watch = watch
        self._links: dict[DeviceId, Link] = {}
        self._scopes: dict[DeviceId, anyio.CancelScope] = {}
        self._tasks: TaskGroup | None = None
        self._reading = Reading(local.desk, local.monotonic, local.random, local.tempo)
        self._post, self._due = anyio.create_memory_object_stream[Due](16)
        self._schedule = schedule(self._post_nowait, local.tempo)

    # --- running -------------------------------------------------------------------------------------

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Keep this device and its peers equal until cancelled."""
        try:
            async with anyio.create_task_group() as tasks:
                self._tasks = tasks
                tasks.start_soon(self._reading.run)
                tasks.start_soon(self._work_by_the_clock)
                if self._watch is not None:
                    tasks.start_soon(self._watch, self.woke)
                for link in self._links.values():
                    tasks.start_soon(self._keep, link)
                self._schedule.start()
                task_status.started()
        finally:
            self._tasks = None
            self._schedule.stop()
            await self._close()

    async def _keep(self, link: Link) -> None:
        if self._links.get(link.device) is not link:
            return  # removed before it began
        with anyio.CancelScope() as scope:
            self._scopes[link.device] = scope
            await link.run()

    async def _close(self) -> None:
        with anyio.move_on_after(CLOSING_SECONDS, shield=True):
            for link in tuple(self._links.values()):
                await link.close()
        self._post.close()
        self._due.close()

    # --- what happens to it ----------------------------------------------------------------------------

    def touched(self, paths: Collection[str] | None) -> None:
        """The watcher saw changes at these paths under home (None: anywhere).

        To be called in the event loop; a thread uses `loop.call_soon_threadsafe`.
        """
        self._reading.touch(paths)

    async def woke(self, changes: set[wake.Change]) -> None:
        """The machine slept, its clock was set or its network changed: begin again at once."""
        logger.info("noticed: %s", ", ".join(sorted(change.name.lower() for change in changes)))
        self._schedule.clock_changed()
        self._reading.touch(None)
        if changes != {wake.Change.CLOCK_SET_BACK}:
            for link in tuple(self._links.values()):
                await link.drop()

    def _post_nowait(self, due: Due) -> None:
        try:
            self._post.send_nowait(due)
        except (anyio.WouldBlock, anyio.ClosedResourceError):
            logger.debug("%s is already waiting", due)

    async def _work_by_the_clock(self) -> None:
        async for due in self._due:
            try:
                await self._do(due)
            except Exception:  # a fault in one of them must not end the others
                logger.exception("%s failed", due.name.lower())

    async def _do(self, due: Due) -> None:
        if due is Due.SWEEP:
            await self.sweep()
        elif due is Due.EXCHANGE:
            assert self._tasks is not None
            self._tasks.start_soon(self._exchange_with_all)
        elif self._purge is not None:
            await self._purge()

    async def sweep(self) -> None:
        """Look at all of home, and do what has become due there."""
        await self._reading.read_all()
        await self._reading.settle()

    async def _exchange_with_all(self) -> None:
        with self._rounds.round("schedule"):
            async with anyio.create_task_group() as tasks:
                for link in self._links.values():
                    tasks.start_soon(link.refresh)

    def roster_changed(self) -> None:
        """Let every connected peer hear of it now: a removal must not wait for the schedule."""
        if self._tasks is not None:
            for link in self._links.values():
                self._tasks.start_soon(link.tell_roster)

    async def select(self, selection: Selection) -> None:
        """Carry this from now on; every peer hears of it at once. Raises `LocalError`: to be tried again."""
        before, self._local.selection = self._local.selection, selection
        try:
            await self._local.desk.change(lambda storage: storage.select(selection))
        except BaseException:
            if self._local.selection is selection:
                self._local.selection = before
            raise
        for link in tuple(self._links.values()):
            await link.drop()

    # --- what people and peers ask of it -----------------------------------------------------------------

    def responder(self, device: DeviceId) -> Responder:
        """What answers that device's calls; raises `NotTrusted`, `Paused`."""
        link = self._links.get(device)
        if link is None:
            raise NotTrusted(f"{device} is not a peer of {self._local.card.name}")
        return link.responder()

    def shown(self, device: DeviceId, instance: bytes) -> None:
        """A call of that device shows this instance of it; raises `ClonedDevice`."""
        link = self._links.get(device)
        if link is not None:
            link.shown(instance)

    async def sync_now(self, device: DeviceId | None = None, *, dry_run: bool = False) -> list[Exchange]:
        """Exchange with one peer or with all that are not paused, with all that is in home now.

        Raises `NotFound` for a device that is no peer.
        """
        links = [self._link(device)] if device else list(self._links.values())
        await self._reading.read_all()
        results: dict[DeviceId, Exchange] = {}

        async def one(link: Link) -> None:
            try:
                results[link.device] = await (link.preview() if dry_run else link.exchange())
            except Exception as error:  # a fault with one peer ends no exchange with another
                logger.exception("peer %s", link.settings.name)
                fault = FleetsyncError.unexpected(error)
                results[link.device] = Exchange(link.device, Ending.FAILED, error=fault)

        with self._rounds.round("request"):
            async with anyio.create_task_group() as tasks:
                for link in links:
                    if device or not link.settings.paused:
                        tasks.start_soon(one, link)
        return list(results.values())

    async def view(self) -> EngineView:
        """How everything stands."""
        head = await self._local.desk.head()
        condition = await self._local.desk.call(lambda storage: storage.condition())
        heads = {link.device: await link.common_head() for link in tuple(self._links.values())}
        peers = tuple(replace(view, local=heads.get(view.device)) for view in self.peers())
        return EngineView(head, condition, self._reading.trouble, peers)

    def peers(self) -> list[PeerView]:
        """How it is with every peer, by name."""
        return sorted(
            (link.view() for link in self._links.values()), key=lambda view: (view.name, view.device)
        )

    # --- peers come and go -------------------------------------------------------------------------------

    def add_peer(self, device: DeviceId, settings: PeerSettings) -> None:
        """Begin with a peer; one that is known already keeps its link."""
        if device in self._links:
            return
        link = Link(
            self._local, self._connect(device), settings, milestones=self._milestones, rounds=self._rounds
        )
        self._links[device] = link
        if self._tasks is not None:
            self._tasks.start_soon(self._keep, link)

    async def remove_peer(self, device: DeviceId) -> None:
        """End with a peer at once; unknown ones are ignored."""
        link = self._links.pop(device, None)
        if link is not None:
            scope = self._scopes.pop(device, None)
            if scope is not None:
                scope.cancel()
            await link.close()

    async def pause(self, device: DeviceId) -> None:
        """Exchange nothing with a peer until `resume`; raises `NotFound`."""
        link = self._link(device)
        await link.change(replace(link.settings, paused=True))

    async def resume(self, device: DeviceId) -> None:
        """End a pause, and forget a clone that was dealt with; raises `NotFound`."""
        link = self._link(device)
        link.forget_clone()
        await link.change(replace(link.settings, paused=False))

    async def rename(self, device: DeviceId, name: str) -> None:
        """Call a peer by another name; raises `NotFound`."""
        link = self._link(device)
        await link.change(replace(link.settings, name=name))

    async def redirect(self, device: DeviceId, direction: Direction) -> None:
        """Let items travel another way; raises `NotFound`."""
        link = self._link(device)
        await link.change(replace(link.settings, direction=direction))

    def _link(self, device: DeviceId) -> Link:
        link = self._links.get(device)
        if link is None:
            raise NotFound(f"{device} is not a peer")
        return link
