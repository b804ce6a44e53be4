"""What this device tells the fleet of its agents: their public keys and rotation chains.

Reads `agents/<agent>/identity.pub` and `rotations.jsonl` and nothing else of an agent; `keys/` and every
`identity.key` are never opened. The record is a register version without a file, minted here when those
files say something new. An agent that is gone stays in it: what it has signed must be verifiable for good.
Whatever stands in our record that we did not put there is replaced by the next look.
"""

from __future__ import annotations

from contextlib import suppress

from fleetsync import datasets
from fleetsync.errors import FleetsyncError, MalformedRecord
from fleetsync.files import Folder
from fleetsync.records import keyrings
from fleetsync.records.keyrings import MAX_FILE, PublicFiles
from fleetsync.records.names import legal_name
from fleetsync.replica.layout import Look, agents_in, look_in
from fleetsync.replica.reading import LIMIT
from fleetsync.replica.versions import NOTHING, Change, Versions

ROW = next(row for row in datasets.DATASETS if row.published)
_AGENTS = "agents"
_FILES = ("identity.pub", "rotations.jsonl")

_Looks = tuple[Look | None, ...]


class Publishing:
    """The record of one device; single-threaded."""

    def __init__(self, versions: Versions) -> None:
        self._versions = versions
        self._path = datasets.publication(ROW, versions.device)
        self._known: Known = {}

    def look(self, root: Folder) -> Change:
        """Mint a version if the agents' public files say something that is not published yet.

        Raises `MalformedRecord` if they say more than one record may hold.
        """
        current = self._versions.current(self._path)
        before = {} if current is None or current.value is None else keyrings.published(current.value)
        here = public_files(root, self._known)
        after = {**before, **{agent: _longer(before.get(agent), files) for agent, files in here.items()}}
        if after == before and (current is not None or not self._others_publish()):
            return NOTHING
        value = keyrings.publish(after)
        if len(value) > LIMIT:
            raise MalformedRecord("the agents here have more public keys than one record may hold")
        return self._versions.mint_word(self._path, value, keep_floor=False)

    def _others_publish(self) -> bool:
        """Then this device does too, were it only that it has no agents: silence would leave the others
        in doubt whether a line that fits none of their keys is ours.
        """
        return any(is_published(path) for path in self._versions.paths())


Known = dict[str, tuple[_Looks, PublicFiles | None]]
"""What was found in each agent's directory, and how the two files looked then."""


def public_files(root: Folder, known: Known) -> dict[str, PublicFiles]:
    """The public files of all agents here; `known` spares reading what has not changed, and is renewed."""
    for agent in agents_in(root):
        with suppress(FileNotFoundError, FleetsyncError), root.enter(f"{_AGENTS}/{agent}") as folder:
            looks = tuple(look_in(folder, name) for name in _FILES)
            if agent not in known or known[agent][0] != looks:
                found = keyrings.public_files(*(_content(folder, name) for name in _FILES))
                known[agent] = looks, found
    return {agent: files for agent, (_, files) in known.items() if files is not None}


def is_published(path: str) -> bool:
    """Whether a path is that of a record which a device publishes."""
    row = datasets.find(path)
    return row is not None and row.published


def is_public_file(path: str) -> bool:
    """Whether a path under home names a file that is published."""
    parts = path.split("/")
    return len(parts) == 3 and parts[0] == _AGENTS and parts[2] in _FILES and legal_name("agent", parts[1])


def _longer(before: PublicFiles | None, now: PublicFiles) -> PublicFiles:
    """What is here now, unless that is only the beginning of a chain that was published: a backup that
    was put back takes no key away.
    """
    shorter = before is not None and before.rotations[: len(now.rotations)] == now.rotations
    return (
        before
        if before is not None and shorter and before.rotations != now.rotations and now.rotations
        else now
    )


def _content(folder: Folder, name: str) -> bytes | None:
    """The file, None if it is missing or nothing that is published."""
    try:
        return folder.read(name, MAX_FILE)
    except (FileNotFoundError, FleetsyncError):
        return None
