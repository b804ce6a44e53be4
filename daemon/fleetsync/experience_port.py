"""The experience ledger as its users see it, and as the logs fill it.

`ExperienceStore` is what programs ask; `ExperienceIndex` is a store that is filled from the logs under
home, which are the truth (`stores/experience_ledger.py`). The in-memory reference is
`stores/experience_memory.py`; every implementation passes `tests/contracts/experience.py`. Beside
`ports.py` and not in it, because the idle daemon needs none of it. Errors: `LocalError` for storage,
`InvalidQuery` for what cannot be asked or written; what is not there is an empty answer or None.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from fleetsync.records.artifacts import Artifact
from fleetsync.records.experience_intake import Rules
from fleetsync.records.experience_queries import ArtifactQuery, EventQuery, cursor_text
from fleetsync.records.experience_values import ArtifactKind, LifecycleEvent
from fleetsync.records.experiences import Experience, read

DEFAULT_STREAM = "local"
"""The stream of those who name none."""


class Recorded(NamedTuple):
    """An event as a ledger gives it back; what is in the line is read when it is asked for."""

    epoch: str
    """New whenever the ledger is built anew."""
    position: int
    """Its place in the order of appending, within the epoch."""
    stream: str
    line: bytes
    conflict: bool
    """Another event of this stream has the same id and says something else."""

    @property
    def cursor(self) -> str:
        """What `EventQuery.after` takes to go on behind this event."""
        return cursor_text(self.epoch, self.position)

    @property
    def experience(self) -> Experience:
        """The event as it was read when it came in."""
        return read(self.line)


class TraceLink(NamedTuple):
    """The trace recorded first under an id, and how many later ones under it say something else."""

    recorded: Recorded
    differing: int


class Conflict(NamedTuple):
    """An event id that stands for several contents in one stream, and all that have it, oldest first."""

    stream: str
    event_id: str
    events: list[Recorded]


class Mark(NamedTuple):
    """How far a log was read: which file that was, how many bytes, and a digest of the last of them."""

    file: str
    size: int
    tail: str


class ExperienceStore(Protocol):
    """Events of experience in the order in which they were appended.

    Calls block, are atomic, and may come from several threads and processes. Nothing is ever changed
    or removed: events are facts. An exact line that is there already is not taken again; another
    spelling of the same content is kept and shown once; other content under one id is a conflict, and
    both are shown.
    """

    def initialize(self) -> None:
        """Create or migrate the schema. Idempotent; to be called before anything else."""

    def append_event(self, event: Experience, *, stream: str = DEFAULT_STREAM) -> bool:
        """Append one event that is made here; False if that line is there already.

        Raises `InvalidQuery` for what the reference would not read, `IllegalTransition` for a
        transition that is not legal or does not start where the artifact stands.
        """

    def append_events(
        self, events: Sequence[Experience], *, stream: str = DEFAULT_STREAM, rules: Rules = Rules.WRITTEN
    ) -> int:
        """Append all of them or, raising as `append_event`, none; how many were not there already.

        `Rules.IMPORTED` takes what other versions wrote, and transitions as they come.
        """

    def write_artifact_state_transition(
        self,
        artifact_id: str,
        artifact_kind: ArtifactKind,
        lifecycle: LifecycleEvent,
        *,
        stream: str = DEFAULT_STREAM,
    ) -> Experience:
        """Append a transition of this artifact, for the tenant and at the time of the lifecycle event.

        Raises `IllegalTransition`.
        """

    def query_events(self, query: EventQuery) -> list[Recorded]:
        """The events that are asked for, in the order of appending (or against it), at most `limit`.

        Raises `InvalidQuery`, also for a cursor of an earlier ledger.
        """

    def query_artifacts(self, query: ArtifactQuery) -> list[Artifact]:
        """How artifacts stand, by tenant (none first) and id, at most `limit`."""

    def get_trace_link(self, trace_link_id: str, tenant_id: str | None = None) -> TraceLink | None:
        """The trace under this id in this tenant; with None, in any. None if there is none."""

    def conflicts(self, limit: int | None = None) -> list[Conflict]:
        """The event ids that stand for several contents, by stream and id."""

    def close(self) -> None:
        """Release; idempotent."""


class ExperienceIndex(ExperienceStore, Protocol):
    """A store that is a cache of logs: what is in it can be read again from them."""

    def marks(self) -> dict[str, Mark]:
        """Stream → how far its log was read."""

    def absorb(
        self, events: Sequence[Experience], stream: str, before: Mark | None, after: Mark | None
    ) -> bool:
        """Take in what stands in a log between two marks, whatever it is.

        False, and nothing is done, if the mark of the stream is not `before` any more: somebody else
        has read on, or begun anew.
        """

    def fresh(self, events: Sequence[Experience], stream: str, rules: Rules) -> list[Experience]:
        """Those that `append_events` would take; raises as it does, and changes nothing."""

    def forget(self) -> None:
        """Everything is to be read anew: no events, no marks, and cursors mean nothing any more."""
