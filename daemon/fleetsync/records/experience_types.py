"""The twelve kinds of events of experience, for writing, and the envelope around one.

As in `experience_values.py`, fields and their order are the format. One name differs in Python: `from`
is `from_`. Rule of the file: values only; what is read tolerantly is `experiences.py`. Implements
docs/experience.md, "Types".
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

from fleetsync.records.experience_shapes import Wrapped
from fleetsync.records.experience_values import (
    U64,
    ArtifactKind,
    ContractResult,
    KernelProposal,
    LifecycleEvent,
    PolicySnapshot,
    RecallProvenanceEnvelope,
    RecallQuery,
    ReplayTrace,
    RollbackRecord,
    Value,
)
from fleetsync.records.experience_words import DecisionStep, Replayability, ReplayabilityDowngradeReason


class ProposalCreated(Value, frozen=True, kw_only=True):
    """Something was proposed."""

    proposal: KernelProposal
    chain_id: str
    step: DecisionStep
    policy_snapshot_hash: str | None = None


class ProposalValidated(Value, frozen=True, kw_only=True):
    """A proposal was held against its contracts."""

    proposal_id: str
    chain_id: str
    step: DecisionStep
    contract_results: tuple[ContractResult, ...]
    all_passed: bool
    validator: str


class FactPromoted(Value, frozen=True, kw_only=True):
    """A proposal became a fact."""

    proposal_id: str
    fact_id: str
    promoted_by: str
    reason: str
    requires_human: bool


class RecallExecuted(Value, frozen=True, kw_only=True):
    """Something was recalled."""

    query: RecallQuery
    provenance: RecallProvenanceEnvelope
    trace_link_id: str | None = None


class ReplayTraceRecorded(Value, frozen=True, kw_only=True):
    """How a result came about, under an id."""

    trace_link_id: str
    trace_link: ReplayTrace


class ReplayabilityDowngraded(Value, frozen=True, kw_only=True, rename={"from_": "from"}):
    """A result can no longer be had again as well as before."""

    trace_link_id: str
    from_: Replayability
    to: Replayability
    reason: ReplayabilityDowngradeReason


class ArtifactStateTransitioned(Value, frozen=True, kw_only=True):
    """A governed artifact changed its state."""

    artifact_id: str
    artifact_kind: ArtifactKind
    event: LifecycleEvent


class ArtifactRollbackRecorded(Value, frozen=True, kw_only=True):
    """A governed artifact was taken back."""

    rollback: RollbackRecord


class BackendInvoked(Value, frozen=True, kw_only=True):
    """A backend was called."""

    backend_name: str
    adapter_id: str | None = None
    trace_link_id: str
    step: DecisionStep
    policy_snapshot_hash: str | None = None


class OutcomeRecorded(Value, frozen=True, kw_only=True):
    """How a chain ended."""

    chain_id: str
    step: DecisionStep
    passed: bool
    stop_reason: str | None = None
    latency_ms: U64 | None = None
    tokens: U64 | None = None
    cost_microdollars: U64 | None = None
    backend: str | None = None


class BudgetExceeded(Value, frozen=True, kw_only=True):
    """More was used than allowed; limit and what was observed are text."""

    chain_id: str
    resource: str
    limit: str
    observed: str | None = None


class PolicySnapshotCaptured(Value, frozen=True, kw_only=True):
    """A policy as it stood."""

    policy_id: str
    policy: PolicySnapshot
    snapshot_hash: str
    captured_by: str


KINDS: dict[str, type[Value]] = {
    kind.__name__: kind
    for kind in (
        ProposalCreated,
        ProposalValidated,
        FactPromoted,
        RecallExecuted,
        ReplayTraceRecorded,
        ReplayabilityDowngraded,
        ArtifactStateTransitioned,
        ArtifactRollbackRecorded,
        BackendInvoked,
        OutcomeRecorded,
        BudgetExceeded,
        PolicySnapshotCaptured,
    )
}
"""The kinds by their names, in the order of the reference."""

RENAMED = {"TraceLinkRecorded": "ReplayTraceRecorded"}
"""Kinds under the name that an older reference gave them: read under the newer, carried as written."""

Event: TypeAlias = Annotated[Value, Wrapped("data", **KINDS)]


class Envelope(Value, frozen=True, kw_only=True):
    """An event, when it happened and whose it is; `occurred_at` is text of the author's choice."""

    event_id: str
    occurred_at: str
    tenant_id: str | None = None
    correlation_id: str | None = None
    event: Event
