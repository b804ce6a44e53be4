"""Home as commands read it: the logs and counters of skills, line by line, straight from the files.

Looks, never writes, and needs no daemon. A line that cannot be read is named with file and line
number and never hides the others. Knows where things lie (`formats` in docs), not how they merge.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from fleetsync.errors import MalformedRecord, NotFound, StorageFailed, UserError
from fleetsync.records.names import legal_name

CHANNEL = "channel:"


class Entry(NamedTuple):
    """One readable line of a log. `order` sorts by time, and among equals by content."""

    identity: bytes  # item id
    order: tuple[object, ...]
    ts: str  # RFC 3339 UTC
    micros: int
    kind: str
    author: str  # the record's own device_id or actor, whatever mur wrote there
    line: bytes


def log_path(name: str) -> str:
    """The path under home of the log of a skill or of `channel:ID`. Raises `UserError`."""
    if name.startswith(CHANNEL):
        if not legal_name("channel", name.removeprefix(CHANNEL)):
            raise UserError(f"{name[:80]!r} names no channel", next_step="write channel:ID")
        return f"channels/{name.removeprefix(CHANNEL)}/events.jsonl"
    return f"{skill_directory(name)}/events.jsonl"


def skill_directory(name: str) -> str:
    """The directory of a skill under home. Raises `UserError` for what cannot be a skill's name."""
    if not legal_name("skill", name):
        raise UserError(
            f"{name[:80]!r} cannot be a skill's name", next_step="use lower-case letters, digits and dashes"
        )
    return f"skills/{name}"


def require_skill(home: Path, name: str) -> Path:
    """The directory of a skill that exists. Raises `NotFound` naming those that do."""
    directory = home / skill_directory(name)
    if directory.is_dir():
        return directory
    raise NotFound(f"no skill is called {name!r} in {home}", next_step=_existing(home / "skills"))


def _existing(parent: Path) -> str:
    try:
        names = sorted(entry.name for entry in parent.iterdir() if entry.is_dir())
    except OSError:
        names = []
    more = ", …" if len(names) > 10 else ""
    return (
        f"there are: {', '.join(names[:10])}{more}" if names else "see `fleetsync status` for where home is"
    )


def read_file(home: Path, path: str) -> bytes | None:
    """The bytes of a file under home, None if it is not there. Raises `StorageFailed`, `IllegalName`."""
    import os

    from fleetsync.files import Folder, read_span

    try:
        with Folder.open(home) as root:
            folder, name = root.parent_of(path)
            with folder:
                descriptor = folder.open_file(name, os.O_RDONLY)
                try:
                    return read_span(descriptor, 0, os.fstat(descriptor).st_size)
                finally:
                    os.close(descriptor)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageFailed(f"{home / path}: {error.strerror}") from error


# --- logs ----------------------------------------------------------------------------------------


def entries(path: str, data: bytes) -> list[Entry]:
    """The readable lines of a log; of lines that are one member of the set, the first."""
    first: dict[bytes, Entry] = {}
    for offset, line in _placed(path, data):
        with suppress(MalformedRecord):  # readable, but nothing that may sync: too large
            entry = entry_of(path, line, offset)
            first.setdefault(entry.identity, entry)
    return list(first.values())


def entry_of(path: str, body: bytes, offset: int = -1) -> Entry:
    """One line of a log, at this place of it if it stands there. Raises `MalformedRecord`."""
    if path.startswith("channels/"):
        return _channel_entry(path, body, offset)
    from fleetsync import datasets
    from fleetsync.records.skills import read_event

    event = read_event(body)
    return Entry(
        datasets.identify(path, body).id,
        event.order,
        event.ts.canonical,
        event.micros,
        event.kind,
        event.device_id,
        body,
    )


def _channel_entry(path: str, body: bytes, offset: int) -> Entry:
    from fleetsync import datasets
    from fleetsync.records.actors import Agent, Human
    from fleetsync.records.channels import ChannelEvent, read_event

    event = read_event(body)
    actor = event.actor if isinstance(event, ChannelEvent) else None
    author = actor.id if isinstance(actor, Agent) else actor.name if isinstance(actor, Human) else ""
    order = (event.ts.secs, event.ts.nanos, offset)
    identity = datasets.identify(path, body).id
    return Entry(identity, order, event.ts.canonical, event.ts.micros, event.kind, author, body)


def _placed(path: str, data: bytes) -> list[tuple[int, bytes]]:
    """The first byte and the bytes of every record in a log, in the order of the file."""
    if path.startswith("channels/"):
        from fleetsync.records import channel_logs

        return [(place.offset, place.event.line) for place in channel_logs.parse_log(data).events]
    from fleetsync.records import skills

    log = skills.parse_log(data)
    return sorted((place.offset, place.event.line) for place in [*log.events, *log.opaque])


# --- what doctor asks ----------------------------------------------------------------------------


def malformed_lines(home: Path) -> tuple[list[tuple[str, int, str]], int]:
    """(path, line number, why) of every line that cannot be read, and how many lines there are."""
    from fleetsync.datasets import MAX_BODY
    from fleetsync.records.skills import parse_log

    found: list[tuple[str, int, str]] = []
    count = 0
    for path in _skill_files(home, "events.jsonl"):
        log = parse_log(read_file(home, path) or b"")
        count += len(log.events) + len(log.opaque) + len(log.malformed)
        bad = [(line.number, line.reason) for line in log.malformed]
        whole = [*log.events, *log.opaque]
        bad += [(line.number, "longer than 1 MiB") for line in whole if len(line.event.line) > MAX_BODY]
        found += [(path, number, why) for number, why in sorted(bad)]
    return found, count


def unreadable_stats(home: Path) -> list[tuple[str, str]]:
    """(path, why) of every stats.json that cannot be read."""
    from fleetsync.records import stats

    found = []
    for path in _skill_files(home, "stats.json"):
        try:
            stats.loads(read_file(home, path) or b"")
        except (MalformedRecord, StorageFailed) as error:
            found.append((path, error.message))
    return found


def _skill_files(home: Path, name: str) -> Iterator[str]:
    """The files of that name in every skill's directory, symlinks left out."""
    for path in sorted(home.glob(f"skills/*/{name}")):
        relative = path.relative_to(home).as_posix()
        if not path.is_symlink() and not path.parent.is_symlink() and path.is_file():
            yield relative
