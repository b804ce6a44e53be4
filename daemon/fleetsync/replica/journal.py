"""The journal: what cannot be computed again (SEMANTICS §4.5).

Register versions, parked lines, the ledger of what has been counted, the intents of writes under
way, the hybrid clock and the history's list. SQLite with synchronous=FULL: a committed call survives
a power loss. It is never deleted by itself; damage stops the daemon. It knows nothing of files in
home or of what its rows are used for; callers hold several calls together with `transaction`.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from fleetsync.errors import JournalDamaged, StorageFailed

SCHEMA_VERSION = 1

_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE names (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE versions (id BLOB PRIMARY KEY, path TEXT NOT NULL, body BLOB NOT NULL,
    origin TEXT) WITHOUT ROWID;
CREATE INDEX versions_by_path ON versions (path);
CREATE TABLE registers (path TEXT PRIMARY KEY, digest BLOB NOT NULL, device INTEGER, inode INTEGER,
    size INTEGER, mtime_ns INTEGER, ctime_ns INTEGER) WITHOUT ROWID;
CREATE TABLE resets (path TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE superseded (path TEXT NOT NULL, digest BLOB NOT NULL, PRIMARY KEY (path, digest)) WITHOUT ROWID;
CREATE TABLE trashing (token TEXT PRIMARY KEY, unit TEXT NOT NULL, since INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE parked (id BLOB PRIMARY KEY, path TEXT NOT NULL, ts INTEGER NOT NULL, body BLOB NOT NULL,
    reason TEXT NOT NULL, origin TEXT) WITHOUT ROWID;
CREATE INDEX parked_by_path ON parked (path);
CREATE TABLE ledger (path INTEGER NOT NULL, id BLOB NOT NULL, origin INTEGER NOT NULL,
    counted INTEGER NOT NULL, PRIMARY KEY (path, id)) WITHOUT ROWID;
CREATE INDEX ledger_pending ON ledger (path) WHERE counted = 0;
CREATE TABLE appends (path TEXT PRIMARY KEY, inode INTEGER NOT NULL, offset INTEGER NOT NULL,
    batch BLOB NOT NULL, ids BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE counts (path TEXT PRIMARY KEY, ids BLOB NOT NULL, temporary TEXT NOT NULL,
    directory INTEGER NOT NULL, epoch TEXT) WITHOUT ROWID;
CREATE TABLE swaps (staged TEXT PRIMARY KEY, path TEXT NOT NULL, version BLOB NOT NULL,
    replaced BLOB NOT NULL, since INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE epochs (path TEXT PRIMARY KEY, rebuilt TEXT) WITHOUT ROWID;
CREATE TABLE history (version INTEGER PRIMARY KEY AUTOINCREMENT, path TEXT NOT NULL, kind TEXT NOT NULL,
    at INTEGER NOT NULL, stamp BLOB, from_device TEXT, size INTEGER NOT NULL, sha256 TEXT NOT NULL);
CREATE INDEX history_by_path ON history (path);
"""

_IDS = msgspec.msgpack.Encoder()
_IDS_DECODER = msgspec.msgpack.Decoder(list[bytes])

LOCAL = 0
"""Ledger origin of a line first seen in this device's own file: mur has counted it, we never do."""


class StoredVersion(NamedTuple):
    """A register version that is a member of the set."""

    id: bytes
    path: str
    body: bytes
    origin: str | None


class RegisterFile(NamedTuple):
    """The register file in home as last seen: the digest of its bytes and its look."""

    digest: bytes
    look: tuple[int, int, int, int, int] | None


class ParkedLine(NamedTuple):
    """A line that is a member but may not be written into its file yet, and why."""

    id: bytes
    path: str
    ts: int
    body: bytes
    reason: str
    origin: str | None


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


class Swap(NamedTuple):
    """A register file being replaced: `staged` (under home) holds the new bytes, then the old."""

    staged: str
    path: str
    version: bytes
    replaced: bytes
    since: int


class Trashing(NamedTuple):
    """A directory that was deleted elsewhere: under home as `token` until looked at again."""

    token: str
    unit: str
    since: int


class HistoryEntry(NamedTuple):
    """One value that was replaced, deleted or lost a conflict; its bytes are in history/."""

    version: int
    path: str
    kind: str
    at: int
    stamp: bytes | None
    from_device: str | None
    size: int
    sha256: str


