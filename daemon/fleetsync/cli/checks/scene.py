"""What the checks of `doctor` look at, and what they say.

Rule of the file: a check looks at one thing and never changes it; `ok` false means a person should act,
and then `next` says how. What cannot be known without the daemon is said so, not failed twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fleetsync.cli.session import Session
from fleetsync.errors import FleetsyncError

if TYPE_CHECKING:
    from fleetsync.config import Settings
    from fleetsync.service.manager import Manager, ServiceState

SHOWN = 5  # findings of one kind that are listed before "and n more"


class Check(NamedTuple):
    """One finding; `next` is None where nothing needs to be done."""

    name: str
    ok: bool
    detail: str
    next: str | None = None


@dataclass(frozen=True)
class Scene:
    """What the checks look at. `settings` is None if the config is broken, `status` without a daemon."""

    session: Session
    home: Path
    state_dir: Path
    settings: Settings | None
    status: dict[str, Any] | None
    trouble: dict[str, FleetsyncError]  # why settings or status are missing

    @classmethod
    def of(cls, session: Session) -> Scene:
        """Everything that several checks look at, asked once."""
        trouble: dict[str, FleetsyncError] = {}
        settings = status = None
        try:
            settings = session.settings()
        except FleetsyncError as error:
            trouble["settings"] = error
        try:
            status = session.control().get("/status")
        except FleetsyncError as error:
            trouble["status"] = error
        return cls(session, session.home_path(), session.state_path(), settings, status, trouble)

    @cached_property
    def service(self) -> tuple[Manager, ServiceState]:
        """The service manager, and what it says of the service. Raises `FleetsyncError`."""
        from fleetsync.cli.service import service_manager

        manager = service_manager(self.session)
        return manager, manager.state()


Finding = tuple[bool, str, str | None]


def fine(detail: str) -> Finding:
    """Nothing to do."""
    return True, detail, None


def bad(detail: str, next_step: str) -> Finding:
    """Something for a person to do."""
    return False, detail, next_step


def shortened(findings: list[str]) -> str:
    """The first few, and how many more there are."""
    more = [f"and {len(findings) - SHOWN} more"] if len(findings) > SHOWN else []
    return "\n".join(findings[:SHOWN] + more)


UNKNOWN: Finding = fine("not known while the daemon is not running")
