"""Noticing what other programs have written into register files: edits, and what only looks like one.

Reads files and mints versions; what then has to be written is for `registers.py`. Not every change is an
edit: mur re-spells whole files, writes what it had read before somebody else wrote, and a backup puts
old values back (SEMANTICS §2.4–2.6).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from fleetsync import datasets
from fleetsync.files import Folder
from fleetsync.merge.register import GONE_DIGEST, Version
from fleetsync.replica.journal import Journal
from fleetsync.replica.layout import Look, Seen
from fleetsync.replica.reading import LIMIT, digest_of, read_file, values_of
from fleetsync.replica.sightings import Sightings
from fleetsync.replica.versions import NOTHING, Change, Versions

EDITING = 5_000_000
"""µs for which an emptied file is taken for one that an editor is about to write; never for as long as a
clock was set back.
"""
REBUILT = "rebuilt"
"""Set in a journal that a person had begun anew: what is found in home loses to any peer's version."""


class OldNews(NamedTuple):
    """What in a file, by path, went back to what was superseded here before, which registers are missing
    beside it, and how the file looked.
    """

    values: Mapping[str, bytes]
    missing: list[str]
    look: Look


class Edits:
    """The edits of all register files of one home; single-threaded. `wanted` is the digest of what should
    stand at a path, None while nothing is known of it.
    """

    def __init__(
        self,
        versions: Versions,
        journal: Journal,
        sightings: Sightings,
        wanted: Callable[[str], bytes | None],
    ) -> None:
        self.oversize: set[str] = set()
        self.suspects: Collection[str] = ()
        """Files that went back in time: they are not read until it is known whether by somebody's wish."""
        self._versions = versions
        self._journal = journal
        self._sightings = sightings
        self._wanted = wanted
        self._clock = versions.clock
        self._rebuilt = journal.get(REBUILT) is not None

    def scan(self, root: Folder, seen: Seen, *, watched: bool) -> Change:
        """Mint a version of each register in the file that has another value than before. `watched`: the
        edit was made while the daemon ran, so its time is now (SEMANTICS §2.4). Raises `MalformedRecord`.
        """
        if seen.path in self.suspects:
            return NOTHING
        raw, look = read_file(root, seen.path)
        self._sightings.unread(seen.path)
        if len(raw) > LIMIT:
            self.oversize.add(seen.path)
            return NOTHING
        contents = datasets.contents(seen.row, seen.path, raw)
        self.oversize.discard(seen.path)
        change = NOTHING
        for path, value in self._carried(contents.values):
            change = change.and_then(self._scan_one(path, value, look, watched=watched))
        if seen.row.parts is not None:
            self._sightings.read(seen.path, look, contents)
            self._note_overtaken(seen.path, look)
        return change

    def _carried(self, values: Mapping[str, bytes]) -> list[tuple[str, bytes]]:
        return [(path, value) for path, value in values.items() if self._sightings.carries(path)]

    def _scan_one(self, path: str, value: bytes, look: Look, *, watched: bool) -> Change:
        digest = digest_of(path, value)
        unchanged = digest in (self._sightings.digest(path), self._wanted(path))
        if unchanged or self._overtaken(path, digest, look):
            self._sightings.remember(path, digest, look)
            return NOTHING
        if not value and 0 <= self._clock.now() - look.mtime_ns // 1000 < EDITING:
            return NOTHING
        change = self._mint_found(path, value, look, watched=watched)
        self._sightings.remember(path, digest, look)
        return change

    def _overtaken(self, path: str, digest: bytes, look: Look) -> bool:
        return self._sightings.is_overtaken(path, digest, self._written(look))

    def _written(self, look: Look) -> int:
        """When the file came to stand there, µs: nobody can set its ctime."""
        return min(look.ctime_ns // 1000, self._clock.now())

    def _note_overtaken(self, file: str, look: Look) -> None:
        """Registers are missing in the file because its writer had read it before they came: no deletion."""
        inside = self._sightings.inside(file)
        for path in [path for path in self._sightings.of_file(file) if path not in inside]:
            if self._overtaken(path, GONE_DIGEST, look):
                self._sightings.remember(path, GONE_DIGEST, None)

    def _mint_found(self, path: str, value: bytes, look: Look, *, watched: bool) -> Change:
        mtime = max(0, look.mtime_ns // 1000)
        if not self._sightings.known(path):
            time = 0 if self._rebuilt else min(mtime, self._clock.now())
            return self._versions.mint_first(path, value, time)
        missed = self._sightings.unread_by(path, self._written(look))
        unread = [*self.unread(path), *(v for v in self._versions.ripe(path) if v.dot in missed)]
        ahead = [version for version in self.standing_ahead(path) if version.dot not in missed]
        return self._versions.mint_edit(path, value, unread, None if watched else mtime, ahead=ahead)

    def unread(self, path: str) -> list[Version]:
        """Versions that have not been put in place yet, so that nobody can have edited or deleted what
        stands there knowing them: they would have replaced it.
        """
        held = self._sightings.digest(path)
        if not self._sightings.known(path) or held == self._wanted(path):
            return []
        ripe = self._versions.ripe(path)
        standing = [version.stamp for version in ripe if _digest_of(path, version) == held]
        return [version for version in ripe if not standing or version.stamp > max(standing)]

    def standing_ahead(self, path: str) -> list[Version]:
        """What stood in the file until now and, since the clock was set back, seems to lie ahead: it was
        read all the same.
        """
        standing = self._sightings.digest(path)
        ahead = (m.version for m in self._versions.held() if m.stored.path == path)
        return [v for v in ahead if v.value is not None and digest_of(path, v.value) == standing]

    def old_news(self, root: Folder, file: str) -> OldNews:
        """What in the file has gone back to something that was superseded here before, and not by a program
        that had read it before that. Raises FileNotFoundError.
        """
        raw, look = read_file(root, file)
        values = values_of(file, raw)
        old = {path: value for path, value in self._carried(values) if self._is_old_news(path, value, look)}
        return OldNews(old, [path for path in self._sightings.of_file(file) if path not in values], look)

    def _is_old_news(self, path: str, value: bytes, look: Look) -> bool:
        digest = digest_of(path, value)
        if not self._sightings.known(path) or self._sightings.digest(path) == digest:
            return False
        known_before = self._journal.was_superseded(path, hashlib.sha256(value).digest())
        return known_before and not self._overtaken(path, digest, look)

    def discount(self, old: OldNews) -> None:
        """Take what went back, and what is missing beside it, for no edit: the current versions will
        replace it.
        """
        for path in old.missing:
            self._sightings.forget(path)
        for path, value in old.values.items():
            self._sightings.remember(path, digest_of(path, value), old.look)

    def home_is_known(self) -> None:
        """A full scan is over: what is found from now on is an edit."""
        if self._rebuilt:
            self._journal.drop(REBUILT)
            self._rebuilt = False


def _digest_of(path: str, version: Version) -> bytes:
    return GONE_DIGEST if version.value is None else digest_of(path, version.value)
