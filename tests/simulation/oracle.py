"""What must be true when all is well again, told from what people did and not from fleetsync's own tables.

It knows every line that a mur wrote whole and what each person last saved; it reads the files. A line
may be missing only if a power loss (or an accident) took it when no other laptop had it, and a skill
that somebody deleted may have taken lines along that only that laptop had. Rule of the file: it asks
fleetsync for nothing but its set and its history.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import tempfile
from collections import Counter
from pathlib import Path

from fleetsync import datasets
from fleetsync.merge import register
from fleetsync.ports import END, START
from fleetsync.replica.replica import Replica
from tests.simulation.actions import PASSING, PROMPT, STEADY, Stage, log, manifest
from tests.simulation.laptop import Laptop
from tests.simulation.mur import fold

_BEGINNING = re.compile(rb'(?=\{"kind")')


class Wrong(AssertionError):
    """A promise is broken."""


class Oracle:
    """Watches one story and judges its end."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._excused: set[tuple[str, bytes]] = set()
        self._forgetful: set[str] = set()
        for laptop in stage.laptops:
            laptop.on_loss = self.after_a_loss
            laptop.on_power_loss = self.after_a_power_loss

    # --- while it goes on ---------------------------------------------------------------------------

    def after_a_loss(self) -> None:
        """Bytes may have gone from a laptop: what stands nowhere any more can never come back."""
        standing: Counter[tuple[str, bytes]] = Counter()
        for each in self._stage.laptops:
            standing.update(_lines_on(each))
        written = {(path, line) for each in self._stage.laptops for path, line in _written(each)}
        self._excused |= written - set(standing)

    def after_a_power_loss(self, laptop: Laptop) -> None:
        """What a laptop had not on its disk is gone, and so may be what fleetsync knew."""
        self.after_a_loss()
        if laptop.disk.lied or not laptop.mur.careful:
            self._forgetful.add(laptop.letter)
            for skill in self._stage.script.skills:
                found = {_read(each, manifest(skill)) for each in self._stage.laptops}
                # another manifest, whoever made it, begins the counters of all others anew
                unsure = [laptop] if len(found) == 1 else self._stage.laptops
                self._stage.unsure |= {(each.letter, skill) for each in unsure}
        laptop.disk.lied = laptop.disk.lies

    # --- at the end -----------------------------------------------------------------------------------

    def judge(self) -> None:
        """Raises `Wrong`."""
        self._sets_are_equal()
        for laptop in self._stage.laptops:
            self._lines_are_there(laptop)
            self._edits_are_kept(laptop)
        self._registers_are_equal()
        self._counters_are_exact()

    def _replicas(self) -> list[tuple[Laptop, Replica]]:
        return [(laptop, laptop.running) for laptop in self._stage.laptops if laptop.running is not None]

    def _sets_are_equal(self) -> None:
        heads = {laptop.letter: replica.head() for laptop, replica in self._replicas()}
        if len({(head.count, head.fingerprint) for head in heads.values()}) != 1:
            raise Wrong(f"the sets differ: { {k: h.count for k, h in heads.items()} }")
        for laptop, replica in self._replicas():
            members = {item.key.id for page in replica.between(START, END) for item in page}
            if len(members) != replica.head().count:
                ranges = replica.ranges()
                ghosts = [key for key in ranges.keys(0, ranges.size()) if key.id not in members]
                entries = replica._parts.index.find([key.id for key in ghosts[:3]])
                raise Wrong(f"{laptop} has {len(ghosts)} members that it cannot give: {entries}")

    def _expected(self) -> set[tuple[str, bytes]]:
        deleters = {each.letter for each in self._stage.laptops if PASSING in each.mur.deleted}
        return {
            (path, line)
            for each in self._stage.laptops
            for path, line in _written(each)
            if (path, line) not in self._excused and not (path == log(PASSING) and each.letter in deleters)
        }

    def _lines_are_there(self, laptop: Laptop) -> None:
        assert laptop.running is not None
        members = {(i.path, i.body) for page in laptop.running.between(START, END) for i in page}
        expected = self._expected()
        if missing := expected - members:
            raise Wrong(f"{laptop} does not have {sorted(missing)[:3]} ({len(missing)})")
        written = {(path, line) for each in self._stage.laptops for path, line in _written(each)}
        for path in sorted({path for path, _ in written}):
            if glued := self._glued(laptop, path):
                raise Wrong(f"{laptop} has glued a peer's line to another in {path}: {glued[:3]}")
            standing = Counter(self._standing(laptop, path))
            twice = [line for line, times in standing.items() if times > 1 and (path, line) in written]
            if twice:
                raise Wrong(f"{laptop} has lines twice in {path}: {twice[:3]}")
            if path == log(PASSING) or self._was_taken_for_deleted(laptop, path):
                continue  # what a deletion covers is in trash instead
            absent = [line for where, line in sorted(expected) if where == path and line not in standing]
            if absent:
                raise Wrong(f"{laptop} has not written into {path}: {absent[:3]} ({len(absent)})")

    def _was_taken_for_deleted(self, laptop: Laptop, path: str) -> bool:
        """Whether a disk that lied lost a directory whose files the journal knew: nothing tells that from a
        deletion while the daemon was down.
        """
        assert laptop.running is not None
        current = laptop.running._parts.versions.current(datasets.sibling(path, "skill.yaml"))
        gone = current is not None and current.value is None
        return gone and any(current.dot.device.startswith(letter) for letter in self._forgetful)

    def _edits_are_kept(self, laptop: Laptop) -> None:
        """What a person saved last on this laptop stands there, or in its history."""
        assert laptop.running is not None
        if laptop.letter in self._forgetful:
            return
        history = laptop.running.history
        for path, value in laptop.mur.edits.items():
            if _read(laptop, path) == value:
                continue
            kept = [history.value(entry.path, entry.version)[1] for entry in history.entries(path)]
            if value not in kept:
                raise Wrong(f"{laptop}: {value!r}, saved in {path}, is neither there nor in history")

    def _registers_are_equal(self) -> None:
        held = {path for _, replica in self._replicas() for path in _held_until_now(replica)}
        for path in (*map(manifest, self._stage.script.skills), PROMPT):
            if path in held:
                continue  # its time comes on each laptop by its own clock
            found = {laptop.letter: _read(laptop, path) for laptop in self._stage.laptops}
            if len(set(found.values())) != 1:
                raise Wrong(f"{path} differs: {found}")
            value = found[self._stage.laptops[0].letter]
            if self._forgetful:
                continue  # what a power loss left of a file that was not fsynced is a value too
            saved = {pair for each in self._stage.laptops for pair in each.mur.saved}
            if value is not None and (path, value) not in saved:
                raise Wrong(f"{path} holds what nobody saved: {value!r}")

    def _counters_are_exact(self) -> None:
        for laptop, replica in self._replicas():
            for skill in self._stage.script.skills:
                if not (laptop.disk.home / log(skill)).exists():
                    continue
                lines = self._standing(laptop, log(skill))
                if not lines:
                    continue
                exact, counted = fold(lines), _counters(laptop, skill)
                sure = (laptop.letter, skill) not in self._stage.unsure
                if sure and counted != exact:
                    raise Wrong(f"{laptop} counts {counted} in {skill}, its log says {exact}")
                if skill == STEADY and counted[0] > exact[0] and not self._may_exceed(laptop):
                    raise Wrong(f"{laptop} counts {counted} in {skill}, more than its log: {exact}")
                replica.rebuild_stats(log(skill))
                if _counters(laptop, skill) != exact:
                    raise Wrong(
                        f"{laptop} rebuilt {_counters(laptop, skill)} in {skill}, its log says {exact}"
                    )

    def _standing(self, laptop: Laptop, path: str) -> list[bytes]:
        """The lines in a log; also whole ones that are glued to scraps, or to one that mur wrote behind what
        a power loss had left without its end.
        """
        written = {line for each in self._stage.laptops for line in each.mur.written.get(path, ())}
        pieces = [piece for line in _lines_of(laptop, path) for piece in _BEGINNING.split(line)]
        return [piece for piece in pieces if piece in written]

    def _glued(self, laptop: Laptop, path: str) -> list[bytes]:
        """Lines on which something of another laptop stands behind what else is there."""
        own = set(laptop.mur.written.get(path, ()))
        others = {line for each in self._stage.laptops for line in each.mur.written.get(path, ())} - own
        begins = [(line, line.rfind(b'{"kind"')) for line in _lines_of(laptop, path)]
        return [line for line, at in begins if at > 0 and line[at:] in others]

    def _may_exceed(self, laptop: Laptop) -> bool:
        """Whether lines may have gone from a log of this laptop that its mur had counted."""
        return laptop.letter in self._forgetful | self._stage.lost_logs

    def _nothing_is_left_over(self, laptop: Laptop, replica: Replica) -> None:
        """After a start there are no temporaries but what waits for its second look."""
        for directory, _, names in os.walk(laptop.disk.home):
            left = [name for name in names if name.startswith(".stats.json.")]
            if left:
                raise Wrong(f"{laptop}: {directory} still has {left}")
        staging = laptop.disk.home / ".fleetsync/staging"
        waiting = {swap.staged for swap in replica._parts.journal.swaps()}
        left = [path.name for path in staging.glob("*") if path.name not in waiting]
        if left:
            raise Wrong(f"{laptop}: {left} is left in staging")

    def index_is_whole(self, laptop: Laptop, anew: Replica) -> None:
        """An index built anew from files and journal has the same members."""
        anew.scan(None)
        self._nothing_is_left_over(laptop, anew)
        head = self._last[laptop.letter]
        if (anew.head().count, anew.head().fingerprint) != head:
            raise Wrong(f"{laptop}: an index built anew has {anew.head().count} members, not {head[0]}")

    def remember_heads(self) -> None:
        """The sets as they are, for `index_is_whole`."""
        self._last = {
            laptop.letter: (replica.head().count, replica.head().fingerprint)
            for laptop, replica in self._replicas()
        }


