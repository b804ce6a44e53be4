"""Channel events: an identity that no number touches, and a short way that equals the long one."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fleetsync.errors import MalformedRecord
from fleetsync.records import actors, channels, strictjson, timestamps
from fleetsync.records.actors import Agent, Human, System
from fleetsync.records.channels import KINDS, ChannelEvent, OpaqueEvent
from fleetsync.records.strictjson import Json, Number, Object

BODY = (
    b'{"ts":"2026-06-16T00:00:00.123456Z","actor":{"kind":"agent","id":"qa"},"kind":"message"'
    b',"payload":{"n":1.50,"text":"h\xc3\xa9 \\"x\\""},"idempotency_key":"k\\n","sig":"z1","key_version":0}'
)
GOOD = b'{"seq":3,' + BODY[1:]
NEW_KIND = b'{"seq":4,"ts":"2026-06-16T00:00:01Z","actor":{"kind":"system"},"kind":"poll","payload":{}}'
NEW_ACTOR = (
    b'{"seq":5,"ts":"2026-06-16T00:00:02Z","actor":{"kind":"team","of":[1]},"kind":"note","payload":{}}'
)

NAMES = st.text(max_size=8)
NUMBERS = st.integers(-(2**63), 2**64 - 1).map(lambda n: Number(str(n), n)) | st.floats(
    allow_nan=False, allow_infinity=False
).map(lambda x: Number(strictjson.print_f64(x), x))
PAYLOADS: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | st.text(max_size=8) | NUMBERS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(NAMES, inner, max_size=3).map(lambda d: Object(tuple(d.items())))
    ),
    max_leaves=6,
)
EVENTS = st.builds(
    ChannelEvent,
    st.none() | st.integers(0, 2**64 - 1),
    st.integers(-(10**18), 4 * 10**18).map(timestamps.at),
    st.builds(Human, NAMES) | st.builds(Agent, NAMES) | st.just(System()),
    st.sampled_from(KINDS),
    PAYLOADS,
    st.none() | NAMES,
    st.none() | NAMES,
    st.none() | st.integers(0, 2**32 - 1),
)
SEQS = st.integers(0, 2**64 - 1)
BLANKS = st.text(" \t", max_size=2)
EDITS = st.lists(
    st.tuples(
        st.floats(0, 1),
        st.integers(0, 3),
        st.sampled_from([*b'"\\{}[],:.-+0129eEu \r\n\xff\x00']).map(lambda byte: bytes([byte])),
    ),
    min_size=1,
    max_size=4,
)


def _edited(line: bytes, edits: list[tuple[float, int, bytes]]) -> bytes:
    for place, cut, put in edits:
        at = int(place * len(line))
        line = line[:at] + put + line[at + cut :]
    return line


def _identity(line: bytes) -> tuple[bytes, int] | None:
    try:
        return channels.event_identity(line)
    except MalformedRecord:
        return None


# --- identity -----------------------------------------------------------------------------------------


def test_a_number_is_cut_out_and_put_in_front() -> None:
    """The body is every other byte of the line; numbering it gives the line back."""
    assert channels.without_seq(GOOD) == BODY
    assert channels.with_seq(BODY, 3) == GOOD


@pytest.mark.parametrize(
    "line",
    [
        b'{"ts":"2026-06-16T00:00:00Z","seq":3,"actor":["system"],"kind":"note","x":[{"seq":9}]}',
        b'{"ts":"2026-06-16T00:00:00Z","actor":["system"],"kind":"note","x":[{"seq":9}],"seq":18446744073709551615}',
        b'{"ts":"2026-06-16T00:00:00Z","actor":["system"],"s\\u0065q":0,"kind":"note","x":[{"seq":9}]}',
        b'  {"seq":12,"ts":"2026-06-16T00:00:00Z","actor":["system"],"kind":"note","x":[{"seq":9}]}\r',
        b'{"ts":"2026-06-16T00:00:00Z","actor":["system"],"kind":"note","x":[{"seq":9}]}',
    ],
)
def test_wherever_the_number_stood_the_event_is_the_same(line: bytes) -> None:
    """First, in the middle, last, spelled with an escape, or not at all; deeper ones are left alone."""
    body = b'{"ts":"2026-06-16T00:00:00Z","actor":["system"],"kind":"note","x":[{"seq":9}]}'
    assert channels.without_seq(line) == body
    assert channels.event_identity(line) == channels.event_identity(body)


@given(EVENTS, SEQS, SEQS)
def test_identity_knows_no_number(event: ChannelEvent, first: int, second: int) -> None:
    """However often an event is numbered anew, its body and identity stay, byte for byte."""
    line = channels.with_seq(event.canonical, first)
    again = channels.with_seq(channels.without_seq(line), second)
    assert channels.event_identity(line) == channels.event_identity(again) == _identity(event.canonical)
    assert channels.without_seq(line) == channels.without_seq(again)
    assert (channels.seq_of(line), channels.seq_of(again)) == (first, second)


@given(EVENTS, st.permutations(range(8)), st.lists(BLANKS, min_size=30, max_size=30), SEQS)
def test_identity_of_any_spelling_survives_numbering(
    event: ChannelEvent, order: list[int], blanks: list[str], seq: int
) -> None:
    """Any order of members and any white space: cutting and numbering never lose or move a byte."""
    value = strictjson.parse(channels.with_seq(event.canonical, seq))
    assert isinstance(value, Object)
    members = [value.members[i] for i in order if i < len(value.members)]
    space = iter(blanks)
    parts = [
        f"{next(space)}{strictjson.print_string(k)}{next(space)}:{channels.print_sorted(v)}{next(space)}"
        for k, v in members
    ]
    line = ("{" + ",".join(parts) + "}").encode()
    body = channels.without_seq(line)
    assert b'"seq"' not in body or b'"seq"' in event.canonical.replace(b'{"seq":', b"", 1)
    renumbered = channels.with_seq(body, seq)
    assert channels.without_seq(renumbered) == body
    assert channels.event_identity(renumbered) == channels.event_identity(line)
    assert channels.parse_event(renumbered).canonical == channels.parse_event(line).canonical


def test_what_an_author_spelled_otherwise_is_another_event() -> None:
    """Number spellings, unknown members and their order are part of the identity: nothing is re-made."""
    others = [
        BODY.replace(b"1.50", b"1.5"),
        BODY.replace(b'"sig"', b'"x":1,"sig"'),
        BODY.replace(b'"n":1.50,"text"', b'"text":1.50,"n"'),
    ]
    assert len({channels.event_identity(body)[0] for body in [BODY, *others]}) == 4


@given(EVENTS, EDITS)
def test_short_way_equals_long_way(event: ChannelEvent, edits: list[tuple[float, int, bytes]]) -> None:
    """What the short way takes, the long way reads as the same, for sound and for damaged lines."""
    for line in (event.canonical, _edited(event.canonical, edits)):
        written = channels._written(line)
        if written is None:
            continue
        read = channels.read_event(line)
        assert isinstance(read, ChannelEvent)
        assert (written.seq, written.micros, written.kind) == (read.seq, read.ts.micros, read.kind)
        assert channels.idempotency_key(line) == read.idempotency_key
        assert written.body == channels._cut(line)
        assert channels._plainly_readable(line)


@given(EVENTS)
def test_what_mur_writes_goes_the_short_way(event: ChannelEvent) -> None:
    """Speed is only had if the short way is taken."""
    tame = event.sig is None or not any(c in '"\\' or c < " " for c in event.sig)
    assume(tame and event.ts.canonical[0] not in "+-")
    assume(b"\\ud" not in event.canonical.lower())  # may be half a surrogate pair
    assume((event.key_version or 0) < 10**9 and (event.seq or 0) < 10**18)
    assert channels._written(event.canonical) is not None


# --- reading ------------------------------------------------------------------------------------------


def test_what_mur_does_not_know_is_carried_and_parked() -> None:
    """A kind of event or actor that a newer mur may know has an identity, but is not written here."""
    for line, kind, seq in ((NEW_KIND, "poll", 4), (NEW_ACTOR, "note", 5)):
        assert isinstance(channels.read_event(line), OpaqueEvent)
        assert channels.kind_of(line) == kind
        assert _identity(line) == _identity(channels.without_seq(line)) is not None
        assert not channels.readable_by_mur(line)
        assert channels.seq_of(line) == seq
        with pytest.raises(MalformedRecord, match="mur knows"):
            channels.parse_event(line)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b"null",
        b'{"kind":"agent","id":"qa"}',
        GOOD.replace(b'{"seq":3', b'{"seq":3,"seq":4'),
        GOOD.replace(b'"key_version":0', b'"key_version":"0"'),
        GOOD.replace(b"2026-06-16", b"2026-02-30"),
        GOOD.replace(b'"seq":3', b'"seq":-1'),
        GOOD.replace(b"1.50", b"1e999"),
        GOOD.replace(b'{"kind":"agent","id":"qa"}', b'["system",1]'),
        GOOD.replace(b'{"kind":"agent","id":"qa"}', b'["agent"]'),
        GOOD.replace(b'"id":"qa"', b'"id":"qa","id":"qa"'),
        GOOD + GOOD,
        b'[3,"2026-06-16T00:00:00Z",["system"],"note"]',
    ],
)
def test_what_is_no_event_has_no_identity(line: bytes) -> None:
    """Damage is never a member of the set, and is never written."""
    assert _identity(line) is None
    assert not channels.readable_by_mur(line)
    with pytest.raises(MalformedRecord):
        channels.with_seq(line, 1)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"sig"', b'"x":1,"x":2,"sig"'),
        (b'"sig"', b'"x":1e999,"sig"'),
        (b'"sig"', b'"x":"\\ud800","sig"'),
        (b'"id":"qa"', b'"id":"qa","x":1,"x":2'),
        (b'{"kind":"agent","id":"qa"}', b'["agent","qa"]'),
        (b'"kind":"message"', b'"kind":{"message":null}'),
        (b"T00:00:00.123456Z", b" 00:00:00 utc"),
        (b'"payload":', b'"payload":\r'),
        (b'"payload":', b'"payload":\n'),
    ],
)
def test_in_doubt_a_line_is_parked(old: bytes, new: bytes) -> None:
    """mur would read these; nothing that it writes looks so, and they are members all the same."""
    line = GOOD.replace(old, new)
    assert channels.parse_event(line).kind == "message"
    assert _identity(line) is not None
    assert not channels.readable_by_mur(line)


@pytest.mark.parametrize(
    ("old", "new"), [(b"", b""), (b'"sig"', b'"s\\u0069g"'), (b'"sig":', b'"sig" :'), (b'"seq":3,', b"")]
)
def test_a_signed_event_is_found_however_it_is_spelled(old: bytes, new: bytes) -> None:
    """Numbered or not: what is signed must be verified."""
    event = channels.signed_event(GOOD.replace(old, new))
    assert event is not None
    assert event.sig == "z1"


@pytest.mark.parametrize(
    "line",
    [
        GOOD.replace(b',"sig":"z1"', b""),
        GOOD.replace(b'"z1"', b"null"),
        GOOD.replace(b',"sig":"z1"', b',"x\\u0041":"sig""'),
        GOOD.replace(b"message", b"poll"),
        NEW_ACTOR.replace(b'"payload"', b'"sig":"z1","payload"'),
        GOOD[:-1],
        b"",
    ],
)
def test_what_carries_no_signature_that_can_be_judged_is_not_signed(line: bytes) -> None:
    """None at all, or on an event of which nobody here knows what was signed."""
    assert channels.signed_event(line) is None


def test_the_kind_that_mur_does_not_know_is_named() -> None:
    """Of what is an event; damage is of no kind."""
    assert channels.unknown_kind(NEW_KIND) == "poll"
    assert channels.unknown_kind(NEW_ACTOR) == "note"
    for line in (GOOD, GOOD[:-1], b""):
        assert channels.unknown_kind(line) is None


def test_an_idempotency_key_is_one_only_of_an_event_that_is_written() -> None:
    """The long way and the short one; an event of an unknown kind has none here, nor has damage."""
    assert channels.idempotency_key(GOOD) == channels.idempotency_key(b" " + GOOD) == "k\n"
    without = GOOD.replace(b',"idempotency_key":"k\\n"', b"")
    for line in (without, b" " + without, GOOD.replace(b"message", b"poll"), GOOD[:-1]):
        assert channels.idempotency_key(line) is None


def test_an_actor_may_be_an_array() -> None:
    """As mur's reader takes it, of each kind with what belongs to it."""
    for array, actor in (
        (b'["human","me"]', Human("me")),
        (b'["agent","qa"]', Agent("qa")),
        (b'["system"]', System()),
    ):
        line = GOOD.replace(b'{"kind":"agent","id":"qa"}', array)
        assert channels.parse_event(line).actor == actor
    for array in (
        b'["human"]',
        b'["human",7]',
        b'["human","a","b"]',
        b'["Human","a"]',
        b"[]",
        b'[["human"],"a"]',
    ):
        with pytest.raises(MalformedRecord):
            channels.parse_event(GOOD.replace(b'{"kind":"agent","id":"qa"}', array))


