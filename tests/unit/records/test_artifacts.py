"""The artifact machine: eleven legal transitions, and what a history adds up to."""

from __future__ import annotations

from itertools import product

import pytest

from fleetsync.records.artifacts import (
    DESCRIPTIONS,
    FOR_NEW_RUNS,
    FOR_REPLAY,
    LEGAL,
    NEEDS_INVESTIGATION,
    Artifact,
    IllegalTransition,
    Movement,
    fold,
    require_legal,
    require_movement,
)
from fleetsync.records.experience_words import ArtifactState as S
from fleetsync.records.experience_words import RollbackSeverity

ALLOWED = {
    (S.DRAFT, S.APPROVED),
    (S.DRAFT, S.DEPRECATED),
    (S.APPROVED, S.ACTIVE),
    (S.APPROVED, S.QUARANTINED),
    (S.APPROVED, S.ROLLED_BACK),
    (S.ACTIVE, S.QUARANTINED),
    (S.ACTIVE, S.DEPRECATED),
    (S.ACTIVE, S.ROLLED_BACK),
    (S.QUARANTINED, S.ACTIVE),
    (S.QUARANTINED, S.DEPRECATED),
    (S.QUARANTINED, S.ROLLED_BACK),
}


def moved(before: S, after: S, *, kind: str | None = '"Pack"', rollback: bool = False) -> Movement:
    """One movement of one artifact."""
    return Movement("t1", "a", kind, before, after, "2026-01-01", rollback)


@pytest.mark.parametrize(("before", "after"), list(product(S, S)))
def test_eleven_transitions_are_legal_and_no_others(before: S, after: S) -> None:
    """All 36 pairs; staying is illegal too, and the error says what the states mean."""
    if (before, after) in ALLOWED:
        require_legal(before, after)
        return
    with pytest.raises(IllegalTransition) as caught:
        require_legal(before, after)
    for state in (before, after):
        assert state in caught.value.message
        assert DESCRIPTIONS[state] in caught.value.message


def test_states_mean_what_they_are_for() -> None:
    """New runs, replay, investigation; every state has its row and its words."""
    assert {S.APPROVED, S.ACTIVE} == FOR_NEW_RUNS
    assert {S.APPROVED, S.ACTIVE, S.QUARANTINED} == FOR_REPLAY
    assert {S.QUARANTINED, S.ROLLED_BACK} == NEEDS_INVESTIGATION
    assert set(LEGAL) == set(DESCRIPTIONS) == set(S)
    assert [severity for severity in RollbackSeverity if severity.immediate] == ["High", "Critical"]


def test_a_movement_must_start_where_the_artifact_stands() -> None:
    """One that nothing is known of may start anywhere."""
    require_movement(None, moved(S.ACTIVE, S.QUARANTINED))
    standing = fold(None, moved(S.DRAFT, S.APPROVED))
    with pytest.raises(IllegalTransition, match="is Approved"):
        require_movement(standing, moved(S.ACTIVE, S.QUARANTINED))


def test_a_rollback_may_be_wrong_about_what_was() -> None:
    """Only that it is legal from where the artifact stands is asked."""
    standing = fold(None, moved(S.DRAFT, S.APPROVED))
    require_movement(standing, moved(S.ACTIVE, S.ROLLED_BACK, rollback=True))
    with pytest.raises(IllegalTransition):
        require_movement(None, moved(S.DRAFT, S.ROLLED_BACK, rollback=True))


def test_the_fold_follows_and_counts_what_is_irregular() -> None:
    """Illegal or starting elsewhere; the kind stays when a rollback does not say it."""
    artifact: Artifact | None = None
    for movement, irregular in [
        (moved(S.DRAFT, S.APPROVED), 0),
        (moved(S.APPROVED, S.DRAFT), 1),
        (moved(S.ACTIVE, S.QUARANTINED), 2),
        (moved(S.QUARANTINED, S.ROLLED_BACK, kind=None, rollback=True), 2),
    ]:
        artifact = fold(artifact, movement)
        assert (artifact.state, artifact.irregular, artifact.kind) == (movement.to_state, irregular, '"Pack"')
