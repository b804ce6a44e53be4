"""The two databases as they are opened: the index may begin anew, the journal only on a person's word."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fleetsync.errors import IndexDamaged
from fleetsync.replica.edits import REBUILT
from fleetsync.replica.index import Index
from fleetsync.replica.journal import Journal
from fleetsync.replica.surroundings import Surroundings


def open_index(path: Path, around: Surroundings) -> Index:
    """The index; a damaged one, or one of another version, begins anew."""
    try:
        return Index.open(path, around.random)
    except IndexDamaged:  # it has been deleted
        return Index.open(path, around.random)


def rebuild_journal(state: Path, now: Callable[[], int]) -> Path:
    """Put a damaged journal aside and begin a new one, on a person's word; returns where it went.

    The next start takes home as it stands; its manifests lose to any peer's (SEMANTICS §4.5).
    """
    aside = state / f"journal.db.damaged-{now()}"
    (state / "journal.db").rename(aside)
    for suffix in ("-wal", "-shm"):
        if (state / f"journal.db{suffix}").exists():
            (state / f"journal.db{suffix}").rename(f"{aside}{suffix}")
    journal = Journal.open(state / "journal.db")
    journal.put(REBUILT, b"1")
    journal.close()
    return aside
