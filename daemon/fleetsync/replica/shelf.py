"""Reading members back: entries of the index with their bodies, wherever these are.

A line's body stands in its file, a parked or trashed one in the journal, a version always in the
journal. What cannot be read any more is left out, never made up.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress

from fleetsync import datasets
from fleetsync.datasets import Kind
from fleetsync.errors import HomeMissing
from fleetsync.ports import END, START, Arrival, Bound, Item
from fleetsync.replica.index import IN_JOURNAL, Entry, Index
from fleetsync.replica.journal import Journal
from fleetsync.replica.layout import Home
from fleetsync.replica.logs import Logs

PAGE_BYTES = 1 << 20
_PAGE_ENTRIES = 4096


class Shelf:
    """The members of one replica, readable; single-threaded."""

    def __init__(self, home: Home, journal: Journal, index: Index, logs: Logs) -> None:
        self._home = home
        self._journal = journal
        self._index = index
        self._logs = logs

    def bodies(self, ids: Sequence[bytes]) -> list[Item]:
        """See `Storage.bodies`."""
        return self._items(self._index.find(ids))

    def between(self, lower: Bound, upper: Bound) -> Iterator[list[Item]]:
        """See `Storage.between`."""
        for entries in self._entry_pages(lower, upper):
            yield from _cut(self._items(entries))

    def arrivals(self, after: int, limit_bytes: int) -> list[Arrival]:
        """See `Storage.arrivals`."""
        found: list[Arrival] = []
        size = 0
        while size < limit_bytes:
            entries = self._index.arrivals(after, 256)
            items = {item.key.id: item for item in self._items(entries)}
            for entry in entries:
                item = items.get(entry.key.id)
                if item is not None and size < limit_bytes:
                    found.append(Arrival(entry.arrival, entry.origin, item))
                    size += len(item.body)
            if len(entries) < 256:
                break
            after = entries[-1].arrival
        return found

    def _entry_pages(self, lower: Bound, upper: Bound) -> Iterator[list[Entry]]:
        """Entries register versions first; of the whole set path by path, else page by page."""
        if (lower, upper) == (START, END):
            paths = sorted(self._index.counts_by_path(), key=lambda path: (is_log(path), path))
            for path in paths:
                yield from _pages(self._index.of_path(path))
            return
        for of_logs in (False, True):
            for page in self._index.between(lower, upper):
                chosen = [entry for entry in page if is_log(entry.path) is of_logs]
                if chosen:
                    yield sorted(chosen, key=lambda entry: (entry.path, entry.key))

    def _items(self, entries: Sequence[Entry]) -> list[Item]:
        """The entries with their bodies, ordered by path and key; unreadable ones left out."""
        bodies = self._stored_bodies([e for e in entries if e.offset == IN_JOURNAL])
        standing = [e for e in entries if e.offset != IN_JOURNAL]
        if standing:
            with suppress(HomeMissing), self._home.open() as root:
                bodies.update(self._logs.bodies(root, standing))
        ordered = sorted(entries, key=lambda entry: (is_log(entry.path), entry.path, entry.key))
        return [Item(e.key, e.path, bodies[e.key.id]) for e in ordered if e.key.id in bodies]

    def _stored_bodies(self, entries: list[Entry]) -> dict[bytes, bytes]:
        found: dict[bytes, bytes] = {}
        for entry in entries:
            if not is_log(entry.path):
                stored = self._journal.version(entry.key.id)
                if stored is not None:
                    found[entry.key.id] = stored.body
        found.update(self._journal.parked_bodies([e.key.id for e in entries if is_log(e.path)]))
        return found


def is_log(path: str) -> bool:
    """Whether a path is a log's; registers sort before logs."""
    row = datasets.find(path)
    return row is not None and row.kind is Kind.LOG


def _pages(entries: list[Entry]) -> Iterator[list[Entry]]:
    """Portions small enough to read their bodies at once."""
    for start in range(0, len(entries), _PAGE_ENTRIES):
        yield entries[start : start + _PAGE_ENTRIES]


def _cut(items: list[Item]) -> Iterator[list[Item]]:
    """Pages of at most `PAGE_BYTES` of bodies, at least one item each."""
    page: list[Item] = []
    size = 0
    for item in items:
        if page and size + len(item.body) > PAGE_BYTES:
            yield page
            page, size = [], 0
        page.append(item)
        size += len(item.body)
    if page:
        yield page
