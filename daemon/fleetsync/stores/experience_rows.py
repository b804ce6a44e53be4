"""Events and artifacts as rows of the experience index, and artifacts as they come back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fleetsync.records.artifacts import Artifact
from fleetsync.records.experience_intake import Taken
from fleetsync.records.experience_words import ArtifactState
from fleetsync.stores.experience_conditions import column, tenant_of
from fleetsync.stores.sql import Row

EVENT = (
    "source, position, stream, identity, copy, event_id, occurred_at, micros, rest, tenant_id,"
    " correlation_id, kind, chain_id, trace_link_id, proposal_id, content, hidden, disputed, line"
)
ARTIFACT = "source, tenant_id, artifact_id, whole_tenant, whole_id, kind, state, since, irregular"


def event_row(source: int, taken: Taken, stream: str, position: int, *, repeats: bool) -> Sequence[Any]:
    """The columns of `EVENT`; with `repeats` the same line may be there more than once."""
    event = taken.experience
    instant = event.instant or (None, None)
    return (
        source,
        position,
        stream,
        taken.identity,
        position if repeats else 0,
        column(event.event_id),
        column(event.occurred_at),
        *instant,
        column(event.tenant_id),
        column(event.correlation_id),
        column(event.kind),
        column(event.chain_id),
        column(event.trace_link_id),
        column(event.proposal_id),
        event.content,
        int(taken.repeat),
        int(taken.conflict),
        event.line.decode(),
    )


def artifact_row(source: int, artifact: Artifact) -> Sequence[Any]:
    """The columns of `ARTIFACT`."""
    return (
        source,
        tenant_of(artifact.tenant_id),
        column(artifact.artifact_id),
        artifact.tenant_id,
        artifact.artifact_id,
        artifact.kind,
        str(artifact.state),
        artifact.since,
        artifact.irregular,
    )


def artifact_of(row: Row) -> Artifact:
    """The artifact in a row of `ARTIFACT`."""
    _, _, _, tenant, artifact_id, kind, state, since, irregular = row
    return Artifact(tenant, artifact_id, kind, ArtifactState(state), since, irregular)
