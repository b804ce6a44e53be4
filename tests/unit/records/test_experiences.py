"""Experiences: times, what is written, what is extracted, and what daemons write about themselves."""

from __future__ import annotations

import json
from hashlib import sha256

import pytest

from fleetsync.errors import InvalidQuery, MalformedRecord
from fleetsync.records.experience_queries import EventQuery, TimeRange, query_document
from fleetsync.records.experience_times import PLACEHOLDER, Instant, end_of, instant, item_time, stamp
from fleetsync.records.experience_types import BudgetExceeded, OutcomeRecorded, ProposalCreated
from fleetsync.records.experience_values import (
    KernelPolicy,
    KernelProposal,
    RecallPolicy,
    RoutingPolicy,
    SamplerParams,
)
from fleetsync.records.experience_words import DataClassification, DecisionStep, Replayability, RiskTier
from fleetsync.records.experiences import (
    MAX_ID,
    MAX_LINE,
    compose,
    compose_transition,
    read,
    require_writable,
    trace_content,
    trace_text,
    typed,
)
from fleetsync.records.governance import TENANT, Governance
from tests.conformance.test_experience_examples import OWN_LINES
from tests.fakes.experiences import AT, PROMPT, lifecycle, made, outcome, trace

DEVICE = "a" * 52
NOW = 1_780_099_200_123_456_789


# --- times ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "point"),
    [
        ("2026-05-30T00:00:00Z", (1_780_099_200_000_000, 0)),
        ("2026-05-30T02:00:00.123456789+02:00", (1_780_099_200_123_456, 789)),
        ("2026-05-30", (1_780_099_200_000_000, 0)),
        (PLACEHOLDER, None),
        ("1970-01-01T01:00:00+01:00", None),
        ("1970-01-01", None),
        ("1970-01-01T00:00:00.000001Z", (1, 0)),
        ("1969-12-31T23:59:59.9999999Z", (-1, 900)),
        ("lamport:7", None),
        ("banana", None),
        ("", None),
    ],
)
def test_text_names_a_point_or_is_unknown(text: str, point: tuple[int, int] | None) -> None:
    """1970 is what nobody looked up; it is unknown however it is spelled."""
    assert instant(text) == (None if point is None else Instant(*point))


def test_a_bare_date_ends_with_its_day() -> None:
    """As the end of a span; any other text ends where it is."""
    assert end_of("2026-05-30") == Instant(1_780_185_599_999_999, 999)
    assert end_of("2026-05-30T00:00:00Z") == instant("2026-05-30T00:00:00Z")
    assert end_of("1970-01-01") is None


def test_stamps_sort_as_time_does() -> None:
    """Always six digits, whatever the clock says."""
    texts = [stamp(moment) for moment in (0, 1_000, NOW - NOW % 10**9, NOW, NOW + 10**9)]
    assert texts == sorted(texts)
    assert texts[3] == "2026-05-30T00:00:00.123456Z"


@pytest.mark.parametrize(
    ("line", "micros"),
    [
        (b'{"occurred_at":"2026-05-30T00:00:00.5Z"}', 1_780_099_200_500_000),
        (b'{"occurred_at":"lamport:7"}', 0),
        (b'{"occurred_at":7}', 0),
        (b'{"a":1}', 0),
        (b'{"occurred_at":"2026-05-30","occurred_at":"2026-05-31"}', 0),
    ],
)
def test_any_object_is_a_member_with_the_time_that_it_says(line: bytes, micros: int) -> None:
    """Envelope or not; what cannot be read is 0."""
    assert item_time(line) == micros


@pytest.mark.parametrize(
    "line", [b"[]", b"7", b"{", b'{"a":1}{"b":2}', b"", b'{"a":' * 128 + b"0" + b"}" * 128]
)
def test_what_is_no_object_is_no_member(line: bytes) -> None:
    """Arrays, scraps, glued lines, nesting without end."""
    with pytest.raises(MalformedRecord):
        item_time(line)


# --- writing -------------------------------------------------------------------------------------------


