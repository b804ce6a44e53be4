"""`House`: the running daemon's parts, joined; what a peer asks is handed to the part that answers it, what
a command asks goes through `commands.py`. Decides nothing itself.
"""

from __future__ import annotations

import logging
import os
import random
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
from anyio.abc import TaskStatus

from fleetsync.app import logs
from fleetsync.app.hints import Hints
from fleetsync.app.reindex import Reindex
from fleetsync.app.trust import FleetMilestones, FleetRoster
from fleetsync.audit import open_store
from fleetsync.config import Settings
from fleetsync.devices.identity import Identity
from fleetsync.devices.trust import Fleet
from fleetsync.errors import (
    BrokenConfig,
    FleetsyncError,
    LocalError,
    NotTrusted,
    StorageFailed,
    UserError,
)
from fleetsync.ports import Alert, Storage
from fleetsync.records.addresses import Address, parse_address
from fleetsync.records.names import DeviceId
from fleetsync.replica.allowance import Limits
from fleetsync.replica.replica import Replica
from fleetsync.replica.watcher import Watcher
from fleetsync.selection import Selection
from fleetsync.stores.recorder import RunRecorder, marking, purging, wall_micros
from fleetsync.stores.scribe import Scribe
from fleetsync.sync import wake
from fleetsync.sync.backoff import Backoff
from fleetsync.sync.engine import Engine
from fleetsync.sync.link import PeerSettings
from fleetsync.sync.local import Card, LocalDevice
from fleetsync.sync.offload import Desk
from fleetsync.sync.rounds import SKILLS, Rounds
from fleetsync.sync.tempo import Tempo
from fleetsync.wire.client import HttpPeer
from fleetsync.wire.listener import Listener
from fleetsync.wire.peer import Peer
from fleetsync.wire.server import application

if TYPE_CHECKING:
    from fleetsync.app.chronicle import Chronicle

logger = logging.getLogger(__name__)

TEND_SECONDS = 60.0
"""How often the watcher is looked after."""
NOTES_SECONDS = 600.0
"""How often notes about peers are written, and at the end: an idle laptop's disk may sleep."""
Reload = Callable[[], Settings]
"""Reads the settings again; raises `BrokenConfig`."""
FIXED = (
    ("device", "listen"),
    *(("sync", key) for key in ("push", "sweep", "exchange", "stale")),
    ("clock", "max_skew"),
    ("store", "url"),
    ("experience", "record_sync"),
)
"""What a running daemon keeps as it was at its start."""
DAY = 86_400_000_000  # µs


