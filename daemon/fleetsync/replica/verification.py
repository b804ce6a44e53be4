"""Which channel lines from peers may not be written because of their signatures (SEMANTICS §7.4).

A line whose writer's key is not known yet waits for it; one that its writer did not sign waits too, and
is told of. It is the author's device that is named, never the one that brought the line: a sender
cannot help what others have written. Verdicts on waiting lines are remembered until a key comes, since
verifying is dear and a sweep asks each minute.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from fleetsync import datasets
from fleetsync.datasets import Dataset
from fleetsync.ports import Alert
from fleetsync.records.actors import writer_of
from fleetsync.records.channels import ChannelEvent
from fleetsync.records.keyrings import Judgement, KeyRing
from fleetsync.records.names import DeviceId
from fleetsync.records.signatures import Check, Verdict
from fleetsync.replica import alerts
from fleetsync.replica.logs import NewLine
from fleetsync.replica.publishing import is_published
from fleetsync.replica.versions import Versions

REASONS = {
    Verdict.UNSIGNED: "it is not signed, and signatures are required",
    Verdict.KEY_UNKNOWN: "the key of its writer is not known yet",
    Verdict.WRONG: "its writer did not sign it",
}
AWAITED = frozenset(REASONS.values())
REMEMBERED = 65_536
"""Verdicts kept at most; beyond that all are forgotten and found out again."""


class _Waiting(NamedTuple):
    """A line that was not verified: where it stands, and who it says wrote it."""

    judgement: Judgement
    path: str
    agent: str


class Verification:
    """The judge of one replica; single-threaded."""

    def __init__(self, versions: Versions, check: Check) -> None:
        self.required = False
        """Whether lines that are not signed wait too."""
        self._versions = versions
        self._ring = KeyRing(check)
        self._waiting: dict[bytes, _Waiting] = {}
        self.refresh()

    def refresh(self) -> bool:
        """Take in what devices have published; True if it says something new."""
        rows = [path for path in self._versions.paths() if is_published(path)]
        news = False
        for path in rows:
            current = self._versions.current(path)
            if current is not None and current.value is not None:
                news |= self._ring.learn(datasets.publisher(path), current.value)
        if news:
            self._waiting.clear()
        return news

    def expect(self, fleet: Iterable[DeviceId]) -> bool:
        """The devices of the fleet; True if they are others than before. What this one has is known."""
        changed = self._ring.expect({*fleet} - {self._versions.device})
        if changed:
            self._waiting.clear()
        return changed

    def reasons(self, path: str, row: Dataset, lines: Sequence[NewLine]) -> dict[bytes, str]:
        """Why lines may not be written, by id; those that may are left out."""
        if row.signed is None:
            return {}
        events = {line.key.id: event for line in lines if (event := row.signed(line.body)) is not None}
        reasons = {line.key.id: REASONS[Verdict.UNSIGNED] for line in lines if line.key.id not in events}
        if not self.required:
            reasons.clear()
        judged = self._judged(path, events)
        return reasons | {
            identity: REASONS[j.verdict] for identity, j in judged.items() if j.verdict in REASONS
        }

    def _judged(self, path: str, events: dict[bytes, ChannelEvent]) -> dict[bytes, Judgement]:
        known = {i: self._waiting[i].judgement for i in events if i in self._waiting}
        fresh = {i: event for i, event in events.items() if i not in known}
        found = dict(zip(fresh, self._ring.judge(path.split("/")[1], list(fresh.values())), strict=True))
        if len(self._waiting) + len(found) > REMEMBERED:
            self._waiting.clear()
        for identity, judgement in found.items():
            if judgement.verdict is not Verdict.VERIFIED:
                agent = writer_of(fresh[identity].actor) or ""
                self._waiting[identity] = _Waiting(judgement, path, agent)
        return known | found

    def forget(self, ids: Iterable[bytes]) -> None:
        """These lines are gone, or stand in their file after all."""
        for identity in ids:
            self._waiting.pop(identity, None)

    def alerts(self) -> list[Alert]:
        """Lines that their writers did not sign, by the devices that they claim to come from."""
        wrong = Counter(
            (each.path, each.agent, each.judgement.devices)
            for each in self._waiting.values()
            if each.judgement.verdict is Verdict.WRONG
        )
        return [alerts.signature_wrong(*who, count) for who, count in sorted(wrong.items())]