def test_an_event_is_composed_as_the_reference_writes_it() -> None:
    """Tag first, all fields, null for nothing."""
    event = OutcomeRecorded(chain_id="ch", step=DecisionStep.PLANNING, passed=True)
    line = compose(event, event_id="e-1", occurred_at=stamp(NOW), tenant_id="t1").line
    assert line == (
        b'{"event_id":"e-1","occurred_at":"2026-05-30T00:00:00.123456Z","tenant_id":"t1","correlation_id":null,'
        b'"event":{"type":"OutcomeRecorded","data":{"chain_id":"ch","step":"Planning","passed":true,'
        b'"stop_reason":null,"latency_ms":null,"tokens":null,"cost_microdollars":null,"backend":null}}}'
    )


@pytest.mark.parametrize(
    "event",
    [
        BudgetExceeded(chain_id="c", resource="tokens", limit=5),  # type: ignore[arg-type]
        OutcomeRecorded(chain_id="c", step=DecisionStep.PLANNING, passed=1),  # type: ignore[arg-type]
        OutcomeRecorded(chain_id="c", step=DecisionStep.PLANNING, passed=True, tokens=True),
        OutcomeRecorded(chain_id="c", step=DecisionStep.PLANNING, passed=True, tokens=-1),
        OutcomeRecorded(chain_id="c", step="Dreaming", passed=True),  # type: ignore[arg-type]
        BudgetExceeded(chain_id="\ud800", resource="tokens", limit="5"),
        BudgetExceeded(chain_id="c" * 257, resource="tokens", limit="5"),
        BudgetExceeded(chain_id="c", resource="x" * (1 << 20), limit="5"),
        KernelPolicy(),
    ],
)
def test_values_of_other_types_are_not_written(event: object) -> None:
    """Python would take them: numbers as text, bools as numbers, half characters, endless texts."""
    with pytest.raises(InvalidQuery):
        compose(event, event_id="e", occurred_at=AT)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": [1, 2.5, None, True, "é\n"]}, '{"a":[1,2.5,null,true,"é\\n"]}'),
        (1e16, "1e+16"),
        (float("nan"), None),
        (2**64, None),
        ({1: 2}, None),
        ({"a": object()}, None),
        ("[" * 3, '"[[["'),
    ],
)
def test_a_structured_payload_is_any_json(value: object, text: str | None) -> None:
    """And nothing that JSON, or the reference, does not have."""
    proposal = typed(OWN_LINES[0]).event.proposal  # type: ignore[attr-defined]
    fields = {name: getattr(proposal, name) for name in proposal.__struct_fields__}
    payload = KernelProposal(**{**fields, "structured_payload": value})
    event = ProposalCreated(proposal=payload, chain_id="c", step=DecisionStep.PLANNING)
    if text is None:
        with pytest.raises(InvalidQuery):
            compose(event, event_id="e", occurred_at=AT)
        return
    line = compose(event, event_id="e", occurred_at=AT).line
    assert f'"structured_payload":{text},' in line.decode()
    assert typed(line).event == event


def test_a_transition_inherits_time_and_tenant() -> None:
    """What nobody dated has the time of the clock."""
    event = compose_transition("a", PROMPT, lifecycle("Draft", "Approved", "t1"), event_id="e", now=NOW)
    assert (event.occurred_at, event.tenant_id) == (AT, "t1")
    undated = lifecycle("Draft", "Approved", at=PLACEHOLDER)
    event = compose_transition("a", PROMPT, undated, event_id="e", now=NOW)
    assert event.occurred_at == stamp(NOW)
    assert event.movement is not None
    assert event.movement.at == stamp(NOW)


def test_a_line_break_is_no_part_of_a_line() -> None:
    """JSON allows it between tokens; a log does not."""
    with pytest.raises(InvalidQuery, match="line break"):
        require_writable(read(outcome().line.replace(b"{", b"{\n", 1)))


# --- reading -------------------------------------------------------------------------------------------


