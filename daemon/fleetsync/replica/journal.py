"""The journal: what cannot be computed again (SEMANTICS §4.5).

Register versions, parked lines, files being replaced or taken away, the hybrid clock and the history's
list; `ledger` is the part that counts. SQLite with synchronous=FULL: a committed call survives a power
loss. It is never deleted by itself; damage stops the daemon. It knows nothing of files in
home or of what its rows are used for; callers hold several calls together with `transaction`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

from fleetsync.replica import ledger
from fleetsync.replica.database import Database
from fleetsync.replica.ledger import Ledger

SCHEMA_VERSION = 1

_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE versions (id BLOB PRIMARY KEY, path TEXT NOT NULL, body BLOB NOT NULL,
    origin TEXT) WITHOUT ROWID;
CREATE INDEX versions_by_path ON versions (path);
CREATE TABLE registers (path TEXT PRIMARY KEY, digest BLOB NOT NULL, device INTEGER, inode INTEGER,
    size INTEGER, mtime_ns INTEGER, ctime_ns INTEGER) WITHOUT ROWID;
CREATE TABLE superseded (path TEXT NOT NULL, digest BLOB NOT NULL, PRIMARY KEY (path, digest)) WITHOUT ROWID;
CREATE TABLE trashing (token TEXT PRIMARY KEY, unit TEXT NOT NULL, since INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE parked (id BLOB PRIMARY KEY, path TEXT NOT NULL, ts INTEGER NOT NULL, body BLOB NOT NULL,
    reason TEXT NOT NULL, origin TEXT) WITHOUT ROWID;
CREATE TABLE swaps (staged TEXT PRIMARY KEY, path TEXT NOT NULL, version BLOB NOT NULL,
    replaced BLOB NOT NULL, since INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE history (version INTEGER PRIMARY KEY AUTOINCREMENT, path TEXT NOT NULL, kind TEXT NOT NULL,
    at INTEGER NOT NULL, stamp BLOB, from_device TEXT, size INTEGER NOT NULL, sha256 TEXT NOT NULL);
CREATE INDEX history_by_path ON history (path);
"""

_INDEXES = (
    "DROP INDEX IF EXISTS parked_by_path",  # of earlier journals; what waits is asked for with its reason
    "CREATE INDEX IF NOT EXISTS parked_by_reason ON parked (path, reason)",
)


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


