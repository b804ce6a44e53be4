"""`peers`: the devices of the fleet, and what this device does with each."""

from __future__ import annotations

from typing import Any

import click

from fleetsync.cli.command import Group, pass_session
from fleetsync.cli.session import Session

WAYS = {
    "both": "items travel both ways",
    "receive": "only receives from it",
    "send": "only sends to it",
}
"""Direction → what becomes of it, seen from this device."""


@click.group(
    cls=Group,
    invoke_without_command=True,
    example="fleetsync peers\nfleetsync peers pause office",
)
@click.pass_context
def peers(ctx: click.Context) -> None:
    """The devices that this one is paired with; without a subcommand, list them.

    PEER is a name, an id or the beginning of an id.
    """
    if ctx.invoked_subcommand is None:
        show(ctx.find_object(Session) or Session())


@peers.command("list", example="fleetsync peers list --json")
@pass_session
def list_peers(session: Session) -> None:
    """List all peers and how each is doing."""
    show(session)


@peers.command(example="fleetsync peers pause office")
@click.argument("peer")
@pass_session
def pause(session: Session, peer: str) -> None:
    """Exchange nothing with PEER until it is resumed."""
    _change(session, peer, "pause", "paused")


@peers.command(example="fleetsync peers resume office")
@click.argument("peer")
@pass_session
def resume(session: Session, peer: str) -> None:
    """Exchange with PEER again, beginning now."""
    _change(session, peer, "resume", "resumed")


@peers.command(example="fleetsync peers rename ab3x office")
@click.argument("peer")
@click.argument("name")
@pass_session
def rename(session: Session, peer: str, name: str) -> None:
    """Call PEER by another NAME on this device."""
    _change(session, peer, "rename", f"now called {name}", name=name)


@peers.command(example="fleetsync peers direction office receive")
@click.argument("peer")
@click.argument("direction", type=click.Choice(list(WAYS)))
@pass_session
def direction(session: Session, peer: str, direction: str) -> None:
    """Let items travel both ways, or only receive from PEER, or only send to it.

    With receive PEER gets nothing of this device; with send this device takes nothing of PEER.
    """
    _change(session, peer, "direction", WAYS[direction], direction=direction)


@peers.command(example="fleetsync peers remove office")
@click.argument("peer")
@pass_session
def remove(session: Session, peer: str) -> None:
    """Distrust PEER, here and in the whole fleet.

    It gets not a byte more. Only pairing it again brings it back.
    """
    _change(session, peer, "remove", "removed")


def show(session: Session) -> None:
    """All peers, as the document or as a table."""
    from fleetsync.cli import output

    document = session.control().get("/peers")
    if session.json:
        output.emit(document)
    elif document["peers"]:
        output.table(HEADS, [row(peer) for peer in document["peers"]])
    else:
        output.say("no peers yet: run `fleetsync pair` here, then the command it prints on the other device")


HEADS = ("NAME", "ID", "STATE", "DIRECTION", "SYNC", "LAG", "ITEMS HERE", "THERE", "ERROR")


def row(peer: dict[str, Any]) -> tuple[object, ...]:
    """One peer as a row under `HEADS`."""
    from fleetsync.cli import output

    lag = None if peer["lag_seconds"] is None else output.ago(peer["lag_seconds"])
    return (
        peer["name"],
        output.short_id(peer["id"]),
        peer["state"],
        peer["direction"],
        "stale" if peer["stale"] else "converged" if peer["converged"] else "not yet",
        lag,
        peer["items_local"],
        peer["items_remote"],
        peer["error"],
    )


def _change(session: Session, peer: str, act: str, done: str, **more: str) -> None:
    from fleetsync.cli import output

    answer = session.control().post("/peers/" + act, {"peer": peer, **more})
    if session.json:
        output.emit({"peer": answer["peer"]})
    else:
        shown = answer["peer"]
        output.say(f"{output.clean(shown['name'])} ({output.short_id(shown['id'])}): {done}")
