"""`ExperienceWriting`: what all experience stores do alike with what is to be appended.

Appending one is appending many, and a transition is an event that the store makes itself, with an id
and, where nobody said when it was, a time. Rule of the file: entropy and clock are arguments.
"""

from __future__ import annotations

import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from itertools import count

from fleetsync.experience_port import DEFAULT_STREAM
from fleetsync.records.experience_intake import Rules
from fleetsync.records.experience_times import PLACEHOLDER
from fleetsync.records.experience_types import ArtifactStateTransitioned
from fleetsync.records.experience_values import ArtifactKind, LifecycleEvent
from fleetsync.records.experiences import Experience, compose, compose_transition


def new_event_id() -> str:
    """An id that no event has: ms since 1970 in hexadecimal, then chance; ids sort by time."""
    return f"evt-{time.time_ns() // 1_000_000:012x}-{secrets.token_hex(8)}"


class ExperienceWriting(ABC):
    """The half of a store that makes events; `append_events` is the other.

    With `upstream`, what is written has the ids, times and tenants that the reference gives it.
    """

    def __init__(
        self,
        *,
        upstream: bool = False,
        now: Callable[[], int] = time.time_ns,
        new_id: Callable[[], str] = new_event_id,
    ) -> None:
        self._upstream = upstream
        self._now = now
        self._new_id = new_id
        self._counter = count()

    @abstractmethod
    def append_events(
        self, events: Sequence[Experience], *, stream: str = DEFAULT_STREAM, rules: Rules = Rules.WRITTEN
    ) -> int:
        """See `ExperienceStore.append_events`."""

    def append_event(self, event: Experience, *, stream: str = DEFAULT_STREAM) -> bool:
        """See `ExperienceStore.append_event`."""
        return self.append_events([event], stream=stream) == 1

    def write_artifact_state_transition(
        self,
        artifact_id: str,
        artifact_kind: ArtifactKind,
        lifecycle: LifecycleEvent,
        *,
        stream: str = DEFAULT_STREAM,
    ) -> Experience:
        """See `ExperienceStore.write_artifact_state_transition`."""
        if self._upstream:
            data = ArtifactStateTransitioned(
                artifact_id=artifact_id, artifact_kind=artifact_kind, event=lifecycle
            )
            event = compose(data, event_id=f"evt-{next(self._counter)}", occurred_at=PLACEHOLDER)
        else:
            event = compose_transition(
                artifact_id, artifact_kind, lifecycle, event_id=self._new_id(), now=self._now()
            )
        self.append_events([event], stream=stream)
        return event