class ParkedMember(NamedTuple):
    """A parked line without its body: where it belongs, and how many bytes it has."""

    id: bytes
    path: str
    ts: int
    size: int
    origin: str | None


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

    def __init__(self, database: Database) -> None:
        self._db = database
        self.ledger = Ledger(database)

    @classmethod
    def open(cls, path: Path) -> Journal:
        """The journal at `path`, made if there is none."""
        database = Database.open(path, _SCHEMA + ledger.SCHEMA, SCHEMA_VERSION)
        try:
            with database.transaction():
                for statement in _INDEXES:
                    database.change(statement)
        except BaseException:
            database.close()
            raise
        return cls(database)

    @classmethod
    def reading(cls, path: Path) -> Journal:
        """The journal at `path` for a command that only reads, whether or not a daemon is at work."""
        return cls(Database.reading(path))

    def close(self) -> None:
        """Idempotent."""
        self._db.close()

    def transaction(self, *, durable: bool = True) -> AbstractContextManager[None]:
        """See `Database.transaction`."""
        return self._db.transaction(durable=durable)

    # --- single values ---

    def get(self, name: str) -> bytes | None:
        """A named value."""
        row = self._db.query("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return None if row is None else bytes(row[0])

    def put(self, name: str, value: bytes) -> None:
        """Set a named value."""
        with self.transaction():
            self._db.change("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    def drop(self, name: str) -> None:
        """Forget a named value."""
        with self.transaction():
            self._db.change("DELETE FROM meta WHERE name = ?", (name,))

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
        rows = self._db.query(query) if path is None else self._db.query(f"{query} WHERE path = ?", (path,))
        return [StoredVersion(*row) for row in rows]

    def version(self, identity: bytes) -> StoredVersion | None:
        """One member by id."""
        row = self._db.query(
            "SELECT id, path, body, origin FROM versions WHERE id = ?", (identity,)
        ).fetchone()
        return None if row is None else StoredVersion(*row)

    def add_version(self, version: StoredVersion, covered: Sequence[bytes]) -> None:
        """A new member; the ones it covers cease to be members."""
        with self.transaction():
            self._db.change("INSERT OR IGNORE INTO versions VALUES (?, ?, ?, ?)", version)
            self._db.change_each("DELETE FROM versions WHERE id = ?", [(identity,) for identity in covered])

    def register_files(self) -> dict[str, RegisterFile]:
        """What each register file was when last seen or written, by path."""
        rows = self._db.query("SELECT path, digest, device, inode, size, mtime_ns, ctime_ns FROM registers")
        return {r[0]: RegisterFile(r[1], None if r[2] is None else tuple(r[2:])) for r in rows}

    def set_register_file(self, path: str, file: RegisterFile, *, durable: bool = True) -> None:
        """Remember the file as it is now. What is only said of a file that is itself durable, and
        holds the current version, need not be: a scan finds it out again.
        """
        look = file.look or (None,) * 5
        with self.transaction(durable=durable):
            self._db.change(
                "INSERT OR REPLACE INTO registers VALUES (?,?,?,?,?,?,?)", (path, file.digest, *look)
            )

    def drop_register_file(self, path: str) -> None:
        """Forget that there was a file."""
        with self.transaction():
            self._db.change("DELETE FROM registers WHERE path = ?", (path,))

    def note_superseded(self, path: str, digests: Iterable[bytes]) -> None:
        """Values that newer ones have replaced: a file that goes back to one may be a restored backup."""
        with self.transaction():
            rows = [(path, digest) for digest in digests if digest]
            self._db.change_each("INSERT OR IGNORE INTO superseded VALUES (?, ?)", rows)

    def was_superseded(self, path: str, digest: bytes) -> bool:
        """Whether this value was replaced by a newer one before."""
        query = "SELECT 1 FROM superseded WHERE path = ? AND digest = ?"
        return self._db.query(query, (path, digest)).fetchone() is not None

    # --- parked lines ---

    def park(self, lines: Iterable[ParkedLine]) -> None:
        """Keep lines that may not be written yet."""
        with self.transaction():
            self._db.change_each("INSERT OR IGNORE INTO parked VALUES (?, ?, ?, ?, ?, ?)", lines)

    def parked(self, path: str) -> list[ParkedLine]:
        """Parked lines of one path, in key order."""
        rows = self._db.query("SELECT * FROM parked WHERE path = ? ORDER BY ts, id", (path,))
        return [ParkedLine(*row) for row in rows]

    def parked_members(self) -> list[ParkedMember]:
        """All parked lines, without their bodies: these may be many times as large."""
        rows = self._db.query("SELECT id, path, ts, length(body), origin FROM parked")
        return [ParkedMember(*row) for row in rows]

    def parked_reasons(self) -> list[tuple[str, str, int]]:
        """Path, reason, and how many lines of that path are parked for it."""
        rows = self._db.query("SELECT path, reason, count(*) FROM parked GROUP BY path, reason")
        return [tuple(row) for row in rows]

    def set_reason(self, ids: Iterable[bytes], reason: str) -> None:
        """Why these parked lines are parked, from now on."""
        with self.transaction():
            self._db.change_each("UPDATE parked SET reason = ? WHERE id = ?", [(reason, i) for i in ids])

    def parked_bodies(self, ids: Sequence[bytes]) -> dict[bytes, bytes]:
        """The bodies of those of these ids that are parked."""
        found = (self._db.query("SELECT id, body FROM parked WHERE id = ?", (i,)).fetchone() for i in ids)
        return {row[0]: row[1] for row in found if row is not None}

    def unpark(self, ids: Iterable[bytes]) -> None:
        """They are in their file now."""
        with self.transaction():
            self._db.change_each("DELETE FROM parked WHERE id = ?", [(identity,) for identity in ids])

    # --- swaps: register files being replaced (SEMANTICS §4.4) ---

    def begin_swap(self, swap: Swap) -> None:
        """Before the exchange of names."""
        with self.transaction():
            self._db.change("INSERT OR REPLACE INTO swaps VALUES (?, ?, ?, ?, ?)", swap)

    def finish_swap(self, staged: str) -> None:
        """What was swapped out is in history."""
        with self.transaction():
            self._db.change("DELETE FROM swaps WHERE staged = ?", (staged,))

    def swaps(self) -> list[Swap]:
        """All that are not finished, oldest first."""
        return [Swap(*row) for row in self._db.query("SELECT * FROM swaps ORDER BY since")]

    # --- directories on their way to trash (SEMANTICS §3.4) ---

    def begin_trash(self, trashing: Trashing) -> None:
        """Before the directory is renamed."""
        with self.transaction():
            self._db.change("INSERT OR REPLACE INTO trashing VALUES (?, ?, ?)", trashing)

    def finish_trash(self, token: str) -> None:
        """Its copy is in the state directory and nothing is left under home."""
        with self.transaction():
            self._db.change("DELETE FROM trashing WHERE token = ?", (token,))

    def trashings(self) -> list[Trashing]:
        """All that are not finished, oldest first."""
        return [Trashing(*row) for row in self._db.query("SELECT * FROM trashing ORDER BY since")]

    # --- history ---

    def add_history(self, entry: HistoryEntry) -> int:
        """List a value that was put aside; `entry.version` is ignored; returns the number given."""
        with self.transaction():
            cursor = self._db.change("INSERT INTO history VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)", entry[1:])
        return cursor.lastrowid or 0

    def history(self, path: str | None = None) -> list[HistoryEntry]:
        """Newest first; of one path, of everything below a directory, or all."""
        query = "SELECT * FROM history"
        arguments: tuple[str, ...] = ()
        if path is not None:
            query += " WHERE path = ?1 OR path > ?1 || '/' AND path < ?1 || '0'"  # which comes after '/'
            arguments = (path,)
        return [HistoryEntry(*row) for row in self._db.query(f"{query} ORDER BY version DESC", arguments)]

    def remove_history(self, versions: Iterable[int]) -> None:
        """Forget entries that are past the configured count or age."""
        with self.transaction():
            self._db.change_each("DELETE FROM history WHERE version = ?", [(v,) for v in versions])
