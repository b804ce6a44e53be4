"""What every `ExperienceStore` does, as test classes: subclass them and say how a store is made.

`ExperienceStoreContract` is ours; `UpstreamContract` is the reference's, kept by stores in their
upstream mode. The suites ask for nothing but the port.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from fleetsync.errors import InvalidQuery
from fleetsync.experience_port import ExperienceIndex, ExperienceStore, Mark
from fleetsync.records.artifacts import IllegalTransition
from fleetsync.records.experience_intake import Rules
from fleetsync.records.experience_queries import ArtifactQuery, EventQuery, TimeRange
from fleetsync.records.experience_times import PLACEHOLDER
from fleetsync.records.experience_words import ArtifactState, KnownArtifactKind
from fleetsync.records.experiences import Experience, read
from tests.fakes.experiences import (
    AT,
    PROMPT,
    budget,
    fact,
    lifecycle,
    made,
    outcome,
    respelled,
    trace,
    transition,
)

EXAMPLES = Path(__file__).parents[1] / "vectors" / "experience_examples.jsonl"
ALL = EventQuery(all_tenants=True)
HERE = Mark("1:2", 10, "00")


def ids(store: ExperienceStore, **asked: Any) -> list[str]:
    """The ids of the events that are asked for; of all tenants if none is named."""
    query = EventQuery(all_tenants="tenant_id" not in asked, **asked)
    return [found.experience.event_id for found in store.query_events(query)]


def span(start: str | None, end: str | None) -> TimeRange:
    """From one time to another."""
    return TimeRange(start, end)


class _Contract(ABC):
    """How its stores come to be."""

    @pytest.fixture
    @abstractmethod
    def store(self) -> Any:
        """A fresh store, initialized, and closed afterwards."""


class ExperienceStoreContract(_Contract):
    """The rules of docs/experience.md."""

    # --- appending -----------------------------------------------------------------------------------

    def test_events_come_back_byte_for_byte_in_the_order_of_appending(self, store: ExperienceStore) -> None:
        """One of each kind, as the reference writes it."""
        lines = EXAMPLES.read_bytes().splitlines()
        assert store.append_events([read(line) for line in lines]) == 12
        assert [found.line for found in store.query_events(ALL)] == lines

    def test_initializing_again_changes_nothing(self, store: ExperienceStore) -> None:
        """Schema and events stay."""
        store.append_event(outcome())
        store.initialize()
        assert ids(store) == ["e-1"]

    def test_appending_many_is_all_or_nothing(self, store: ExperienceStore) -> None:
        """One bad event, and none of the batch is there; the reference keeps the first."""
        with pytest.raises(InvalidQuery, match="event_id has invalid characters"):
            store.append_events([outcome("good"), outcome("not good")])
        assert ids(store) == []

    @pytest.mark.parametrize(
        ("event", "words"),
        [
            (outcome(""), "event_id must not be empty"),
            (outcome("x" * 257), "event_id exceeds maximum length"),
            (outcome("../../admin:hack"), "event_id has invalid characters"),
            (outcome("evt 001"), "event_id has invalid characters"),
            (outcome("table:record"), "event_id has invalid characters"),
            (outcome("evt\n"), "event_id has invalid characters"),
            (outcome("ö"), "event_id has invalid characters"),
            (outcome(at=""), "occurred_at must not be empty"),
            (outcome(at="é" * 33), "occurred_at exceeds maximum length"),
            (outcome(tenant_id="a'; DROP"), "tenant_id has invalid characters"),
            (outcome(tenant_id=""), "tenant_id must not be empty"),
            (outcome(correlation_id="a\0b"), "correlation_id has invalid characters"),
            (outcome(chain="c" * 257), "chain_id exceeds maximum length"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_envelopes_are_checked_before_they_are_written(
        self, store: ExperienceStore, event: Experience, words: str
    ) -> None:
        """In the reference's order and with the phrases that its users look for."""
        with pytest.raises(InvalidQuery, match=words):
            store.append_event(event)
        assert ids(store) == []

    def test_legal_ids_at_their_limits_are_taken(self, store: ExperienceStore) -> None:
        """256 characters, dots and dashes, 64 bytes of any time."""
        store.append_event(outcome("evt_001.abc-" + "x" * 244, at="é" * 32))
        assert len(ids(store)) == 1

    def test_what_is_written_here_is_what_the_reference_reads(self, store: ExperienceStore) -> None:
        """A number where text belongs is refused; imported as another version's it is carried."""
        line = budget().line.replace(b'"limit":"1"', b'"limit":1')
        with pytest.raises(InvalidQuery, match="limit: a string is wanted"):
            store.append_event(read(line))
        assert store.append_events([read(line)], rules=Rules.IMPORTED) == 1
        assert [found.line for found in store.query_events(ALL)] == [line]

    def test_kinds_and_members_that_nobody_knows_are_carried(self, store: ExperienceStore) -> None:
        """Byte for byte, and found by their kind and chain."""
        line = (
            b'{"new":1,"event_id":"e-9","occurred_at":"2026-01-01T00:00:00Z","event":'
            b'{"data":{"chain_id":"ch-9","claim":"x"},"type":"HypothesisResolved"}}'
        )
        store.append_event(read(line))
        assert [found.line for found in store.query_events(ALL)] == [line]
        assert ids(store, kinds=("HypothesisResolved",), chain_id="ch-9") == ["e-9"]

    def test_the_older_name_of_a_kind_is_found_under_the_newer(self, store: ExperienceStore) -> None:
        """`TraceLinkRecorded` is what `ReplayTraceRecorded` was called; the line stays as it was."""
        line = trace().line.replace(b"ReplayTraceRecorded", b"TraceLinkRecorded")
        store.append_event(read(line))
        found = store.query_events(EventQuery(all_tenants=True, kinds=("ReplayTraceRecorded",)))
        assert [each.line for each in found] == [line]
        assert store.get_trace_link("tl-1") is not None

    # --- repeats and conflicts -------------------------------------------------------------------------

    def test_a_line_that_is_there_is_not_taken_again(self, store: ExperienceStore) -> None:
        """Also within one batch; in another stream it is another line."""
        assert store.append_events([outcome(), outcome()]) == 1
        assert store.append_event(outcome()) is False
        assert store.append_event(outcome(), stream="other") is True

    def test_one_content_is_shown_once_however_it_is_spelled(self, store: ExperienceStore) -> None:
        """Kept in every spelling and stream, and no conflict."""
        store.append_event(outcome())
        assert store.append_event(respelled(outcome())) is True
        store.append_event(outcome(), stream="other")
        assert [found.line for found in store.query_events(ALL)] == [outcome().line]
        assert store.conflicts() == []

    def test_one_id_with_two_contents_is_shown_twice_and_called_a_conflict(
        self, store: ExperienceStore
    ) -> None:
        """Nothing is dropped, whichever came first."""
        store.append_event(outcome("e-0"))
        store.append_event(outcome("e-1", tokens=1))
        store.append_event(outcome("e-1", tokens=2))
        found = store.query_events(ALL)
        assert [(each.experience.event_id, each.conflict) for each in found] == [
            ("e-0", False),
            ("e-1", True),
            ("e-1", True),
        ]
        (conflict,) = store.conflicts()
        assert (conflict.stream, conflict.event_id) == ("local", "e-1")
        assert [each.line for each in conflict.events] == [each.line for each in found[1:]]

    def test_one_id_in_two_streams_is_no_conflict(self, store: ExperienceStore) -> None:
        """Every run of the reference begins with evt-0: the stream tells runs apart."""
        store.append_event(outcome("evt-0", PLACEHOLDER, tokens=1), stream="one")
        store.append_event(outcome("evt-0", PLACEHOLDER, tokens=2), stream="two")
        assert [found.conflict for found in store.query_events(ALL)] == [False, False]
        assert store.conflicts(limit=5) == []

    # --- whose -----------------------------------------------------------------------------------------

    def test_whose_events_are_asked_for_must_be_said(self, store: ExperienceStore) -> None:
        """A tenant, or all of them on purpose; not both."""
        for query in (EventQuery(), EventQuery(tenant_id="t1", all_tenants=True)):
            with pytest.raises(InvalidQuery):
                store.query_events(query)

    def test_a_tenant_sees_its_own_and_nothing_else(self, store: ExperienceStore) -> None:
        """Exact and case-sensitive; events of nobody belong to nobody."""
        for number, tenant in enumerate(("t1", "T1", None, "t1", "t11")):
            store.append_event(outcome(f"e-{number}", tenant_id=tenant))
        assert ids(store, tenant_id="t1") == ["e-0", "e-3"]
        assert ids(store, tenant_id="") == []
        assert len(ids(store)) == 5

    # --- conditions ------------------------------------------------------------------------------------

    def test_all_conditions_must_hold(self, store: ExperienceStore) -> None:
        """Kinds, chain, correlation and tenant together; duplicates among kinds are harmless."""
        store.append_events(
            [
                outcome("e-1", tenant_id="t1", correlation_id="c1"),
                budget("e-2", tenant_id="t1", correlation_id="c1"),
                outcome("e-3", tenant_id="t1", correlation_id="c2"),
                outcome("e-4", tenant_id="t2", correlation_id="c1"),
                outcome("e-5", tenant_id="t1", correlation_id="c1", chain="ch-2"),
                fact("e-6", tenant_id="t1", correlation_id="c1"),
            ]
        )
        assert ids(store, kinds=("OutcomeRecorded", "OutcomeRecorded")) == ["e-1", "e-3", "e-4", "e-5"]
        assert ids(store, kinds=("OutcomeRecorded", "FactPromoted"), tenant_id="t1", correlation_id="c1") == [
            "e-1",
            "e-5",
            "e-6",
        ]
        assert ids(store, chain_id="ch-1", tenant_id="t1", correlation_id="c1") == ["e-1", "e-2"]
        assert ids(store, correlation_id="c") == []

    def test_events_without_a_chain_are_found_by_what_they_share_with_it(
        self, store: ExperienceStore
    ) -> None:
        """By correlation, proposal or trace; what shares nothing, or is of another tenant, is not."""
        store.append_events(
            [
                outcome("chain", correlation_id="c1", tenant_id="t1"),
                fact("related", correlation_id="c1", tenant_id="t1"),
                fact("foreign", correlation_id="c1", tenant_id="t2"),
                fact("other", proposal="p-2", tenant_id="t1"),
            ]
        )
        assert ids(store, chain_id="ch-1", tenant_id="t1") == ["chain"]
        assert ids(store, chain_id="ch-1", related=True, tenant_id="t1") == ["chain", "related"]
        assert ids(store, chain_id="ch-1", related=True) == ["chain", "related", "foreign"]
        assert ids(store, proposal_id="p-2") == ["other"]
        assert ids(store, chain_id="none", related=True) == []
        with pytest.raises(InvalidQuery, match="chain_id must be given"):
            ids(store, related=True)

    # --- time ------------------------------------------------------------------------------------------

    @pytest.mark.parametrize(
        ("start", "end", "wanted"),
        [
            ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z", ["whole", "offset"]),
            ("2026-01-01T00:00:00.5Z", None, ["half", "nano", "late"]),
            ("2026-01-01T00:00:00.500000001Z", "2026-01-01T12:00:00Z", ["nano"]),
            ("2026-01-01", "2026-01-01", ["whole", "half", "nano", "offset"]),
            ("2026-01-01T02:00:00+02:00", "2026-01-01T00:00:00.4Z", ["whole", "offset"]),
            (None, "2025-12-31", []),
            ("2026-01-03", "2026-01-02", []),
            ("9999-01-01", None, []),
            (None, None, ["whole", "half", "nano", "offset", "late", "lamport", "placeholder"]),
        ],
    )
    def test_times_are_points_and_not_text(
        self, store: ExperienceStore, start: str | None, end: str | None, wanted: list[str]
    ) -> None:
        """Fractions, offsets and bare dates; both ends included; unknown times are in no span."""
        store.append_events(
            [
                outcome("whole", "2026-01-01T00:00:00Z"),
                outcome("half", "2026-01-01T00:00:00.500Z"),
                outcome("nano", "2026-01-01T00:00:00.500000001Z"),
                outcome("offset", "2026-01-01T01:00:00+01:00"),
                outcome("late", "2026-01-02"),
                outcome("lamport", "lamport:7"),
                outcome("placeholder", PLACEHOLDER),
            ]
        )
        assert ids(store, time_range=span(start, end)) == wanted

    def test_the_end_of_a_span_must_be_a_time(self, store: ExperienceStore) -> None:
        """A typing mistake is no empty answer."""
        with pytest.raises(InvalidQuery, match="end of the time range"):
            ids(store, time_range=span(None, "banana"))

    # --- order -----------------------------------------------------------------------------------------

    def test_a_limit_keeps_the_first_in_the_direction_asked_for(self, store: ExperienceStore) -> None:
        """0 is nothing, too much is all, below 0 cannot be asked."""
        store.append_events([outcome(f"e-{n}") for n in range(5)])
        assert ids(store, limit=2) == ["e-0", "e-1"]
        assert ids(store, limit=2, newest_first=True) == ["e-4", "e-3"]
        assert ids(store, limit=0) == []
        assert len(ids(store, limit=10**30)) == 5
        with pytest.raises(InvalidQuery):
            ids(store, limit=-1)

    def test_a_cursor_goes_on_where_a_page_ended(self, store: ExperienceStore) -> None:
        """In both directions, whatever is appended meanwhile; an event id does as well."""
        store.append_events([outcome(f"e-{n}") for n in range(6)])
        page = store.query_events(EventQuery(all_tenants=True, limit=2))
        store.append_event(outcome("late"))
        assert ids(store, after=page[-1].cursor, limit=2) == ["e-2", "e-3"]
        assert ids(store, after=page[-1].cursor, newest_first=True) == ["e-0"]
        assert ids(store, after="e-4") == ["e-5", "late"]
        assert ids(store, after="e-4", chain_id="none") == []

    @pytest.mark.parametrize("cursor", ["00000000:1", ":", "x:y", "no-such-event", "x:" + "9" * 30])
    def test_a_cursor_of_another_ledger_is_refused(self, store: ExperienceStore, cursor: str) -> None:
        """Going on from nowhere would lose events silently."""
        store.append_event(outcome())
        with pytest.raises(InvalidQuery):
            ids(store, after=cursor)

    # --- traces ----------------------------------------------------------------------------------------

    def test_a_trace_is_found_by_its_id_in_its_tenant(self, store: ExperienceStore) -> None:
        """Another tenant's is not; what is not there is no error."""
        store.append_event(trace(tenant_id="t1"))
        assert store.get_trace_link("tl-1") is not None
        found = store.get_trace_link("tl-1", "t1")
        assert found is not None
        assert (found.recorded.line, found.differing) == (trace(tenant_id="t1").line, 0)
        assert store.get_trace_link("tl-1", "t2") is None
        assert store.get_trace_link("tl-2") is None

    def test_the_first_trace_stays_and_a_differing_one_is_counted(self, store: ExperienceStore) -> None:
        """The same trace under another event is no difference."""
        store.append_events([trace("e-1"), trace("e-2"), trace("e-3", provider="other")])
        found = store.get_trace_link("tl-1")
        assert found is not None
        assert (found.recorded.experience.event_id, found.differing) == ("e-1", 1)

    # --- artifacts -------------------------------------------------------------------------------------

    def test_a_transition_has_the_time_and_tenant_of_its_lifecycle_event(
        self, store: ExperienceStore
    ) -> None:
        """The reference writes 1970 and nobody."""
        event = store.write_artifact_state_transition("a-1", PROMPT, lifecycle("Draft", "Approved", "t1"))
        assert (event.occurred_at, event.tenant_id) == (AT, "t1")
        assert [found.line for found in store.query_events(EventQuery(tenant_id="t1"))] == [event.line]

    def test_a_transition_that_nobody_dated_has_the_time_of_the_clock(self, store: ExperienceStore) -> None:
        """In the lifecycle event too, with digits that sort as time does."""
        placeholder = lifecycle("Draft", "Approved", at=PLACEHOLDER)
        event = store.write_artifact_state_transition("a-1", PROMPT, placeholder)
        assert event.occurred_at == "2026-05-30T00:00:00.000000Z"
        assert PLACEHOLDER.encode() not in event.line

    def test_only_legal_transitions_from_where_the_artifact_stands_are_written(
        self, store: ExperienceStore
    ) -> None:
        """Illegal by the table, or from another state than the one it is in; per tenant."""
        store.write_artifact_state_transition("a-1", PROMPT, lifecycle("Draft", "Approved"))
        for before, after in (("Approved", "Deprecated"), ("Draft", "Approved"), ("Active", "Quarantined")):
            with pytest.raises(IllegalTransition):
                store.write_artifact_state_transition("a-1", PROMPT, lifecycle(before, after))
        store.write_artifact_state_transition("a-1", PROMPT, lifecycle("Approved", "Active"))
        store.write_artifact_state_transition("a-1", PROMPT, lifecycle("Draft", "Approved", "t2"))
        assert [(a.tenant_id, a.state, a.irregular) for a in store.query_artifacts(ArtifactQuery())] == [
            (None, "Active", 0),
            ("t2", "Approved", 0),
        ]

    def test_an_appended_transition_is_checked_with_those_before_it(self, store: ExperienceStore) -> None:
        """A batch with one that is illegal changes nothing; imported it is followed and counted."""
        batch = [transition("e-1", "Draft", "Approved"), transition("e-2", "Approved", "Draft")]
        with pytest.raises(IllegalTransition, match=r"Approved .* cannot become Draft"):
            store.append_events(batch)
        assert store.query_artifacts(ArtifactQuery()) == []
        store.append_events(batch, rules=Rules.IMPORTED)
        (artifact,) = store.query_artifacts(ArtifactQuery())
        assert (artifact.state, artifact.irregular) == (ArtifactState.DRAFT, 1)

    def test_repeats_move_no_artifact(self, store: ExperienceStore) -> None:
        """Neither the same line nor another spelling of it."""
        events = [transition("e-1", "Draft", "Approved"), transition("e-2", "Approved", "Active")]
        store.append_events(events)
        assert store.append_events([events[0], respelled(events[0])]) == 1
        (artifact,) = store.query_artifacts(ArtifactQuery())
        assert (artifact.state, artifact.irregular) == (ArtifactState.ACTIVE, 0)

    def test_a_rollback_keeps_the_kind_and_ends_everything(self, store: ExperienceStore) -> None:
        """It says no kind itself; nothing may follow."""
        lines = EXAMPLES.read_bytes().splitlines()
        store.append_events([read(line) for line in lines[6:8]])
        (artifact,) = store.query_artifacts(ArtifactQuery(state=ArtifactState.ROLLED_BACK))
        assert (artifact.tenant_id, artifact.artifact_id) == ("t1", "a@1.0.0")
        assert (artifact.kind, artifact.since) == ('{"Other":"prompt"}', "2026-01-01T00:00:07Z")
        with pytest.raises(IllegalTransition):
            store.append_event(transition("e-9", "RolledBack", "Draft", "a@1.0.0", "t1", tenant_id="t1"))

    def test_artifacts_are_found_by_what_is_known_of_them(self, store: ExperienceStore) -> None:
        """Tenant, id, kind, state, limit; ordered by tenant and id."""
        for artifact, tenant in (("b", None), ("a", None), ("a", "t1")):
            store.write_artifact_state_transition(artifact, PROMPT, lifecycle("Draft", "Approved", tenant))
        store.write_artifact_state_transition("c", KnownArtifactKind.PACK, lifecycle("Draft", "Approved"))

        def found(**asked: Any) -> list[str]:
            return [
                f"{a.tenant_id or ''}/{a.artifact_id}" for a in store.query_artifacts(ArtifactQuery(**asked))
            ]

        assert found() == ["/a", "/b", "/c", "t1/a"]
        assert found(tenant_id="t1") == ["t1/a"]
        assert found(artifact_id="a") == ["/a", "t1/a"]
        assert found(kind=KnownArtifactKind.PACK) == ["/c"]
        assert found(kind=PROMPT, limit=1) == ["/a"]
        assert found(state=ArtifactState.DRAFT) == []

    # --- odd values and many writers -------------------------------------------------------------------

    def test_ids_of_any_length_and_characters_are_kept_apart(self, store: ExperienceStore) -> None:
        """Read from elsewhere they may hold anything; none is cut, none confused with another."""
        chains = ["c" * 5000 + "1", "c" * 5000 + "2", "a\0b", "a", "\1a", "é" * 129]
        store.append_events(
            [outcome(f"e-{n}", chain=chain) for n, chain in enumerate(chains)], rules=Rules.IMPORTED
        )
        assert [ids(store, chain_id=chain) for chain in chains] == [[f"e-{n}"] for n in range(len(chains))]

    def test_many_writers_at_once_lose_nothing(self, store: ExperienceStore) -> None:
        """Every event is there once, and positions are in one order for everybody."""
        numbers = count()

        def write(_: int) -> None:
            for _ in range(5):
                store.append_event(outcome(f"e-{next(numbers)}"))

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(write, range(4)))
        found = store.query_events(ALL)
        assert sorted(each.experience.event_id for each in found) == sorted(f"e-{n}" for n in range(20))
        assert [each.position for each in found] == sorted({each.position for each in found})


