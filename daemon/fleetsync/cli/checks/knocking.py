"""Why a device does not answer at its addresses: asleep, not listening, or behind a firewall.

TCP alone cannot tell a sleeping machine from a firewall that drops packets. The system's neighbour table
can, on the local network: a machine that answers there is awake.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from fleetsync.errors import UserError
from fleetsync.records.addresses import Address, parse_address

CONNECT_SECONDS = 2.0
NEIGHBOUR_SECONDS = 9.0
"""Linux takes 5 s to doubt an entry that it has not used lately, and 3 s to see that it is dead."""
_UNDECIDED = ("STALE", "DELAY", "PROBE", "INCOMPLETE")
_FORBIDDEN = (errno.EPERM, errno.EACCES)


class Verdict(NamedTuple):
    """What was met; `next_step` is None where a sleeping machine explains it. NAME stands for the device."""

    rank: int  # the lowest says most about the device
    detail: str
    next_step: str | None = None


Connect = Callable[[Address], None]
Awake = Callable[[str], bool]


def knock_everywhere(addresses: Sequence[str]) -> Verdict:
    """What says most about the device, of what was met at all its addresses."""
    if not addresses:
        return Verdict(9, "no address of it is known")
    with ThreadPoolExecutor(len(addresses)) as pool:
        return min(pool.map(_knock_at, addresses))


def _knock_at(text: str) -> Verdict:
    try:
        return knock(parse_address(text))
    except UserError as error:
        return Verdict(9, error.message)


def connect(address: Address) -> None:
    """Connect and hang up. Raises `OSError`."""
    try:
        socket.create_connection(address, timeout=CONNECT_SECONDS).close()
    except UnicodeError as error:  # a name with an empty part, or one that is too long
        raise OSError(errno.EINVAL, "that is no name of a host") from error


def awake(host: str) -> bool:
    """Whether a machine of the local network answers to this address below IP; False if it cannot be told."""
    deadline = time.monotonic() + NEIGHBOUR_SECONDS
    while (state := _neighbour(host)) in _UNDECIDED and time.monotonic() < deadline:
        time.sleep(0.2)
    return state == "REACHABLE"


def _neighbour(host: str) -> str | None:
    """The state of its entry in the neighbour table."""
    command = ["ip", "-json", "neigh", "show", "to", host]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=2, check=True)
        entries = json.loads(done.stdout or "[]")
        return str(entries[0]["state"][0])
    except (OSError, subprocess.SubprocessError, ValueError, LookupError):
        return None


def knock(address: Address, connect: Connect = connect, awake: Awake = awake) -> Verdict:
    """What a connection to this address meets."""
    try:
        connect(address)
    except ConnectionRefusedError:
        return Verdict(
            1,
            f"a machine at {address} is on, but nothing listens there",
            "run `fleetsync doctor` on NAME",
        )
    except (TimeoutError, OSError) as error:
        return _unanswered(address, error, awake)
    return Verdict(0, f"{address} answers")


def _unanswered(address: Address, error: OSError, awake: Awake) -> Verdict:
    allow = f"let TCP port {address.port} in on NAME, e.g. `sudo ufw allow {address.port}/tcp`"
    if error.errno in _FORBIDDEN:
        detail = f"this machine's own firewall forbids connections to {address}"
        return Verdict(2, detail, f"let this user connect to TCP port {address.port}")
    if awake(address.host):
        return Verdict(3, f"a machine at {address} is on, but a firewall keeps the port shut", allow)
    if isinstance(error, TimeoutError):
        return Verdict(5, f"{address} does not answer: asleep, elsewhere, or behind a firewall")
    return Verdict(6, f"{address}: {os.strerror(error.errno).lower() if error.errno else error}")
