"""Known bugs, to be put back in: a simulation that does not find them proves nothing.

Each was in a draft of fleetsync, or found by these stories. They are patched in for the rest of the
process's life.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from fleetsync import files
from fleetsync.records import stats
from fleetsync.replica import jsonl
from fleetsync.replica.appending import Appending
from fleetsync.replica.counting import STATS, TEMPORARY, Counting
from fleetsync.replica.ledger import Count, Ledger


def glue() -> None:
    """A batch begins where the file ends, be it in the middle of another writer's line."""
    jsonl.batch_of = lambda bodies, *, empty: b"\n".join(bodies) + b"\n"


def count_without_journal() -> None:
    """Counters are replaced first, and the ledger told of it afterwards."""

    def put_in_place(self: Any, folder: Any, path: str, after: Any, ids: list[bytes]) -> None:
        prefix, suffix = TEMPORARY
        count = Count(path, ids, f"{prefix}{self._token()}{suffix}", folder.identity()[1], after.epoch)
        folder.create(count.temporary, stats.dumps(after))
        folder.rename_to(count.temporary, folder, STATS)
        folder.sync()
        self._journal.ledger.finish_count(count)

    Counting._put_in_place = put_in_place


def recover_no_count() -> None:
    """A count that was under way is forgotten at the next start, though it may have been done."""
    Counting._recover_one = lambda self, folder, count: self._journal.ledger.drop_count(count.path)


def rename_over_the_log() -> None:
    """A log is written anew beside itself and put in place: who appends meanwhile loses."""

    def write(self: Any, log: Any, append: Any) -> None:
        before = files.read_span(log.fd, 0, os.fstat(log.fd).st_size)
        log.folder.create(f".{log.name}.new", before + append.batch)
        log.folder.rename_to(f".{log.name}.new", log.folder, log.name)
        log.folder.sync()

    Appending._write = write


def no_append_intent() -> None:
    """Lines are written before the journal knows whose they are."""
    Ledger.begin_append = lambda self, append, origin: None


def go_on_after_an_error() -> None:
    """A count that an error of the disk interrupted is begun anew without a look at how far it came."""
    Counting._finish = lambda self, folder, path: None


BUGS: dict[str, Callable[[], None]] = {
    bug.__name__.replace("_", "-"): bug
    for bug in (
        glue,
        count_without_journal,
        recover_no_count,
        rename_over_the_log,
        no_append_intent,
        go_on_after_an_error,
    )
}
