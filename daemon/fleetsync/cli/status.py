"""`status`: one screen that says whether everything is in order, and its exit code for scripts."""

from __future__ import annotations

from typing import Any

from fleetsync.cli import exits
from fleetsync.cli.command import command, pass_session
from fleetsync.cli.session import Session


@command("fleetsync status || fleetsync doctor")
@pass_session
def status(session: Session) -> int:
    """Show this device, its home, every peer, and what needs attention.

    Exit code 3 if a peer is stale or, with peers present, none is converged; 5 if a safety rule has
    stopped home.
    """
    from fleetsync.cli import output

    document = session.control().get("/status")
    if session.json:
        output.emit(document)
    else:
        _screen(document)
    return verdict(document)


def verdict(document: dict[str, Any]) -> int:
    """The exit code that a status document stands for (CLI.md)."""
    peers = document["peers"]
    if document["home"]["state"] == "guarded":
        return exits.SAFETY
    if any(peer["stale"] for peer in peers):
        return exits.STALE
    if peers and not any(peer["converged"] for peer in peers):
        return exits.STALE
    return exits.DONE


def left_out(selection: dict[str, list[str]]) -> list[str]:
    """What of home this device does not carry, in words; nothing where it carries everything."""
    said = [
        f"{name}: {', '.join(globs)}"
        for name, globs in selection.items()
        if globs and globs not in (["*"], ["**"])
    ]
    return [f"carries a part of home: {'; '.join(said)}"] if said else []


def _screen(document: dict[str, Any]) -> None:
    from fleetsync.cli import output
    from fleetsync.cli.peers import HEADS, row

    device, home = document["device"], document["home"]
    output.say(f"{output.clean(device['name'])}  {output.short_id(device['id'])}  {device['listen']}")
    output.say(f"{output.clean(home['path'])}  {home['items']} items  {output.coloured(home['state'])}")
    for line in left_out(document["selection"]):
        output.say(output.clean(line))
    output.say()
    if document["peers"]:
        output.table(HEADS, [row(peer) for peer in document["peers"]])
    else:
        output.say("no peers yet: run `fleetsync pair`")
    counts = [(name, document[name]) for name in ("parked", "held", "refused", "malformed", "collisions")]
    if any(count for _, count in counts):
        output.say()
        output.say("  ".join(f"{name}: {count}" for name, count in counts if count))
    for reason, count in document.get("parked_for", {}).items():  # a daemon of before says no reasons
        output.say(f"  {count} parked: {output.clean(reason)}")
    for path, reason in document.get("kept_here", {}).items():
        output.say(f"  {output.clean(path)} stays here: {output.clean(reason)}")
    for alert in document["alerts"]:
        output.say()
        output.say(f"{output.clean(alert['title'])}: {output.clean(alert['detail'])}")
        output.say(f"  next: {output.clean(alert['next'])}")
