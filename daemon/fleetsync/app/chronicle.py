"""The daemon's own doings in the experience ledger, when `[experience] record_sync` is on.

How each round ended, and whom this device trusts, are appended to the stream `fleetsync` and sync like
any other line. Rule of the file: written off the event loop, one line at a time; what cannot be
written is logged and never stops a sync. Imported only when it is switched on.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fleetsync.errors import FleetsyncError
from fleetsync.records import governance
from fleetsync.records.experiences import Experience
from fleetsync.records.governance import Governance
from fleetsync.records.names import DeviceId
from fleetsync.stores.experience_log import ExperienceLog
from fleetsync.stores.experience_writing import new_event_id

logger = logging.getLogger(__name__)


class Chronicle:
    """One writer thread; `close` waits for what it has been given."""

    def __init__(self, home: Path, device: DeviceId) -> None:
        self._log = ExperienceLog(home)
        self._governance = Governance(device)
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="chronicle")
        self._trusted: Mapping[str, str] | None = None

    def round_over(self, run_id: str, endings: Mapping[str, str], seconds: float) -> None:
        """A round ended so with each peer."""
        now = time.time_ns()
        self._post(self._governance.outcome(run_id, endings, seconds, event_id=new_event_id(), now=now))

    def trust(self, directions: Mapping[str, str]) -> None:
        """This device trusts these, each in that direction; told again, nothing is written."""
        if directions == self._trusted:
            return
        self._trusted = dict(directions)
        self._post(self._governance.trust(directions, event_id=new_event_id(), now=time.time_ns()))

    def close(self) -> None:
        """Write what is left; idempotent."""
        self._worker.shutdown()

    def _post(self, event: Experience) -> None:
        self._worker.submit(self._write, event)

    def _write(self, event: Experience) -> None:
        try:
            self._log.append(governance.STREAM, [event.line])
        except FleetsyncError as error:
            logger.warning("the ledger does not get this round: %s", error)
