"""The systemd user unit: its text, and installing it.

`render` is pure; systemd/fleetsync.service is what it gives for `~/.local/bin`, and a test holds the
two equal. Rules of the unit: only keys that systemd 252 knows and that work without privileges. In a
user unit the seccomp-based restrictions work; those that need a mount namespace or capabilities
(PrivateTmp, ProtectSystem, ProtectKernelLogs, …) do nothing or keep the unit from starting, so they
are not there. Implements DESIGN §10, "Known traps" of docs/decisions.md.
"""

from __future__ import annotations

import re
from pathlib import Path

from fleetsync.errors import ServiceFailed
from fleetsync.service.manager import (
    TOO_LATE,
    Launch,
    Runner,
    ServiceState,
    demand,
    out_of_date,
    unit_text,
    write_unit,
)

UNIT = "fleetsync.service"
_JOURNAL = f"see why with `journalctl --user --unit {UNIT}`"

_TEMPLATE = """\
# Written by `fleetsync service install`; it writes the file anew, so change settings in config.toml
# or beside this file with `systemctl --user edit fleetsync`.

[Unit]
Description=fleetsync, keeping ~/.mur the same on all laptops of one person
# Try again for ever: what stops it (a full disk, a home not mounted yet) passes.
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
ExecStart={command} run
ExecReload=/bin/kill -HUP $MAINPID
{environment}Restart=on-failure
RestartSec=2
# 2: the settings are broken, 5: a safety rule said stop. A restart mends neither.
RestartPreventExitStatus=2 5
# The first start indexes all of home before it is ready.
TimeoutStartSec=300
TimeoutStopSec=10
WatchdogSec=60
SyslogIdentifier=fleetsync
UMask=0077

NoNewPrivileges=yes
LockPersonality=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
SystemCallFilter=@system-service

[Install]
WantedBy=default.target
"""


def render(launch: Launch) -> str:
    """The unit for this launch. Raises `ServiceFailed` for text that no unit can hold."""
    environment = "".join(
        f"Environment={_quote(f'{name}={value}')}\n" for name, value in sorted(launch.environment.items())
    )
    return _TEMPLATE.format(command=_command(launch.executable), environment=environment)


def _command(executable: Path) -> str:
    """The path as ExecStart wants it: `~/` as a specifier, quoted only where it must be."""
    quoted = _quote(str(executable))
    if quoted.startswith('"~/'):
        quoted = '"%h/' + quoted[3:]
    return quoted if " " in quoted else quoted[1:-1]


def _quote(text: str) -> str:
    """One word of a unit file, in double quotes; `%` begins a specifier there."""
    if not text.isprintable():
        raise ServiceFailed(f"{text[:80]!r} cannot stand in a systemd unit")
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def _started(unit: str) -> str:
    """The path that `_command` wrote."""
    found = re.search(r'^ExecStart="?(?P<word>.+?)"? run$', unit, re.MULTILINE)
    word = re.sub(r"\\(.)", r"\1", found["word"]) if found else ""
    return re.sub(r"^%h", str(Path.home()), word).replace("%%", "%")


def _settled(unit: str) -> list[str]:
    """The lines of a unit that do not depend on where and how it was installed."""
    return [line for line in unit.splitlines() if not line.startswith(("ExecStart=", "Environment="))]


class Systemd:
    """The user's systemd. `directory` is where units live, usually ~/.config/systemd/user."""

    def __init__(self, directory: Path, user: str, run: Runner) -> None:
        self._path = directory / UNIT
        self._user = user
        self._run = run

    def install(self, launch: Launch) -> ServiceState:
        """Write, enable and start the unit; a running one is restarted only if its text changed."""
        changed = write_unit(self._path, render(launch).encode())
        self._systemctl("daemon-reload")
        self._systemctl("enable", UNIT)
        self._start("restart" if changed else "start")
        return self.state()

    def uninstall(self) -> ServiceState:
        """Stop, disable and remove the unit."""
        if self._path.exists():
            self._systemctl("disable", "--now", UNIT)
            self._path.unlink(missing_ok=True)
            self._systemctl("daemon-reload")
            self._asks("reset-failed", UNIT)  # a unit that never failed has nothing to reset
        return self.state()

    def state(self) -> ServiceState:
        """What systemd says; all false where it cannot be asked."""
        return ServiceState(
            manager="systemd",
            unit=str(self._path),
            installed=self._path.exists(),
            enabled=self._asks("is-enabled", UNIT),
            active=self._asks("is-active", UNIT),
        )

    def stale(self) -> str | None:
        """Compares all but the lines that depend on where and how it was installed."""
        text = unit_text(self._path)
        rewritten = _settled(text) != _settled(render(Launch(Path("fleetsync"))))
        return out_of_date(_started(text), rewritten=rewritten)

    def advice(self) -> str | None:
        """How to keep the service running while nobody is logged in; None if it already does."""
        shown = self._run(["loginctl", "show-user", self._user, "--property=Linger", "--value"])
        if shown.output.strip() == "yes":
            return None
        return f"loginctl enable-linger {self._user}"

    def _start(self, how: str) -> None:
        """Start it and wait until it is ready; a first start that takes longer goes on by itself."""
        command = ["systemctl", "--user", how, UNIT]
        done = self._run(command)
        if done.code not in (0, TOO_LATE):
            raise ServiceFailed(f"{' '.join(command)}: {done.errors.strip()}", next_step=_JOURNAL)

    def _systemctl(self, *arguments: str) -> None:
        demand(self._run, ["systemctl", "--user", *arguments])

    def _asks(self, *question: str) -> bool:
        return self._run(["systemctl", "--user", "--quiet", *question]).code == 0
