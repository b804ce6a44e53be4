"""What loses goes to history: to a newer version, in a conflict, or to a person's word (DESIGN §5.5).

Knows versions and values, no files. Rule of the file: a value is kept before anything that replaces it is
believed to be in place, and kept once, however often that is tried.
"""

from __future__ import annotations

import msgspec

from fleetsync.merge import register
from fleetsync.merge.register import Version
from fleetsync.replica.history import History, Why
from fleetsync.replica.reading import values_of
from fleetsync.replica.versions import Versions


class Losers:
    """Of all registers of one home; single-threaded."""

    def __init__(self, versions: Versions, history: History) -> None:
        self._versions = versions
        self._history = history

    def keep(self, path: str, value: bytes, replaced_by: Version | None = None) -> None:
        """A value into history: as the loser of a conflict if it is a version that nothing covers."""
        digest = register.digest_of(value)
        lost = next((m for m in self._versions.members(path) if m.version.stamp.digest == digest), None)
        stamp = None if lost is None else msgspec.msgpack.encode(lost.version.stamp)
        device = None if lost is None else lost.version.stamp.device
        if lost is not None and replaced_by is not None and lost.version.dot == replaced_by.dot:
            return
        gone = replaced_by is not None and replaced_by.value is None
        why = Why.LOST_CONFLICT if lost is not None else Why.DELETED if gone else Why.REPLACED
        self._history.keep(path, value, why, stamp, device)

    def keep_file(self, path: str, raw: bytes, replaced_by: Version | None) -> None:
        """What a file held at this path."""
        value = values_of(path, raw).get(path)
        if value is not None:
            self.keep(path, value, replaced_by)

    def has_kept(self, path: str, raw: bytes) -> bool:
        """Whether what a file held at this path is in history, if it held anything."""
        value = values_of(path, raw).get(path)
        return value is None or self._history.holds(path, value)

    def keep_others(self, path: str) -> None:
        """Concurrent versions that lost and never stood in this device's file."""
        for value in self.others(path, self._versions.current(path)):
            self.keep(path, value)

    def others(self, path: str, current: Version | None) -> list[bytes]:
        """The values that have come and are not the current one."""
        kept = None if current is None else current.value
        return [v.value for v in self._versions.ripe(path) if v.value is not None and v.value != kept]

    def keep_rivals(self, path: str, value: bytes, *, standing: bool = False) -> None:
        """What is about to lose to `value` by a person's word, held versions too. `standing`: the current
        one stands in the file, and is kept when that is replaced.
        """
        current = self._versions.current(path) if standing else None
        for rival in (member.version for member in self._versions.members(path)):
            if rival.value not in (None, value) and rival is not current:
                stamp = msgspec.msgpack.encode(rival.stamp)
                self._history.keep(path, rival.value, Why.LOST_CONFLICT, stamp, rival.stamp.device)