def test_what_questions_are_about_is_found_in_every_kind() -> None:
    """Chains, proposals, traces and artifacts, wherever a kind carries them."""
    found = [read(line) for line in OWN_LINES]
    assert [event.chain_id for event in found].count("ch-1") == 4
    assert [event.proposal_id for event in found[:3]] == ["p-1"] * 3
    assert [event.trace_link_id for event in found if event.trace_link_id] == ["tl-1"] * 3
    assert [event.artifact_id for event in found if event.artifact_id] == ["a@1.0.0"] * 2


def test_a_movement_that_cannot_be_read_is_none() -> None:
    """A newer version may have more states: the event is carried all the same."""
    event = read(OWN_LINES[6].replace(b'"to_state":"Approved"', b'"to_state":"Retired"'))
    assert event.movement is None
    assert event.artifact_id == "a@1.0.0"


def test_a_movement_belongs_to_the_tenant_that_either_names() -> None:
    """The envelope first, then the lifecycle event; times that are unknown are the envelope's."""
    event = made(typed(OWN_LINES[6]).event, at=AT, tenant_id=None)
    moved = read(
        event.line.replace(b'"ticket_ref":null,"tenant_id":null', b'"ticket_ref":null,"tenant_id":"t9"')
    )
    assert moved.movement is not None
    assert (moved.tenant_id, moved.movement.tenant_id) == (None, "t9")
    undated = read(event.line.replace(b"2026-01-01T00:00:06Z", PLACEHOLDER.encode()))
    assert undated.movement is not None
    assert undated.movement.at == AT


def test_values_of_newer_versions_have_content_too() -> None:
    """An object where text was: read, kept apart from other objects, equal in another order."""

    def ended(reason: str) -> str:
        return read(OWN_LINES[9].replace(b'"stop_reason":null', f'"stop_reason":{reason}'.encode())).content

    assert ended('{"A":{"x":1,"y":2}}') == ended('{"A":{"y":2,"x":1}}')
    assert len({ended('{"A":{"x":1}}'), ended('{"A":{"x":1.0}}'), ended('{"A":{"x":2}}'), ended('"A"')}) == 4


def test_a_trace_is_told_as_json_on_one_line() -> None:
    """As it stands in its event; its content does not depend on how it is spelled, nor on whose it is."""
    event = trace()
    told = json.loads(trace_text(event.line))
    assert told == json.loads(event.line)["event"]["data"]["trace_link"]
    assert "\n" not in trace_text(event.line.replace(b",", b",\n"))
    same = (event.line.replace(b",", b" ,"), trace("e-2", "tl-2").line)
    assert {trace_content(line) for line in (event.line, *same)} == {trace_content(event.line)}
    assert trace_content(trace(provider="other").line) != trace_content(event.line)
    newer = event.line.replace(b'"type":"Remote"', b'"type":"Dreamt"')
    assert newer != event.line
    other = newer.replace(b"acme", b"other")
    assert len({trace_content(line) for line in (event.line, newer, other)}) == 3
    whole = event.line.replace(b'"temperature":0.0', b'"temperature":0')
    assert whole != event.line
    assert trace_content(whole) == trace_content(event.line)


def test_a_line_and_its_ids_may_be_as_long_as_their_bounds() -> None:
    """And not a byte longer; a line break of either kind is no part of a line."""
    longest = outcome(chain="c" * MAX_ID)
    require_writable(longest)
    with pytest.raises(InvalidQuery, match="chain_id exceeds"):
        require_writable(outcome(chain="c" * (MAX_ID + 1)))
    room = MAX_LINE - len(longest.line)
    full = read(longest.line + b" " * room)
    require_writable(full)
    for line, why in ((full.line + b" ", "maximum length"), (longest.line + b"\r", "line break")):
        with pytest.raises(InvalidQuery, match=why):
            require_writable(read(line))


def test_an_event_that_no_type_fits_has_content_too() -> None:
    """Of a kind that nobody knows, equal however it is spelled."""
    line = b'{"event_id":"e","occurred_at":"x","event":{"type":"Dreamt","data":{"a":1,"b":2}},"x":1.5}'
    other = b'{"x":1.50, "event":{"data":{"b":2,"a":1},"type":"Dreamt"},"occurred_at":"x","event_id":"e"}'
    assert read(line).content == read(other).content
    assert read(line).content != read(line.replace(b'"a":1', b'"a":3')).content
    assert read(line.replace(b'"a":1', b'"chain_id":7')).chain_id is None


