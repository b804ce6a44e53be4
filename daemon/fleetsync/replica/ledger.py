"""The ledger: which lines have been counted, and the writes and counts under way (SEMANTICS §5).

Part of the journal, in its database and under its transactions. It knows ids and the states of the
counting protocol; the files, and when a state is entered, are `counting.py`'s and `appending.py`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from fleetsync.replica.database import Database

SCHEMA = """
CREATE TABLE names (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE resets (path TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE ledger (path INTEGER NOT NULL, id BLOB NOT NULL, origin INTEGER NOT NULL,
    counted INTEGER NOT NULL, PRIMARY KEY (path, id)) WITHOUT ROWID;
CREATE INDEX ledger_pending ON ledger (path) WHERE counted = 0;
CREATE TABLE appends (path TEXT PRIMARY KEY, inode INTEGER NOT NULL, offset INTEGER NOT NULL,
    batch BLOB NOT NULL, ids BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE counts (path TEXT PRIMARY KEY, ids BLOB NOT NULL, temporary TEXT NOT NULL,
    directory INTEGER NOT NULL, epoch TEXT) WITHOUT ROWID;
CREATE TABLE epochs (path TEXT PRIMARY KEY, rebuilt TEXT) WITHOUT ROWID;
"""

_IDS = msgspec.msgpack.Encoder()
_IDS_DECODER = msgspec.msgpack.Decoder(list[bytes])

LOCAL = 0
"""Ledger origin of a line first seen in this device's own file: mur has counted it, we never do."""

_ORIGINS = """
SELECT ledger.id, ledger.origin, source.name FROM ledger
JOIN names AS place ON place.id = ledger.path
LEFT JOIN names AS source ON source.id = ledger.origin
WHERE place.name = ?
"""


class Append(NamedTuple):
    """State A: an append under way, from before its first byte until its lines are being counted."""

    path: str
    inode: int
    offset: int
    batch: bytes
    ids: list[bytes]


class Count(NamedTuple):
    """State P: counted stats prepared in `temporary`, in the directory with that inode.

    `epoch` is the `rebuilt_from_trace_through` that they carry.
    """

    path: str
    ids: list[bytes]
    temporary: str
    directory: int
    epoch: str | None


class Ledger:
    """The tables ledger, names, resets, epochs, appends and counts."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._names: dict[str, int] = {}

    def origins(self, path: str, ids: Sequence[bytes]) -> dict[bytes, str | None]:
        """Where the lines of these ids came from, as far as the ledger knows; None = local."""
        place = self._name(path)
        names = self._names_by_id()
        found: dict[bytes, str | None] = {}
        for identity in ids:
            row = self._db.query(
                "SELECT origin FROM ledger WHERE path = ? AND id = ?", (place, identity)
            ).fetchone()
            if row is not None:
                found[identity] = names.get(row[0])
        return found

    def all_origins(self, path: str) -> dict[bytes, str | None]:
        """Where each line of this path came from that the ledger knows; None = local."""
        rows = self._db.query(_ORIGINS, (path,))
        return {bytes(identity): None if origin == LOCAL else name for identity, origin, name in rows}

    def has_ledger(self, path: str) -> bool:
        """Whether any line of this path was ever noted."""
        return (
            self._db.query("SELECT 1 FROM ledger WHERE path = ? LIMIT 1", (self._name(path),)).fetchone()
            is not None
        )

    def note_local(self, path: str, ids: Iterable[bytes]) -> None:
        """These were first seen in the local file."""
        with self._db.transaction():
            place = self._name(path)
            rows = [(place, identity, LOCAL, 1) for identity in ids]
            self._db.change_each("INSERT OR IGNORE INTO ledger VALUES (?, ?, ?, ?)", rows)

    def pending(self, path: str) -> list[bytes]:
        """Ids from peers that are not counted yet."""
        rows = self._db.query("SELECT id FROM ledger WHERE path = ? AND counted = 0", (self._name(path),))
        return [row[0] for row in rows]

    def pending_paths(self) -> dict[str, int]:
        """How many ids wait to be counted, by path."""
        query = (
            "SELECT name, count(*) FROM ledger JOIN names ON names.id = path WHERE counted = 0 GROUP BY path"
        )
        return dict(self._db.query(query).fetchall())

    def counted_paths(self) -> list[str]:
        """Logs into whose stats peers' lines have been counted."""
        return [row[0] for row in self._db.query("SELECT path FROM epochs")]

    def foreign(self, path: str) -> list[bytes]:
        """All ids of a path that came from peers, counted or not."""
        rows = self._db.query("SELECT id FROM ledger WHERE path = ? AND origin != 0", (self._name(path),))
        return [row[0] for row in rows]

    def forget(self, path: str, ids: Iterable[bytes]) -> None:
        """These ids never reached the file after all."""
        with self._db.transaction():
            place = self._name(path)
            self._db.change_each(
                "DELETE FROM ledger WHERE path = ? AND id = ? AND counted = 0", [(place, i) for i in ids]
            )

    def uncount(self, path: str, ids: Iterable[bytes]) -> None:
        """These are not in stats.json any more."""
        with self._db.transaction():
            place = self._name(path)
            self._db.change_each(
                "UPDATE ledger SET counted = 0 WHERE path = ? AND id = ? AND origin != 0",
                [(place, identity) for identity in ids],
            )

    def begin_reset(self, path: str) -> None:
        """A peer's manifest is about to be applied: the counters beside it must be reset."""
        with self._db.transaction():
            self._db.change("INSERT OR IGNORE INTO resets VALUES (?)", (path,))

    def finish_reset(self, path: str) -> None:
        """They have been; if a power loss takes this back they are once more, which changes nothing."""
        with self._db.transaction(durable=False):
            self._db.change("DELETE FROM resets WHERE path = ?", (path,))

    def resets(self) -> list[str]:
        """Manifests whose counters still have to be reset."""
        return [row[0] for row in self._db.query("SELECT path FROM resets ORDER BY path")]

    def epoch(self, path: str) -> tuple[str | None] | None:
        """(`rebuilt_from_trace_through`,) as last written here, None if never."""
        row = self._db.query("SELECT rebuilt FROM epochs WHERE path = ?", (path,)).fetchone()
        return None if row is None else (row[0],)

    # --- intents of writes under way (replica/counting.py has the protocol) ---

    def begin_append(self, append: Append, origin: str) -> None:
        """J1: state A; the ids are in the ledger as a peer's and not counted."""
        with self._db.transaction():
            row = (*append[:4], _IDS.encode(append.ids))
            self._db.change("INSERT OR REPLACE INTO appends VALUES (?, ?, ?, ?, ?)", row)
            place, source = self._name(append.path), self._name(origin)
            rows = [(place, identity, source, 0) for identity in append.ids]
            self._db.change_each("INSERT OR IGNORE INTO ledger VALUES (?, ?, ?, ?)", rows)

    def finish_append(self, path: str, absent: Sequence[bytes] = ()) -> None:
        """J2: the file holds the batch, less the `absent` ids; what is left waits to be counted."""
        with self._db.transaction():
            self._db.change("DELETE FROM appends WHERE path = ?", (path,))
            self.forget(path, absent)

    def appends(self) -> list[Append]:
        """All appends that were under way."""
        rows = self._db.query("SELECT * FROM appends ORDER BY path")
        return [Append(r[0], r[1], r[2], r[3], _IDS_DECODER.decode(r[4])) for r in rows]

    def begin_count(self, count: Count) -> None:
        """J3: state P replaces state A."""
        with self._db.transaction():
            self._db.change("DELETE FROM appends WHERE path = ?", (count.path,))
            row = (count.path, _IDS.encode(count.ids), *count[2:])
            self._db.change("INSERT OR REPLACE INTO counts VALUES (?, ?, ?, ?, ?)", row)

    def finish_count(self, count: Count) -> None:
        """J4: the ids are counted, the intent is gone. If a power loss takes this back, the intent is
        there again and its temporary is not: recovery does it once more.
        """
        with self._db.transaction(durable=False):
            place = self._name(count.path)
            if set(self.pending(count.path)) <= set(count.ids):
                self._db.change("UPDATE ledger SET counted = 1 WHERE path = ? AND counted = 0", (place,))
            else:
                rows = [(place, identity) for identity in count.ids]
                self._db.change_each("UPDATE ledger SET counted = 1 WHERE path = ? AND id = ?", rows)
            self._db.change("INSERT OR REPLACE INTO epochs VALUES (?, ?)", (count.path, count.epoch))
            self.drop_count(count.path)

    def drop_count(self, path: str) -> None:
        """The prepared stats were not put in place; the ids still wait."""
        with self._db.transaction():
            self._db.change("DELETE FROM counts WHERE path = ?", (path,))

    def counts(self) -> list[Count]:
        """All counts that were under way."""
        rows = self._db.query("SELECT * FROM counts ORDER BY path")
        return [Count(r[0], _IDS_DECODER.decode(r[1]), r[2], r[3], r[4]) for r in rows]

    def _name(self, name: str) -> int:
        found = self._names.get(name)
        if found is None:
            with self._db.transaction():
                self._db.change("INSERT OR IGNORE INTO names (name) VALUES (?)", (name,))
            found = int(self._db.query("SELECT id FROM names WHERE name = ?", (name,)).fetchone()[0])
            if not self._db.in_transaction:  # inside a transaction it may still be rolled back
                self._names[name] = found
        return found

    def _names_by_id(self) -> dict[int, str]:
        return {row[0]: row[1] for row in self._db.query("SELECT id, name FROM names")}
