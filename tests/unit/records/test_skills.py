"""Skill events: the short way equals the long way, and what is good is read whatever is beside it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetsync.errors import MalformedRecord
from fleetsync.records import skills, strictjson, timestamps
from fleetsync.records.skills import FIELDS, OpaqueEvent, SkillEvent
from fleetsync.records.strictjson import Number

GOOD = b'{"kind":"retrieval","ts":"2026-05-30T00:00:01Z","device_id":"d"}'
RUN = (
    b'{"kind":"execution","ts":"2026-05-30T00:00:02.123456789Z","device_id":"cli","outcome":"failure",'
    b'"error":"bo\\"o\\u001b[0mm","step":"deploy","duration_ms":8421,"exit_code":-1,"env_class":"workflow",'
    b'"confidence":0.6,"trigger":"manual"}'
)
NEW_KIND = b'{"kind":"rated","ts":"2026-05-30T00:00:03Z","device_id":"d","stars":5}'

TEXTS = st.none() | st.text(max_size=20)
TIMES = st.integers(-(10**18), 4 * 10**18).map(timestamps.at)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
EVENTS = st.builds(
    SkillEvent,
    st.sampled_from(["retrieval", "dismissed", "superseded"]),
    TIMES,
    st.text(max_size=10),
) | st.builds(
    SkillEvent,
    st.just("execution"),
    TIMES,
    st.text(max_size=10),
    st.text(max_size=10),
    TEXTS,
    TEXTS,
    st.none() | st.integers(0, 2**64 - 1),
    st.none() | st.integers(-(2**31), 2**31 - 1),
    TEXTS,
    st.none() | FINITE,
    TEXTS,
)
EDITS = st.lists(
    st.tuples(
        st.floats(0, 1),
        st.integers(0, 3),
        st.sampled_from([*b'"\\{}[],:.-+0129eEZTu \r\n\xff\x00', *b"ts"]).map(lambda byte: bytes([byte])),
    ),
    min_size=1,
    max_size=4,
)


def _slowly(line: bytes) -> SkillEvent | OpaqueEvent:
    return skills._event(strictjson.parse(line), line)


def _edited(line: bytes, edits: list[tuple[float, int, bytes]]) -> bytes:
    for place, cut, put in edits:
        at = int(place * len(line))
        line = line[:at] + put + line[at + cut :]
    return line


@given(EVENTS)
def test_what_is_written_is_read_back(event: SkillEvent) -> None:
    """Writing and reading changes no field, and nothing that is written is ever parked."""
    line = event.canonical
    again = skills.parse_event(line)
    assert [getattr(again, name) for name in FIELDS[event.kind]] == [
        getattr(event, name) for name in FIELDS[event.kind]
    ]
    assert again.canonical == line
    assert skills.readable_by_mur(line)


@given(EVENTS)
def test_short_way_equals_long_way(event: SkillEvent) -> None:
    """Key and event are those of the careful reader."""
    line, slow = event.canonical, _slowly(event.canonical)
    assert skills.event_key(line) == (slow.dedup_key, slow.micros)
    assert skills.parse_event(line) == slow
    assert skills.read_countable(line) == (slow.kind, slow.ts, getattr(slow, "outcome", None))


@given(EVENTS, EDITS)
def test_short_way_equals_long_way_on_damaged_lines(
    event: SkillEvent, edits: list[tuple[float, int, bytes]]
) -> None:
    """However a line is edited, both ways give the same event or both none."""
    line = _edited(event.canonical, edits)
    try:
        slow = _slowly(line)
    except MalformedRecord:
        with pytest.raises(MalformedRecord):
            skills.event_key(line)
        with pytest.raises(MalformedRecord):
            skills.read_event(line)
        with pytest.raises(MalformedRecord):
            skills.read_countable(line)
        assert not skills.readable_by_mur(line)
        return
    assert skills.event_key(line) == (slow.dedup_key, slow.micros)
    assert skills.read_event(line) == slow
    countable = skills.read_countable(line)
    assert (
        countable == (slow.kind, slow.ts, slow.outcome) if isinstance(slow, SkillEvent) else countable is None
    )
    if skills._written(line) is not None:
        assert skills._plainly_readable(line)


def test_ordinary_lines_take_the_short_way() -> None:
    """What mur writes every day matches the expression; were it not so, first sync would crawl."""
    assert skills._written(GOOD)
    assert skills._written(RUN)
    assert skills._written(RUN.replace(b"deploy", "部署 ☃".encode()))


@pytest.mark.parametrize(
    "line", [GOOD.replace(b"05-30", b"02-30"), GOOD.replace(b'"d"', b'"\xff"'), GOOD + b"\n" + GOOD]
)
def test_what_only_looks_ordinary_is_malformed(line: bytes) -> None:
    """A day that does not exist, bytes that are no text, two lines in one."""
    with pytest.raises(MalformedRecord):
        skills.event_key(line)
    assert not skills.readable_by_mur(line)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"8421", b"18446744073709551616"),
        (b"8421", b"99999999999999999999"),
        (b"8421", b"-1"),
        (b":-1", b":2147483648"),
        (b":-1", b":-2147483649"),
        (b":-1", b":-0"),
    ],
)
def test_a_number_that_its_field_cannot_hold_is_malformed(old: bytes, new: bytes) -> None:
    """mur's fields are 64 and 32 bits wide, and one number beyond makes it drop the whole log."""
    line = RUN.replace(old, new)
    with pytest.raises(MalformedRecord):
        skills.event_key(line)
    assert not skills.readable_by_mur(line)


