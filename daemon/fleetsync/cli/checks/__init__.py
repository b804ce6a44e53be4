"""The checks of `doctor`: this device and its service, home, the peers; one function each.

A fault that a person can meet is one check here, with a test that provokes it.
"""

from __future__ import annotations

from collections.abc import Callable

from fleetsync.cli.checks import device, home, peers
from fleetsync.cli.checks.scene import Check, Finding, Scene, bad
from fleetsync.cli.session import Session
from fleetsync.errors import FleetsyncError


def examine(session: Session) -> list[Check]:
    """Every check, in the order in which a person would mend things."""
    scene = Scene.of(session)
    return [Check(name, *_finding(check, scene)) for name, check in CHECKS.items()]


def _finding(check: Callable[[Scene], Finding], scene: Scene) -> Finding:
    """What a check finds; where it cannot look, that is what it finds, and the others look all the same."""
    try:
        return check(scene)
    except (FleetsyncError, OSError) as error:
        return bad(str(error), "mend what it names, then run this again")


CHECKS: dict[str, Callable[[Scene], Finding]] = {
    "config": device.config,
    "state-directory": device.state_directory,
    "identity": device.identity,
    "state-files": device.state_files,
    "daemon": device.daemon,
    "home": home.home,
    "filesystem": home.filesystem,
    "home-state": home.home_state,
    "waiting": home.waiting,
    "logs": home.logs,
    "stats": home.stats,
    "peers": peers.peers,
    "reachability": peers.reachability,
    "clock": peers.clock,
    "port": peers.port,
    "watches": device.watches,
    "service": device.service,
    "linger": device.linger,
}
