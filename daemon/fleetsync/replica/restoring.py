"""A home that goes back in time: files that hold what was superseded here before (SEMANTICS §2.5).

One file is a person's wish; several at once, or one beside a log that lost lines, are a backup that is
being put back: the current values are applied again, and a person is told. A backup does not come back
in one instant, so while the daemon watches nothing is judged until no further file has gone back for
some time. Rule of the file: it judges and remembers; it never writes into home.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

from fleetsync.datasets import Kind
from fleetsync.errors import FleetsyncError
from fleetsync.files import Folder
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
        self._sightings = registers.sightings
        self._edits = registers.edits
        self._guard = guard
        self._now = registers.versions.clock.now
        self._suspects: dict[str, int] = {}  # values, and when (µs) each was found
        self._noticed: int | None = None  # when (µs) the home was last taken for a restored one

    def found(self, root: Folder, seen: Sequence[Seen]) -> Mapping[str, list[str]]:
        """The values that went back, by file. What cannot be read did not; reading it tells why."""
        old: dict[str, list[str]] = {}
        for each in seen:
            if each.row.kind is Kind.REGISTER and self._sightings.changed(each):
                with suppress(FileNotFoundError, FleetsyncError):
                    old[each.path] = self._edits.old_news(root, each.path)
        return {file: paths for file, paths in old.items() if paths}

    def judge(self, root: Folder, old: Mapping[str, list[str]], *, watched: bool, shrunk: bool) -> None:
        """All of home has been looked at, and this went back. `watched` False: while the daemon was down;
        `shrunk`: lines are missing besides.
        """
        now = self._now()
        paths = [path for found in old.values() for path in found]
        before, self._suspects = self._suspects, {}
        if old and (len(paths) > MANY or shrunk or self._goes_on(now)):
            self._noticed = now
            for file in old:
                with suppress(FileNotFoundError, FleetsyncError):
                    self._edits.discount(root, file)
            self._guard.hold(Cause.RESTORED, paths)
        elif watched:
            since = {path: min(before.get(path, now), now) for path in paths}
            if paths and max(since.values()) + PATIENCE > now:
                self._suspects = since
        self._edits.suspects = old.keys() if self._suspects else ()

    def _goes_on(self, now: int) -> bool:
        """Whether a home that was taken for a restored one may still be coming back."""
        noticed = self._noticed
        return self._guard.asks(Cause.RESTORED) and noticed is not None and noticed <= now < noticed + WINDOW

    def due_in(self) -> float | None:
        """Seconds until it is time to judge; None if nothing waits for that."""
        if not self._suspects:
            return None
        return max(0.0, (max(self._suspects.values()) + PATIENCE - self._now()) / 1e6)
