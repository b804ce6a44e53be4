"""Everything a person wrote and a merge put aside, kept outside home and restorable (DESIGN §5.5).

The bytes lie in `history/` under their SHA-256, written and fsynced before the journal lists them, so
a crash in between leaves an unlisted file that the next purge removes, never a listed hole; what it leaves
half written, the next start does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum
from pathlib import Path

from fleetsync.errors import NotFound, StorageFailed
from fleetsync.files import Folder, ensure_private_dir
from fleetsync.replica.journal import HistoryEntry, Journal

_LIMIT = 16 << 20
_PARTIAL = ".tmp"


class Why(StrEnum):
    """How a value came into history."""

    REPLACED = "replaced"
    DELETED = "deleted"
    LOST_CONFLICT = "lost-conflict"


class History:
    """Values put aside, newest last; `now` gives µs since 1970."""

    def __init__(self, directory: Path, journal: Journal, now: Callable[[], int]) -> None:
        ensure_private_dir(directory)
        self._directory = directory
        self._journal = journal
        self._now = now
        with Folder.open(directory) as folder:
            for name in folder.names():
                if name.endswith(_PARTIAL):
                    folder.remove(name)

    def keep(self, path: str, value: bytes, why: Why, stamp: bytes | None, from_device: str | None) -> None:
        """Put a value aside; the same value with the same stamp is listed once."""
        digest = hashlib.sha256(value).hexdigest()
        if any((entry.sha256, entry.stamp) == (digest, stamp) for entry in self._journal.history(path)):
            return
        self._store(digest, value)
        self._journal.add_history(
            HistoryEntry(0, path, why, self._now(), stamp, from_device, len(value), digest)
        )

    def holds(self, path: str, value: bytes) -> bool:
        """Whether this value of the path is listed, for whatever reason."""
        digest = hashlib.sha256(value).hexdigest()
        return any(entry.sha256 == digest for entry in self._journal.history(path))

    def entries(self, path: str | None = None) -> list[HistoryEntry]:
        """Newest first; of one path, of everything below a directory, or all."""
        return self._journal.history(path)

    def value(self, path: str, version: int | None, sha256: str | None = None) -> tuple[HistoryEntry, bytes]:
        """An entry and its bytes: that version, or the newest of the path, or of those with that digest.
        Raises `NotFound`.
        """
        for entry in self._journal.history(path):
            chosen = version in (None, entry.version) and sha256 in (None, entry.sha256)
            if entry.path == path and chosen:
                return entry, self._load(entry)
        wanted = "nothing" if version is None else f"no version {version}"
        raise NotFound(f"history has {wanted} of {path}", next_step="run `fleetsync history`")

    def purge(self, keep: int, max_age: int) -> None:
        """Forget what is older than `max_age` µs, if `keep` newer values of its path exist."""
        seen: dict[str, int] = {}
        dropped: list[int] = []
        horizon = self._now() - max_age
        for entry in self._journal.history():
            seen[entry.path] = seen.get(entry.path, 0) + 1
            if seen[entry.path] > keep and entry.at < horizon:
                dropped.append(entry.version)
        self._journal.remove_history(dropped)
        self._sweep()

    def _sweep(self) -> None:
        listed = {entry.sha256 for entry in self._journal.history()}
        with Folder.open(self._directory) as folder:
            for name in folder.names():
                if name not in listed:
                    folder.remove(name)

    def _store(self, digest: str, value: bytes) -> None:
        with Folder.open(self._directory) as folder:
            if folder.status(digest) is not None:
                return
            temporary = f"{digest}{_PARTIAL}"
            folder.remove(temporary)
            folder.create(temporary, value)
            folder.rename_to(temporary, folder, digest)
            folder.sync()

    def _load(self, entry: HistoryEntry) -> bytes:
        with suppress(FileNotFoundError, StorageFailed), Folder.open(self._directory) as folder:
            return folder.read(entry.sha256, _LIMIT)
        raise NotFound(
            f"the bytes of {entry.path} version {entry.version} are missing from {self._directory}"
        )
