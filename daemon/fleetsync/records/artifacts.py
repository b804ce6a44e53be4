"""Governed artifacts: which state may follow which, and how a ledger's events add up to a state.

A table of eleven legal transitions and a fold. A transition that is written here must be legal and
start where the artifact stands; one that stands in a log already (from another device, from a program
that checks nothing) is followed all the same and counted as irregular, so that a person can look.
Implements docs/experience.md, "Artifacts".
"""

from __future__ import annotations

import msgspec

from fleetsync.errors import InvalidQuery
from fleetsync.records.experience_words import ArtifactState

DESCRIPTIONS: dict[ArtifactState, str] = {
    ArtifactState.DRAFT: "being worked on, not for use",
    ArtifactState.APPROVED: "looked at and free for use",
    ArtifactState.ACTIVE: "in use",
    ArtifactState.QUARANTINED: "kept from new runs while somebody looks",
    ArtifactState.DEPRECATED: "out of use for good",
    ArtifactState.ROLLED_BACK: "taken back for good",
}

LEGAL: dict[ArtifactState, frozenset[ArtifactState]] = {
    ArtifactState.DRAFT: frozenset({ArtifactState.APPROVED, ArtifactState.DEPRECATED}),
    ArtifactState.APPROVED: frozenset(
        {ArtifactState.ACTIVE, ArtifactState.QUARANTINED, ArtifactState.ROLLED_BACK}
    ),
    ArtifactState.ACTIVE: frozenset(
        {ArtifactState.QUARANTINED, ArtifactState.DEPRECATED, ArtifactState.ROLLED_BACK}
    ),
    ArtifactState.QUARANTINED: frozenset(
        {ArtifactState.ACTIVE, ArtifactState.DEPRECATED, ArtifactState.ROLLED_BACK}
    ),
    ArtifactState.DEPRECATED: frozenset(),
    ArtifactState.ROLLED_BACK: frozenset(),
}
"""From a state to those that may follow; everything else is illegal, also staying where one is."""

FOR_NEW_RUNS = frozenset({ArtifactState.APPROVED, ArtifactState.ACTIVE})
FOR_REPLAY = FOR_NEW_RUNS | {ArtifactState.QUARANTINED}
NEEDS_INVESTIGATION = frozenset({ArtifactState.QUARANTINED, ArtifactState.ROLLED_BACK})


class IllegalTransition(InvalidQuery):
    """This artifact cannot go from that state to the other."""

    code = "illegal-transition"
    next_step = "run `fleetsync experience artifacts` to see how it stands"


class Movement(msgspec.Struct, frozen=True):
    """What one event says of an artifact. `kind` is JSON text, None where a rollback does not say it."""

    tenant_id: str | None
    artifact_id: str
    kind: str | None
    from_state: ArtifactState
    to_state: ArtifactState
    at: str
    """When, as its author wrote it."""
    rollback: bool = False


class Artifact(msgspec.Struct, frozen=True):
    """How an artifact of a tenant stands: the sum of its movements in the order of appending."""

    tenant_id: str | None
    artifact_id: str
    kind: str | None
    """JSON text of the kind; None while only rollbacks are known."""
    state: ArtifactState
    since: str
    irregular: int = 0
    """How many movements were illegal or did not start where the artifact stood."""


def require_legal(before: ArtifactState, after: ArtifactState) -> None:
    """Raises `IllegalTransition` unless `after` may follow `before`."""
    if after not in LEGAL[before]:
        raise IllegalTransition(
            f"{before} ({DESCRIPTIONS[before]}) cannot become {after} ({DESCRIPTIONS[after]})"
        )


def require_movement(artifact: Artifact | None, movement: Movement) -> None:
    """Raises `IllegalTransition` unless the movement is legal and starts where the artifact stands.

    An artifact that nothing is known of may start anywhere: its beginning may be in no ledger. Of a
    rollback only that it is legal from where the artifact stands is asked; its `previous_state` is hearsay.
    """
    stands = movement.from_state if artifact is None else artifact.state
    if not movement.rollback and stands is not movement.from_state:
        raise IllegalTransition(
            f"{movement.artifact_id} is {stands} ({DESCRIPTIONS[stands]}), not {movement.from_state}"
        )
    require_legal(stands, movement.to_state)


def fold(artifact: Artifact | None, movement: Movement) -> Artifact:
    """How the artifact stands after the movement, legal or not."""
    return Artifact(
        movement.tenant_id,
        movement.artifact_id,
        movement.kind or (artifact.kind if artifact else None),
        movement.to_state,
        movement.at,
        (artifact.irregular if artifact else 0) + (not _is_regular(artifact, movement)),
    )


def _is_regular(artifact: Artifact | None, movement: Movement) -> bool:
    stands = movement.from_state if artifact is None else artifact.state
    return stands is movement.from_state and movement.to_state in LEGAL[stands]
