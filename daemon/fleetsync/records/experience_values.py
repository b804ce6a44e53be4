"""The values inside events of experience: proposals, traces, policies, recalls, artifacts.

Fields, their order and the words of the enums are the format: `experience_shapes.py` derives from the
annotations how each stands in JSON. Defaults are those of the reference's constructors; what may be
absent when read is an optional field, or one marked `ABSENT_TAKES_DEFAULT`. Rule of the file: values
only. Implements docs/experience.md, "Types".
"""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

import msgspec

from fleetsync.records.experience_scalars import Single, Text, Whole
from fleetsync.records.experience_shapes import ABSENT_TAKES_DEFAULT, Flat, Wrapped, shape_of
from fleetsync.records.experience_words import (
    ArtifactState,
    DataClassification,
    DecisionStep,
    KnownArtifactKind,
    ProposalKind,
    RecallConsumer,
    RecallUse,
    Replayability,
    RiskTier,
    RollbackSeverity,
    StopReason,
)
from fleetsync.records.strictjson import Json, Object, print_string

U64: TypeAlias = Annotated[int, Whole()]
F32: TypeAlias = Annotated[float, Single()]


class Value(msgspec.Struct, frozen=True, kw_only=True):
    """What every type here is: frozen, its fields named."""


class OtherArtifactKind(msgspec.Struct, frozen=True):
    """Any other kind: `{"Other":"text"}`."""

    text: str


class _ArtifactKindShape:
    """A word, or `{"Other":"text"}`."""

    _known = shape_of(KnownArtifactKind)

    def read(self, value: Json) -> KnownArtifactKind | OtherArtifactKind:
        """See `Shape.read`."""
        if isinstance(value, Object) and [name for name, _ in value.members] == ["Other"]:
            return OtherArtifactKind(Text().read(value.members[0][1]))
        known: KnownArtifactKind = self._known.read(value)
        return known

    def write(self, value: Any) -> str:
        """See `Shape.write`."""
        if isinstance(value, OtherArtifactKind):
            return f'{{"Other":{print_string(value.text)}}}'
        return self._known.write(value)

    def canonical(self, value: Json) -> str:
        """See `Shape.canonical`."""
        return self.write(self.read(value))


ArtifactKind: TypeAlias = Annotated[KnownArtifactKind | OtherArtifactKind, _ArtifactKindShape()]


# --- traces ----------------------------------------------------------------------------------------------


class AdapterTrace(Value, frozen=True, kw_only=True):
    """The adapter on the model."""

    adapter_id: str
    adapter_hash: str
    merged: bool


class SamplerParams(Value, frozen=True, kw_only=True):
    """How tokens were drawn."""

    temperature: F32 = 0.0
    top_p: F32 = 1.0
    top_k: U64 | None = None


class RecallTrace(Value, frozen=True, kw_only=True):
    """What was recalled for it."""

    corpus_fingerprint: str
    candidate_ids: tuple[str, ...]
    candidate_scores: tuple[F32, ...]
    injected_count: U64


class ExecutionEnv(Value, frozen=True, kw_only=True):
    """What it ran on."""

    device: str = "cpu"
    backend: str = "ndarray"
    precision: str = "f32"


class LocalTrace(Value, frozen=True, kw_only=True):
    """What is needed to run it again here."""

    base_model_hash: str
    adapter: AdapterTrace | None = None
    tokenizer_hash: str
    seed: U64
    sampler: SamplerParams
    prompt_version: str
    recall: RecallTrace | None = None
    weights_mutated: bool
    execution_env: ExecutionEnv

    @property
    def level(self) -> Replayability:
        """A local run can always be had again."""
        return Replayability.DETERMINISTIC


class RemoteTrace(Value, frozen=True, kw_only=True):
    """What is known of a run elsewhere."""

    provider_name: str
    provider_model_id: str
    request_fingerprint: str
    response_fingerprint: str
    temperature: F32
    top_p: F32
    max_tokens: U64
    provider_metadata: dict[str, str]
    retried: bool
    retry_reasons: tuple[str, ...]
    replayability: Replayability

    @property
    def level(self) -> Replayability:
        """As its author said."""
        return self.replayability


ReplayTrace: TypeAlias = Annotated[LocalTrace | RemoteTrace, Flat(Local=LocalTrace, Remote=RemoteTrace)]


# --- proposals -------------------------------------------------------------------------------------------


class ContractResult(Value, frozen=True, kw_only=True):
    """Whether a proposal keeps one contract."""

    name: str
    passed: bool
    failure_reason: str | None = None


class KernelProposal(Value, frozen=True, kw_only=True):
    """What was proposed, and how it came about."""

    id: str
    kind: ProposalKind
    payload: str
    structured_payload: Any = None
    trace_link: ReplayTrace
    contract_results: tuple[ContractResult, ...]
    requires_human: bool
    confidence: F32 | None = None

    @property
    def all_passed(self) -> bool:
        """Whether it keeps all contracts, also if there are none."""
        return all(result.passed for result in self.contract_results)

    @property
    def auto_promotable(self) -> bool:
        """Whether nobody has to look at it."""
        return self.all_passed and not self.requires_human


# --- policies --------------------------------------------------------------------------------------------


class KernelPolicy(Value, frozen=True, kw_only=True):
    """What the kernel may do."""

    adapter_id: str | None = None
    recall_enabled: bool = False
    recall_max_candidates: U64 = 5
    recall_min_score: F32 = 0.7
    seed: U64 | None = None
    requires_human: bool = False
    required_truths: tuple[str, ...] = ()