class ExperienceIndexContract(ExperienceStoreContract):
    """What a store does beside that to be the cache of logs."""

    def test_what_stands_in_a_log_is_taken_whatever_it_is(self, store: ExperienceIndex) -> None:
        """No envelope rule, no transition rule; with its mark, at once."""
        assert store.marks() == {}
        events = [outcome("not good"), transition("e-2", "RolledBack", "Draft")]
        assert store.absorb(events, "local", None, HERE) is True
        assert ids(store) == ["not good", "e-2"]
        assert store.marks() == {"local": HERE}
        assert store.absorb([outcome("e-3")], "other", None, None) is True
        assert store.marks() == {"local": HERE}

    def test_nothing_is_taken_from_behind_another_mark(self, store: ExperienceIndex) -> None:
        """Somebody else has read on, or begun anew: what was read is read again from there."""
        store.absorb([outcome("e-1")], "local", None, HERE)
        further = HERE._replace(size=20)
        assert store.absorb([outcome("e-2")], "local", None, further) is False
        assert store.absorb([outcome("e-2")], "local", HERE, further) is True
        store.forget()
        assert store.absorb([outcome("e-3")], "local", further, HERE) is False
        assert (ids(store), store.marks()) == ([], {})

    def test_what_is_forgotten_leaves_nothing(self, store: ExperienceIndex) -> None:
        """Events, artifacts, conflicts, marks and cursors; it can be filled again."""
        events = [outcome("e-1"), outcome("e-1", tokens=2), transition("e-2", "Draft", "Approved")]
        store.absorb(events, "local", None, HERE)
        cursor = store.query_events(ALL)[0].cursor
        store.forget()
        assert (ids(store), store.query_artifacts(ArtifactQuery()), store.conflicts()) == ([], [], [])
        with pytest.raises(InvalidQuery, match="built anew"):
            ids(store, after=cursor)
        assert store.absorb(events, "local", None, HERE) is True
        assert len(ids(store)) == 3

    def test_what_is_fresh_is_said_without_taking_it(self, store: ExperienceIndex) -> None:
        """By the rules under which it would be appended."""
        store.append_event(transition("e-1", "Draft", "Approved"))
        events = [transition("e-1", "Draft", "Approved"), outcome("e-2"), outcome("e-2")]
        assert store.fresh(events, "local", Rules.WRITTEN) == [outcome("e-2")]
        illegal = [outcome("e-3"), transition("e-4", "Draft", "Approved")]
        with pytest.raises(IllegalTransition):
            store.fresh(illegal, "local", Rules.WRITTEN)
        assert store.fresh(illegal, "local", Rules.IMPORTED) == illegal
        with pytest.raises(InvalidQuery):
            store.fresh([outcome("not good")], "local", Rules.IMPORTED)
        assert ids(store) == ["e-1"]