@pytest.mark.parametrize("values", ['"d",1', "", '"d",null'])
def test_an_array_of_the_wrong_length_is_malformed(values: str) -> None:
    """The array form has exactly the fields of its kind."""
    line = f'["retrieval","2026-05-30T00:00:01Z",{values}]'.replace(",]", "]").encode()
    with pytest.raises(MalformedRecord):
        skills.event_key(line)


def test_execution_without_outcome_and_retrieval_with_one() -> None:
    """An execution needs its outcome; on other kinds the field is just unknown."""
    with pytest.raises(MalformedRecord):
        skills.event_key(GOOD.replace(b"retrieval", b"execution"))
    odd = GOOD[:-1] + b',"outcome":"x"}'
    assert skills.parse_event(odd).outcome is None
    assert skills.parse_event(odd).extra == (("outcome", "x"),)


def test_unknown_fields_are_kept_beside_the_event() -> None:
    """They stay in the line and in `extra`; mur would drop them, so the canonical line does."""
    line = GOOD[:-1] + b',"note":1.50}'
    event = skills.parse_event(line)
    assert event.extra == (("note", Number("1.50", 1.5)),)
    assert (event.line, event.canonical) == (line, GOOD)
    assert skills.readable_by_mur(line)


def test_an_unknown_kind_is_carried_but_not_written() -> None:
    """It has a key, it is no event that counts, and it is parked."""
    assert skills.event_key(NEW_KIND) == ("1780099203000000:rated:d", 1780099203000000)
    assert isinstance(skills.read_event(NEW_KIND), OpaqueEvent)
    assert not skills.readable_by_mur(NEW_KIND)
    assert skills.read_countable(NEW_KIND) is None
    assert skills.unknown_kind(NEW_KIND) == "rated"
    for line in (NEW_KIND.replace(b"T00", b" 00"), GOOD, RUN, NEW_KIND[:-1]):
        assert skills.unknown_kind(line) is None
    with pytest.raises(MalformedRecord):
        skills.parse_event(NEW_KIND)


@pytest.mark.parametrize(
    "line",
    [
        NEW_KIND.replace(b"2026-05-30T", b"soon "),
        NEW_KIND.replace(b'"d"', b"7"),
        NEW_KIND.replace(b'"d"', b"null"),
        NEW_KIND.replace(b'"device_id"', b'"device"'),
        NEW_KIND[:-1] + b',"ts":"2026-05-30T00:00:03Z"}',
        NEW_KIND.replace(b"5}", b"1e999}"),
        b'["rated","2026-05-30T00:00:03Z","d"]',
    ],
)
def test_an_unknown_kind_without_a_certain_key_is_malformed(line: bytes) -> None:
    """No time, no device, a repeated time, a value nobody can hold, an array of unknown order."""
    with pytest.raises(MalformedRecord):
        skills.event_key(line)


