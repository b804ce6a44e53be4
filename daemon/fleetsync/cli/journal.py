"""The journal as commands see it: read only, beside a running daemon or without one.

Rule of the file: a journal that is not there is an empty one, and nothing here ever creates, locks
or changes a file; damage is the daemon's to report, and is passed on in words.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fleetsync.datasets import publisher
from fleetsync.merge import register
from fleetsync.merge.register import Version
from fleetsync.records.names import DeviceId
from fleetsync.replica.journal import HistoryEntry, Journal, ParkedLine
from fleetsync.replica.publishing import is_published


class Known:
    """What the journal knows of lines and versions."""

    def __init__(self, journal: Journal | None) -> None:
        self._journal = journal

    def origins(self, path: str, here: str | None) -> dict[bytes, str | None]:
        """Item id → the device that the line came from, for the lines of one log; `here` for local."""
        if self._journal is None:
            return {}
        found = self._journal.ledger.all_origins(path)
        return {identity: here if origin is None else origin for identity, origin in found.items()}

    def parked(self, path: str) -> list[ParkedLine]:
        """The lines of one log that are known but not written yet."""
        return [] if self._journal is None else self._journal.parked(path)

    def published(self) -> dict[DeviceId, bytes]:
        """What each device has published of its agents' keys, the highest stamp of each."""
        if self._journal is None:
            return {}
        members: dict[str, list[Version]] = {}
        for stored in self._journal.versions():
            if is_published(stored.path):
                members.setdefault(stored.path, []).append(register.decode(stored.body))
        current = {publisher(path): register.uncovered(found)[0] for path, found in members.items()}
        return {device: version.value for device, version in current.items() if version.value is not None}

    def pending(self, path: str) -> int:
        """How many lines of one log wait to be counted."""
        return 0 if self._journal is None else self._journal.ledger.pending_paths().get(path, 0)

    def history(self, path: str | None) -> list[HistoryEntry]:
        """What was put aside, newest first; of one file, of everything below a directory, or all."""
        return [] if self._journal is None else self._journal.history(path)


@contextmanager
def open_journal(state_dir: Path) -> Iterator[Known]:
    """The journal of a state directory, for reading. Raises `JournalDamaged` for what is no journal."""
    path = state_dir / "journal.db"
    if not path.exists():
        yield Known(None)
        return
    journal = Journal.reading(path)
    try:
        yield Known(journal)
    finally:
        journal.close()


def own_device(state_dir: Path) -> str | None:
    """This device's id, from its certificate; None before the first run."""
    import ssl

    from fleetsync.devices.identity import CERTIFICATE_FILE
    from fleetsync.devices.roster import device_of

    try:
        text = (state_dir / CERTIFICATE_FILE).read_text(encoding="ascii")
        return device_of(ssl.PEM_cert_to_DER_cert(text))
    except (OSError, ValueError):
        return None
