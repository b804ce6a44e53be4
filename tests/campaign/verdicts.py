"""The end of every story about two laptops: nothing lost, nothing twice, nothing left lying about."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing

from tests.system.fleet import LOG, Laptop, all_counted, all_equal, all_hold, until


def verify(written: Mapping[Laptop, Sequence[bytes]]) -> None:
    """Each line of each laptop is on all of them once, each of a peer is counted once, sets are equal, and
    no temporary and no intent is left.
    """
    everything = [line for lines in written.values() for line in lines]
    all_hold(written, everything, LOG)
    for laptop in written:
        remote = [line for author, lines in written.items() if author is not laptop for line in lines]
        all_counted(laptop, remote)
    all_equal(*written)
    for laptop in written:
        _tidy(laptop)


def _tidy(laptop: Laptop) -> None:
    try:
        until(lambda: not leftovers(laptop), f"{laptop.name} has nothing left over")
    except AssertionError as error:
        raise AssertionError(f"{error}, but {leftovers(laptop)}") from None


def leftovers(laptop: Laptop) -> list[str]:
    """Temporaries and intents that a finished start should have removed.

    What a manifest replaced stays in staging for a minute, named by the journal: that is no leftover.
    """
    staged = {path.name for path in (laptop.home / ".fleetsync/staging").glob("*")}
    temporary = [path for root in (laptop.home, laptop.state) for path in root.rglob("*tmp*")]
    with closing(sqlite3.connect(f"file:{laptop.state / 'journal.db'}?mode=ro", uri=True)) as journal:
        named = {name for [name] in journal.execute("SELECT staged FROM swaps")}
        intents = journal.execute("SELECT path FROM appends UNION SELECT path FROM counts").fetchall()
    return sorted([*(staged - named), *map(str, temporary), *(f"intent for {path}" for [path] in intents)])
