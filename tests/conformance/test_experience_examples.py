"""One valid line of each kind: read, typed and written back as the reference does, byte for byte.

What the reference refuses in such a line is refused when it is to be written here; what only newer
versions write is read all the same.
"""

from __future__ import annotations

import json

import pytest

from fleetsync.errors import InvalidQuery, MalformedRecord
from fleetsync.records import strictjson
from fleetsync.records.experience_shapes import fields_of
from fleetsync.records.experience_types import KINDS, Envelope
from fleetsync.records.experiences import read, require_writable, typed
from tests.conformance.vectors import DIRECTORY, OWN

NAME = "experience_examples.jsonl"
OWN_LINES = (OWN / NAME).read_bytes().splitlines()
LINES = (DIRECTORY / NAME).read_bytes().splitlines() if (DIRECTORY / NAME).exists() else []
CREATED, _, _, RECALLED, TRACED, DOWNGRADED, MOVED, _, _, ENDED, EXCEEDED, CAPTURED = OWN_LINES
OPTIONAL = {
    "": {"tenant_id", "correlation_id"},
    "ProposalCreated": {"policy_snapshot_hash"},
    "RecallExecuted": {"trace_link_id"},
    "BackendInvoked": {"adapter_id", "policy_snapshot_hash"},
    "OutcomeRecorded": {"stop_reason", "latency_ms", "tokens", "cost_microdollars", "backend"},
    "BudgetExceeded": {"observed"},
}
"""What may be absent or null: in the envelope, and in the events of each kind."""


def kind(line: bytes) -> str:
    """Which kind of event it is."""
    return str(json.loads(line)["event"]["type"])


def changed(line: bytes, old: str, new: str) -> bytes:
    """The line with one part of it replaced, which must be there."""
    assert old.encode() in line
    return line.replace(old.encode(), new.encode(), 1)


@pytest.mark.parametrize("line", LINES, ids=kind)
def test_an_example_comes_back_byte_for_byte(line: bytes) -> None:
    """Typed and written again; as it was read; and it may be written here."""
    shape = fields_of(Envelope)
    assert shape.write(typed(line)).encode() == line
    assert read(line).line == line
    require_writable(read(line))


def test_there_is_an_example_of_every_kind() -> None:
    """Twelve, in the order of the reference."""
    assert [kind(line) for line in OWN_LINES] == list(KINDS)


@pytest.mark.parametrize("line", OWN_LINES, ids=kind)
def test_every_field_that_is_not_optional_must_be_there_and_not_null(line: bytes) -> None:
    """In the envelope and in the event; an optional one may be either."""
    envelope = json.loads(line)
    for inner in (False, True):
        names = envelope["event"]["data"] if inner else envelope
        for name in names:
            for null in (False, True):
                value = json.loads(line)
                holder = value["event"]["data"] if inner else value
                holder.pop(name)
                holder |= {name: None} if null else {}
                text = json.dumps(value).encode()
                if name in OPTIONAL.get(kind(line) if inner else "", ()):
                    typed(text)
                else:
                    with pytest.raises(MalformedRecord):
                        typed(text)


REFUSED = [
    (ENDED, '"tokens":42', '"tokens":42.0'),
    (ENDED, '"tokens":42', '"tokens":4e1'),
    (ENDED, '"tokens":42', '"tokens":-1'),
    (ENDED, '"tokens":42', '"tokens":18446744073709551616'),
    (ENDED, '"tokens":42', '"tokens":true'),
    (ENDED, '"passed":true', '"passed":1'),
    (ENDED, '"step":"Planning"', '"step":"planning"'),
    (ENDED, '"stop_reason":null', '"stop_reason":{"CriteriaMet":{"criteria":[]}}'),
    (ENDED, '"passed":true', '"passed":true,"passed":true'),
    (EXCEEDED, '"limit":"1024"', '"limit":1024'),
    (CREATED, '"confidence":0.9', '"confidence":1e40'),
    (CREATED, '"confidence":0.9', '"confidence":NaN'),
    (CREATED, '"kind":"Plan"', '"kind":"Draft"'),
    (CREATED, '"type":"Local"', '"type":"Other"'),
    (CREATED, '"contract_results":[', '"contract_results":null,"x":['),
    (RECALLED, '"consumers":["Kernel"]', '"consumers":null'),
    (RECALLED, '"stop_reason":"ReachedTopK"', '"stop_reason":"converged"'),
    (TRACED, '"replayability":"BestEffort"', '"replayability":null'),
    (DOWNGRADED, '"to":"BestEffort"', '"to":null'),
    (MOVED, '{"Other":"prompt"}', '"Other"'),
    (MOVED, '{"Other":"prompt"}', '"Prompt"'),
    (MOVED, '{"Other":"prompt"}', '{"Other":null}'),
    (MOVED, '{"Other":"prompt"}', '{"Other":"x","Pack":null}'),
    (CAPTURED, '"type":"Kernel"', '"type":"kernel"'),
]