@pytest.mark.parametrize(
    "line",
    [
        b'["retrieval","2026-05-30T00:00:01Z","d"]',
        GOOD.replace(b"01Z", b"01 UTC"),
        GOOD.replace(b"T00", b" 00"),
        GOOD[:-1] + b',"x":1,"x":2}',
        GOOD + b"\r",
        GOOD.replace(b",", b",\n", 1),
    ],
)
def test_in_doubt_a_line_is_parked(line: bytes) -> None:
    """Exotic spellings that mur is recorded to read still have their key but are not written."""
    assert skills.event_key(line) == ("1780099201000000:retrieval:d", 1780099201000000)
    assert not skills.readable_by_mur(line)


@pytest.mark.parametrize(
    ("data", "events", "opaque", "malformed"),
    [
        (b"", [], [], []),
        (b"\n\r\n\n", [], [], []),
        (GOOD + b"\r\n" + RUN + b"\n", [(1, 0), (2, 66)], [], []),
        (GOOD, [(1, 0)], [], []),
        (GOOD + GOOD + b"\n" + GOOD, [(1, 0), (1, 64), (2, 129)], [], [(1, 0, GOOD + GOOD)]),
        (GOOD[:30] + RUN + b"\n", [(1, 30)], [], [(1, 0, GOOD[:30])]),
        (RUN + GOOD[:30], [(1, 0)], [], [(1, len(RUN), GOOD[:30])]),
        (b"\xef\xbb\xbf" + GOOD, [(1, 3)], [], [(1, 0, b"\xef\xbb\xbf")]),
        (b" " + GOOD + b" \n", [(1, 1)], [], []),
        (GOOD + b"\n \n", [(1, 0)], [], [(2, 65, b" ")]),
        (NEW_KIND + b"\n" + GOOD, [(2, len(NEW_KIND) + 1)], [(1, 0)], []),
        (GOOD + NEW_KIND, [(1, 0)], [(1, 64)], [(1, 0, GOOD + NEW_KIND)]),
        (b"[1]\n" + GOOD, [(2, 4)], [], [(1, 0, b"[1]")]),
        (GOOD + b'{"kind":"execution"}', [(1, 0)], [], [(1, 64, b'{"kind":"execution"}')]),
    ],
)
def test_a_damaged_log_still_gives_its_good_records(
    data: bytes,
    events: list[tuple[int, int]],
    opaque: list[tuple[int, int]],
    malformed: list[tuple[int, int, bytes]],
) -> None:
    """Line numbers and byte offsets of all that a log holds; exact bytes of what is bad.

    A line that is good only in parts is reported too, because mur reads nothing of such a log.
    """
    log = skills.parse_log(data)
    assert [placed[:2] for placed in log.events] == events
    assert [placed[:2] for placed in log.opaque] == opaque
    assert [bad[:3] for bad in log.malformed] == malformed
    for placed in log.events + log.opaque:
        line = placed.event.line
        assert data[placed.offset :].startswith(line)


def test_what_is_wrong_with_a_line_is_told() -> None:
    """What no reader takes says why; a line that is good in parts, and one that is blank, say so."""
    data = b"\n".join([b"[1]", GOOD + GOOD, b" ", GOOD + b'{"kind":"execution"}', GOOD[:30]])
    reasons = [bad.reason for bad in skills.parse_log(data).malformed]
    assert reasons[0] == "an array that is no event"
    assert reasons[1:3] == ["several records on one line", "a blank line that is not empty"]
    assert reasons[3].startswith("ts is missing")
    assert reasons[4].startswith("not JSON")


def test_an_array_is_an_event_too() -> None:
    """As mur's reader takes it, with nothing besides; an empty one is none."""
    event = skills.parse_event(b'["retrieval","2026-05-30T00:00:01Z","d"]')
    assert (event.kind, event.device_id, event.extra) == ("retrieval", "d", ())
    for line in (b"[]", b"[7]", b'["rated"]'):
        with pytest.raises(MalformedRecord):
            skills.read_event(line)


def test_order_is_total() -> None:
    """Equal time and key are told apart by the line; an event made here stands where its line would."""
    other = skills.parse_event(GOOD[:-1] + b',"x":1}')
    event = skills.parse_event(GOOD)
    assert event.order != other.order
    assert SkillEvent("retrieval", event.ts, "d").order == event.order
