"""How a replica is: what waits, what is refused, and what a person should know.

Changes nothing. The words are in `alerts.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fleetsync.ports import Alert, Condition, HomeState
from fleetsync.replica import alerts
from fleetsync.replica.bringing import Bringing
from fleetsync.replica.guard import Held
from fleetsync.replica.parts import Parts
from fleetsync.replica.receiving import Receiving
from fleetsync.replica.shelf import is_log

SHOWN = 64
"""Members that are looked at to name some of those that are dated ahead."""
ANOTHER_SPELLING = "the name of another path differs in case alone"
_KEPT = "agent {agent} remembers its approvals there"


class Report:
    """Made for one answer. `guarded` is what waits for a person, `missing` whether home is gone, `scanned`
    whether it was read since the start.
    """

    def __init__(
        self,
        parts: Parts,
        bringing: Bringing,
        receiving: Receiving,
        guarded: Held | None,
        *,
        missing: bool,
        scanned: bool,
    ) -> None:
        self._home = parts.home
        self._resolves = parts.around.resolves
        self._index = parts.index
        self._logs = parts.logs
        self._lines = parts.lines
        self._carried = parts.carried
        self._versions = parts.versions
        self._registers = parts.registers
        self._counting = parts.counting
        self._units = parts.units
        self._verification = parts.verification
        self._keyless = parts.keyless
        self._troubles = bringing.troubles
        self._refused = receiving.refused
        self._guarded = guarded
        self._missing = missing
        self._scanned = scanned

    def condition(self) -> Condition:
        """See `Storage.condition`."""
        told, parked, kept_here = self._alerts(), self._lines.parked(), self._carried.kept_here
        misplaced = self._registers.misplaced()
        if misplaced:
            parked = {**parked, ANOTHER_SPELLING: len(misplaced)}
        held = [member for member in self._versions.held() if self._carried.carries(member.stored.path)]
        oversize = [path for path in self._registers.edits.oversize if self._carried.carries(path)]
        return Condition(
            self._home_state(told),
            parked=sum(parked.values()),
            held=len(held),
            refused=self._refused
            + self._lines.refused
            + len(oversize)
            + len(self._registers.sightings.left_out()),
            malformed=self._logs.malformed(),
            collisions=self._lines.collisions(),
            alerts=[
                *told,
                *map(alerts.held, held),
                *self._dated_ahead(),
                *(alerts.spelled_twice(path, self._registers.place_of(path)) for path in misplaced),
                *self._verification.alerts(),
                *(alerts.needs_key(*each) for each in self._keyless.agents().items()),
                *(alerts.newer_channel(*each) for each in self._registers.newer()),
            ],
            parked_for=parked,
            kept_here={path: _KEPT.format(agent=agent) for path, agent in sorted(kept_here.items())},
        )

    def _dated_ahead(self) -> Iterator[Alert]:
        """Lines are taken as they come, whatever their date; those that clocks do not explain are told."""
        ranges, horizon = self._index.ranges(), self._versions.clock.horizon()
        first = ranges.lower_bound((horizon + 1, b""))
        ahead = sum(member.version.stamp.hybrid > horizon for member in self._versions.held())
        count = ranges.size() - first - ahead
        if count > 0:
            some = self._index.find([key.id for key in ranges.keys(first, min(first + SHOWN, ranges.size()))])
            lines = [entry for entry in some if is_log(entry.path)]
            yield alerts.dated_ahead(count, sorted({entry.path for entry in lines}))

    def _home_state(self, told: Sequence[Alert]) -> HomeState:
        if self._missing:
            return HomeState.MISSING
        if self._guarded is not None:
            return HomeState.GUARDED
        if not self._scanned:
            return HomeState.SCANNING
        return HomeState.DEGRADED if told else HomeState.OK

    def _alerts(self) -> list[Alert]:
        sightings, unreadable = self._registers.sightings, self._counting.unreadable
        troubles = {**self._troubles, **self._units.stuck, **self._lines.troubles}
        told = [
            alerts.stats_unreadable(why) for path, why in unreadable.items() if self._carried.carries(path)
        ]
        told += [alerts.file_trouble(reason) for reason in troubles.values()]
        told += [alerts.left_out(path, why) for path, why in sightings.left_out().items()]
        told += [alerts.unusable(*each) for each in self._registers.problems(self._resolves)]
        if self._guarded is not None:
            told.append(alerts.guarded(self._guarded))
        if self._missing:
            told.append(alerts.missing(self._home.path))
        return told