def test_readable_does_not_depend_on_the_number() -> None:
    """A body is judged as the line that it will be, also when its author spaced it out."""
    spaced = b'{ "ts": "2026-06-16T00:00:00+02:00", "actor": {"kind": "system"}, "kind": "note" }'
    for body in (BODY, spaced):
        assert channels.readable_by_mur(body)
        assert channels.readable_by_mur(channels.with_seq(body, 2**64 - 1))


def test_numbers_beyond_u64_are_the_callers_fault() -> None:
    """No line is written that mur could not read."""
    for seq in (-1, 2**64):
        with pytest.raises(ValueError, match="no number"):
            channels.with_seq(BODY, seq)
    assert (channels.next_seq(None), channels.next_seq(7), channels.next_seq(2**64 - 1)) == (0, 8, 0)


def test_deep_and_long_payloads_are_bounded() -> None:
    """Nesting and digits beyond what mur reads are refused, not crashed on."""
    for value in (b"[" * 5000 + b"]" * 5000, b"9" * 5000, b"[" * 127 + b"]" * 127):
        line = BODY.replace(b"1.50", value)
        assert _identity(line) is None
        assert not channels.readable_by_mur(line)
    assert channels.readable_by_mur(BODY.replace(b"1.50", b"[" * 120 + b"]" * 120))


# --- people -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ({"USER": "me", "USERNAME": "other"}, "me"),
        ({"USERNAME": "other"}, "other"),
        ({"USER": "", "USERNAME": "other"}, "you"),
        ({}, "you"),
    ],
)
def test_local_human(environment: dict[str, str], name: str) -> None:
    """The person is named as mur names them from the same environment."""
    assert actors.local_human(environment) == Human(name)


def test_who_signs() -> None:
    """An agent signs for itself, the router for humans and the system, and nobody for an illegal name."""
    assert actors.writer_of(Agent("qa")) == "qa"
    assert actors.writer_of(Human("me")) == actors.writer_of(System()) == "mur"
    assert actors.writer_of(Agent("../qa")) is None
    assert [actors.label(a) for a in (Agent("qa"), Human("me"), System())] == [
        "agent:qa",
        "human:me",
        "system",
    ]
