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
from fleetsync.ports import END, START, Arrival, Bound, Item, Key
from fleetsync.replica.index import IN_JOURNAL, Entry, Index
from fleetsync.replica.journal import Journal
from fleetsync.replica.layout import Home
from fleetsync.replica.logs import Logs

PAGE_BYTES = 1 << 20


class Shelf:
    """The members of one replica, readable; single-threaded."""

    def __init__(self, home: Home, journal: Journal, index: Index, logs: Logs) -> None:
        self._home = home
        self._journal = journal
        self._index = index
        self._logs = logs

    def bodies(self, ids: Sequence[bytes]) -> Iterator[list[Item]]:
        """See `Storage.bodies`."""
        for portion in _cut(sorted(self._index.find(ids), key=_place)):
            yield self._items(portion)

    def between(self, lower: Bound, upper: Bound) -> Iterator[list[Item]]:
        """See `Storage.between`."""
        for entries in self._entry_pages(lower, upper):
            for portion in _cut(entries):
                yield self._items(portion)

    def arrivals(self, after: int, limit_bytes: int) -> list[Arrival]:
        """See `Storage.arrivals`."""
        found: list[Arrival] = []
        size = 0
        while size < limit_bytes:
            entries = self._index.arrivals(after, 256)
            for portion in _cut(entries):
                items = {} if size >= limit_bytes else {x.key.id: x for x in self._items(portion)}
                for entry in portion:
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
                yield from self._index.pages_of_path(path)
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
        ordered = sorted(entries, key=_place)
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


def _place(entry: Entry) -> tuple[bool, str, Key]:
    """Registers first, then path by path, in key order."""
    return is_log(entry.path), entry.path, entry.key


def is_log(path: str) -> bool:
    """Whether a path is a log's; registers sort before logs."""
    row = datasets.find(path)
    return row is not None and row.kind is Kind.LOG


def _cut(entries: list[Entry]) -> Iterator[list[Entry]]:
    """Portions with at most `PAGE_BYTES` of bodies, at least one entry each: known before they are read."""
    page: list[Entry] = []
    size = 0
    for entry in entries:
        if page and size + entry.length > PAGE_BYTES:
            yield page
            page, size = [], 0
        page.append(entry)
        size += entry.length
    if page:
        yield page