@pytest.mark.parametrize(("line", "old", "new"), REFUSED, ids=[new for _, _, new in REFUSED])
def test_what_the_reference_refuses_is_not_written_here(line: bytes, old: str, new: str) -> None:
    """Wrong numbers, words, shapes and repeated fields."""
    other = changed(line, old, new)
    with pytest.raises(MalformedRecord):
        typed(other)
    with pytest.raises((InvalidQuery, MalformedRecord)):
        require_writable(read(other))


TAKEN = [
    (ENDED, '"tokens":42', '"tokens":18446744073709551615'),
    (ENDED, '"step":"Planning"', '"step":{"Planning":null}'),
    (ENDED, '"passed":true', '"passed":true,"metadata":{"a":"b"}'),
    (CREATED, '"confidence":0.9', '"confidence":1'),
    (CREATED, '"structured_payload":null', '"structured_payload":{"a":[1,-0,1e3,{}]}'),
    (RECALLED, '"consumers":["Kernel"],', ""),
    (RECALLED, '"purpose":"RuntimeAugmentation",', ""),
    (RECALLED, ',"signature":"unsigned"', ""),
    (DOWNGRADED, '"to":"BestEffort"', '"to":"None"'),
    (MOVED, '{"Other":"prompt"}', '{"Adapter":null}'),
    (MOVED, '{"Other":"prompt"}', '{"Other":""}'),
    (TRACED, '"event":{"type":', '"unknown":1,"event":{"beside":2,"type":'),
]


@pytest.mark.parametrize(("line", "old", "new"), TAKEN, ids=[new or old for _, old, new in TAKEN])
def test_what_the_reference_reads_may_be_written_here(line: bytes, old: str, new: str) -> None:
    """Its tolerance, quirks and defaults; carried as they are spelled."""
    other = changed(line, old, new)
    require_writable(read(other))
    assert read(other).line == other
    shape = fields_of(Envelope)
    assert typed(shape.write(typed(other)).encode()) == typed(other)


def test_absent_defaults_are_the_reference_s() -> None:
    """And are not made up for a list that is there and empty."""
    policy = b'{"type":"Recall","policy":{"enabled":true,"max_k_total":1,"max_tokens_injection":1,'
    policy += b'"min_score_threshold":0.5,"budgets":{"max_latency_ms":1,"max_embedding_calls":1,'
    policy += b'"max_tokens_per_candidate":1}USES}}'
    begin, end = CAPTURED.index(b'{"type":"Kernel"'), CAPTURED.index(b',"snapshot_hash"')

    def uses(text: bytes) -> list[str]:
        event = typed(CAPTURED[:begin] + policy.replace(b"USES", text) + CAPTURED[end:]).event
        return [str(use) for use in event.policy.allowed_uses]  # type: ignore[attr-defined]

    assert uses(b"") == ["RuntimeAugmentation"]
    assert uses(b',"allowed_uses":[]') == []


def test_nesting_is_bounded_as_there() -> None:
    """127 containers in a document, and no more."""
    for extra, good in ((123, True), (124, False)):
        payload = "[" * extra + "]" * extra
        line = changed(CREATED, '"structured_payload":null', f'"structured_payload":{payload}')
        if good:
            require_writable(read(line))
        else:
            with pytest.raises(MalformedRecord):
                read(line)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        b"{",
        b'{"event_id":"e","occurred_at":"x"}',
        b'{"event_id":1,"occurred_at":"x","event":{"type":"A"}}',
        b'{"event_id":null,"occurred_at":"x","event":{"type":"A"}}',
        b'{"occurred_at":"x","event":{"type":"A"}}',
        b'{"event_id":"e","event":{"type":"A"}}',
        b'{"event_id":"e","occurred_at":"x","event":{"type":3}}',
        b'{"event_id":"\\ud800","occurred_at":"x","event":{"type":"A"}}',
        b'{"event_id":"e","event_id":"e","occurred_at":"x","event":{"type":"A"}}',
        b'\xef\xbb\xbf{"event_id":"e","occurred_at":"x","event":{"type":"A"}}',
        b'{"event_id":"e","occurred_at":"x","event":{"type":"A"},}',
    ],
)
def test_what_is_no_envelope_is_malformed(line: bytes) -> None:
    """Missing, numeric or null fields, truncated JSON, half surrogates, a BOM, repeated fields."""
    with pytest.raises(MalformedRecord):
        read(line)


@pytest.mark.parametrize(
    ("written", "printed"),
    [
        ("0.7", "0.7"),
        ("0.123456789", "0.12345679"),
        ("16777217", "16777216.0"),
        ("1", "1.0"),
        ("-0", "-0.0"),
        ("1e-6", "0.000001"),
        ("1e-7", "1e-7"),
        ("1e12", "1000000000000.0"),
        ("1e13", "1e+13"),
        ("3.4e38", "3.4e+38"),
    ],
)
def test_small_floats_are_narrowed_and_written_shortest(written: str, printed: str) -> None:
    """f32 in the reference's spelling."""
    line = changed(CREATED, '"confidence":0.9', f'"confidence":{written}')
    again = fields_of(Envelope).write(typed(line))
    assert f'"confidence":{printed}}}' in again
    assert strictjson.parse(again.encode()) is not None
