"""Noticing that the machine slept, that its clock was set, or that the network is another one.

Sleep shows as time that the wall clock (or the boot-time clock, where there is one) has counted and
the monotonic clock has not; a clock set by hand looks the same and is treated the same. Rule of the
file: readings are compared by a pure function; one look every 15 s, or as soon as the system says
that an address came or went (Linux), costs next to nothing. Implements DESIGN §9 (on wake).
"""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum, auto

import anyio

LOOK_SECONDS = 15.0
GAP_SECONDS = 3.0
"""How far two clocks may drift apart between two looks without a reason."""
SETTLE_SECONDS = 0.5
"""Addresses come one after the other when a network appears."""


class Change(Enum):
    """What happened since the last look."""

    SLEPT = auto()  # time has passed that nobody lived through, or the clock was set forward
    CLOCK_SET_BACK = auto()
    NETWORK = auto()


@dataclass(frozen=True, slots=True)
class Reading:
    """Clocks in seconds, and the addresses from which this machine would call out."""

    wall: float
    monotonic: float
    boottime: float | None
    addresses: frozenset[str]


def changes(before: Reading, after: Reading) -> set[Change]:
    """What must have happened between two readings."""
    lived = after.monotonic - before.monotonic
    gaps = [after.wall - before.wall - lived]
    if before.boottime is not None and after.boottime is not None:
        gaps.append(after.boottime - before.boottime - lived)
    found = set()
    if max(gaps) > GAP_SECONDS:
        found.add(Change.SLEPT)
    if gaps[0] < -GAP_SECONDS:
        found.add(Change.CLOCK_SET_BACK)
    if after.addresses and after.addresses != before.addresses:
        found.add(Change.NETWORK)
    return found


def read_system() -> Reading:
    """A reading of this machine."""
    boottime = time.clock_gettime(time.CLOCK_BOOTTIME) if sys.platform == "linux" else None
    return Reading(time.time(), time.monotonic(), boottime, outgoing_addresses())


def outgoing_addresses() -> frozenset[str]:
    """The addresses of this machine towards the world, one per IP family; nothing is sent."""
    return frozenset(
        address
        for family, target in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))
        if (address := _address_towards(family, target)) is not None
    )


def _address_towards(family: socket.AddressFamily, target: str) -> str | None:
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.setblocking(False)
            probe.connect((target, 9))
            return str(probe.getsockname()[0])
    except OSError:
        return None


async def watch(
    tell: Callable[[set[Change]], Awaitable[None]],
    *,
    read: Callable[[], Reading] = read_system,
    hint: Callable[[], Awaitable[None]] = anyio.sleep_forever,
) -> None:
    """Tell of every change, for ever. `hint` returns when it is worth looking at once."""
    before = read()
    while True:
        with anyio.move_on_after(LOOK_SECONDS):
            await hint()
            await anyio.sleep(SETTLE_SECONDS)
        after = read()
        found = changes(before, after)
        before = after
        if found:
            await tell(found)


class AddressHints:
    """Linux tells of every address that comes or goes; elsewhere `wait` waits for ever."""

    _GROUPS = 0x10 | 0x100  # RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR, linux/rtnetlink.h

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        if sys.platform == "linux":
            self._socket = _netlink(self._GROUPS)

    async def wait(self) -> None:
        """Return when an address came or went."""
        if self._socket is None:
            await anyio.sleep_forever()
            return
        await anyio.wait_readable(self._socket)
        while _drained(self._socket):
            pass

    def close(self) -> None:
        """Let go of the socket; idempotent."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _netlink(groups: int) -> socket.socket | None:
    try:
        news = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
    except OSError:
        return None
    try:
        news.bind((0, groups))
    except OSError:
        news.close()
        return None
    return news


def _drained(news: socket.socket) -> bool:
    try:
        return bool(news.recv(65536))
    except OSError:  # nothing more, or more than the kernel could keep: either way look at the addresses
        return False