class Journal:
    """One connection; single-threaded. Raises `StorageFailed` when the disk refuses, and
    `JournalDamaged` when what it finds is not a journal.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self._depth = 0
        self._names: dict[str, int] = {}

    @classmethod
    def open(cls, path: Path) -> Journal:
        """The journal at `path`, made if there is none."""
        _make_private(path)
        try:
            db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            _migrate(db, path)
        except sqlite3.OperationalError as error:
            raise StorageFailed(f"{path}: {error}") from error
        except sqlite3.DatabaseError as error:
            raise JournalDamaged(f"{path}: {error}") from error
        return cls(db)

    def close(self) -> None:
        """Idempotent."""
        self._db.close()

    @contextmanager
    def transaction(self, *, durable: bool = True) -> Iterator[None]:
        """Everything inside is committed together or not at all; may be nested.

        With `durable` False a power loss may take it back until the next durable one: only for what
        recovery finds out again by itself.
        """
        try:
            if self._depth == 0:
                self._db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
                self._db.execute("BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
            if self._depth == 0:
                self._db.execute("COMMIT")
        except BaseException as error:
            if self._depth == 0 and self._db.in_transaction:
                self._db.execute("ROLLBACK")
            if isinstance(error, sqlite3.OperationalError):
                raise StorageFailed(f"journal.db: {error}") from error
            if isinstance(error, sqlite3.DatabaseError):
                raise JournalDamaged(f"journal.db: {error}") from error
            raise

    def _query(self, sql: str, arguments: Sequence[object] = ()) -> sqlite3.Cursor:
        try:
            return self._db.execute(sql, arguments)
        except sqlite3.OperationalError as error:
            raise StorageFailed(f"journal.db: {error}") from error
        except sqlite3.DatabaseError as error:
            raise JournalDamaged(f"journal.db: {error}") from error

    # --- single values ---

    def get(self, name: str) -> bytes | None:
        """A named value."""
        row = self._query("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return None if row is None else bytes(row[0])

    def put(self, name: str, value: bytes) -> None:
        """Set a named value."""
        with self.transaction():
            self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    def drop(self, name: str) -> None:
        """Forget a named value."""
        with self.transaction():
            self._db.execute("DELETE FROM meta WHERE name = ?", (name,))

    def number(self, name: str) -> int:
        """A named counter, 0 if never set."""
        return int(self.get(name) or b"0")

    def put_number(self, name: str, value: int) -> None:
        """Set a named counter."""
        self.put(name, str(value).encode())

    # --- register versions ---

    def versions(self, path: str | None = None) -> list[StoredVersion]:
        """The members at one path, or all."""
        query = "SELECT id, path, body, origin FROM versions"
        rows = self._query(query) if path is None else self._query(f"{query} WHERE path = ?", (path,))
        return [StoredVersion(*row) for row in rows]

    def version(self, identity: bytes) -> StoredVersion | None:
        """One member by id."""
        row = self._db.execute(
            "SELECT id, path, body, origin FROM versions WHERE id = ?", (identity,)
        ).fetchone()
        return None if row is None else StoredVersion(*row)

    def add_version(self, version: StoredVersion, covered: Sequence[bytes]) -> None:
        """A new member; the ones it covers cease to be members."""
        with self.transaction():
            self._db.execute("INSERT OR IGNORE INTO versions VALUES (?, ?, ?, ?)", version)
            self._db.executemany("DELETE FROM versions WHERE id = ?", [(identity,) for identity in covered])

    def register_file(self, path: str) -> RegisterFile | None:
        """What the file at `path` was when last seen or written, None if never."""
        row = self._db.execute(
            "SELECT digest, device, inode, size, mtime_ns, ctime_ns FROM registers WHERE path = ?", (path,)
        ).fetchone()
        return None if row is None else RegisterFile(row[0], None if row[1] is None else tuple(row[1:]))

    def register_files(self) -> dict[str, RegisterFile]:
        """All of them."""
        rows = self._query("SELECT path, digest, device, inode, size, mtime_ns, ctime_ns FROM registers")
        return {r[0]: RegisterFile(r[1], None if r[2] is None else tuple(r[2:])) for r in rows}

    def set_register_file(self, path: str, file: RegisterFile, *, durable: bool = True) -> None:
        """Remember the file as it is now. What is only said of a file that is itself durable, and
        holds the current version, need not be: a scan finds it out again.
        """
        look = file.look or (None,) * 5
        with self.transaction(durable=durable):
            self._db.execute(
                "INSERT OR REPLACE INTO registers VALUES (?,?,?,?,?,?,?)", (path, file.digest, *look)
            )

    def drop_register_file(self, path: str) -> None:
        """Forget that there was a file."""
        with self.transaction():
            self._db.execute("DELETE FROM registers WHERE path = ?", (path,))

    def note_superseded(self, path: str, digests: Iterable[bytes]) -> None:
        """Values that newer ones have replaced: a file that goes back to one may be a restored backup."""
        with self.transaction():
            rows = [(path, digest) for digest in digests if digest]
            self._db.executemany("INSERT OR IGNORE INTO superseded VALUES (?, ?)", rows)

    def was_superseded(self, path: str, digest: bytes) -> bool:
        """Whether this value was replaced by a newer one before."""
        query = "SELECT 1 FROM superseded WHERE path = ? AND digest = ?"
        return self._query(query, (path, digest)).fetchone() is not None

    # --- parked lines ---

    def park(self, lines: Iterable[ParkedLine]) -> None:
        """Keep lines that may not be written yet."""
        with self.transaction():
            self._db.executemany("INSERT OR IGNORE INTO parked VALUES (?, ?, ?, ?, ?, ?)", lines)

    def parked(self, path: str | None = None) -> list[ParkedLine]:
        """Parked lines of one path, or all, in key order."""
        where, arguments = ("", ()) if path is None else ("WHERE path = ?", (path,))
        rows = self._query(f"SELECT * FROM parked {where} ORDER BY path, ts, id", arguments)
        return [ParkedLine(*row) for row in rows]

    def parked_paths(self, *, without: str) -> dict[str, int]:
        """How many lines are parked, by path, less those with this reason."""
        query = "SELECT path, count(*) FROM parked WHERE reason != ? GROUP BY path"
        return dict(self._query(query, (without,)).fetchall())

    def parked_reasons(self) -> list[tuple[str, str, int]]:
        """Path, reason, and how many lines of that path are parked for it."""
        return self._query("SELECT path, reason, count(*) FROM parked GROUP BY path, reason").fetchall()

    def set_reason(self, ids: Iterable[bytes], reason: str) -> None:
        """Why these parked lines are parked, from now on."""
        with self.transaction():
            self._db.executemany("UPDATE parked SET reason = ? WHERE id = ?", [(reason, i) for i in ids])

    def parked_bodies(self, ids: Sequence[bytes]) -> dict[bytes, bytes]:
        """The bodies of those of these ids that are parked."""
        found = (self._query("SELECT id, body FROM parked WHERE id = ?", (i,)).fetchone() for i in ids)
        return {row[0]: row[1] for row in found if row is not None}

    def unpark(self, ids: Iterable[bytes]) -> None:
        """They are in their file now."""
        with self.transaction():
            self._db.executemany("DELETE FROM parked WHERE id = ?", [(identity,) for identity in ids])

    # --- the ledger ---

    def origins(self, path: str, ids: Sequence[bytes]) -> dict[bytes, str | None]:
        """Where the lines of these ids came from, as far as the ledger knows; None = local."""
        place = self._name(path)
        names = self._names_by_id()
        found: dict[bytes, str | None] = {}
        for identity in ids:
            row = self._db.execute(
                "SELECT origin FROM ledger WHERE path = ? AND id = ?", (place, identity)
            ).fetchone()
            if row is not None:
                found[identity] = names.get(row[0])
        return found

    def has_ledger(self, path: str) -> bool:
        """Whether any line of this path was ever noted."""
        return (
            self._query("SELECT 1 FROM ledger WHERE path = ? LIMIT 1", (self._name(path),)).fetchone()
            is not None
        )

    def note_local(self, path: str, ids: Iterable[bytes]) -> None:
        """These were first seen in the local file."""
        with self.transaction():
            place = self._name(path)
            rows = [(place, identity, LOCAL, 1) for identity in ids]
            self._db.executemany("INSERT OR IGNORE INTO ledger VALUES (?, ?, ?, ?)", rows)

    def pending(self, path: str) -> list[bytes]:
        """Ids from peers that are not counted yet."""
        rows = self._query("SELECT id FROM ledger WHERE path = ? AND counted = 0", (self._name(path),))
        return [row[0] for row in rows]

    def pending_paths(self) -> dict[str, int]:
        """How many ids wait to be counted, by path."""
        query = (
            "SELECT name, count(*) FROM ledger JOIN names ON names.id = path WHERE counted = 0 GROUP BY path"
        )
        return dict(self._query(query).fetchall())

    def counted_paths(self) -> list[str]:
        """Logs into whose stats peers' lines have been counted."""
        return [row[0] for row in self._query("SELECT path FROM epochs")]

    def foreign(self, path: str) -> list[bytes]:
        """All ids of a path that came from peers, counted or not."""
        rows = self._query("SELECT id FROM ledger WHERE path = ? AND origin != 0", (self._name(path),))
        return [row[0] for row in rows]

    def forget(self, path: str, ids: Iterable[bytes]) -> None:
        """These ids never reached the file after all."""
        with self.transaction():
            place = self._name(path)
            self._db.executemany(
                "DELETE FROM ledger WHERE path = ? AND id = ? AND counted = 0", [(place, i) for i in ids]
            )

    def uncount(self, path: str, ids: Iterable[bytes]) -> None:
        """These are not in stats.json any more."""
        with self.transaction():
            place = self._name(path)
            self._db.executemany(
                "UPDATE ledger SET counted = 0 WHERE path = ? AND id = ? AND origin != 0",
                [(place, identity) for identity in ids],
            )

    def begin_reset(self, path: str) -> None:
        """A peer's manifest is about to be applied: the counters beside it must be reset."""
        with self.transaction():
            self._db.execute("INSERT OR IGNORE INTO resets VALUES (?)", (path,))

    def finish_reset(self, path: str) -> None:
        """They have been; if a power loss takes this back they are once more, which changes nothing."""
        with self.transaction(durable=False):
            self._db.execute("DELETE FROM resets WHERE path = ?", (path,))

    def resets(self) -> list[str]:
        """Manifests whose counters still have to be reset."""
        return [row[0] for row in self._query("SELECT path FROM resets ORDER BY path")]

    def epoch(self, path: str) -> tuple[str | None] | None:
        """(`rebuilt_from_trace_through`,) as last written here, None if never."""
        row = self._query("SELECT rebuilt FROM epochs WHERE path = ?", (path,)).fetchone()
        return None if row is None else (row[0],)

    # --- intents of writes under way (replica/counting.py has the protocol) ---

    def begin_append(self, append: Append, origin: str) -> None:
        """J1: state A; the ids are in the ledger as a peer's and not counted."""
        with self.transaction():
            row = (*append[:4], _IDS.encode(append.ids))
            self._db.execute("INSERT OR REPLACE INTO appends VALUES (?, ?, ?, ?, ?)", row)
            place, source = self._name(append.path), self._name(origin)
            rows = [(place, identity, source, 0) for identity in append.ids]
            self._db.executemany("INSERT OR IGNORE INTO ledger VALUES (?, ?, ?, ?)", rows)

    def finish_append(self, path: str, absent: Sequence[bytes] = ()) -> None:
        """J2: the file holds the batch, less the `absent` ids; what is left waits to be counted."""
        with self.transaction():
            self._db.execute("DELETE FROM appends WHERE path = ?", (path,))
            self.forget(path, absent)

    def appends(self) -> list[Append]:
        """All appends that were under way."""
        rows = self._query("SELECT * FROM appends ORDER BY path")
        return [Append(r[0], r[1], r[2], r[3], _IDS_DECODER.decode(r[4])) for r in rows]

    def begin_count(self, count: Count) -> None:
        """J3: state P replaces state A."""
        with self.transaction():
            self._db.execute("DELETE FROM appends WHERE path = ?", (count.path,))
            row = (count.path, _IDS.encode(count.ids), *count[2:])
            self._db.execute("INSERT OR REPLACE INTO counts VALUES (?, ?, ?, ?, ?)", row)

    def finish_count(self, count: Count) -> None:
        """J4: the ids are counted, the intent is gone. If a power loss takes this back, the intent is
        there again and its temporary is not: recovery does it once more.
        """
        with self.transaction(durable=False):
            place = self._name(count.path)
            if set(self.pending(count.path)) <= set(count.ids):
                self._db.execute("UPDATE ledger SET counted = 1 WHERE path = ? AND counted = 0", (place,))
            else:
                rows = [(place, identity) for identity in count.ids]
                self._db.executemany("UPDATE ledger SET counted = 1 WHERE path = ? AND id = ?", rows)
            self._db.execute("INSERT OR REPLACE INTO epochs VALUES (?, ?)", (count.path, count.epoch))
            self.drop_count(count.path)

    def drop_count(self, path: str) -> None:
        """The prepared stats were not put in place; the ids still wait."""
        with self.transaction():
            self._db.execute("DELETE FROM counts WHERE path = ?", (path,))

    def counts(self) -> list[Count]:
        """All counts that were under way."""
        rows = self._query("SELECT * FROM counts ORDER BY path")
        return [Count(r[0], _IDS_DECODER.decode(r[1]), r[2], r[3], r[4]) for r in rows]

    # --- swaps: register files being replaced (SEMANTICS §4.4) ---

    def begin_swap(self, swap: Swap) -> None:
        """Before the exchange of names."""
        with self.transaction():
            self._db.execute("INSERT OR REPLACE INTO swaps VALUES (?, ?, ?, ?, ?)", swap)

    def finish_swap(self, staged: str) -> None:
        """What was swapped out is in history."""
        with self.transaction():
            self._db.execute("DELETE FROM swaps WHERE staged = ?", (staged,))

    def swaps(self) -> list[Swap]:
        """All that are not finished, oldest first."""
        return [Swap(*row) for row in self._query("SELECT * FROM swaps ORDER BY since")]

    # --- directories on their way to trash (SEMANTICS §3.4) ---

    def begin_trash(self, trashing: Trashing) -> None:
        """Before the directory is renamed."""
        with self.transaction():
            self._db.execute("INSERT OR REPLACE INTO trashing VALUES (?, ?, ?)", trashing)

    def finish_trash(self, token: str) -> None:
        """Its copy is in the state directory and nothing is left under home."""
        with self.transaction():
            self._db.execute("DELETE FROM trashing WHERE token = ?", (token,))

    def trashings(self) -> list[Trashing]:
        """All that are not finished, oldest first."""
        return [Trashing(*row) for row in self._query("SELECT * FROM trashing ORDER BY since")]

    # --- history ---

    def add_history(self, entry: HistoryEntry) -> int:
        """List a value that was put aside; `entry.version` is ignored; returns the number given."""
        with self.transaction():
            cursor = self._db.execute("INSERT INTO history VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)", entry[1:])
        return cursor.lastrowid or 0

    def history(self, path: str | None = None) -> list[HistoryEntry]:
        """Newest first; of one path, of everything below a directory, or all."""
        query = "SELECT * FROM history"
        arguments: tuple[str, ...] = ()
        if path is not None:
            query += " WHERE path = ?1 OR substr(path, 1, length(?1) + 1) = ?1 || '/'"
            arguments = (path,)
        return [HistoryEntry(*row) for row in self._query(f"{query} ORDER BY version DESC", arguments)]

    def remove_history(self, versions: Iterable[int]) -> None:
        """Forget entries that are past the configured count or age."""
        with self.transaction():
            self._db.executemany("DELETE FROM history WHERE version = ?", [(v,) for v in versions])

    def _name(self, name: str) -> int:
        found = self._names.get(name)
        if found is None:
            self._db.execute("INSERT OR IGNORE INTO names (name) VALUES (?)", (name,))
            found = int(self._query("SELECT id FROM names WHERE name = ?", (name,)).fetchone()[0])
            if self._depth == 0:  # inside a transaction it may still be rolled back
                self._names[name] = found
        return found

    def _names_by_id(self) -> dict[int, str]:
        return {row[0]: row[1] for row in self._query("SELECT id, name FROM names")}


def _make_private(path: Path) -> None:
    """Before SQLite sees it: the files that it puts beside it inherit the mode."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        path.chmod(0o600)
    except OSError as error:
        raise StorageFailed(f"{path}: {error.strerror}") from error


def _migrate(db: sqlite3.Connection, path: Path) -> None:
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version == SCHEMA_VERSION:
        if db.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise JournalDamaged(f"{path}: its pages do not fit together")
        return
    if version != 0 or db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        raise JournalDamaged(f"{path}: schema version {version}, this program knows {SCHEMA_VERSION}")
    db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
