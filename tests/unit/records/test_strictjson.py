"""JSON: the quick and the careful reader agree, nothing recurses, and prints are exact."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetsync.errors import MalformedRecord
from fleetsync.records import strictjson
from fleetsync.records.strictjson import Json, Number, Object

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
SCRAPS = st.lists(
    st.sampled_from([*'{}[]:,"\\u00dc \n-+.eE019truefalsn', '"a":', "null", "\ud800"]), max_size=25
)


def _carefully(text: str) -> Json:
    reader = strictjson._Reader(text)
    value = reader.value(strictjson._CHECKED)
    reader.finish()
    return value


def _outcome(read: object, text: str) -> object:
    try:
        return read(text)  # type: ignore[operator]
    except MalformedRecord:
        return "malformed"


@given(VALUES, st.booleans())
def test_quick_and_careful_reader_agree_on_json(value: object, ascii_only: bool) -> None:
    """What Python writes, NaN and infinities included, is read alike or refused alike."""
    text = json.dumps(value, ensure_ascii=ascii_only)
    assert _outcome(strictjson._parse_tame, text) == _outcome(_carefully, text)


@given(SCRAPS.map("".join))
def test_quick_and_careful_reader_agree_on_scraps(text: str) -> None:
    """What is not JSON is refused by both, wherever it goes wrong."""
    if not strictjson._SURROGATE.search(text) and not strictjson._SURROGATE_ESCAPE.search(text):
        assert _outcome(strictjson._parse_tame, text) == _outcome(_carefully, text)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_printed_float_is_the_same_float(value: float) -> None:
    """Printing loses nothing and always looks like a float."""
    text = strictjson.print_f64(value)
    number = strictjson.parse(text.encode())
    assert isinstance(number, Number)
    assert (number.type, str(number.value)) == ("f64", str(value))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1e-5, "0.00001"),
        (1.25e-5, "0.0000125"),
        (9.5e-6, "9.5e-6"),
        (1e-4, "0.0001"),
        (0.0, "0.0"),
        (2.0, "2.0"),
    ],
)
def test_a_float_is_printed_alike_on_both_sides_of_zero(value: float, text: str) -> None:
    """Plain down to five zeros, as mur prints it; a sign changes nothing but the sign."""
    assert (strictjson.print_f64(value), strictjson.print_f64(-value)) == (text, f"-{text}")


@given(st.text())
def test_a_printed_string_is_the_same_string(text: str) -> None:
    """Printing escapes what it must and nothing else."""
    assert strictjson.parse(strictjson.print_string(text).encode()) == text


@pytest.mark.parametrize(
    ("lexeme", "kind"),
    [
        (str(2**64 - 1), "u64"),
        (str(2**64), "f64"),
        (str(-(2**63)), "i64"),
        (str(-(2**63) - 1), "f64"),
        ("-1", "i64"),
        ("0", "u64"),
        ("-0", "f64"),
        ("1.0", "f64"),
    ],
)
def test_an_integer_is_one_as_far_as_64_bits_reach(lexeme: str, kind: str) -> None:
    """Both edges included; beyond them mur holds a float, and for minus nothing too."""
    assert strictjson.read_number(lexeme).type == kind


def test_repeated_names_and_lexemes_are_kept() -> None:
    """Judging repetition is the caller's; how a number was spelled is not lost."""
    value = strictjson.parse(b'{"a":1.50,"a":2}')
    assert value == Object((("a", Number("1.50", 1.5)), ("a", Number("2", 2))))


@pytest.mark.parametrize("depth", [126, 127, 128, 200, 100_000])
def test_nesting_is_bounded_without_recursion(depth: int) -> None:
    """127 open containers are read, more are malformed, and no depth exhausts the stack."""
    data = b"[" * depth + b"]" * depth
    if depth <= strictjson.MAX_DEPTH:
        strictjson.parse(data)
    else:
        with pytest.raises(MalformedRecord):
            strictjson.parse(data)
    with pytest.raises(MalformedRecord):
        strictjson.parse(b"[" * depth)


@pytest.mark.parametrize("text", [r'"\ud83d\ude00"', r'"\uD83D\uDE00"'])
def test_a_surrogate_pair_is_one_character(text: str) -> None:
    """A whole pair of escapes is a character."""
    assert strictjson.parse(text.encode()) == "\U0001f600"


@pytest.mark.parametrize(
    "text", [r'"\ud83d"', r'"\ude00\ud83d"', r'"\ud83dx"', r'{"\ud83d":1}', r'["\udfff"]']
)
def test_half_a_surrogate_pair_is_malformed(text: str) -> None:
    """Half of one means nothing, in names too."""
    with pytest.raises(MalformedRecord):
        strictjson.parse(text.encode())


def test_members_that_are_not_wanted_need_only_be_well_formed() -> None:
    """They may nest without bound and hold what cannot be held; wanted ones may not."""
    deep = b"[" * 100_000 + b"]" * 100_000
    data = b'{"x":' + deep + rb',"y":"\ud800","z":1e999,"n":{"\ud800":1},"a":1}'
    assert strictjson.parse_members(data, {"a"}) == Object((("a", Number("1", 1)),))
    for wanted in ("x", "y", "z", "n"):
        with pytest.raises(MalformedRecord):
            strictjson.parse_members(data, {wanted})


@pytest.mark.parametrize(
    "data", [b'{"x":01}', b'{"x":[1,]}', b'{"x":"\\q"}', b'{"x" 1}', b"{,}", b'{"x":1}1', b"{"]
)
def test_members_that_are_not_wanted_must_be_well_formed(data: bytes) -> None:
    """Grammar is checked everywhere."""
    with pytest.raises(MalformedRecord):
        strictjson.parse_members(data, {"a"})


@pytest.mark.parametrize("data", [b"[1,2]", b"{}", b" 7 ", b'{"a":[{}]}'])
def test_members_of_what_has_none_is_the_value(data: bytes) -> None:
    """Without anything to leave out both readers give the same."""
    assert strictjson.parse_members(data, {"a"}) == strictjson.parse(data)


def test_extent_finds_the_end_of_an_object_in_a_longer_text() -> None:
    """It stops behind the brace that closes the object, strings respected."""
    text = 'junk {"a":"}{\\""}tail'
    assert strictjson.extent(text, 5) == text.index("tail")
    with pytest.raises(strictjson.NotAnObject) as caught:
        strictjson.extent('{"a":1,', 0)
    assert caught.value.at == 7


@pytest.mark.parametrize(("depth", "good"), [(126, True), (127, False)])
def test_a_wanted_member_nests_one_less_deep_than_a_whole_value(depth: int, good: bool) -> None:
    """The object around it counts: whichever way a text is read, the bound is the same."""
    data = b'{"a":' + b"[" * depth + b"]" * depth + b"}"
    for read in (strictjson.parse, lambda data: strictjson.parse_members(data, {"a"})):
        if good:
            read(data)
        else:
            with pytest.raises(MalformedRecord):
                read(data)
