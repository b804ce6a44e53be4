"""Telling systemd how the daemon is: sd_notify(3) in a few lines, and nothing where there is no systemd.

Never raises and never blocks: a message that cannot be delivered at once is dropped, since the service
manager being deaf must not stop a sync. Who calls it decides when; this only knows the protocol.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping

_MICROSECONDS = 1_000_000


class Notifier:
    """The way to the service manager; `watchdog_seconds` is None where it keeps no watch."""

    def __init__(self, address: str | None, watchdog_seconds: float | None = None) -> None:
        self._address = address
        self.watchdog_seconds = watchdog_seconds

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], pid: int) -> Notifier:
        """What the service manager told this process (`pid`) at its start."""
        return cls(environ.get("NOTIFY_SOCKET") or None, _watchdog_seconds(environ, pid))

    def ready(self, status: str) -> bool:
        """The daemon serves; also says that a reload is over."""
        return self._send(f"READY=1\nSTATUS={_one_line(status)}")

    def status(self, text: str) -> bool:
        """One line for `systemctl status`."""
        return self._send(f"STATUS={_one_line(text)}")

    def alive(self) -> bool:
        """Feeds the watchdog; due every half of `watchdog_seconds`."""
        return self._send("WATCHDOG=1")

    def reloading(self, monotonic_ns: int) -> bool:
        """Settings are being read again; `ready` must follow. The time is `time.monotonic_ns()`."""
        return self._send(f"RELOADING=1\nMONOTONIC_USEC={monotonic_ns // 1000}")

    def stopping(self) -> bool:
        """The daemon has begun to stop."""
        return self._send("STOPPING=1\nSTATUS=stopping")

    def _send(self, message: str) -> bool:
        """Whether the message went out."""
        if self._address is None:
            return False
        # A leading @ stands for the zero byte of Linux' abstract names.
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.setblocking(False)
            try:
                channel.sendto(message.encode(), address)
            except OSError:
                return False
        return True


def _watchdog_seconds(environ: Mapping[str, str], pid: int) -> float | None:
    interval = environ.get("WATCHDOG_USEC", "")
    meant = environ.get("WATCHDOG_PID", str(pid)) == str(pid)
    return int(interval) / _MICROSECONDS if meant and interval.isdecimal() and int(interval) else None


def _one_line(text: str) -> str:
    """A line break would begin another assignment."""
    return " ".join(text.split())
