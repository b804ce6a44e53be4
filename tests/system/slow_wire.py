"""A wire that takes time: joins two interfaces, every packet late by so many seconds, in its order.

`python -m tests.system.slow_wire LINK LINK SECONDS` in the namespace of both links. Packets pass as they
are, with the header by which the kernel says what it has left undone (checksums, segments), so that what
TCP meets is a long way and nothing else. Knows nothing of what it carries.
"""

from __future__ import annotations

import select
import socket
import sys
import time
from collections import deque

SOL_PACKET, PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING = 263, 15, 23  # linux/if_packet.h
ETH_P_ALL = 3
LARGEST = 70_000
HELD = 4096
"""Packets under way each way; more are dropped, as any queue does."""


def end(link: str) -> socket.socket:
    """A socket that sees and sends whole frames of one interface."""
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    made.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    made.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    made.bind((link, ETH_P_ALL))
    made.setblocking(False)
    return made


class Direction:
    """Frames from one end to the other; `due` in monotonic seconds."""

    def __init__(self, source: socket.socket, target: socket.socket, late: float) -> None:
        self.source = source
        self._target = target
        self._late = late
        self._under_way: deque[tuple[float, bytes]] = deque()

    def take(self) -> None:
        """Read all that has arrived."""
        try:
            while True:
                frame = self.source.recv(LARGEST)
                if len(self._under_way) < HELD:
                    self._under_way.append((time.monotonic() + self._late, frame))
        except BlockingIOError:
            return

    def deliver(self) -> float:
        """Send all that is due; seconds until the next is."""
        while self._under_way and self._under_way[0][0] <= time.monotonic():
            try:
                self._target.send(self._under_way.popleft()[1])
            except OSError:
                continue  # no room in the queue of the interface: a lost packet
        return max(0.0, self._under_way[0][0] - time.monotonic()) if self._under_way else 60.0


def carry(one: socket.socket, other: socket.socket, late: float) -> None:
    """Both directions, for ever."""
    ways = {end: Direction(end, far, late) for end, far in ((one, other), (other, one))}
    wait = 60.0
    while True:
        ready, _, _ = select.select(list(ways), [], [], wait)
        for each in ready:
            ways[each].take()
        wait = min(way.deliver() for way in ways.values())


if __name__ == "__main__":
    near, far, seconds = sys.argv[1:]
    ends = end(near), end(far)
    sys.stdout.write("open\n")
    sys.stdout.flush()
    carry(*ends, float(seconds))