CONTENTS = {
    "ProposalCreated": "8f67218de2619e9b732f13f7cb5d3437",
    "ProposalValidated": "8eceff5652969c0b14138dad566985a5",
    "FactPromoted": "5d29595c93dff2dbe237fb8687241b77",
    "RecallExecuted": "ddb1f1429f7fa218c79f5ffbf2661427",
    "ReplayTraceRecorded": "a02745bb5e937cfb0c63232dbab20701",
    "ReplayabilityDowngraded": "d79d14bcc70c6e6dda0f85b7325bd368",
    "ArtifactStateTransitioned": "a44738471da0143355567f02b8c56430",
    "ArtifactRollbackRecorded": "c6c3bfdda8fdcab323779ca4151ad38c",
    "BackendInvoked": "df5c9430544dbf9f1c20bca25d483a92",
    "OutcomeRecorded": "91e54b3caddf0aa3e154d465ce2ebdf5",
    "BudgetExceeded": "dcaa8e4afa8566e9c847d223d9c56978",
    "PolicySnapshotCaptured": "8cbe2411075c691b1b9077012f1cd4e6",
}


def test_the_content_of_an_event_never_changes() -> None:
    """Stores keep it: what they took in before an update must be a repeat of the same event after it."""
    assert {event.kind: event.content for event in map(read, OWN_LINES)} == CONTENTS


def test_an_older_name_of_a_kind_is_the_kind_and_stays_in_the_line() -> None:
    """Equal in content to the present name."""
    line = OWN_LINES[4]
    older = read(line.replace(b'"ReplayTraceRecorded"', b'"TraceLinkRecorded"'))
    assert (older.kind, older.written_kind) == ("ReplayTraceRecorded", "TraceLinkRecorded")
    assert read(line).written_kind == "ReplayTraceRecorded"
    assert older.content == read(line).content


# --- helpers of the reference ----------------------------------------------------------------------------


def test_constructor_defaults_are_the_reference_s() -> None:
    """What is left out when a value is made here."""
    assert KernelPolicy().recall_max_candidates == 5
    assert RecallPolicy().budgets.max_latency_ms == 100
    assert SamplerParams() == SamplerParams(temperature=0.0, top_p=1.0, top_k=None)


def test_proposals_know_whether_somebody_has_to_look() -> None:
    """All contracts passed, also if there are none; and nobody asked for a person."""
    proposal = typed(OWN_LINES[0]).event.proposal  # type: ignore[attr-defined]
    assert proposal.all_passed
    assert proposal.auto_promotable
    assert proposal.trace_link.level is Replayability.DETERMINISTIC


def test_routing_denies_and_selects() -> None:
    """Preferences first, then the tier's list, the data's, the default."""
    policy = RoutingPolicy.deny_remote()
    assert not policy.allows("remote", RiskTier.HIGH, DataClassification.PUBLIC)
    assert not policy.allows("remote", RiskTier.LOW, DataClassification.RESTRICTED)
    assert policy.allows("remote", RiskTier.LOW, DataClassification.PUBLIC)
    preferring = RoutingPolicy(truth_preferences={"b": "two"}, default_backend="one")
    assert preferring.select(("a", "b"), RiskTier.LOW, DataClassification.PUBLIC) == "two"
    assert preferring.select(("a",), RiskTier.LOW, DataClassification.PUBLIC) == "one"
    assert policy.select((), RiskTier.CRITICAL, DataClassification.PUBLIC) == "local"
    assert policy.risk_tier_backends == dict.fromkeys((RiskTier.CRITICAL, RiskTier.HIGH), ("local",))
    private = (DataClassification.RESTRICTED, DataClassification.CONFIDENTIAL)
    assert policy.data_classification_backends == dict.fromkeys(private, ("local",))
    lists = RoutingPolicy(
        truth_preferences={"b": "two", "a": "three"},
        risk_tier_backends={RiskTier.LOW: ("four", "five"), RiskTier.HIGH: ()},
        data_classification_backends={DataClassification.PUBLIC: ("six", "seven")},
    )
    assert lists.select(("b", "a"), RiskTier.LOW, DataClassification.PUBLIC) == "two"
    assert lists.select((), RiskTier.LOW, DataClassification.PUBLIC) == "four"
    assert lists.select((), RiskTier.HIGH, DataClassification.PUBLIC) == "six"
    assert lists.select((), RiskTier.HIGH, DataClassification.RESTRICTED) == "local"


