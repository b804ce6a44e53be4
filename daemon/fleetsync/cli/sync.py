"""`sync`: exchange now and watch it, or see what an exchange would move."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import click

from fleetsync.cli import exits
from fleetsync.cli.command import command, pass_session
from fleetsync.cli.session import Session

if TYPE_CHECKING:
    from collections.abc import Iterator

SILENCE_SECONDS = 300.0  # signs of life come far more often, however slow the line


@command("fleetsync sync office --wait 30")
@click.argument("peer", required=False)
@click.option("--dry-run", is_flag=True, help="Say what would move, and move nothing.")
@click.option(
    "--wait",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="Keep trying until converged, at most so long.",
)
@pass_session
def sync(session: Session, peer: str | None, dry_run: bool, wait: float | None) -> int:
    """Exchange with PEER (a name or the beginning of an id), or with all peers, now.

    Exit code 3 unless all have converged.
    """
    if dry_run:
        return _rehearse(session, peer)
    order = {"peer": peer, "wait": wait}
    stream = session.control().stream("/sync", order, seconds=SILENCE_SECONDS + (wait or 0))
    result = _watch(stream)
    _report(session, result)
    converged = all(entry["outcome"] == "converged" for entry in result["peers"])
    return exits.DONE if converged else exits.STALE


def _watch(stream: Iterator[dict[str, Any]]) -> dict[str, Any]:
    """Follow the progress to the final document; on a terminal with one bar for all peers."""
    from fleetsync.errors import DaemonNotRunning

    with ExitStack() as stack:
        bar = _Bar(stack)
        for document in stream:
            if "peers" in document:
                return document
            if "progress" in document:
                bar.show(document["progress"])
    raise DaemonNotRunning("the daemon went away during the exchange")


class _Bar:
    """Items done of items known, on stderr; appears with the first progress, only on a terminal."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._left: dict[str, tuple[int, int]] = {}
        self._bar: Any = None

    def show(self, progress: dict[str, Any]) -> None:
        """Take one progress document: `left` of `total` items with one peer."""
        import sys

        if not sys.stderr.isatty():
            return
        self._left[progress["id"]] = progress["left"], progress["total"]
        total = sum(total for _, total in self._left.values())
        if self._bar is None:
            bar = click.progressbar(length=max(total, 1), label="items", file=sys.stderr, show_pos=True)
            self._bar = self._stack.enter_context(bar)
        self._bar.length = max(total, 1)
        done = total - sum(left for left, _ in self._left.values())
        self._bar.update(done - self._bar.pos)


def _report(session: Session, result: dict[str, Any]) -> None:
    from fleetsync.cli import output

    if session.json:
        output.emit({"peers": result["peers"]})
        return
    if not result["peers"]:
        output.say("no peers to exchange with: run `fleetsync pair`")
    heads = ("PEER", "OUTCOME", "RECEIVED", "SENT", "BYTES IN", "OUT", "ROUND TRIPS", "TOOK", "ERROR")
    output.table(heads, [_row(entry) for entry in result["peers"]])


def _row(entry: dict[str, Any]) -> tuple[object, ...]:
    from fleetsync.cli import output

    return (
        _called(entry),
        entry["outcome"],
        entry["received"],
        entry["sent"],
        output.size_of(entry["bytes_in"]),
        output.size_of(entry["bytes_out"]),
        entry["round_trips"],
        output.ago(entry["seconds"]),
        entry["error"],
    )


def _called(entry: dict[str, Any]) -> str:
    """A peer's name, or as much of its id as one types."""
    from fleetsync.cli import output

    return entry.get("name") or output.short_id(entry["id"])


def _rehearse(session: Session, peer: str | None) -> int:
    from fleetsync.cli import output

    plan = session.control().post("/sync", {"peer": peer, "dry_run": True}, seconds=SILENCE_SECONDS)
    failed = [entry for entry in plan["peers"] if entry.get("error")]
    if session.json:
        output.emit(plan)
    else:
        _show_plan(plan, failed)
    return exits.STALE if failed else exits.DONE


def _show_plan(plan: dict[str, Any], failed: list[dict[str, Any]]) -> None:
    from fleetsync.cli import output

    rows = [
        (_called(entry), way, move["items"], move["path"])
        for entry in plan["peers"]
        for way in ("receive", "send")
        for move in entry[f"would_{way}"]
    ]
    if rows:
        output.table(("PEER", "WOULD", "ITEMS", "PATH"), rows)
    elif not failed:
        output.say("nothing would move")
    for entry in failed:
        output.remark(f"{output.clean(_called(entry))}: {output.clean(entry['error'])}")