def _held_until_now(replica: Replica) -> set[str]:
    """The paths at which a version's time has not come, or only in the last second."""
    versions = replica._parts.versions
    horizon = versions.clock.horizon() - 1_000_000
    return {m.stored.path for m in versions.all_members() if register.is_held(m.version, horizon)}


def _written(laptop: Laptop) -> list[tuple[str, bytes]]:
    return [(path, line) for path, lines in laptop.mur.written.items() for line in lines]


def _read(laptop: Laptop, path: str) -> bytes | None:
    target = laptop.disk.home / path
    return target.read_bytes() if target.exists() else None


def _lines_of(laptop: Laptop, path: str) -> list[bytes]:
    return [line for line in (_read(laptop, path) or b"").split(b"\n") if line]


def _counters(laptop: Laptop, skill: str) -> tuple[int, int, int]:
    raw = _read(laptop, f"{skill}/stats.json")
    if raw is None:
        return 0, 0, 0
    stats = json.loads(raw)
    return stats["usage_count"], stats["success_count"], stats["failure_count"]


def _lines_on(laptop: Laptop) -> set[tuple[str, bytes]]:
    """Every line that this laptop could still give: in its logs, or kept in its journal."""
    found = {
        (str(path.relative_to(laptop.disk.home)), line)
        for path in laptop.disk.home.rglob("*.jsonl")
        for line in path.read_bytes().split(b"\n")
    }
    return found | _parked(laptop.disk.state / "journal.db")


def _parked(journal: Path) -> set[tuple[str, bytes]]:
    if not journal.exists():
        return set()
    with tempfile.TemporaryDirectory() as aside:
        for suffix in ("", "-wal"):
            if Path(f"{journal}{suffix}").exists():
                shutil.copyfile(f"{journal}{suffix}", f"{aside}/journal.db{suffix}")
        database = sqlite3.connect(f"{aside}/journal.db")
        try:
            return set(database.execute("SELECT path, body FROM parked"))
        except sqlite3.OperationalError:
            return set()  # it has only just begun
        finally:
            database.close()
