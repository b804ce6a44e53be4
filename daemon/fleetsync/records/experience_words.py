"""The words of the experience ledger: enums as the reference spells them, case and all.

Rule of the file: a member's value is what stands in JSON; nothing else is known of it here but what the
word itself means.
"""

from __future__ import annotations

from enum import StrEnum


class DecisionStep(StrEnum):
    """Which step of a decision an event belongs to."""

    REASONING = "Reasoning"
    EVALUATION = "Evaluation"
    PLANNING = "Planning"


class ProposalKind(StrEnum):
    """What a proposal is."""

    CLAIMS = "Claims"
    PLAN = "Plan"
    CLASSIFICATION = "Classification"
    EVALUATION = "Evaluation"
    DRAFT_DOCUMENT = "DraftDocument"
    REASONING = "Reasoning"


class Replayability(StrEnum):
    """How well a result can be had again; NONE is the word `None`, not null."""

    DETERMINISTIC = "Deterministic"
    BEST_EFFORT = "BestEffort"
    NONE = "None"


class ReplayabilityDowngradeReason(StrEnum):
    """Why it cannot be had again as well as before."""

    RECALL_EMBEDDER_NOT_DETERMINISTIC = "RecallEmbedderNotDeterministic"
    RECALL_CORPUS_NOT_CONTENT_ADDRESSED = "RecallCorpusNotContentAddressed"
    REMOTE_BACKEND_USED = "RemoteBackendUsed"
    NO_SEED_PROVIDED = "NoSeedProvided"
    MULTIPLE_REASONS = "MultipleReasons"


class RiskTier(StrEnum):
    """How much is at stake."""

    LOW = "Low"
    MEDIUM = "Medium"
    HIGH = "High"
    CRITICAL = "Critical"


class DataClassification(StrEnum):
    """Who may see the data."""

    PUBLIC = "Public"
    INTERNAL = "Internal"
    CONFIDENTIAL = "Confidential"
    RESTRICTED = "Restricted"


class RecallUse(StrEnum):
    """What recalled material is for."""

    RUNTIME_AUGMENTATION = "RuntimeAugmentation"
    TRAINING_CANDIDATE_SELECTION = "TrainingCandidateSelection"


class RecallConsumer(StrEnum):
    """Who takes recalled material."""

    KERNEL = "Kernel"
    ANALYTICS = "Analytics"
    TRAINER = "Trainer"


class StopReason(StrEnum):
    """Why a recall ended; not the `stop_reason` of an outcome, which is free text."""

    REACHED_TOP_K = "ReachedTopK"
    BUDGET_EXHAUSTED = "BudgetExhausted"
    BELOW_THRESHOLD = "BelowThreshold"
    TOKEN_LIMIT_REACHED = "TokenLimitReached"  # noqa: S105 - a word of the format
    LATENCY_EXCEEDED = "LatencyExceeded"
    EMBEDDER_NOT_DETERMINISTIC = "EmbedderNotDeterministic"
    TENANT_SCOPE_MISSING = "TenantScopeMissing"


class ArtifactState(StrEnum):
    """How a governed artifact stands; what may follow what is `artifacts.py`."""

    DRAFT = "Draft"
    APPROVED = "Approved"
    ACTIVE = "Active"
    QUARANTINED = "Quarantined"
    DEPRECATED = "Deprecated"
    ROLLED_BACK = "RolledBack"


class RollbackSeverity(StrEnum):
    """How bad it is."""

    LOW = "Low"
    MEDIUM = "Medium"
    HIGH = "High"
    CRITICAL = "Critical"

    @property
    def immediate(self) -> bool:
        """Whether somebody has to act at once."""
        return self in (RollbackSeverity.HIGH, RollbackSeverity.CRITICAL)


class KnownArtifactKind(StrEnum):
    """The kinds of artifacts that have a name of their own."""

    ADAPTER = "Adapter"
    PACK = "Pack"
    POLICY = "Policy"
    TRUTH_FILE = "TruthFile"
    EVAL_SUITE = "EvalSuite"