class UpstreamContract(_Contract):
    """What the reference's own tests assert of its in-memory store (formats, store semantics)."""

    def test_repeats_are_kept_in_the_order_of_appending(self, store: ExperienceStore) -> None:
        """The same event as often as it was appended."""
        events = [outcome("e-1"), budget("e-2"), outcome("e-1"), outcome("e-1")]
        assert store.append_events(events) == 4
        assert [found.line for found in store.query_events(EventQuery())] == [event.line for event in events]
        assert store.conflicts() == []

    def test_no_tenant_means_all(self, store: ExperienceStore) -> None:
        """Isolation is opt-in there."""
        store.append_events([outcome("e-1", tenant_id="t1"), outcome("e-2", tenant_id="t2"), outcome("e-3")])
        assert len(store.query_events(EventQuery())) == 3
        assert [f.experience.tenant_id for f in store.query_events(EventQuery(tenant_id="t2"))] == ["t2"]

    def test_many_are_appended_one_by_one_up_to_the_first_bad_one(self, store: ExperienceStore) -> None:
        """Earlier ones stay."""
        with pytest.raises(InvalidQuery):
            store.append_events([outcome("e-1"), outcome("e 2"), outcome("e-3")])
        assert ids(store) == ["e-1"]

    def test_times_are_compared_as_bytes(self, store: ExperienceStore) -> None:
        """A fraction sorts before its second, offsets are not converted, a bare end excludes its day."""
        store.append_events(
            [
                outcome("half", "2026-01-01T00:00:00.500Z"),
                outcome("whole", "2026-01-01T00:00:00Z"),
                outcome("offset", "2026-01-01T02:00:00+02:00"),
                outcome("lamport", "lamport:7"),
            ]
        )
        exact = span("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z")
        assert ids(store, time_range=exact) == ["whole"]
        assert ids(store, time_range=span("2026-01-01T00:00:00Z", None)) == ["whole", "offset", "lamport"]
        assert ids(store, time_range=span(None, "2026-01-01")) == []
        assert ids(store, time_range=span("9999-01-01", "9999-12-31")) == []

    def test_a_chain_leaves_out_kinds_that_carry_none(self, store: ExperienceStore) -> None:
        """Also a newer kind that has a chain id: the reference forgot it."""
        hypothesis = outcome("e-3").line.replace(b"OutcomeRecorded", b"HypothesisResolved")
        store.append_events([outcome("e-1"), fact("e-2"), read(hypothesis), budget("e-4")])
        assert ids(store, chain_id="ch-1") == ["e-1", "e-4"]

    def test_transitions_are_not_checked_and_have_no_time(self, store: ExperienceStore) -> None:
        """Ids count from evt-0; time, tenant and correlation are those of nobody."""
        for before, after in (("RolledBack", "Draft"), ("Active", "Active")):
            store.write_artifact_state_transition("a-1", PROMPT, lifecycle(before, after, "t1"))
        found = [each.experience for each in store.query_events(EventQuery())]
        assert [event.event_id for event in found] == ["evt-0", "evt-1"]
        assert {(e.occurred_at, e.tenant_id, e.correlation_id) for e in found} == {(PLACEHOLDER, None, None)}

    def test_the_last_trace_overwrites(self, store: ExperienceStore) -> None:
        """Silently, and whoever recorded it."""
        store.append_events([trace("e-1", tenant_id="t1"), trace("e-2", provider="other", tenant_id="t2")])
        found = store.get_trace_link("tl-1", "t1")
        assert found is not None
        assert found.recorded.experience.event_id == "e-2"
        assert store.get_trace_link("nope") is None

    def test_an_envelope_is_checked_and_nothing_else(self, store: ExperienceStore) -> None:
        """Ids inside the event are free text."""
        store.append_event(outcome("e-1", chain="c" * 5000))
        with pytest.raises(InvalidQuery, match="must not be empty"):
            store.append_event(made(outcome_event(), ""))


def outcome_event() -> Any:
    """The event of `outcome`, typed."""
    from fleetsync.records.experiences import typed

    return typed(outcome().line).event