class House:
    """One running daemon. Create it inside the event loop, `open` it and `run` it once; `stopped` ends it."""

    def __init__(
        self, settings: Settings, reload: Reload, identity: Identity, fleet: Fleet, replica: Replica
    ) -> None:
        self.settings = settings
        self.device = identity.device
        self.stopped = anyio.Event()
        self._reload = reload
        self.identity = identity
        self.fleet = fleet
        self.replica = replica
        self.desk = Desk(replica)
        self._scribe = Scribe(lambda: open_store(settings))
        self._chronicle = _chronicle(settings, identity.device)
        self._watcher: Watcher | None = None
        self._broken: tuple[str, str] | None = None  # what is wrong with the file now, and what to do
        self._reindex = Reindex(settings.home, lambda: self.settings.config.channels)
        self._chosen_anew = anyio.Event()
        self._listener = Listener(application(self._for_peer, shown=self._shown), identity, met=self._met)

    # --- running ------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Take the port and join the parts: from here on commands may ask. Raises `LocalError`."""
        listen = self.settings.config.device.listen
        try:
            await self._listener.start(parse_address(listen))
        except OSError as error:
            raise LocalError(
                f"cannot listen on {listen}: {error.strerror or error}",
                next_step="end what listens there, or choose another place by `[device] listen`",
            ) from error
        self._roster = FleetRoster(
            self.fleet, self.name, self._listener.addresses[0].port, self.trust_changed
        )
        self._local = self._local_device()
        self._address_hints = wake.AddressHints()
        self.engine = Engine(
            self._local,
            self._connect,
            FleetMilestones(self.fleet),
            rounds=self._begin_audit(),
            purge=self._purge,
            watch=lambda tell: wake.watch(tell, hint=self._address_hints.wait),
        )
        self._add_peers()

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Read home, begin with every peer; `started` once all of it serves."""
        await self._set_rules()
        chosen_anew = Hints(lambda _: self._chosen_anew.set()).everything
        self.replica.hear(wrote=self._reindex.note, keeps_others=chosen_anew)
        watcher = self._watcher = Watcher(self.settings.home, Hints(self.engine.touched).post)
        async with anyio.create_task_group() as tasks:
            await anyio.to_thread.run_sync(watcher.start)
            await self._select()
            await self.engine.sweep()
            await tasks.start(self.engine.run)
            await self.trust_changed()
            tasks.start_soon(self._tend, watcher)
            tasks.start_soon(self._reindex.run)
            tasks.start_soon(self._choose_again)
            task_status.started()

    def _begin_audit(self) -> Rounds:
        """The record of exchanges; what a killed daemon left open is marked first."""
        self._scribe.start()
        self._scribe.write(marking(self.device, SKILLS, now=wall_micros()))
        recorder = RunRecorder(self._scribe.write, self.device)
        return Rounds(recorder, self._chronicle.round_over) if self._chronicle else Rounds(recorder)

    async def aclose(self) -> None:
        """Let go of callers and of the watcher's threads; the audit gets what it has not yet."""
        await self._listener.aclose()
        await anyio.to_thread.run_sync(self._scribe.close)
        if self._chronicle is not None:
            await anyio.to_thread.run_sync(self._chronicle.close)
        if self._watcher is not None:
            await anyio.to_thread.run_sync(self._watcher.stop)
        self._address_hints.close()

    def _local_device(self) -> LocalDevice:
        sync = self.settings.config.sync
        return LocalDevice(
            card=Card(self.device, self.name, self.fleet.instance),
            desk=self.desk,
            roster=self._roster,
            wall=time.time,
            monotonic=time.monotonic,
            random=random.random,
            meet=self.fleet.note_instance,
            tempo=Tempo(sync.push, sync.sweep, sync.exchange, sync.stale),
            selection=sync.selection(),
        )

    def _selection(self) -> Selection:
        """What this device carries: what a person chose, less what stays here by its nature."""
        return self.settings.config.sync.selection().without(self.replica.kept_here)

    async def _select(self) -> None:
        if self._selection() != self._local.selection:
            await self.engine.select(self._selection())

    async def _choose_again(self) -> None:
        """Peers hear of it when a channel becomes an agent's memory of approvals, or is one no more."""
        backoff = Backoff(random.random)
        while True:
            await self._chosen_anew.wait()
            self._chosen_anew = anyio.Event()
            try:
                await self._select()
            except Exception as error:  # noqa: BLE001 - a full disk ends nothing
                _tell("what is carried is chosen again later", error)
                await anyio.sleep(backoff.next())
                self._chosen_anew.set()
            else:
                backoff.reset()

    async def _set_rules(self) -> None:
        """By what the replica judges what comes: whose keys belong here, whether all lines must be signed,
        and how much one peer may bring.
        """
        fleet, required = self.fleet.trusted(), self.settings.config.channels.require_signatures

        limits = self.settings.config.limits

        def set_rules(_: Storage) -> None:
            self.replica.limit(Limits(limits.items, limits.bytes))
            self.replica.expect(fleet)
            self.replica.require_signatures(required)

        await self.desk.change(set_rules)

    @property
    def name(self) -> str:
        """How this device calls itself."""
        return self.settings.config.device.name or socket.gethostname().partition(".")[0] or "unnamed"

    async def _tend(self, watcher: Watcher) -> None:
        written = time.monotonic()
        while True:
            await anyio.sleep(TEND_SECONDS)
            await _quietly(watcher.tend, "home is not watched for now")
            if time.monotonic() - written >= NOTES_SECONDS:
                written = time.monotonic()
                await _quietly(self.fleet.flush, "notes about peers are not written for now")

    async def _purge(self) -> None:
        audit = self.settings.config.audit
        self._scribe.write(purging(wall_micros() - audit.days * DAY, audit.keep))
        history = self.settings.config.history
        for purge in (
            lambda _: self.replica.history.purge(history.keep, history.days * DAY),
            lambda _: self.replica.trash.purge(history.days * DAY),
        ):
            try:
                await self.desk.call(purge)
            except LocalError as error:
                logger.warning("not all that is old is purged: %s", error)

    @property
    def listen(self) -> str:
        """Where peers reach this device."""
        return ", ".join(str(address) for address in self._listener.addresses[:1])

    async def items(self) -> int:
        """How many members the set has."""
        return (await self.desk.head()).count

    # --- peers ----------------------------------------------------------------------------------------

    def _for_peer(self, device: DeviceId) -> Peer:
        return self.engine.responder(device)

    def _shown(self, device: DeviceId, instance: bytes) -> None:
        self.engine.shown(device, instance)

    def _met(self, device: DeviceId, host: str) -> None:
        self._roster.met(device, host)

    def _connect(self, device: DeviceId) -> Peer:
        certificate = self.fleet.trusted().get(device)
        if certificate is None:
            raise NotTrusted(f"{device} is not trusted any more")
        return HttpPeer(
            certificate,
            self.identity,
            lambda: list(_dialable(self.addresses(device))),
            name=self.fleet.peer(device).title,
            instance=self.fleet.instance,
        )

    def addresses(self, device: DeviceId) -> list[str]:
        """Where to try: what the configuration says first, then where it was met."""
        note = self.fleet.peer(device)
        fixed = self.settings.config.peers
        chosen = [str(a) for key in (device, note.alias, note.name) if key for a in fixed.get(key, ())]
        return list(dict.fromkeys([*chosen, *note.addresses]))

    async def trust_changed(self) -> None:
        """The listener, the engine and the other devices follow the fleet."""
        trusted = self.fleet.trusted()
        try:
            self._listener.trust(trusted)
        finally:  # what cannot be opened keeps nobody in
            for view in self.engine.peers():
                if view.device not in trusted:
                    await self.engine.remove_peer(view.device)
        self._add_peers()
        self.engine.roster_changed()
        await self._set_rules()
        if self._chronicle is not None:
            self._chronicle.trust({note.device: str(note.direction) for note in self.fleet.peers()})

    def _add_peers(self) -> None:
        for note in self.fleet.peers():
            self.engine.add_peer(note.device, PeerSettings(note.title, note.direction, note.paused))

    # --- what there is to tell, and to settle anew --------------------------------------------------

    def alerts(self) -> Iterator[Alert]:
        """What a person should know that is not about the set."""
        if self._broken is not None:
            yield Alert("broken-config", "The last good settings are in force.", *self._broken)
        if self._watcher is not None and self._watcher.trouble:
            yield Alert("not-watched", "Changes are found late.", self._watcher.trouble, "fleetsync doctor")
        trouble = self._scribe.trouble
        if trouble is not None:
            yield Alert("not-recorded", "Runs are not recorded for now.", trouble.message, trouble.next)
        if self._reindex.alert is not None:
            yield self._reindex.alert

    async def reload(self) -> None:
        """Follow the settings as they are now; what cannot change while running is said in the log."""
        try:
            settings = await anyio.to_thread.run_sync(self._reload)
            await anyio.to_thread.run_sync(logs.configure, settings.config.log, os.environ)
        except (BrokenConfig, StorageFailed) as error:
            self._broken = error.message, error.next
            raise BrokenConfig(error.message, next_step=error.next) from error
        self._broken = None
        before = self.settings.config
        for section, key in FIXED:
            if getattr(getattr(settings.config, section), key) != getattr(getattr(before, section), key):
                logger.warning("[%s] %s changes with the next start", section, key)
        self.settings = settings
        self._roster.name = self.name
        self._local.card = Card(self.device, self.name, self.fleet.instance)
        try:
            await self._set_rules()
            await self._select()
        except BaseException:
            self._chosen_anew.set()  # to be tried again
            raise

    async def reload_quietly(self) -> None:
        """As `reload`; a broken file is logged and the last good settings stay."""
        try:
            await self.reload()
        except BrokenConfig as error:
            logger.warning("settings unchanged: %s", error)
        except Exception as error:  # noqa: BLE001 - a full disk ends nothing
            _tell("not all settings are in force", error)


def _chronicle(settings: Settings, device: DeviceId) -> Chronicle | None:
    """The writer of `[experience] record_sync`, if that is on; a daemon without it stays small."""
    if not settings.config.experience.record_sync:
        return None
    from fleetsync.app.chronicle import Chronicle  # noqa: PLC0415 - only where it is wanted

    return Chronicle(settings.home, device)


async def _quietly(work: Callable[[], object], otherwise: str) -> None:
    """In a thread, what can be done again later; what it raises is told so and ends nothing."""
    try:
        await anyio.to_thread.run_sync(work)
    except Exception as error:  # noqa: BLE001 - it is told
        _tell(otherwise, error)


def _tell(what: str, error: Exception) -> None:
    logger.warning("%s: %s", what, error, exc_info=not isinstance(error, FleetsyncError))


def _dialable(texts: Iterable[str]) -> Iterator[Address]:
    """The addresses among them; a peer's roster may hold anything."""
    for text in texts:
        with suppress(UserError):
            yield parse_address(text)
