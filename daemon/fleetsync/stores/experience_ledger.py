"""`ExperienceLedger`: the logs under home as an `ExperienceStore`; the index answers, the logs decide.

Every call first lets the index read on in the logs, so events of other programs and other devices are
there too. What is appended is written to the log and read back from it like anything else. An index
that fails stops no append: the line is in the log, and is read when the index is back. Rule of the
file: whatever the index holds can be forgotten. Implements docs/experience.md, "Log and index".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fleetsync.errors import HomeMissing, LocalError
from fleetsync.experience_port import (
    DEFAULT_STREAM,
    Conflict,
    ExperienceIndex,
    Mark,
    Recorded,
    TraceLink,
)
from fleetsync.records.artifacts import Artifact
from fleetsync.records.experience_intake import Rules, Standing, decide, require
from fleetsync.records.experience_queries import ArtifactQuery, EventQuery
from fleetsync.records.experiences import Experience
from fleetsync.stores.experience_log import ExperienceLog
from fleetsync.stores.experience_writing import ExperienceWriting


class ExperienceLedger(ExperienceWriting):
    """The ledger of one home. Closes the index with itself."""

    def __init__(self, log: ExperienceLog, index: ExperienceIndex, **rest: Any) -> None:
        super().__init__(**rest)
        self._log = log
        self._index = index
        self.trouble: LocalError | None = None
        """Why the last append is in the log alone, None if it is in the index too."""

    def initialize(self) -> None:
        """See `ExperienceStore.initialize`."""
        self._index.initialize()

    def close(self) -> None:
        """See `ExperienceStore.close`."""
        self._index.close()

    # --- the logs ----------------------------------------------------------------------------------

    def catch_up(self) -> None:
        """Let the index read on to the end of every log; anew where a log was replaced or is gone."""
        while not self._read_on():
            self._index.forget()

    def _read_on(self) -> bool:
        """False if the index knows of logs that are not those under home."""
        marks, streams = self._index.marks(), self._log.streams()
        if marks.keys() - set(streams):
            return False
        return all(self._read_stream(stream, marks.get(stream)) for stream in streams)

    def _read_stream(self, stream: str, mark: Mark | None) -> bool:
        """False if the log is not the one that was marked."""
        more = True
        while more:
            portion = self._log.read(stream, mark)
            if portion is None:
                return False
            more = portion.more
            if portion.mark == mark:
                continue
            if self._index.absorb(portion.events, stream, mark, portion.mark):
                mark = portion.mark
            else:  # another process reads the same log: go on from where it is
                mark, more = self._index.marks().get(stream), True
        return True

    # --- writing -------------------------------------------------------------------------------------

    def append_events(
        self, events: Sequence[Experience], *, stream: str = DEFAULT_STREAM, rules: Rules = Rules.WRITTEN
    ) -> int:
        """See `ExperienceStore.append_events`. Raises `LocalError` only for what the log cannot take."""
        require(events, rules)
        self.trouble = None
        self._try_catch_up()  # what is long is read before the lock is held
        with self._log.held(stream) as log:
            fresh = self._fresh(events, stream, rules)
            log.append([event.line for event in fresh])
        if fresh and self.trouble is None:
            self._try_catch_up()
        return len(fresh)

    def _try_catch_up(self) -> None:
        try:
            self.catch_up()
        except HomeMissing:
            raise
        except LocalError as error:
            self.trouble = error

    def _fresh(self, events: Sequence[Experience], stream: str, rules: Rules) -> list[Experience]:
        """What is not there yet; without an index all of it, judged by itself alone."""
        if self.trouble is None:
            self._try_catch_up()
        if self.trouble is None:
            try:
                return self._index.fresh(events, stream, rules)
            except LocalError as error:
                self.trouble = error
        return [taken.experience for taken in decide(events, stream, Standing(), rules).taken]

    # --- asking --------------------------------------------------------------------------------------

    def query_events(self, query: EventQuery) -> list[Recorded]:
        """See `ExperienceStore.query_events`."""
        self.catch_up()
        return self._index.query_events(query)

    def query_artifacts(self, query: ArtifactQuery) -> list[Artifact]:
        """See `ExperienceStore.query_artifacts`."""
        self.catch_up()
        return self._index.query_artifacts(query)

    def get_trace_link(self, trace_link_id: str, tenant_id: str | None = None) -> TraceLink | None:
        """See `ExperienceStore.get_trace_link`."""
        self.catch_up()
        return self._index.get_trace_link(trace_link_id, tenant_id)

    def conflicts(self, limit: int | None = None) -> list[Conflict]:
        """See `ExperienceStore.conflicts`."""
        self.catch_up()
        return self._index.conflicts(limit)
