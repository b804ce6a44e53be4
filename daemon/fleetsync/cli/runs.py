"""`runs`: the audit trail: what was exchanged and what was run, with steps, counts and ends.

Reads the store itself and needs no daemon. Rule of the file: it asks the questions of `RunStore` and
shows the answers; nothing here writes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from fleetsync.cli.command import command, pass_session
from fleetsync.cli.session import Session

if TYPE_CHECKING:
    from fleetsync.ports import RunStore
    from fleetsync.records.audits import Run, RunFilter, RunLog

STATUSES = ("running", "ok", "error", "timeout", "budget_exceeded", "dry_run", "preempted", "lane_busy")
SHOWN = 50
"""Runs of a listing when no limit is given."""
LOOK_SECONDS = 0.5
"""Between two looks of `--follow`."""
SLACK = 60_000_000  # µs; how late a run may appear behind younger ones: clocks and transactions differ


@command("fleetsync runs --peer office --status error --since 2d\nfleetsync runs --follow")
@click.argument("run", required=False)
@click.option("--peer", metavar="PEER", help="Exchanges with this peer (name, id or its beginning).")
@click.option("--skill", metavar="SKILL", help="Runs of this skill; exchanges are fleetsync/exchange.")
@click.option("--status", type=click.Choice(STATUSES), help="Runs that stand so.")
@click.option("--since", metavar="TIME", help="From then on: RFC 3339, or an age such as 90s, 15m, 2h, 7d.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help=f"At most so many [{SHOWN}].")
@click.option("--all", "everything", is_flag=True, help="Runs inside other runs and dry runs too.")
@click.option("--follow", is_flag=True, help="Go on: print runs as they begin and end.")
@click.option("--jsonl", is_flag=True, help="Export: everything that is kept, one run a line.")
@pass_session
def runs(
    session: Session,
    run: str | None,
    peer: str | None,
    skill: str | None,
    status: str | None,
    since: str | None,
    limit: int | None,
    everything: bool,
    follow: bool,
    jsonl: bool,
) -> None:
    """List what was exchanged and run, newest first, or show one RUN as a tree with its steps.

    Works without the daemon. Without --peer, --skill and --all only the top level is listed.
    """
    from fleetsync.cli import output
    from fleetsync.cli.log import moment
    from fleetsync.records.audits import RunFilter, RunStatus

    wanted = RunFilter(
        channel_id=None if peer is None else device_of(session, peer),
        skill_id=skill,
        status=None if status is None else RunStatus(status),
        since=None if since is None else moment(since),
        top_level_only=not (everything or peer or skill),
        include_dry_run=everything,
    )
    with closing(opened(session, wait=follow)) as store:
        if run is not None:
            _show_one(session, store, run, jsonl=jsonl)
        elif follow:
            _show_each(session, changes(store, wanted, limit or SHOWN, _look_again), store, jsonl=jsonl)
        elif jsonl:
            _show_each(session, matching(store, wanted, limit), store, jsonl=True)
        elif session.json:
            output.emit({"runs": [_document(found) for found in matching(store, wanted, limit or SHOWN)]})
        else:
            output.table(HEADS, [_row(found) for found in matching(store, wanted, limit or SHOWN)])


# --- asking ------------------------------------------------------------------------------------------


def opened(session: Session, *, wait: bool) -> RunStore:
    """The store of the settings; an empty one if nothing was ever recorded and nothing is waited for."""
    from fleetsync import audit
    from fleetsync.stores.opening import AUDIT_FILE
    from fleetsync.stores.run_memory import MemoryRunStore

    settings = session.settings()
    if not settings.config.store.url and not wait and not (settings.state_dir / AUDIT_FILE).exists():
        return MemoryRunStore()
    return audit.open_store(settings)


def device_of(session: Session, text: str) -> str:
    """The id of the peer that is meant; a full id may be that of a device that is no peer any more.

    Raises `NotFound`, `UserError`.
    """
    from fleetsync.devices.identity import load_identity
    from fleetsync.devices.trust import FLEET_FILE, Fleet
    from fleetsync.errors import IllegalName, NotFound
    from fleetsync.records.names import parse_device_id

    try:
        return parse_device_id(text)
    except IllegalName:
        state = session.state_path()
        identity = load_identity(state) if (state / FLEET_FILE).exists() else None
        if identity is None:
            raise NotFound(f"no peer is called {text[:80]!r}", next_step="run `fleetsync pair`") from None
        return Fleet.load(state, identity).find(text).device


def matching(store: RunStore, wanted: RunFilter, limit: int | None) -> Iterator[Run]:
    """The newest runs that the filter admits, at most `limit`.

    What is recorded meanwhile moves later pages, so that a run may be seen again: it is left out.
    """
    from fleetsync.records.audits import MAX_PAGE

    seen: set[str] = set()
    while limit is None or len(seen) < limit:
        left = MAX_PAGE if limit is None else min(MAX_PAGE, limit - len(seen))
        page = store.list_runs_filtered(wanted, len(seen), left)
        fresh = [run for run in page if run.id not in seen]
        yield from fresh
        seen.update(run.id for run in fresh)
        if not fresh:
            return


def changes(store: RunStore, wanted: RunFilter, limit: int, look_again: Callable[[], None]) -> Iterator[Run]:
    """The newest runs, oldest first, then for ever each run when it begins and when it has ended.

    `look_again` returns when it is time to. A run is one of those wanted as it stands then.
    """
    from msgspec.structs import replace

    begun = replace(wanted, status=None, include_dry_run=True)  # whatever it will have become at its end
    first = list(matching(store, wanted, limit))
    yield from reversed(first)
    newest = max((run.started_at for run in first), default=wanted.since)
    shown = {run.id: run for run in first} | _since(store, begun, newest)
    while True:
        look_again()
        found = _since(store, begun, newest)
        found |= {run.id: run for run in _unfinished(store, shown) if run.id not in found}
        for run in found.values():
            if shown.get(run.id) != run and wanted.admits(run):
                yield run
        newest = max((run.started_at for run in found.values()), default=newest)
        shown = found


def _since(store: RunStore, wanted: RunFilter, newest: int | None) -> dict[str, Run]:
    """Those that began since the newest one or a little before it, oldest first."""
    from msgspec.structs import replace

    window = wanted if newest is None else replace(wanted, since=newest - SLACK)
    return {run.id: run for run in reversed(list(matching(store, window, None)))}


def _unfinished(store: RunStore, shown: dict[str, Run]) -> Iterator[Run]:
    """Those still running when last seen, as they are now; purged ones left out."""
    from fleetsync.errors import NotFound

    for run in shown.values():
        if run.finished_at is None:
            try:
                yield store.get_run(run.id)
            except NotFound:
                continue


def _look_again() -> None:
    import time

    time.sleep(LOOK_SECONDS)


def family(store: RunStore, run: Run, depth: int = 0) -> Iterator[tuple[int, Run]]:
    """A run and all inside it, parents first, with their depth; data that is a cycle ends at 32."""
    from fleetsync.records.audits import MAX_CHAIN

    yield depth, run
    if depth < MAX_CHAIN - 1:
        for child in store.list_children_by_parent(run.id):
            yield from family(store, child, depth + 1)


# --- showing -----------------------------------------------------------------------------------------

HEADS = ("STARTED", "SKILL", "CHANNEL", "STATUS", "TOOK", "RESULT", "RUN")


def _show_one(session: Session, store: RunStore, run_id: str, *, jsonl: bool) -> None:
    from fleetsync.cli import output
    from fleetsync.web.run_documents import detailed

    run = store.get_run(run_id)
    if jsonl:
        _show_each(session, (member for _, member in family(store, run)), store, jsonl=True)
    elif session.json:
        output.emit(detailed(run, store.list_logs_by_run(run.id), store.list_children_by_parent(run.id)))
    else:
        for depth, member in family(store, run):
            for line in _told(member, store.list_logs_by_run(member.id)):
                output.say("    " * depth + line)


def _show_each(session: Session, found: Iterable[Run], store: RunStore, *, jsonl: bool) -> None:
    from fleetsync.cli import output
    from fleetsync.web.run_documents import exported

    for run in found:
        if jsonl:
            output.emit(exported(run, store.list_logs_by_run(run.id)))
        elif session.json:
            output.emit(_document(run))
        else:
            output.say("  ".join("-" if cell is None else output.clean(str(cell)) for cell in _row(run)))


def _document(run: Run) -> dict[str, Any]:
    from fleetsync.web.run_documents import run_document

    return run_document(run)


def _row(run: Run) -> tuple[object, ...]:
    from fleetsync.cli import output

    document = _document(run)
    channel = output.short_id(run.channel_id) if len(run.channel_id) == 52 else run.channel_id or None
    took = None if run.runtime_seconds is None else output.ago(run.runtime_seconds)
    result = run.error or summary(run.output)
    return document["started_at"], run.skill_id, channel, str(run.status), took, result, run.id


def summary(value: Any) -> str | None:
    """A JSON value in one line: the facts of an object, `name=value`."""
    import json

    if isinstance(value, dict):
        return " ".join(f"{name}={value[name]}" for name in value)
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _told(run: Run, logs: Iterable[RunLog]) -> Iterator[str]:
    """A run and its log, in lines for people."""
    from fleetsync.cli import output

    started, skill, channel, status, took, result, run_id = _row(run)
    head = [skill, channel, output.coloured(str(status)), took, result]
    yield "  ".join(output.clean(str(cell)) if cell is not head[2] else str(cell) for cell in head if cell)
    yield f"  run {run_id}, started {started}"
    for entry in logs:
        yield f"  {entry.sequence:>3}  {entry.event_type:<11}  {output.clean(summary(entry.payload) or '')}"
