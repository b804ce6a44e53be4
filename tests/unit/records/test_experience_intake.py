"""What comes in: each line gets its verdict, and none keeps the others from theirs."""

from __future__ import annotations

from fleetsync.records.experience_intake import Rules, Standing, decide
from fleetsync.records.experience_types import ArtifactRollbackRecorded, ArtifactStateTransitioned
from fleetsync.records.experience_values import RollbackImpact, RollbackRecord
from fleetsync.records.experience_words import ArtifactState
from fleetsync.records.experiences import Experience, read
from tests.fakes.experiences import AT, PROMPT, lifecycle, made, outcome

LATER = "2026-01-02T00:00:00Z"


def respelled(experience: Experience) -> Experience:
    """The same content in another line."""
    return read(experience.line.replace(b"{", b"{ ", 1))


def moved(event_id: str, before: str, after: str) -> Experience:
    """An artifact goes on."""
    event = ArtifactStateTransitioned(artifact_id="a", artifact_kind=PROMPT, event=lifecycle(before, after))
    return made(event, event_id)


def taken_back(event_id: str = "e-9", tenant: str | None = None, at: str = LATER) -> Experience:
    """An artifact is taken back."""
    record = RollbackRecord(
        artifact_id="a",
        previous_state=ArtifactState.ACTIVE,
        rolled_back_at=at,
        actor="rev",
        reason="broken",
        impact=RollbackImpact(),
        tenant_id=tenant,
    )
    return made(ArtifactRollbackRecorded(rollback=record), event_id)


def test_a_repeat_keeps_nothing_behind_it_out() -> None:
    """The same line is there once, another spelling is a repeat, and what follows is taken."""
    first, other = outcome(), moved("e-2", "Draft", "Approved")
    intake = decide([first, first, respelled(first), other], "s", Standing(), Rules.READ)
    assert [(t.experience, t.repeat, t.conflict) for t in intake.taken] == [
        (first, False, False),
        (respelled(first), True, False),
        (other, False, False),
    ]
    assert [each.state for each in intake.artifacts.values()] == [ArtifactState.APPROVED]
    assert [t.identity for t in intake.taken] == [t.experience.identity for t in intake.taken]


def test_a_repeat_moves_no_artifact() -> None:
    """It happened once."""
    there_and_back = [moved("e-1", "Draft", "Approved"), moved("e-2", "Approved", "Draft")]
    intake = decide([*there_and_back, respelled(there_and_back[0])], "s", Standing(), Rules.READ)
    [artifact] = intake.artifacts.values()
    assert artifact.state is ArtifactState.DRAFT


def test_the_reference_takes_everything_anew() -> None:
    """Repeats as well, and calls nothing a conflict."""
    lines = [outcome(), outcome(), outcome(tokens=2)]
    taken = decide(lines, "s", Standing(), Rules.UPSTREAM).taken
    assert [(t.experience, t.repeat, t.conflict) for t in taken] == [(each, False, False) for each in lines]
    assert [t.identity for t in taken] == [each.identity for each in lines]


def test_another_content_under_one_id_is_a_conflict_in_its_stream() -> None:
    """In another stream it is not; what is a repeat of one may conflict with another."""
    one, two = outcome(), outcome(tokens=2)
    elsewhere = Standing(contents={"e-1": frozenset({("other", one.content)})})
    [alone] = decide([two], "s", elsewhere, Rules.READ).taken
    assert (alone.repeat, alone.conflict) == (False, False)
    [again] = decide([one], "s", elsewhere, Rules.READ).taken
    assert (again.repeat, again.conflict) == (True, False)
    both = decide([one, two, respelled(one)], "s", Standing(), Rules.READ).taken
    assert [(t.repeat, t.conflict) for t in both] == [(False, False), (False, True), (True, True)]


def test_a_rollback_knows_its_artifact_but_not_its_kind() -> None:
    """From the state that it names, at its own time, or the envelope's where that is unknown."""
    movement = taken_back().movement
    assert movement is not None
    assert (movement.artifact_id, movement.kind, movement.tenant_id) == ("a", None, None)
    assert (movement.from_state, movement.to_state) == (ArtifactState.ACTIVE, ArtifactState.ROLLED_BACK)
    assert (movement.at, movement.rollback) == (LATER, True)
    undated = taken_back(tenant="t", at="lamport:7").movement
    assert undated is not None
    assert (undated.at, undated.tenant_id) == (AT, "t")
    [artifact] = decide([taken_back()], "s", Standing(), Rules.READ).artifacts.values()
    assert (artifact.kind, artifact.state) == (None, ArtifactState.ROLLED_BACK)
    known = decide([moved("e-1", "Approved", "Active"), taken_back()], "s", Standing(), Rules.READ)
    [artifact] = known.artifacts.values()
    assert (artifact.kind, artifact.irregular) == ('{"Other":"prompt"}', 0)