def test_recalls_replay_whatever_time_and_counts_say() -> None:
    """Equal in what was asked and found; embedding, counts, times and signature do not matter."""
    recall = typed(OWN_LINES[3]).event.provenance  # type: ignore[attr-defined]
    line = OWN_LINES[3].replace(b'"latency_ms":3', b'"latency_ms":4').replace(b'"e1"', b'"e2"')
    assert recall.replays(typed(line).event.provenance)  # type: ignore[attr-defined]
    other = OWN_LINES[3].replace(b'"score":0.75', b'"score":0.5')
    assert not recall.replays(typed(other).event.provenance)  # type: ignore[attr-defined]


def test_a_question_as_the_reference_reads_it_always_has_kinds() -> None:
    """It refuses one without."""
    document = query_document(EventQuery(all_tenants=True, time_range=TimeRange(start="2026")))
    assert json.loads(json.dumps(document)) == {
        "tenant_id": None,
        "time_range": {"start": "2026", "end": None},
        "kinds": [],
        "correlation_id": None,
        "chain_id": None,
        "limit": None,
    }


# --- what a daemon writes ----------------------------------------------------------------------------------


def test_a_round_is_recorded_with_its_worst_ending() -> None:
    """Passed if all have converged, or nobody was there to ask."""
    governance = Governance(DEVICE)
    for endings, passed, reason in (
        ({}, True, "converged"),
        ({"b": "converged"}, True, "converged"),
        ({"b": "converged", "c": "unreachable"}, False, "unreachable"),
        ({"b": "failed", "c": "partial"}, False, "failed"),
    ):
        event = governance.outcome("run-1", endings, 0.5, event_id="e", now=NOW)
        data = typed(event.line).event
        assert isinstance(data, OutcomeRecorded)
        assert (data.passed, data.stop_reason, data.latency_ms) == (passed, reason, 500)
        assert (event.tenant_id, event.chain_id, event.correlation_id) == (TENANT, "run-1", "run-1")
        assert data.backend == DEVICE


@pytest.mark.parametrize(("seconds", "latency"), [(0.0, 0), (-1.0, 0), (0.0006, 1), (1234.5678, 1234568)])
def test_a_round_took_milliseconds(seconds: float, latency: int) -> None:
    """To the nearest, and never less than none, though a clock was set back."""
    data = typed(Governance(DEVICE).outcome("run-1", {}, seconds, event_id="e", now=NOW).line).event
    assert isinstance(data, OutcomeRecorded)
    assert data.latency_ms == latency


def test_budgets_are_text_as_the_reference_wants_them() -> None:
    """Numbers would be refused there."""
    event = Governance(DEVICE).budget_exceeded("run-1", "items-per-hour", 10, 11, event_id="e", now=NOW)
    assert b'"resource":"items-per-hour","limit":"10","observed":"11"' in event.line
    assert (event.chain_id, event.correlation_id) == ("run-1", "run-1")


def test_a_snapshot_of_trust_says_who_and_hashes_alike() -> None:
    """The order in which devices are named does not matter; everybody else is refused."""
    governance = Governance(DEVICE)
    one = governance.trust({"b": "both", "c": "send"}, event_id="e", now=NOW)
    two = governance.trust({"c": "send", "b": "both"}, event_id="e", now=NOW)
    assert one == two
    assert b'"default_backend":"refused"' in one.line
    other = governance.trust({"b": "both"}, event_id="e", now=NOW)
    hashes = {typed(event.line).event.snapshot_hash for event in (one, other)}  # type: ignore[attr-defined]
    assert hashes == {sha256(text).hexdigest() for text in (b"b both\nc send\nrefused", b"b both\nrefused")}
