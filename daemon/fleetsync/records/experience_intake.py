"""What becomes of experiences that reach a ledger: new, a repeat, a conflict, or refused.

A pure decision that every store carries out: given what stands there already, each line gets its
verdict, and artifacts their next state. Rules: the exact line is there once; another spelling of the
same content is kept and not shown; the same event id in the same stream with other content is kept,
shown, and called a conflict. `Rules.UPSTREAM` is the reference: everything is new, nothing is checked.
Implements docs/experience.md, "Repeats and conflicts".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum, auto
from typing import NamedTuple

import msgspec

from fleetsync.records.artifacts import Artifact, Movement, fold, require_movement
from fleetsync.records.experiences import Experience, require_line, require_valid, require_writable


class Rules(Enum):
    """How much is asked of what is to be appended."""

    WRITTEN = auto()  # made here: what the reference reads, and legal transitions from where things stand
    IMPORTED = auto()  # made elsewhere, or by a newer version: a legal envelope, all else is carried
    READ = auto()  # found in a log: it is there, whatever it is
    UPSTREAM = auto()  # as the reference: a legal envelope, repeats are kept and shown


ArtifactKey = tuple[str | None, str]
"""Tenant and artifact id."""


class Standing(msgspec.Struct, frozen=True):
    """What a ledger holds already, as far as some experiences have to do with it."""

    lines: frozenset[str] = frozenset()
    """Identities of those lines that are there in that stream."""
    contents: Mapping[str, frozenset[tuple[str, str]]] = {}
    """Event id → (stream, content) of all that have it, in every stream."""
    artifacts: Mapping[ArtifactKey, Artifact] = {}


class Taken(NamedTuple):
    """An experience that comes in."""

    experience: Experience
    identity: str
    repeat: bool
    """Its content is there already in another spelling or stream: kept, and not shown."""
    conflict: bool
    """Its event id stands in this stream with other content."""


class Intake(NamedTuple):
    """What is to be done: these come in, in order, and these artifacts stand so afterwards."""

    taken: list[Taken]
    artifacts: dict[ArtifactKey, Artifact]


def require(experiences: Iterable[Experience], rules: Rules) -> None:
    """Raises `InvalidQuery` for the first experience that these rules do not let in."""
    for experience in experiences:
        if rules is Rules.WRITTEN:
            require_writable(experience)
        elif rules is not Rules.READ:
            require_valid(experience)
            require_line(experience)


def artifact_key(movement: Movement) -> ArtifactKey:
    """Whose artifact it is, and which."""
    return movement.tenant_id, movement.artifact_id


def decide(experiences: Sequence[Experience], stream: str, standing: Standing, rules: Rules) -> Intake:
    """The verdicts, one after the other; raises `IllegalTransition` where `Rules.WRITTEN` forbids one."""
    intake = Intake([], dict(standing.artifacts))
    lines, contents = set(standing.lines), {key: set(value) for key, value in standing.contents.items()}
    for experience in experiences:
        identity = experience.identity
        if rules is Rules.UPSTREAM:
            intake.taken.append(Taken(experience, identity, False, False))
        elif identity in lines:
            continue
        else:
            lines.add(identity)
            known = contents.setdefault(experience.event_id, set())
            verdict = _verdict(experience, identity, stream, known)
            known.add((stream, experience.content))
            intake.taken.append(verdict)
            if verdict.repeat:
                continue
        _move(intake.artifacts, experience.movement, rules)
    return intake


def _verdict(experience: Experience, identity: str, stream: str, known: set[tuple[str, str]]) -> Taken:
    content = experience.content
    return Taken(
        experience,
        identity,
        repeat=any(each == content for _, each in known),
        conflict=any(where == stream and each != content for where, each in known),
    )


def _move(artifacts: dict[ArtifactKey, Artifact], movement: Movement | None, rules: Rules) -> None:
    if movement is None:
        return
    key = artifact_key(movement)
    before = artifacts.get(key)
    if rules is Rules.WRITTEN and not movement.rollback:
        require_movement(before, movement)
    artifacts[key] = fold(before, movement)
