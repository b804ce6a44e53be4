"""Which experience ledger the settings mean: the logs of a home, and an index in a file or a PostgreSQL.

An index file that is damaged is thrown away and built again from the logs. In a PostgreSQL each home of
each device has an index of its own: what they hold in common is in the logs already.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from fleetsync.errors import IndexDamaged, StorageFailed
from fleetsync.files import ensure_private_dir
from fleetsync.stores.experience_ledger import ExperienceLedger
from fleetsync.stores.experience_log import ExperienceLog
from fleetsync.stores.experience_sql import SqlExperienceStore
from fleetsync.stores.opening import open_database
from fleetsync.stores.sqlite import is_damage

INDEX_FILE = "experience.db"
"""The embedded default, in the state directory."""


def open_experience_ledger(home: Path, state_dir: Path, url: str, device: str) -> ExperienceLedger:
    """The ledger of this home, its index made, migrated or mended.

    `device` tells homes on several machines apart in one database. Raises `BrokenConfig`, `StorageFailed`.
    """
    ensure_private_dir(state_dir)
    source = sha256(f"{device if url else ''}\0{home}".encode()).hexdigest()[:32]
    try:
        return _opened(home, state_dir, url, source)
    except StorageFailed as error:
        if not discard_damaged(state_dir, error):
            raise
        return _opened(home, state_dir, url, source)


def discard_damaged(state_dir: Path, error: StorageFailed) -> bool:
    """Remove the index file if that is what the error is about: True, and the next opening builds it."""
    if isinstance(error, IndexDamaged) or is_damage(error.__cause__):
        for suffix in ("", "-wal", "-shm"):
            (state_dir / f"{INDEX_FILE}{suffix}").unlink(missing_ok=True)
        return True
    return False


def _opened(home: Path, state_dir: Path, url: str, source: str) -> ExperienceLedger:
    index = SqlExperienceStore(open_database(url, state_dir / INDEX_FILE), source)
    ledger = ExperienceLedger(ExperienceLog(home), index)
    try:
        ledger.initialize()
    except BaseException:
        ledger.close()
        raise
    return ledger
