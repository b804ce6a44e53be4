"""`MemoryExperienceStore`: the experience ledger in its smallest form, to be read as its specification.

Events are a list; every question looks at all of them. What comes in is decided in
`records/experience_intake.py`, what a question means in `records/experience_queries.py`. With `upstream`
it is the reference's in-memory store: repeats are kept, times compare as bytes, nothing is checked
but envelopes, the last trace wins. Passes `tests/contracts/experience.py`.
"""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Callable, Sequence
from threading import RLock
from typing import Any

from fleetsync.errors import InvalidQuery
from fleetsync.experience_port import DEFAULT_STREAM, Conflict, Mark, Recorded, TraceLink
from fleetsync.records.artifacts import Artifact
from fleetsync.records.experience_intake import ArtifactKey, Rules, Standing, Taken, decide, require
from fleetsync.records.experience_queries import (
    RELATING,
    ArtifactQuery,
    EventQuery,
    admits,
    read_cursor,
    require_query,
)
from fleetsync.records.experiences import Experience, trace_content
from fleetsync.stores.experience_writing import ExperienceWriting


class MemoryExperienceStore(ExperienceWriting):
    """The ledger of one process, gone with it. An event's position is its place in the list."""

    def __init__(self, *, new_epoch: Callable[[], str] = lambda: secrets.token_hex(4), **rest: Any) -> None:
        super().__init__(**rest)
        self._new_epoch = new_epoch
        self._lock = RLock()
        self.forget()

    def initialize(self) -> None:
        """There is no schema."""

    def close(self) -> None:
        """Nothing to release."""

    # --- taking in ---------------------------------------------------------------------------------

    def append_events(
        self, events: Sequence[Experience], *, stream: str = DEFAULT_STREAM, rules: Rules = Rules.WRITTEN
    ) -> int:
        """See `ExperienceStore.append_events`; as upstream, those before one that is refused stay."""
        if self._upstream:
            return sum(self._take([event], stream, Rules.UPSTREAM) for event in events)
        return self._take(events, stream, rules)

    def absorb(
        self, events: Sequence[Experience], stream: str, before: Mark | None, after: Mark | None
    ) -> bool:
        """See `ExperienceIndex.absorb`."""
        with self._lock:
            if self._marks.get(stream) != before:
                return False
            self._take(events, stream, Rules.READ)
            if after is not None:
                self._marks[stream] = after
            return True

    def fresh(self, events: Sequence[Experience], stream: str, rules: Rules) -> list[Experience]:
        """See `ExperienceIndex.fresh`."""
        require(events, rules)
        with self._lock:
            return [taken.experience for taken in decide(events, stream, self._standing(stream), rules).taken]

    def marks(self) -> dict[str, Mark]:
        """See `ExperienceIndex.marks`."""
        return dict(self._marks)

    def forget(self) -> None:
        """See `ExperienceIndex.forget`."""
        with self._lock:
            self._epoch = self._new_epoch()
            self._events: list[tuple[str, Taken]] = []
            self._artifacts: dict[ArtifactKey, Artifact] = {}
            self._marks: dict[str, Mark] = {}

    def _take(self, events: Sequence[Experience], stream: str, rules: Rules) -> int:
        require(events, rules)
        with self._lock:
            intake = decide(events, stream, self._standing(stream), rules)
            self._events += [(stream, taken) for taken in intake.taken]
            self._artifacts = intake.artifacts
            return len(intake.taken)

    def _standing(self, stream: str) -> Standing:
        contents: defaultdict[str, set[tuple[str, str]]] = defaultdict(set)
        for where, taken in self._events:
            contents[taken.experience.event_id].add((where, taken.experience.content))
        return Standing(
            frozenset(taken.identity for where, taken in self._events if where == stream),
            {event_id: frozenset(found) for event_id, found in contents.items()},
            self._artifacts,
        )

    # --- asking --------------------------------------------------------------------------------------

    def query_events(self, query: EventQuery) -> list[Recorded]:
        """See `ExperienceStore.query_events`."""
        require_query(query, upstream=self._upstream)
        with self._lock:
            shown = [position for position, (_, taken) in enumerate(self._events) if not taken.repeat]
            found = [p for p in shown if admits(query, self._at(p), upstream=self._upstream)]
            if query.related:
                related = self._related(query)
                found = [position for position in found if position in related]
            if query.newest_first:
                found.reverse()
            if query.after is not None:
                last = self._position(query.after, query)
                found = [p for p in found if (p < last if query.newest_first else p > last)]
            return [self._recorded(position) for position in found[: query.limit]]

    def query_artifacts(self, query: ArtifactQuery) -> list[Artifact]:
        """See `ExperienceStore.query_artifacts`."""
        found = [artifact for artifact in self._artifacts.values() if query.admits(artifact)]
        return sorted(found, key=lambda each: (each.tenant_id or "", each.artifact_id))[: query.limit]

    def get_trace_link(self, trace_link_id: str, tenant_id: str | None = None) -> TraceLink | None:
        """See `ExperienceStore.get_trace_link`; as upstream, the last one and no matter whose."""
        found = [
            position
            for position, (_, taken) in enumerate(self._events)
            if taken.experience.kind == "ReplayTraceRecorded"
            and taken.experience.trace_link_id == trace_link_id
            and (self._upstream or tenant_id in (None, taken.experience.tenant_id))
        ]
        if not found:
            return None
        contents = [trace_content(self._at(position).line) for position in found]
        chosen = -1 if self._upstream else 0
        differing = sum(content != contents[chosen] for content in contents)
        return TraceLink(self._recorded(found[chosen]), differing)

    def conflicts(self, limit: int | None = None) -> list[Conflict]:
        """See `ExperienceStore.conflicts`."""
        by_id: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
        for position, (stream, taken) in enumerate(self._events):
            by_id[stream, taken.experience.event_id].append(position)
        disputed = sorted(key for key in by_id if self._is_disputed(*key))
        return [Conflict(*key, [self._recorded(p) for p in by_id[key]]) for key in disputed[:limit]]

    def _is_disputed(self, stream: str, event_id: str) -> bool:
        return not self._upstream and any(
            taken.conflict
            for where, taken in self._events
            if (where, taken.experience.event_id) == (stream, event_id)
        )

    def _related(self, query: EventQuery) -> set[int]:
        """The positions in the chain, and of what shares an id with something in it."""
        mine = [
            (p, taken.experience)
            for p, (_, taken) in enumerate(self._events)
            if query.tenant_id in (None, taken.experience.tenant_id)
        ]
        chain = [event for _, event in mine if event.chain_id == query.chain_id]
        links = {(name, getattr(event, name)) for event in chain for name in RELATING}
        return {
            p
            for p, event in mine
            if event.chain_id == query.chain_id
            or any(getattr(event, n) is not None and (n, getattr(event, n)) in links for n in RELATING)
        }

    def _position(self, after: str, query: EventQuery) -> int:
        """The position that a cursor or an event id names."""
        if ":" in after:
            return read_cursor(after, self._epoch)
        for position, (_, taken) in enumerate(self._events):
            event = taken.experience
            if not taken.repeat and event.event_id == after and query.tenant_id in (None, event.tenant_id):
                return position
        raise InvalidQuery(f"there is no event {after[:80]!r} to go on from")

    def _at(self, position: int) -> Experience:
        return self._events[position][1].experience

    def _recorded(self, position: int) -> Recorded:
        stream, taken = self._events[position]
        disputed = self._is_disputed(stream, taken.experience.event_id)
        return Recorded(self._epoch, position, stream, taken.experience.line, disputed)
