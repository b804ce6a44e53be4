"""`serve`: the daemon from its first line to its last.

Opens what must be opened once, in this order: logs, the state directory and its lock, the identity,
the fleet, the control socket, the replica; closes it in the opposite order. Decides nothing.
"""

from __future__ import annotations

import fcntl
import gc
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio

from fleetsync.app import logs
from fleetsync.app.commands import Commands
from fleetsync.app.house import House, Reload
from fleetsync.app.notify import Notifier
from fleetsync.app.references import References, in_keychain
from fleetsync.config import Settings
from fleetsync.devices import notary
from fleetsync.devices.identity import ensure_identity
from fleetsync.devices.trust import Fleet
from fleetsync.errors import AlreadyRunning
from fleetsync.files import PRIVATE_FILE, ensure_private_dir, storage_errors, sweep_private
from fleetsync.replica.replica import Replica
from fleetsync.replica.surroundings import Surroundings
from fleetsync.web.address import SOCKET_NAME
from fleetsync.web.control import control_app
from fleetsync.web.listener import Listener as ControlListener
from fleetsync.web.listener import bind_control

logger = logging.getLogger(__name__)


def serve(settings: Settings, reload: Reload) -> None:
    """Run the daemon in the foreground until it is told to stop.

    Raises `AlreadyRunning`, `JournalDamaged`, `FleetDamaged`, another `LocalError`.
    """
    logs.configure(settings.config.log, os.environ)
    ensure_private_dir(settings.state_dir)
    with sole_use_of(settings.state_dir):
        sweep_private(settings.state_dir)
        identity = ensure_identity(settings.state_dir)
        fleet = Fleet.load(settings.state_dir, identity)
        control = bind_control(settings.state_dir / SOCKET_NAME)
        references = References(os.environ, in_keychain, time.monotonic)
        around = Surroundings(lambda: time.time_ns() // 1000, os.urandom, notary.check, references.resolves)
        skew = int(settings.config.clock.max_skew * 1e6)
        chosen = settings.config.sync.selection()
        replica = Replica(settings.home, settings.state_dir, identity.device, around, skew, chosen)
        _spare_collector()
        try:
            anyio.run(_run, lambda: House(settings, reload, identity, fleet, replica), control)
        finally:
            replica.close()
            fleet.flush()


def _spare_collector() -> None:
    """What is there now stays: it need not be searched for garbage again and again. With this a first
    sync takes a tenth less of the processor.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


@contextmanager
def sole_use_of(state: Path) -> Iterator[None]:
    """One daemon per state directory: the lock is the kernel's and dies with the process. Raises
    `AlreadyRunning`, `StorageFailed`.
    """
    lock = state / "lock"
    with storage_errors(lock):
        fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)
    try:
        with storage_errors(lock):
            _lock(fd, state)
        yield
    finally:
        os.close(fd)


def _lock(fd: int, state: Path) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise AlreadyRunning(f"another daemon already uses {state}") from error


async def _run(build: Callable[[], House], control: socket.socket) -> None:
    house = build()
    await house.open()
    notifier = Notifier.from_environment(os.environ, os.getpid())
    listener = ControlListener(control_app(Commands(house)), control, house.settings.state_dir / SOCKET_NAME)
    await listener.start()
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_obey_signals, house, notifier)
            await tasks.start(house.run)
            await _announce(house, notifier)
            tasks.start_soon(_keep_alive, notifier)
            await house.stopped.wait()
            notifier.stopping()
            tasks.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        raise sole(group) from None
    finally:
        with anyio.CancelScope(shield=True):
            await listener.aclose()
            await house.aclose()
    logger.info("stopped")


def sole(error: BaseException) -> BaseException:
    """What went wrong, if it was one thing: task groups wrap it."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


async def _announce(house: House, notifier: Notifier) -> None:
    items = await house.items()
    listen = house.listen
    ready = f"fleetsync ready: device={house.device} listen={listen} home={house.settings.home} items={items}"
    # One write, newline included: scripts wait for this line, and a kill must not leave half of it.
    print(f"{ready}\n", end="", file=sys.stderr, flush=True)  # noqa: T201
    notifier.ready(f"{items} items, listening on {listen}")


async def _obey_signals(house: House, notifier: Notifier) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as received:
        async for number in received:
            if number != signal.SIGHUP:
                house.stopped.set()
                continue
            notifier.reloading(time.monotonic_ns())
            await house.reload_quietly()
            notifier.ready("settings read again")


async def _keep_alive(notifier: Notifier) -> None:
    """Tell the service manager that the loop still turns, if it wants to hear it."""
    while (seconds := notifier.watchdog_seconds) is not None:
        notifier.alive()
        await anyio.sleep(seconds / 2)
