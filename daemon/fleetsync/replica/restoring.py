"""A home that goes back in time: files that hold what was superseded here before (SEMANTICS §2.5).

One file is a person's wish; several at once, or one beside a log that lost lines, are a backup that is
being put back: the current values are applied again, and a person is told. A backup does not come back
in one instant, so while the daemon watches nothing is judged until no further file has gone back for
some time. Rule of the file: it judges and remembers; it never writes into home.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

from fleetsync.datasets import Kind
from fleetsync.errors import FleetsyncError
from fleetsync.files import Folder
from fleetsync.replica.edits import OldNews
from fleetsync.replica.guard import WINDOW, Cause, Guard
from fleetsync.replica.layout import Seen
from fleetsync.replica.registers import Registers

MANY = 3
"""More values than this that go back at once are a restored home."""
PATIENCE = 2_000_000
"""µs without a further one after which those that went back have gone back at once."""


class Restoring:
    """What went back in one home, and since when; single-threaded."""

    def __init__(self, registers: Registers, guard: Guard) -> None:
        self._losers = registers.losers
        self._sightings = registers.sightings
        self._edits = registers.edits
        self._guard = guard
        self._now = registers.versions.clock.now
        self._suspects: dict[str, int] = {}  # values, and when (µs) each was found
        self._noticed: int | None = None  # when (µs) the home was last taken for a restored one
        self._shrank: int | None = None  # when (µs) it was last told that lines are missing

    def found(self, root: Folder, seen: Sequence[Seen]) -> Mapping[str, OldNews]:
        """What went back, by file. What cannot be read did not; reading it tells why."""
        changed = (each for each in seen if each.row.kind is Kind.REGISTER and self._sightings.changed(each))
        return self._look_at(root, [each.path for each in changed])

    def _look_at(self, root: Folder, files: Iterable[str]) -> dict[str, OldNews]:
        found: dict[str, OldNews] = {}
        for file in files:
            with suppress(FileNotFoundError, FleetsyncError):
                old = self._edits.old_news(root, file)
                if old.values:
                    found[file] = old
        return found

    def judge(self, root: Folder, old: Mapping[str, OldNews], *, watched: bool, shrunk: bool) -> None:
        """All of home has been looked at, and this went back. `watched` False: while the daemon was down;
        `shrunk`: lines are missing besides.
        """
        now = self._now()
        paths = [path for each in old.values() for path in each.values]
        before, self._suspects = self._suspects, {}
        self._shrank = now if shrunk else self._shrank
        beside = _is_within(PATIENCE, self._shrank, now)
        if old and (len(paths) > MANY or beside or self._goes_on(now)):
            self._noticed = now
            self._overrule(root, old)
        elif watched:
            since = {path: min(before.get(path, now), now) for path in paths}
            if paths and max(since.values()) + PATIENCE > now:
                self._suspects = since
        self._edits.suspects = old.keys() if self._suspects else ()

    def _overrule(self, root: Folder, files: Iterable[str]) -> None:
        """What has gone back is no edit, but for what somebody wrote meanwhile; a person is asked first, so
        that nothing is put back unasked.
        """
        old = self._look_at(root, files)
        values = {path: value for each in old.values() for path, value in each.values.items()}
        for path, value in values.items():
            self._losers.keep(path, value)
        if values:
            digests = {path: hashlib.sha256(value).hexdigest() for path, value in values.items()}
            self._guard.hold(Cause.RESTORED, values, digests)
        for each in old.values():
            self._edits.discount(each)

    def _goes_on(self, now: int) -> bool:
        """Whether a home that was taken for a restored one may still be coming back."""
        return self._guard.asks(Cause.RESTORED) and _is_within(WINDOW, self._noticed, now)

    def acquit(self, file: str) -> None:
        """Somebody speaks about this file: whatever stands there is a wish."""
        self._edits.suspects = {*self._edits.suspects} - {file}

    def due_in(self) -> float | None:
        """Seconds until it is time to judge; None if nothing waits for that."""
        if not self._suspects:
            return None
        return max(0.0, (max(self._suspects.values()) + PATIENCE - self._now()) / 1e6)


def _is_within(span: int, since: int | None, now: int) -> bool:
    """Whether `now` lies in the `span` µs after that."""
    return since is not None and since <= now < since + span
