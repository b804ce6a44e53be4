"""What a daemon writes about itself into the experience ledger: outcomes, budgets, changes of trust.

Pure: ids and times are arguments, and nothing is written here. All of it has the tenant `fleetsync`; the
round that an event is about is its chain and its correlation, and is the id of a run in the audit, so
the two can be read side by side. Trust is a routing policy: a device's direction under its id, and
`refused` for everybody else. Implements docs/experience.md, "What the daemon writes".
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256

import msgspec

from fleetsync.records.experience_times import stamp
from fleetsync.records.experience_types import BudgetExceeded, OutcomeRecorded, PolicySnapshotCaptured
from fleetsync.records.experience_values import RoutingPolicy, Value
from fleetsync.records.experience_words import DecisionStep
from fleetsync.records.experiences import Experience, compose

STREAM = "fleetsync"
"""The stream that all daemons of a fleet write."""
TENANT = "fleetsync"
CONVERGED = "converged"
WORST_LAST = (CONVERGED, "partial", "unreachable", "failed")
"""How an exchange can end, by how much is wrong then."""
TRUST_POLICY = "fleetsync/trust"


class Governance(msgspec.Struct, frozen=True):
    """Makes the events of one device. Times are ns since 1970, event ids what no other event has."""

    device: str

    def outcome(
        self, round_id: str, endings: Mapping[str, str], seconds: float, *, event_id: str, now: int
    ) -> Experience:
        """How a round ended: device id → one of `WORST_LAST`; passed if all have converged."""
        worst = max(endings.values(), key=WORST_LAST.index, default=CONVERGED)
        event = OutcomeRecorded(
            chain_id=round_id,
            step=DecisionStep.EVALUATION,
            passed=worst == CONVERGED,
            stop_reason=worst,
            latency_ms=max(0, round(seconds * 1000)),
            backend=self.device,
        )
        return self._compose(event, round_id, event_id, now)

    def budget_exceeded(
        self, round_id: str, resource: str, limit: int, observed: int, *, event_id: str, now: int
    ) -> Experience:
        """More than allowed of something (`items-per-hour`, …) came in a round."""
        event = BudgetExceeded(chain_id=round_id, resource=resource, limit=str(limit), observed=str(observed))
        return self._compose(event, round_id, event_id, now)

    def trust(self, directions: Mapping[str, str], *, event_id: str, now: int) -> Experience:
        """Who is trusted from now on: device id → `both`, `receive` or `send`."""
        policy = RoutingPolicy(truth_preferences=dict(sorted(directions.items())), default_backend="refused")
        event = PolicySnapshotCaptured(
            policy_id=TRUST_POLICY,
            policy=policy,
            snapshot_hash=snapshot_hash(policy),
            captured_by=self.device,
        )
        return self._compose(event, None, event_id, now)

    def _compose(self, event: Value, correlation: str | None, event_id: str, now: int) -> Experience:
        return compose(
            event,
            event_id=event_id,
            occurred_at=stamp(now),
            tenant_id=TENANT,
            correlation_id=correlation,
        )


def snapshot_hash(policy: RoutingPolicy) -> str:
    """SHA-256 of who may do what, hexadecimal: equal for equal trust."""
    lines = [f"{device} {direction}\n" for device, direction in sorted(policy.truth_preferences.items())]
    return sha256("".join([*lines, policy.default_backend]).encode()).hexdigest()