class RoutingPolicy(Value, frozen=True, kw_only=True):
    """Where work may go."""

    truth_preferences: dict[str, str] = {}
    risk_tier_backends: dict[RiskTier, tuple[str, ...]] = {}
    data_classification_backends: dict[DataClassification, tuple[str, ...]] = {}
    default_backend: str = "local"

    @classmethod
    def deny_remote(cls) -> RoutingPolicy:
        """What matters stays on this device."""
        return cls(
            risk_tier_backends={RiskTier.CRITICAL: ("local",), RiskTier.HIGH: ("local",)},
            data_classification_backends={
                DataClassification.RESTRICTED: ("local",),
                DataClassification.CONFIDENTIAL: ("local",),
            },
        )

    def allows(self, backend: str, tier: RiskTier, data: DataClassification) -> bool:
        """Whether no list for the tier or the data leaves the backend out."""
        lists = (self.risk_tier_backends.get(tier), self.data_classification_backends.get(data))
        return all(not backends or backend in backends for backends in lists)

    def select(self, truths: tuple[str, ...], tier: RiskTier, data: DataClassification) -> str:
        """The backend: the first truth with a preference, else the tier's first, the data's first."""
        preferred = [self.truth_preferences[truth] for truth in truths if truth in self.truth_preferences]
        tiers, classes = self.risk_tier_backends.get(tier), self.data_classification_backends.get(data)
        return [*preferred[:1], *(tiers or ())[:1], *(classes or ())[:1], self.default_backend][0]


class RecallBudgets(Value, frozen=True, kw_only=True):
    """What a recall may cost."""

    max_latency_ms: U64 = 100
    max_embedding_calls: U64 = 3
    max_tokens_per_candidate: U64 = 100


class RecallPolicy(Value, frozen=True, kw_only=True):
    """What may be recalled."""

    enabled: bool = False
    max_k_total: U64 = 5
    max_tokens_injection: U64 = 500
    min_score_threshold: float = 0.5
    budgets: RecallBudgets = RecallBudgets()
    allowed_uses: Annotated[tuple[RecallUse, ...], ABSENT_TAKES_DEFAULT] = (RecallUse.RUNTIME_AUGMENTATION,)


PolicySnapshot: TypeAlias = Annotated[
    KernelPolicy | RoutingPolicy | RecallPolicy,
    Wrapped("policy", Kernel=KernelPolicy, Routing=RoutingPolicy, Recall=RecallPolicy),
]


# --- recall ----------------------------------------------------------------------------------------------


class RecallQuery(Value, frozen=True, kw_only=True):
    """What was asked for."""

    query_text: str
    top_k: U64
    step_context: DecisionStep | None = None
    tenant_scope: str | None = None


class CandidateScore(Value, frozen=True, kw_only=True):
    """How well one candidate fits."""

    id: str
    score: float


class RecallProvenanceEnvelope(Value, frozen=True, kw_only=True):
    """How a recall came about."""

    query_hash: str
    embedding_input_hash: str
    embedding_hash: str
    embedder_id: str
    embedder_settings_hash: str
    corpus_fingerprint: str
    policy_snapshot_hash: str
    purpose: Annotated[RecallUse, ABSENT_TAKES_DEFAULT] = RecallUse.RUNTIME_AUGMENTATION
    consumers: Annotated[tuple[RecallConsumer, ...], ABSENT_TAKES_DEFAULT] = ()
    candidate_scores: tuple[CandidateScore, ...]
    candidates_searched: U64
    candidates_returned: U64
    stop_reason: StopReason | None = None
    latency_ms: U64
    timestamp: str
    signature: Annotated[str, ABSENT_TAKES_DEFAULT] = "unsigned"

    def replays(self, other: RecallProvenanceEnvelope) -> bool:
        """Whether both are one recall done twice: times, counts and signatures do not matter."""
        return all(getattr(self, name) == getattr(other, name) for name in _REPLAYED)


_REPLAYED = (
    "query_hash",
    "embedding_input_hash",
    "embedder_id",
    "embedder_settings_hash",
    "corpus_fingerprint",
    "policy_snapshot_hash",
    "purpose",
    "consumers",
    "candidate_scores",
)


# --- artifacts -------------------------------------------------------------------------------------------


class LifecycleEvent(Value, frozen=True, kw_only=True):
    """A governed artifact goes from one state to another."""

    from_state: ArtifactState
    to_state: ArtifactState
    timestamp: str
    actor: str
    reason: str
    ticket_ref: str | None = None
    tenant_id: str | None = None


class RollbackImpact(Value, frozen=True, kw_only=True):
    """What a rollback means for what was made with the artifact."""

    affected_count: U64 | None = None
    quality_issues: tuple[str, ...] = ()
    invalidates_outputs: bool = False
    severity: RollbackSeverity = RollbackSeverity.LOW
    affected_tenants: tuple[str, ...] = ()


class RollbackRecord(Value, frozen=True, kw_only=True):
    """An artifact is taken back; that it is rolled back then goes without saying."""

    artifact_id: str
    previous_state: ArtifactState
    rolled_back_at: str
    actor: str
    reason: str
    impact: RollbackImpact
    incident_ref: str | None = None
    tenant_id: str | None = None
