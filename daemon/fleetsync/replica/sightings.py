"""What stood in the file of each register when it was last seen or written.

Kept in the journal, by path, as the digest of the value; for a file with many registers also which of
them stood in it, and why some do not sync, in memory only: such a file is read once after a start.
Also remembered for some seconds is what was put in place, since mur reads a whole file, changes
something in it and writes it again without any lock: what it had read may be older than what stands
there. Reads no files.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from fleetsync import datasets
from fleetsync.datasets import Contents
from fleetsync.merge.register import GONE_DIGEST, Dot
from fleetsync.replica.journal import Journal, RegisterFile
from fleetsync.replica.layout import Look, Seen
from fleetsync.selection import EVERYTHING

REWRITING = 5_000_000
"""µs that mur may take from reading a file to having written it again."""
_NEVER = RegisterFile(GONE_DIGEST, None)


class _Brought(NamedTuple):
    """Versions that were put in place here: when (µs), and the digest of what stood there before."""

    at: int
    before: bytes
    dots: set[Dot]


class Sightings:
    """Of all registers of one home; single-threaded."""

    def __init__(self, journal: Journal) -> None:
        self.carries: Callable[[str], bool] = EVERYTHING.carries
        """Whether this device carries a path; others are as if they were not there."""
        self._journal = journal
        self._files = journal.register_files()
        self._looks: dict[str, Look] = {}
        self._inside: dict[str, Contents] = {}
        self._brought: dict[str, list[_Brought]] = {}

    # --- registers ----------------------------------------------------------------------------------

    def known(self, path: str) -> bool:
        """Whether anything was ever seen or written there."""
        return path in self._files

    def digest(self, path: str) -> bytes:
        """Of the value that was there; `GONE_DIGEST` for none."""
        return self._files.get(path, _NEVER).digest

    def present(self) -> list[str]:
        """The paths carried here at which a value was."""
        there = (path for path, file in self._files.items() if file.digest != GONE_DIGEST)
        return [path for path in there if self.carries(path)]

    def remember(self, path: str, digest: bytes, look: Look | None, *, durable: bool = True) -> None:
        """This value is there; `look` is the look of a file that holds nothing else."""
        whole = datasets.file_of(path) == path
        file = RegisterFile(digest, look if whole else None)
        if self._files.get(path) != file:
            self._journal.set_register_file(path, file, durable=durable)
            self._files[path] = file

    def look(self, path: str) -> Look | None:
        """The look of the file when it was last seen."""
        file = self._files.get(path)
        return None if file is None or file.look is None else Look(*file.look)

    def forget(self, path: str) -> None:
        """Nothing was ever there: it will be made again."""
        self._journal.drop_register_file(path)
        self._files.pop(path, None)

    # --- files --------------------------------------------------------------------------------------

    def changed(self, seen: Seen) -> bool:
        """Whether the file is not what it was when last seen or written."""
        if seen.row.parts is None:
            return self.look(seen.path) != seen.look
        return self._looks.get(seen.path) != seen.look

    def read(self, file: str, look: Look, contents: Contents) -> None:
        """A file with many registers has been read, and this stands in it."""
        self._looks[file] = look
        self._inside[file] = contents

    def unread(self, file: str) -> None:
        """Nothing is known of what stands in it now."""
        self._looks.pop(file, None)
        self._inside.pop(file, None)

    def look_anew(self) -> None:
        """All files with many registers shall be read again."""
        self._looks.clear()

    def inside(self, file: str) -> Collection[str]:
        """The registers in a file of many that is there; all that were known if it could not be read."""
        contents = self._inside.get(file)
        return self.of_file(file) if contents is None else {*contents.values, *contents.left_out}

    def of_file(self, file: str) -> list[str]:
        """The registers that were last seen in a file."""
        row = datasets.find_file(file)
        if row is None or row.parts is None:
            return [file] if self.digest(file) != GONE_DIGEST and self.carries(file) else []
        return [path for path in self.present() if datasets.file_of(path) == file]

    def left_out(self) -> Mapping[str, str]:
        """What stands in files and does not sync, and why."""
        found = [each for inside in self._inside.values() for each in inside.left_out.items()]
        return {path: why for path, why in found if self.carries(path)}

    # --- writers without a lock -----------------------------------------------------------------------

    def bring(self, path: str, before: bytes, dots: Collection[Dot], now: int) -> None:
        """These versions have been put in place of another value; or one has been read from a file that
        may be written over by somebody who has not.
        """
        if datasets.require(path)[1].rewritten:
            self._brought[path] = [*self._recent(path, now), _Brought(now, before, set(dots))]

    def is_overtaken(self, path: str, digest: bytes, written: int) -> bool:
        """Whether the value went back, in a file written at that time (µs), to what had just been
        replaced: by a program that had read the file before that. It is no edit.
        """
        return any(each.before == digest for each in self._recent(path, written))

    def unread_by(self, path: str, written: int) -> set[Dot]:
        """Versions that whoever wrote the file at that time (µs) may not have seen in it."""
        return set[Dot]().union(*(each.dots for each in self._recent(path, written)))

    def _recent(self, path: str, now: int) -> list[_Brought]:
        return [each for each in self._brought.get(path, ()) if now < each.at + REWRITING]
