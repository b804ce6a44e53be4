"""Mistakes that are easy to make, put back into the product one at a time: the model must find each.

They are the mistakes that the rules of DESIGN §5 and SEMANTICS §2–5 were written against. A model that
found none of them would prove nothing by finding none in the product.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

from fleetsync import datasets
from fleetsync.merge import register
from fleetsync.records import loglines, stats
from fleetsync.replica import counting, jsonl, versions
from fleetsync.replica.appending import Appending
from fleetsync.replica.counting import STATS, Counting
from fleetsync.replica.edits import Edits
from fleetsync.replica.index import Entry, FileState
from fleetsync.replica.ledger import Append
from fleetsync.replica.lines import Lines
from fleetsync.replica.logs import Logs, NewLine
from fleetsync.replica.versions import Versions
from tests.model import lines, machine, registers
from tests.model.explorer import Model

Patch = tuple[object, str, object]


@dataclass(frozen=True)
class Bug:
    """A mistake: what it is, the smallest bounds in which it shows, and what a trace of it ends with."""

    name: str
    model: Callable[[], Model[Any]]
    patches: Sequence[Patch]
    ends: str

    @contextmanager
    def put_back(self) -> Iterator[None]:
        """Inside, the product makes this mistake."""
        with ExitStack() as stack:
            stack.enter_context(machine.modelled_disk())
            for place, name, instead in self.patches:
                stack.enter_context(mock.patch.object(place, name, instead))
            yield


# --- logs -------------------------------------------------------------------------------------------------


def _whole(log: Any) -> list[loglines.Line]:
    return list(loglines.lines(log.disk.inodes[log.inode]))


def _entry(path: str, line: loglines.Line) -> Entry:
    key = datasets.identify_in(lines.ROW, path, line.body)
    return Entry(key, path, line.offset, len(line.body), None)


def _seen_to_line(logs: Logs, fd: Any, path: str, count: int) -> None:
    look = machine.status_of(fd)
    logs._set_state(
        FileState(path, 0, look.st_ino, look.st_size, look.st_mtime_ns, look.st_ctime_ns, b"", count, 0, 0)
    )


def _read_behind_so_many_lines(logs: Logs, fd: Any, path: str, _row: object) -> bool:
    """What is new is what stands behind as many lines as were there the last time."""
    state = logs._states.get(path)
    found = _whole(fd)
    fresh = [_entry(path, line) for line in found[state.lines if state else 0 :]]
    logs._journal.ledger.note_local(path, [entry.key.id for entry in fresh])
    logs._index.add(fresh)
    _seen_to_line(logs, fd, path, len(found))
    return bool(fresh)


def _append_and_count_lines(
    appending: Appending,
    log: Any,
    path: str,
    _row: object,
    fresh: Sequence[NewLine],
    origin: str,
    *,
    parked: bool,
) -> None:
    """And after an append of ours all lines are known."""
    offset = log.look().size
    batch = jsonl.batch_of([line.body for line in fresh], empty=offset == 0)
    append = Append(path, log.look().inode, offset, batch, [line.key.id for line in fresh])
    appending._journal.ledger.begin_append(append, origin)
    appending._write(log, append)
    found = _whole(log.fd)
    appending._index.add([_entry(path, line) for line in found if line.offset >= offset])
    _seen_to_line(appending._logs, log.fd, path, len(found))


def _replace_the_log(
    appending: Appending,
    log: Any,
    path: str,
    row: Any,
    fresh: Sequence[NewLine],
    origin: str,
    *,
    parked: bool,
) -> None:
    """The merged log is written beside the old one and renamed over it."""
    merged = {*(line.body for line in _whole(log.fd)), *(line.body for line in fresh)}
    append = Append(path, log.look().inode, 0, b"", [line.key.id for line in fresh])
    appending._journal.ledger.begin_append(append, origin)
    log.folder.create("merged", b"".join(body + b"\n" for body in sorted(merged)))
    log.folder.rename_to("merged", log.folder, log.name)
    appending._logs.read_open(log.folder.open_file(log.name, 0), path, row)


# --- counters ---------------------------------------------------------------------------------------------


def _count_what_was_written(
    self: Lines, root: Any, path: str, _row: object, at_hand: dict[bytes, bytes]
) -> None:
    """The lines just written are added to the counters, and nothing remembers which they were."""
    base = counting._load(root) or self._counting._fresh(root)
    root.create(".stats.json.0.fleetsync", stats.dumps(counting._with_events(base, at_hand.values())))
    root.rename_to(".stats.json.0.fleetsync", root, STATS)
    self._journal.ledger.finish_append(path)


def _rename_what_was_prepared(self: Counting, folder: Any, count: Any) -> None:
    """After a crash the prepared counters are put in place."""
    if folder.status(count.temporary) is not None:
        folder.rename_to(count.temporary, folder, STATS)
    self._journal.ledger.finish_count(count)


def _remove_what_was_prepared(self: Counting, folder: Any, count: Any) -> None:
    """After a crash the prepared counters are removed while the intent still names them."""
    if folder.status(count.temporary) is None:
        self._journal.ledger.finish_count(count)
    else:
        folder.remove(count.temporary)
        folder.sync()
        self._journal.ledger.drop_count(count.path)


# --- registers --------------------------------------------------------------------------------------------


def _local_wins_ties(self: Versions, path: str) -> register.Version | None:
    """Of versions of one time the own one counts."""
    ripe = register.uncovered(self.ripe(path))
    times = [(v.stamp.effective, v.stamp.hybrid, v.dot.device == self.device) for v in ripe]
    return ripe[times.index(max(times))] if ripe else None


_mint_gone = Versions.mint_gone


def _absence_knows_all(
    self: Versions, path: str, keys: Any, *, watched: bool, unread: Any = ()
) -> versions.Change:
    """A deletion that nobody watched covers all that is known."""
    return _mint_gone(self, path, keys, watched=True, unread=unread if watched else ())


def _nothing_unread(_self: Edits, _path: str) -> list[register.Version]:
    return []


_SMALL = lines.Bounds(devices=2, crashes=0, slow=0)
_PLAIN = registers.Bounds(devices=2, deeds=2, ties=False, down=False, races=False)

BUGS = (
    Bug(
        "a cursor by line count",
        lambda: lines.LineModel(_SMALL),
        [
            (Logs, "read_open", _read_behind_so_many_lines),
            (Appending, "_append_held", _append_and_count_lines),
        ],
        "lacks lines",
    ),
    Bug(
        "a rename over the log",
        lambda: lines.LineModel(_SMALL._replace(slow=2)),
        [(Appending, "_append_held", _replace_the_log)],
        "are not in the log any more",
    ),
    Bug(
        "counting after the write, without a journal",
        lambda: lines.LineModel(_SMALL._replace(crashes=1, lines=1)),
        [(Lines, "count", _count_what_was_written), (Lines, "recount", lambda _self, _root: None)],
        "its counters say",
    ),
    Bug(
        "prepared counters put in place after a crash",
        lambda: lines.LineModel(_SMALL._replace(crashes=1)),
        [(Counting, "_recover_one", _rename_what_was_prepared)],
        "its counters say",
    ),
    Bug(
        "prepared counters removed before the intent that names them",
        lambda: lines.LineModel(_SMALL._replace(crashes=2)),
        [(Counting, "_recover_one", _remove_what_was_prepared)],
        "its counters say",
    ),
    Bug(
        "a batch that does not begin on a new line",
        lambda: lines.LineModel(_SMALL._replace(slow=2)),
        [(jsonl, "batch_of", lambda bodies, empty: b"\n".join(bodies) + b"\n")],
        "mur cannot read",
    ),
    Bug(
        "counting lines that are not on the disk yet",
        lambda: lines.LineModel(_SMALL._replace(crashes=1, lines=1, power=True)),
        [(machine.OS, "fsync", lambda _handle: None)],
        "uses are counted",
    ),
    Bug(
        "one byte of a batch that is not found again",
        lambda: lines.LineModel(_SMALL._replace(crashes=1, lines=1)),
        [(jsonl, "_longest_prefix", lambda data, *_: None if len(data) < 2 else (0, len(data)))],
        "mur cannot read",
    ),
    Bug(
        "ties broken by 'local'",
        lambda: registers.RegisterModel(_PLAIN._replace(ties=True)),
        [(Versions, "current", _local_wins_ties)],
        "of one set",
    ),
    Bug(
        "an absence taken for a deletion that knew everything",
        lambda: registers.RegisterModel(_PLAIN._replace(down=True)),
        [(Versions, "mint_gone", _absence_knows_all), (registers.Running, "deletes", lambda _self: True)],
        "which its author had never seen",
    ),
    Bug(
        "a floor that what is made anew does not inherit",
        lambda: registers.RegisterModel(_PLAIN),
        [(versions, "_joined_floor", lambda _versions: None)],
        "and are back",
    ),
    Bug(
        "a vector that covers what its author has not seen",
        lambda: registers.RegisterModel(_PLAIN._replace(races=True)),
        [(Edits, "unread", _nothing_unread)],
        "which its author had never seen",
    ),
)
"""In the order of the sections above."""
