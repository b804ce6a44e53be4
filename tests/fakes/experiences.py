"""Events of experience for tests: small, valid, and different where they should be."""

from __future__ import annotations

from typing import Any

from fleetsync.records.experience_shapes import fields_of
from fleetsync.records.experience_types import (
    ArtifactStateTransitioned,
    BudgetExceeded,
    Envelope,
    FactPromoted,
    OutcomeRecorded,
    ReplayTraceRecorded,
)
from fleetsync.records.experience_values import LifecycleEvent, OtherArtifactKind, RemoteTrace, Value
from fleetsync.records.experience_words import ArtifactState, DecisionStep, Replayability
from fleetsync.records.experiences import Experience, read

AT = "2026-01-01T00:00:00Z"
PROMPT = OtherArtifactKind("prompt")


def made(event: Value, event_id: str = "e-1", at: str = AT, **rest: Any) -> Experience:
    """The event in an envelope that nobody has checked."""
    envelope = Envelope(event_id=event_id, occurred_at=at, event=event, **rest)
    return read(fields_of(Envelope).write(envelope).encode())


def outcome(
    event_id: str = "e-1", at: str = AT, *, chain: str = "ch-1", tokens: int = 1, **rest: Any
) -> Experience:
    """How a chain ended."""
    event = OutcomeRecorded(chain_id=chain, step=DecisionStep.PLANNING, passed=True, tokens=tokens)
    return made(event, event_id, at, **rest)


def budget(event_id: str = "e-1", at: str = AT, *, chain: str = "ch-1", **rest: Any) -> Experience:
    """More was used than allowed."""
    return made(BudgetExceeded(chain_id=chain, resource="tokens", limit="1"), event_id, at, **rest)


def fact(event_id: str = "e-1", at: str = AT, *, proposal: str = "p-1", **rest: Any) -> Experience:
    """A kind that carries no chain."""
    event = FactPromoted(
        proposal_id=proposal, fact_id="f-1", promoted_by="agent-0", reason="ok", requires_human=False
    )
    return made(event, event_id, at, **rest)


def trace(event_id: str = "e-1", trace_id: str = "tl-1", provider: str = "acme", **rest: Any) -> Experience:
    """A trace under an id."""
    link = RemoteTrace(
        provider_name=provider,
        provider_model_id="m-1",
        request_fingerprint="rq",
        response_fingerprint="rs",
        temperature=0.0,
        top_p=1.0,
        max_tokens=512,
        provider_metadata={},
        retried=False,
        retry_reasons=(),
        replayability=Replayability.BEST_EFFORT,
    )
    return made(ReplayTraceRecorded(trace_link_id=trace_id, trace_link=link), event_id, **rest)


def lifecycle(before: str, after: str, tenant: str | None = None, at: str = AT) -> LifecycleEvent:
    """An artifact goes from one state to another."""
    return LifecycleEvent(
        from_state=ArtifactState(before),
        to_state=ArtifactState(after),
        timestamp=at,
        actor="rev",
        reason="looked at",
        tenant_id=tenant,
    )


def transition(
    event_id: str, before: str, after: str, artifact: str = "a-1", tenant: str | None = None, **rest: Any
) -> Experience:
    """The event of it, as any program may write it."""
    event = ArtifactStateTransitioned(
        artifact_id=artifact, artifact_kind=PROMPT, event=lifecycle(before, after, tenant)
    )
    return made(event, event_id, **rest)


def respelled(event: Experience) -> Experience:
    """The same content on another line: a blank behind the first brace."""
    return read(event.line.replace(b"{", b"{ ", 1))
