"""app/notify.py: the messages as systemd receives them."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleetsync.app.notify import Notifier


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """The socket of a service manager."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(tmp_path / "notify"))
        channel.settimeout(5)
        yield channel


def test_messages_are_those_of_sd_notify(manager: socket.socket) -> None:
    """Each call is one datagram in the form that sd_notify(3) gives."""
    notifier = Notifier(manager.getsockname())
    sent = [
        notifier.ready("3 peers"),
        notifier.status("two\nlines"),
        notifier.alive(),
        notifier.reloading(5_000_999),
        notifier.stopping(),
    ]
    received = [manager.recv(4096).decode() for _ in sent]
    assert all(sent)
    assert received == [
        "READY=1\nSTATUS=3 peers",
        "STATUS=two lines",
        "WATCHDOG=1",
        "RELOADING=1\nMONOTONIC_USEC=5000",
        "STOPPING=1\nSTATUS=stopping",
    ]


async def test_notifying_never_blocks_the_loop(manager: socket.socket) -> None:
    """Messages to a manager that does not read are dropped at once, inside the event loop too."""
    manager.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    notifier = Notifier(manager.getsockname())
    assert not all(notifier.status("x" * 1000) for _ in range(2000))


def test_without_a_manager_nothing_happens(tmp_path: Path) -> None:
    """Outside systemd, and when its socket is gone, a message is dropped without a fault."""
    assert not Notifier.from_environment({}, 1).ready("x")
    assert not Notifier(str(tmp_path / "gone")).ready("x")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has abstract socket names")
def test_abstract_sockets_are_understood() -> None:
    """An address that begins with @ is in Linux' abstract namespace."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(f"\0fleetsync-test-{os.getpid()}")
        channel.settimeout(5)
        assert Notifier(f"@fleetsync-test-{os.getpid()}").alive()
        assert channel.recv(100) == b"WATCHDOG=1"


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "60000000"}, 60.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "7"}, 60.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_watchdog_is_what_systemd_asks_of_this_process(
    environ: dict[str, str], seconds: float | None
) -> None:
    """The interval counts only if it is a positive number and meant for this process."""
    assert Notifier.from_environment(environ, pid=7).watchdog_seconds == seconds
