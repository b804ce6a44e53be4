"""`experience`: append events of experience to a stream, and ask about events, artifacts and traces.

Works without the daemon: the logs under home are the truth, and the index beside them reads on by
itself. Envelopes come out byte for byte as they stand in the log.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

import click

from fleetsync.cli.command import Group, pass_session
from fleetsync.cli.session import Session

if TYPE_CHECKING:
    from fleetsync.experience_port import Recorded
    from fleetsync.records.artifacts import Artifact
    from fleetsync.records.experience_intake import Rules
    from fleetsync.records.experience_queries import EventQuery
    from fleetsync.records.experiences import Experience
    from fleetsync.stores.experience_ledger import ExperienceLedger

PORTION_BYTES = 64 << 20
"""What is appended at once, all or nothing; more than that comes in several portions."""
PAGE = 1000
"""Events asked for at a time."""


@click.group(
    cls=Group,
    example="fleetsync experience append --stream engine < events.jsonl\n"
    "fleetsync experience query --tenant acme --kind OutcomeRecorded --since 2d",
)
def experience() -> None:
    """The ledger of experience: what agents did, decided and were allowed."""


# --- append --------------------------------------------------------------------------------------------


@experience.command(example="fleetsync experience append --stream engine < events.jsonl")
@click.option("--stream", metavar="S", help="Which stream [local].")
@click.option(
    "--imported",
    is_flag=True,
    help="Take what newer versions wrote, and transitions of artifacts as they come.",
)
@pass_session
def append(session: Session, stream: str | None, imported: bool) -> None:
    """Append the envelopes on stdin, one a line: all of them or, if one cannot be taken, none.

    A line that is in the stream already is not written again. A running daemon sends them on at once.
    """
    from fleetsync.cli import output
    from fleetsync.experience_port import DEFAULT_STREAM
    from fleetsync.records.experience_intake import Rules
    from fleetsync.records.names import legal_name

    rules = Rules.IMPORTED if imported else Rules.WRITTEN
    name = DEFAULT_STREAM if stream is None else stream
    if not legal_name("stream", name):
        raise click.BadParameter(f"{name[:80]!r} is no name of a stream", param_hint="--stream")
    appended = given = 0
    with opened(session) as ledger:
        for events in portions(sys.stdin.buffer, rules):
            appended += ledger.append_events(events, stream=name, rules=rules)
            given += len(events)
        if ledger.trouble is not None:
            output.remark(f"appended; the index will follow: {ledger.trouble.message}")
    if session.json:
        output.emit({"appended": appended, "known": given - appended})
    else:
        output.say(f"{appended} appended to {name}, {given - appended} known already")


def portions(lines: IO[bytes], rules: Rules) -> Iterator[list[Experience]]:
    """The events on these lines, every line checked; raises `InvalidQuery` naming the line."""
    events: list[Experience] = []
    size = 0
    for number, raw in enumerate(lines, 1):
        line = raw.strip(b" \t\r\n")
        if not line:
            continue
        events.append(_checked(line, number, rules))
        size += len(line)
        if size >= PORTION_BYTES:
            yield events
            events, size = [], 0
    yield events


def _checked(line: bytes, number: int, rules: Rules) -> Experience:
    from fleetsync.errors import InvalidQuery, MalformedRecord
    from fleetsync.records.experience_intake import require
    from fleetsync.records.experiences import read

    try:
        event = read(line)
        require([event], rules)
    except (MalformedRecord, InvalidQuery) as error:
        raise InvalidQuery(f"line {number}: {error.message}") from error
    return event


# --- query ---------------------------------------------------------------------------------------------


@experience.command(
    example="fleetsync experience query --tenant acme --kind OutcomeRecorded --since 2d\n"
    "fleetsync experience query --all-tenants --chain ch-1 --related --json"
)
@click.option("--tenant", metavar="T", help="Events of this tenant.")
@click.option("--all-tenants", is_flag=True, help="Events of all tenants, and of none.")
@click.option("--kind", "kinds", multiple=True, metavar="K", help="Of this kind; may be repeated.")
@click.option("--chain", metavar="C", help="Of this chain.")
@click.option("--related", is_flag=True, help="With --chain: what shares an id with the chain too.")
@click.option("--correlation", metavar="C", help="With this correlation id.")
@click.option("--trace", metavar="ID", help="With this trace link id.")
@click.option("--proposal", metavar="ID", help="About this proposal.")
@click.option("--since", metavar="TIME", help="From then on: RFC 3339, a day, or an age such as 2h, 7d.")
@click.option("--until", metavar="TIME", help="Up to then, a whole day included.")
@click.option("--limit", type=click.IntRange(min=0), metavar="N", help="At most so many.")
@click.option("--after", metavar="CURSOR", help="Go on behind this cursor or event id.")
@click.option("--newest", is_flag=True, help="Last appended first.")
@pass_session
def query(
    session: Session,
    tenant: str | None,
    all_tenants: bool,
    kinds: Sequence[str],
    chain: str | None,
    related: bool,
    correlation: str | None,
    trace: str | None,
    proposal: str | None,
    since: str | None,
    until: str | None,
    limit: int | None,
    after: str | None,
    newest: bool,
) -> None:
    """Print events in the order in which they came here, byte for byte as they were written.

    Whose events must be said: --tenant or --all-tenants. An event whose time is not known lies
    in no span of time.
    """
    from fleetsync.records.experience_queries import EventQuery, TimeRange, require_query
    from fleetsync.records.experience_types import RENAMED

    asked = EventQuery(
        tenant_id=tenant,
        time_range=TimeRange(_time(since), _time(until)) if since or until else None,
        kinds=tuple(RENAMED.get(kind, kind) for kind in kinds),
        correlation_id=correlation,
        chain_id=chain,
        limit=limit,
        all_tenants=all_tenants,
        trace_link_id=trace,
        proposal_id=proposal,
        related=related,
        after=after,
        newest_first=newest,
    )
    if tenant is None and not all_tenants:
        raise click.UsageError("say whose events: --tenant T, or --all-tenants")
    require_query(asked)
    with opened(session) as ledger:
        _show_events(session, _pages(ledger, asked))


def _time(text: str | None) -> str | None:
    """The text itself, or an age as the time that it means."""
    import re
    import time

    from fleetsync.cli.log import moment
    from fleetsync.records.experience_times import stamp

    if text is None or not re.fullmatch(r"\d+(?:\.\d+)?\s*[smhdw]", text.strip()):
        return text
    return stamp(min(moment(text) * 1000, time.time_ns()))


def _pages(ledger: ExperienceLedger, asked: EventQuery) -> Iterator[list[Recorded]]:
    from msgspec.structs import replace

    left = asked.limit
    while left is None or left > 0:
        page = ledger.query_events(replace(asked, limit=PAGE if left is None else min(PAGE, left)))
        yield page
        if len(page) < PAGE:
            return
        asked = replace(asked, after=page[-1].cursor)
        left = None if left is None else left - len(page)


def _show_events(session: Session, pages: Iterable[list[Recorded]]) -> None:
    from fleetsync.cli import output

    shown: Recorded | None = None
    disputed = 0
    for page in pages:
        if session.json:
            for recorded in page:
                output.emit_line(recorded.line)
        else:
            output.table(("TIME", "KIND", "TENANT", "STREAM", "ID", "CONFLICT"), map(_event_row, page))
        disputed += sum(recorded.conflict for recorded in page)
        shown = page[-1] if page else shown
    if shown is not None:
        output.remark(f"cursor: {shown.cursor}")
    if disputed:
        output.remark(
            f"{disputed} of these share their event id with an event that says something else:"
            " run `fleetsync experience conflicts`"
        )


def _event_row(recorded: Recorded) -> tuple[object, ...]:
    event = recorded.experience
    time = event.occurred_at if event.instant else "unknown"
    return time, event.kind, event.tenant_id, recorded.stream, event.event_id, _flag(recorded.conflict)


def _flag(conflict: bool) -> str:
    return "conflict" if conflict else ""


# --- artifacts, traces, conflicts ------------------------------------------------------------------------


@experience.command(example="fleetsync experience artifacts --state Quarantined")
@click.option("--tenant", metavar="T", help="Of this tenant.")
@click.option("--artifact", metavar="ID", help="This one.")
@click.option("--kind", metavar="K", help="Of this kind; other:TEXT for one without a name of its own.")
@click.option("--state", metavar="STATE", help="In this state.")
@click.option("--limit", type=click.IntRange(min=0), metavar="N", help="At most so many.")
@pass_session
def artifacts(
    session: Session,
    tenant: str | None,
    artifact: str | None,
    kind: str | None,
    state: str | None,
    limit: int | None,
) -> None:
    """Print how governed artifacts stand: what all their transitions and rollbacks add up to."""
    from fleetsync.cli import output
    from fleetsync.records.experience_queries import ArtifactQuery

    asked = ArtifactQuery(
        tenant_id=tenant,
        artifact_id=artifact,
        kind=None if kind is None else _kind(kind),
        state=None if state is None else _state(state),
        limit=limit,
    )
    with opened(session) as ledger:
        found = [_artifact_document(each) for each in ledger.query_artifacts(asked)]
    if session.json:
        for document in found:
            output.emit(document)
    else:
        heads = ("TENANT", "ARTIFACT", "KIND", "STATE", "SINCE", "IRREGULAR")
        output.table(heads, [tuple(document.values()) for document in found])


def _kind(text: str) -> Any:
    from fleetsync.records.experience_values import OtherArtifactKind
    from fleetsync.records.experience_words import KnownArtifactKind

    if text.startswith("other:"):
        return OtherArtifactKind(text.removeprefix("other:"))
    return _word(KnownArtifactKind, text, "--kind")


def _state(text: str) -> Any:
    from fleetsync.records.experience_words import ArtifactState

    return _word(ArtifactState, text, "--state")


def _word(words: Any, text: str, option: str) -> Any:
    try:
        return words(text)
    except ValueError:
        message = f"{text!r} is none of {', '.join(words)}"
        raise click.BadParameter(message, param_hint=option) from None


def _artifact_document(artifact: Artifact) -> dict[str, Any]:
    import json

    return {
        "tenant_id": artifact.tenant_id,
        "artifact_id": artifact.artifact_id,
        "kind": None if artifact.kind is None else json.loads(artifact.kind),
        "state": str(artifact.state),
        "since": _canonical_time(artifact.since),
        "irregular": artifact.irregular,
    }


def _canonical_time(text: str) -> str | None:
    """RFC 3339 UTC, or None if the time is not known."""
    from fleetsync.records import timestamps
    from fleetsync.records.experience_times import instant

    point = instant(text)
    if point is None:
        return None
    seconds, micros = divmod(point.micros, 1_000_000)
    return timestamps.write(seconds, micros * 1000 + point.rest)


@experience.command(example="fleetsync experience trace tl-1")
@click.argument("id")
@click.option("--tenant", metavar="T", help="Recorded by this tenant.")
@pass_session
def trace(session: Session, id: str, tenant: str | None) -> None:  # noqa: A002 - named so in the contract
    """Print the trace that was recorded first under ID."""
    from fleetsync.cli import output
    from fleetsync.errors import NotFound
    from fleetsync.records.experiences import trace_text

    with opened(session) as ledger:
        found = ledger.get_trace_link(id, tenant)
    if found is None:
        raise NotFound(
            f"no trace is recorded under {id[:80]!r}",
            next_step="see `fleetsync experience query --all-tenants --kind ReplayTraceRecorded`",
        )
    text = trace_text(found.recorded.line)
    output.emit_line((text if session.json else output.escaped(text)).encode())
    if found.differing:
        output.remark(
            f"{found.differing} later events under this id say something else:"
            f" fleetsync experience query --all-tenants --trace {id}"
        )


@experience.command(example="fleetsync experience conflicts --json")
@click.option("--limit", type=click.IntRange(min=0), metavar="N", help="At most so many.")
@pass_session
def conflicts(session: Session, limit: int | None) -> None:
    """Print the event ids that stand for more than one content in a stream; nothing of it is dropped."""
    from fleetsync.cli import output

    with opened(session) as ledger:
        found = ledger.conflicts(limit)
    if session.json:
        for conflict in found:
            opening = output.encode({"stream": conflict.stream, "event_id": conflict.event_id})[:-1]
            lines = b", ".join(recorded.line for recorded in conflict.events)
            output.emit_line(opening + b', "events": [' + lines + b"]}")
        return
    rows = [
        (conflict.stream, conflict.event_id, recorded.line.decode())
        for conflict in found
        for recorded in conflict.events
    ]
    output.table(("STREAM", "ID", "EVENT"), rows)


@contextmanager
def opened(session: Session) -> Iterator[ExperienceLedger]:
    """The ledger of the settings, read up to the end of its logs where the index can be reached."""
    import socket

    from fleetsync.cli.journal import own_device
    from fleetsync.errors import IndexDamaged, InvalidQuery, StorageFailed
    from fleetsync.stores.experience_opening import discard_damaged, open_experience_ledger

    settings = session.settings()
    device = own_device(settings.state_dir) or socket.gethostname()
    ledger = open_experience_ledger(settings.home, settings.state_dir, settings.config.store.url, device)
    try:
        yield ledger
    except UnicodeEncodeError as error:  # an argument that is not UTF-8
        raise InvalidQuery(f"{error.object[:80]!r} is not text") from error
    except StorageFailed as error:
        if discard_damaged(settings.state_dir, error):
            raise IndexDamaged(error.message, next_step="run the command again") from error
        raise
    finally:
        ledger.close()
