"""Agents whose profile has come here, but who have no key of their own on this device.

Keys never travel and are never made here: mur makes them, when a person asks it to. What is looked at are
the profile and the presence of `identity.pub`; nothing under `keys/` is.
"""

from __future__ import annotations

from contextlib import suppress

from fleetsync.errors import FleetsyncError, MalformedRecord
from fleetsync.files import Folder
from fleetsync.records import profiles
from fleetsync.replica.layout import Look, agents_in, look_in
from fleetsync.replica.reading import LIMIT

_PROFILE, _PUBLIC = "profile.yaml", "identity.pub"
_Looks = tuple[Look | None, Look | None]


class Keyless:
    """What was found by the last look."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[_Looks, tuple[str, ...]]] = {}

    def look(self, root: Folder) -> None:
        """Look at every agent whose two files are not what they were."""
        found: dict[str, tuple[_Looks, tuple[str, ...]]] = {}
        for agent in agents_in(root):
            with suppress(FileNotFoundError, FleetsyncError), root.enter(f"agents/{agent}") as folder:
                looks = look_in(folder, _PROFILE), look_in(folder, _PUBLIC)
                known = self._known.get(agent)
                found[agent] = known if known and known[0] == looks else (looks, _lacking(folder, looks))
        self._known = found

    def agents(self) -> dict[str, tuple[str, ...]]:
        """The agents without a key, and which blocks their profiles lack here."""
        return {agent: lacking for agent, (_, lacking) in self._known.items() if "identity" in lacking}


def _lacking(folder: Folder, looks: _Looks) -> tuple[str, ...]:
    if looks[0] is None or looks[1] is not None:
        return ()
    try:
        return profiles.lacking(folder.read(_PROFILE, LIMIT))
    except MalformedRecord:
        return ()  # it is told as what it is: a file that does not sync
