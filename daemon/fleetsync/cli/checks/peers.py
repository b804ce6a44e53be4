"""Checks of the other devices: who is behind and why, who can be reached, whose clock is off.

A laptop that sleeps is no fault. What no sleep explains is: a refusal, a firewall, an old version.
"""

from __future__ import annotations

import socket
from typing import Any

from fleetsync.cli.checks.knocking import Verdict, knock_everywhere
from fleetsync.cli.checks.scene import UNKNOWN, Finding, Scene, bad, fine
from fleetsync.errors import UserError
from fleetsync.records.addresses import parse_address

PASSING = {"unreachable", "unresponsive", "paused"}  # codes of errors that a sleeping laptop explains


def peers(scene: Scene) -> Finding:
    """Every peer has converged lately, and none is refused."""
    if scene.status is None:
        return UNKNOWN
    faults = [fault for peer in scene.status["peers"] if (fault := _fault(peer))]
    if faults:
        return bad(*("\n".join(dict.fromkeys(part)) for part in zip(*faults, strict=True)))
    return fine(f"of {len(scene.status['peers'])} none is stale")


def _fault(peer: dict[str, Any]) -> tuple[str, str] | None:
    """What is wrong with a peer, and the next step."""
    if peer["error"] and peer["error_code"] not in PASSING:
        return f"{peer['name']}: {peer['error']}", peer["error_next"]
    if peer["stale"]:
        why = f" ({peer['error']})" if peer["error"] else ""
        return (
            f"{peer['name']} has not converged for a day{why}",
            "wake that device, then run `fleetsync sync`",
        )
    return None


def reachability(scene: Scene) -> Finding:
    """No machine that is awake drops what is sent to it."""
    if scene.status is None:
        return UNKNOWN
    absent = [peer for peer in scene.status["peers"] if peer["state"] in ("offline", "connecting")]
    told = [(peer, knock_everywhere(peer["addresses"])) for peer in absent]
    faults = [_barred(peer, verdict) for peer, verdict in told if verdict.next_step]
    if faults:
        return bad(*("\n".join(dict.fromkeys(part)) for part in zip(*faults, strict=True)))
    met = [f"{peer['name']}: {verdict.detail}" for peer, verdict in told]
    return fine("\n".join(met) or "no peer is out of reach")


def _barred(peer: dict[str, Any], verdict: Verdict) -> tuple[str, str]:
    return f"{peer['name']}: {verdict.detail}", f"{verdict.next_step}".replace("NAME", peer["name"])


def clock(scene: Scene) -> Finding:
    """This device and its peers agree about the time."""
    if scene.status is None:
        return UNKNOWN
    if scene.settings is None:
        return fine("not compared: see config")
    allowed = scene.settings.config.clock.max_skew
    off = [
        f"{peer['name']} {peer['clock_offset_seconds']:+.0f} s"
        for peer in scene.status["peers"]
        if abs(peer["clock_offset_seconds"] or 0) > allowed
    ]
    if off:
        return bad(
            f"clocks differ by more than {allowed:.0f} s: {', '.join(off)}", "set the clock (timedatectl)"
        )
    return fine(f"within {allowed:.0f} s of every peer that was met")


def port(scene: Scene) -> Finding:
    """Peers can reach the port that this device listens on."""
    if scene.status is None:
        return UNKNOWN
    text = scene.status["device"]["listen"]
    try:
        address = parse_address(text)
        host = {"::": "::1", "0.0.0.0": "127.0.0.1"}.get(address.host, address.host)  # noqa: S104  (compared only)
        socket.create_connection((host, address.port), timeout=2).close()
    except (OSError, UserError) as error:
        return bad(f"{text}: {error}", "see `[device] listen` and the firewall; then restart the daemon")
    return fine(f"{text} answers")
