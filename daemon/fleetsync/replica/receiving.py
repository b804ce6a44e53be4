"""What peers bring becomes members, and then files of home.

Registers go first, because lines need their manifest. What is refused is counted; what a peer brings
counts against its allowance. Nothing here knows how it came.
"""

from __future__ import annotations

from collections.abc import Sequence

from fleetsync import datasets
from fleetsync.datasets import Kind
from fleetsync.errors import MalformedRecord
from fleetsync.files import Folder
from fleetsync.ports import NOT_CARRIED, Group, Outcome, Verdict
from fleetsync.records.names import DeviceId
from fleetsync.replica.bringing import Bringing
from fleetsync.replica.parts import Parts
from fleetsync.replica.publishing import is_published
from fleetsync.replica.shelf import is_log
from fleetsync.replica.sweep import Sweep

LINES_AT_ONCE = 4096
"""Of one log: what is known of a line while it is applied costs several times its bytes."""


class Receiving:
    """Takes batches; single-threaded. `refused` counts what was no item."""

    def __init__(self, parts: Parts, bringing: Bringing, sweep: Sweep) -> None:
        self.refused = 0
        self._carries = parts.carried.carries
        self._follow = parts.members.follow
        self._versions = parts.versions
        self._registers = parts.registers
        self._lines = parts.lines
        self._units = parts.units
        self._allowance = parts.guard.allowance
        self._bringing = bringing
        self._sweep = sweep

    def take(self, root: Folder, groups: Sequence[Group], origin: DeviceId) -> list[Verdict]:
        """One verdict for each body, in their order."""
        self._sweep.require_home(root)
        answers: list[list[Verdict]] = [[] for _ in groups]
        for position in sorted(range(len(groups)), key=lambda p: is_log(groups[p].path)):
            answers[position] = self._apply_group(root, groups[position], origin)
        if not all(is_log(group.path) for group in groups):
            self._units.take_away(root)
        return [verdict for answer in answers for verdict in answer]

    def _apply_group(self, root: Folder, group: Group, origin: DeviceId) -> list[Verdict]:
        try:
            path, row = datasets.require(group.path)
        except MalformedRecord as error:
            self.refused += len(group.bodies)
            return [Verdict(Outcome.REFUSED, error.message)] * len(group.bodies)
        if not self._carries(path):
            return [Verdict(Outcome.REFUSED, NOT_CARRIED)] * len(group.bodies)
        if row.kind is Kind.REGISTER:
            verdicts = self._apply_versions(root, path, group.bodies, origin)
            self._spend(origin, group.bodies, verdicts)
            return verdicts
        verdicts = []
        for at in range(0, len(group.bodies), LINES_AT_ONCE):
            some = Group(path, group.bodies[at : at + LINES_AT_ONCE])
            taken = self._lines.take(root, path, row, some, origin)
            self._spend(origin, some.bodies, taken)
            verdicts += taken
        if any(verdict.outcome is Outcome.NEW for verdict in verdicts):
            self._revive(root, path, row.manifest)
        return verdicts

    def _spend(self, origin: DeviceId, bodies: Sequence[bytes], verdicts: Sequence[Verdict]) -> None:
        new = [len(b) for b, v in zip(bodies, verdicts, strict=True) if v.outcome is Outcome.NEW]
        if new:
            self._allowance.spend(origin, len(new), sum(new))

    def _apply_versions(
        self, root: Folder, path: str, bodies: Sequence[bytes], origin: DeviceId
    ) -> list[Verdict]:
        verdicts: list[Verdict] = []
        # An edit that nobody has seen yet was made without knowing these.
        self._sweep.look_at(root, [datasets.file_of(path)])
        for body in bodies:
            try:
                verdict, change = self._versions.take(path, body, origin)
                self._follow(change)
            except MalformedRecord as error:
                self.refused += 1
                verdict = Verdict(Outcome.REFUSED, error.message)
            verdicts.append(verdict)
        if any(verdict.outcome is Outcome.NEW for verdict in verdicts):
            self._bringing.make_way(root)
            if is_published(path):
                self._sweep.keys_changed(root)
            else:
                self._bringing.bring(root, path)
        return verdicts

    def _revive(self, root: Folder, log: str, manifests: Sequence[str]) -> None:
        """A line that a deletion had not seen brings the skill back (SEMANTICS §3.3)."""
        for name in manifests:
            path = datasets.sibling(log, name)
            current = self._versions.current(path)
            if current is not None and current.value is None:
                self._bringing.bring(root, path)
