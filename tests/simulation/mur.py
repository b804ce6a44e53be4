"""mur, as far as fleetsync meets it: programs that write into home whenever they like.

Current versions lock a log, write one line whole and then count it; older ones take no lock and write
the line and its newline one after the other. Any of them may be stopped in the middle of a line.
Whoever edits a manifest writes it anew beside the old one and renames, or in place. Written apart from
fleetsync's own code, so that both are not wrong in the same way.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fleetsync.errors import LockBusy


class Mur:
    """The programs of one laptop; all calls go to its disk."""

    def __init__(self, home: Path, letter: str, now: Callable[[], int], *, careful: bool) -> None:
        """`now` gives µs since 1970; a `careful` mur has everything it writes on the disk at once."""
        self.written: dict[str, list[bytes]] = {}
        """Whole lines, by path."""
        self.edits: dict[str, bytes] = {}
        """What a person last wrote into each register."""
        self.saved: set[tuple[str, bytes]] = set()
        """All that was ever written into registers."""
        self.deleted: set[str] = set()
        """Directories that a person has deleted."""
        self.careful = careful
        self._home = home
        self._letter = letter
        self._now = now
        self._lines = 0
        self._scraps: dict[str, int] = {}  # where in a log a broken line ends
        self._uncounted: list[tuple[str, dict[str, Any]]] = []

    # --- logs -------------------------------------------------------------------------------------

    def event(self, outcome: str | None) -> bytes:
        """The line of an event that is like no other: an execution, or a retrieval without outcome."""
        self._lines += 1
        moment = datetime.fromtimestamp(self._now() // 1_000_000, UTC)
        ts = f"{moment:%Y-%m-%dT%H:%M:%S}.{self._lines:06}Z"
        record = {"kind": "retrieval", "ts": ts, "device_id": f"cli-{self._letter}"}
        if outcome is not None:
            record |= {"kind": "execution", "outcome": outcome}
        return json.dumps(record, separators=(",", ":")).encode()

    def open_item(self) -> bytes:
        """A line of what an agent left undone."""
        self._lines += 1
        name = f"{self._letter}-{self._lines}"
        record = {"kind": "open", "id": name, "agent": "qa", "title": "look at it", "at": self.stamp()}
        return json.dumps(record, separators=(",", ":")).encode()

    def stamp(self) -> str:
        """The time as mur writes it, to the second."""
        return f"{datetime.fromtimestamp(self._now() // 1_000_000, UTC):%Y-%m-%dT%H:%M:%S}Z"

    def append(self, path: str, line: bytes, *, locked: bool) -> bool:
        """Write a line as a current (`locked`) or an older mur does; False if a lock is in the way."""
        fd = self._open(path)
        try:
            if locked and not _try_lock(fd):
                return False
            if not locked:
                os.write(fd, self._after_own_scrap(fd, path) + line)
                os.write(fd, b"\n")
            else:
                os.write(fd, self._after_scrap(fd) + line + b"\n")
            self._sync(fd)
        finally:
            os.close(fd)
        self._sync_folder(path)
        self._wrote(path, line)
        return True

    def scrap(self, path: str, part: bytes, *, locked: bool) -> bool:
        """Begin a line and be stopped."""
        fd = self._open(path)
        try:
            if locked and not _try_lock(fd):
                return False
            os.write(fd, self._after_scrap(fd) + part)
            self._sync(fd)
            self._scraps[path] = os.fstat(fd).st_size
        finally:
            os.close(fd)
        if part.endswith(b"}"):  # all but the newline
            self._wrote(path, part)
        return True

    def _wrote(self, path: str, line: bytes) -> None:
        self.written.setdefault(path, []).append(line)
        if path.startswith("skills/"):
            self._uncounted.append((path, json.loads(line)))

    def _open(self, path: str) -> int:
        return os.open(self._home / path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)

    def _after_scrap(self, fd: int) -> bytes:
        """A line begins on a line of its own."""
        size = os.fstat(fd).st_size
        return b"\n" if size and os.pread(fd, 1, size - 1) != b"\n" else b""

    def _after_own_scrap(self, fd: int, path: str) -> bytes:
        """An older mur knows of its own broken lines only."""
        return b"\n" if os.fstat(fd).st_size == self._scraps.get(path) else b""

    # --- counters ---------------------------------------------------------------------------------

    def count(self) -> None:
        """Count what was written and is not counted yet, where nobody holds the lock."""
        waiting, self._uncounted = self._uncounted, []
        for path, event in waiting:
            directory = _folder(path)
            if not (self._home / directory / "skill.yaml").exists():
                continue
            if not self._count_one(directory, event):
                self._uncounted.append((path, event))

    def mend(self, directory: str) -> bool:
        """A person removes counters that cannot be read; whether there were such."""
        path = self._home / directory / "stats.json"
        try:
            json.loads(path.read_bytes())
        except FileNotFoundError:
            return False
        except ValueError:
            self.remove(f"{directory}/stats.json")
            return True
        return False

    @property
    def uncounted(self) -> bool:
        """Whether something still waits to be counted."""
        return bool(self._uncounted)

    def _count_one(self, directory: str, event: dict[str, Any]) -> bool:
        lock = os.open(self._home / directory / "stats.lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            if not _try_lock(lock):
                return False
            self.mend(directory)
            stats = self._stats(directory)
            _count(stats, event)
            self._replace(f"{directory}/stats.json", json.dumps(stats, indent=2).encode())
        finally:
            os.close(lock)
        return True

    def _stats(self, directory: str) -> dict[str, Any]:
        """The counters; begun anew where the manifest is another one."""
        manifest = (self._home / directory / "skill.yaml").read_bytes()
        digest = hashlib.sha256(manifest).hexdigest()
        fresh = _fresh(directory.rpartition("/")[2], digest, self.stamp())
        path = self._home / directory / "stats.json"
        if not path.exists():
            return fresh
        found: dict[str, Any] = json.loads(path.read_bytes())
        kept = ("lifecycle_state", "pinned", "pinned_reason", "first_successful_use_at", "resolution_misses")
        if found["manifest_digest"] != digest:
            return {**fresh, **{name: found[name] for name in kept}}
        return found

    # --- whole files ------------------------------------------------------------------------------

    def edit(self, path: str, value: bytes, *, in_place: bool = False) -> None:
        """A person saves a file."""
        if in_place and (self._home / path).exists():
            fd = os.open(self._home / path, os.O_WRONLY, 0o644)
            os.ftruncate(fd, 0)
            os.write(fd, value)
            self._sync(fd)
            os.close(fd)
        else:
            self._replace(path, value)
        self.edits[path] = value
        self.saved.add((path, value))

    def make(self, directory: str) -> None:
        """A new directory, and those above it."""
        for each in reversed([directory, *_above(directory)]):
            if not (self._home / each).exists():
                os.mkdir(self._home / each, 0o755)
                self._sync_folder(each)

    def delete(self, directory: str) -> None:
        """A person deletes a directory and all that is in it."""
        where = self._home / directory
        if not where.exists():
            return
        for name in sorted(os.listdir(where)):
            os.unlink(where / name)
        os.rmdir(where)
        self._sync_folder(directory)
        self.deleted.add(directory)
        self.edits = {path: value for path, value in self.edits.items() if _folder(path) != directory}
        self._uncounted = [each for each in self._uncounted if _folder(each[0]) != directory]

    def remove(self, path: str) -> None:
        """A file is removed by accident."""
        if (self._home / path).exists():
            os.unlink(self._home / path)
            self._sync_folder(path)

    def _replace(self, path: str, data: bytes) -> None:
        temporary = f"{path}.{self._letter}.tmp"
        fd = os.open(self._home / temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.write(fd, data)
        self._sync(fd)
        os.close(fd)
        os.rename(self._home / temporary, self._home / path)
        self._sync_folder(path)

    def _sync(self, fd: int) -> None:
        if self.careful:
            os.fsync(fd)

    def _sync_folder(self, path: str) -> None:
        if self.careful:
            fd = os.open(self._home / _folder(path), os.O_RDONLY | os.O_DIRECTORY)
            os.fsync(fd)
            os.close(fd)


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except LockBusy:
        return False
    return True


def _folder(path: str) -> str:
    return path.rpartition("/")[0]


def _above(directory: str) -> list[str]:
    parts = directory.split("/")
    return ["/".join(parts[:n]) for n in range(len(parts) - 1, 0, -1)]


def _fresh(skill: str, digest: str, now: str) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "skill_name": skill,
        "skill_version": "1.0.0",
        "manifest_digest": digest,
        "lifecycle_state": "draft",
        "lifecycle_changed_at": now,
        "pinned": False,
        "pinned_reason": "",
        "usage_count": 0,
        "success_count": 0,
        "failure_count": 0,
        "last_used_at": None,
        "last_success_at": None,
        "first_successful_use_at": None,
        "anchor_confidence": 1.0,
        "rebuilt_from_trace_through": None,
        "resolution_misses": 0,
        "curated_at": None,
    }


def _count(stats: dict[str, Any], event: dict[str, Any]) -> None:
    stats["usage_count"] += 1
    stats["last_used_at"] = max(filter(None, (stats["last_used_at"], event["ts"])))
    if event["kind"] == "execution" and event["outcome"] == "success":
        stats["success_count"] += 1
        stats["last_success_at"] = max(filter(None, (stats["last_success_at"], event["ts"])))
        stats["first_successful_use_at"] = stats["first_successful_use_at"] or event["ts"]
    elif event["kind"] == "execution":
        stats["failure_count"] += 1


def fold(lines: list[bytes]) -> tuple[int, int, int]:
    """Uses, successes and failures of these lines, each counted once."""
    events = [json.loads(line) for line in dict.fromkeys(lines)]
    tally = Counter(event.get("outcome", "retrieval") for event in events)
    return len(events), tally["success"], len(events) - tally["success"] - tally["retrieval"]
