"""`log`: what is known of one skill or channel, from all devices, in time order."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import click

from fleetsync.cli.command import command, pass_session
from fleetsync.cli.session import Session

if TYPE_CHECKING:
    from fleetsync.cli.reading import Entry


class Told(NamedTuple):
    """A line with what this device knows of it."""

    entry: Entry
    device: str | None
    state: str
    signature: str | None = None  # only where it was asked for


@command("fleetsync log deploy --since 2h --tail 20\nfleetsync log channel:fleet-dev --verify --json")
@click.argument("name", metavar="SKILL|channel:ID")
@click.option("--since", metavar="TIME", help="From then on: RFC 3339, or an age such as 90s, 15m, 2h, 7d.")
@click.option(
    "--device", metavar="DEVICE", help="Only lines of that device (beginning of its id, or device_id)."
)
@click.option("--tail", type=click.IntRange(min=0), metavar="N", help="Only the last N lines.")
@click.option("--verify", is_flag=True, help="Say of each line whether its writer has signed it.")
@pass_session
def log(
    session: Session, name: str, since: str | None, device: str | None, tail: int | None, verify: bool
) -> None:
    """Print the merged log of a skill, or of a channel as channel:ID, in time order.

    Lines that are known but may not be written into the file yet have the state parked. Works
    without the daemon.
    """
    lines = _told(session, name)
    if since is not None:
        begin = moment(since)
        lines = [line for line in lines if line.entry.micros >= begin]
    if device is not None:
        lines = [line for line in lines if _is_from(line, device)]
    if tail is not None:
        lines = lines[len(lines) - min(tail, len(lines)) :]
    _show(session, _verified(session, name, lines) if verify else lines)


def _verified(session: Session, name: str, lines: list[Told]) -> list[Told]:
    """The lines with what is known of their signatures; only channels have any."""
    from fleetsync.cli import reading, signed

    found = [signed.NONE] * len(lines)
    if name.startswith(reading.CHANNEL):
        bodies = [line.entry.line for line in lines]
        found = signed.signatures(session, name.removeprefix(reading.CHANNEL), bodies)
    return [line._replace(signature=each) for line, each in zip(lines, found, strict=True)]


def _told(session: Session, name: str) -> list[Told]:
    from fleetsync.cli import reading
    from fleetsync.cli.journal import open_journal, own_device
    from fleetsync.errors import NotFound

    path = reading.log_path(name)
    data = reading.read_file(session.home_path(), path)
    state_dir = session.state_path()
    with open_journal(state_dir) as known:
        waiting = known.parked(path)
        origins = known.origins(path, own_device(state_dir))
    if data is None and not waiting:
        if not name.startswith(reading.CHANNEL):
            reading.require_skill(session.home_path(), name)
            return []
        raise NotFound(f"there is no {path} in {session.home_path()}", next_step="give the id of a channel")
    applied = reading.entries(path, data or b"")
    lines = [Told(e, origins.get(e.identity), "applied") for e in applied]
    written = {e.identity for e in applied}
    lines += [
        Told(reading.entry_of(path, p.body), p.origin, "parked") for p in waiting if p.id not in written
    ]
    return sorted(lines, key=lambda line: line.entry.order)


def _is_from(line: Told, device: str) -> bool:
    plain = device.replace("-", "").lower()
    return line.entry.author == device or bool(plain and line.device and line.device.startswith(plain))


def moment(text: str) -> int:
    """A time or an age as µs since 1970. Raises click's usage error."""
    import re
    import time

    from fleetsync.errors import MalformedRecord
    from fleetsync.records import timestamps

    age = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhdw])", text.strip())
    if age:
        seconds = float(age[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}[age[2]]
        return int((time.time() - seconds) * 1e6)
    try:
        whole_day = re.fullmatch(r"\d{4}-\d{2}-\d{2}", text.strip())
        return timestamps.parse(text.strip() + "T00:00:00Z" if whole_day else text).micros
    except MalformedRecord:
        raise click.BadParameter(
            f"{text!r} is neither a time such as 2026-05-30T12:00:00Z nor an age such as 2h",
            param_hint="--since",
        ) from None


def _show(session: Session, lines: Iterable[Told]) -> None:
    from fleetsync.cli import output

    if session.json:
        for line in lines:
            output.emit_line(document(line))
        return
    lines = list(lines)
    verified = any(line.signature for line in lines)
    heads = ("TIME", "KIND", "DEVICE", "STATE", *(["SIGNATURE"] if verified else []), "LINE")
    output.table(heads, [_row(line) for line in lines])


def _row(line: Told) -> tuple[str, ...]:
    from fleetsync.cli import output

    entry = line.entry
    signature = [line.signature] if line.signature else []
    start = (entry.ts, entry.kind, output.short_id(line.device), line.state)
    return (*start, *signature, entry.line.decode(errors="replace"))


def document(line: Told) -> bytes:
    """The `log` document. The record stands in it byte for byte as its author wrote it."""
    head = {"ts": line.entry.ts, "device": line.device, "kind": line.entry.kind}
    opening = json.dumps(head, ensure_ascii=False)[:-1].encode("utf-8", "backslashreplace")
    rest = f', "state": "{line.state}"' + (f', "signature": "{line.signature}"' if line.signature else "")
    return opening + b', "line": ' + line.entry.line + rest.encode() + b"}"
