"""JSON of no known type: one canonical text for one value, and nothing printed that could not be read."""

from __future__ import annotations

from typing import Any

import pytest

from fleetsync.errors import MalformedRecord
from fleetsync.records import strictjson
from fleetsync.records.experience_json import (
    canonical_f64,
    canonical_json,
    finite,
    member,
    narrow,
    plain,
    print_f32,
    print_json,
    print_name,
)
from fleetsync.records.strictjson import MAX_DEPTH


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ('{"b": 1, "a": [true, null, "x\\u0041"], "b": 2.50}', '{"a":[true,null,"xA"],"b":2.5f}'),
        ("-0.0", "0f"),
        ("0", "0"),
        ("1.0", "1f"),
        ("1e2", "100f"),
        ("0.1234567890123456", "0.123456789012346f"),
        ("[]", "[]"),
        ("{}", "{}"),
        ("false", "false"),
        ("18446744073709551615", "18446744073709551615"),
    ],
)
def test_spellings_of_one_value_have_one_text(text: str, canonical: str) -> None:
    """Keys are sorted, the last of equal ones counts; a whole number is not the float beside it."""
    assert canonical_json(strictjson.parse(text.encode())) == canonical


def test_a_float_counts_to_the_digits_that_other_readers_keep() -> None:
    """Neither the last two digits of an f64 nor the sign of zero."""
    assert canonical_f64(0.1 + 0.2) == canonical_f64(0.3) == "0.3"
    assert canonical_f64(-0.0) == canonical_f64(0.0) == "0"
    assert canonical_f64(0.3) != canonical_f64(0.30000000000001)


@pytest.mark.parametrize(
    "value", [True, "1", None, [1], 1j, 10**400, float("nan"), float("inf"), -float("inf")]
)
def test_what_is_no_finite_number_is_refused(value: Any) -> None:
    """A bool is none."""
    with pytest.raises(MalformedRecord, match="number is wanted, not"):
        finite(value)
    assert finite(7) == 7.0


def test_what_is_printed_is_read_back() -> None:
    """In the reference's spelling: no spaces, members as they came."""
    numbers = [1, -(2**63), 2**64 - 1, 0.5]
    value = {"b": [*numbers, (True, None)], "a": {"": "é\n"}}
    text = print_json(value)
    assert text == '{"b":[1,-9223372036854775808,18446744073709551615,0.5,[true,null]],"a":{"":"é\\n"}}'
    assert plain(strictjson.parse(text.encode())) == {**value, "b": [*numbers, [True, None]]}


def nested(depth: int, *, in_lists: bool) -> Any:
    """Nothing, so deep in lists or members."""
    value: Any = None
    for _ in range(depth):
        value = [value] if in_lists else {"x": value}
    return value


@pytest.mark.parametrize("in_lists", [True, False])
def test_what_is_printed_is_as_deep_as_it_may_be_read(in_lists: bool) -> None:
    """And no deeper."""
    text = print_json(nested(MAX_DEPTH, in_lists=in_lists))
    strictjson.parse(text.encode())
    with pytest.raises(MalformedRecord, match="deeply"):
        print_json(nested(MAX_DEPTH + 1, in_lists=in_lists))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (2**64, "a number of 64 bits is wanted, not 18446744073709551616"),
        (-(2**63) - 1, "a number of 64 bits is wanted, not -9223372036854775809"),
        ({1: 2}, "a string is wanted, not 1"),
        ({None: 2}, "a string is wanted, not null"),
        ({"x": b"y" * 99}, f"JSON is wanted, not b'{'y' * 58}"),
        (strictjson.Number("1" * 99, 1), f"JSON is wanted, not {'1' * 40}"),
        (strictjson.Object(()), "JSON is wanted, not an object"),
        (float("inf"), "a finite number is wanted, not inf"),
    ],
)
def test_what_is_no_json_is_named(value: Any, shown: str) -> None:
    """As much of it as fits on a line."""
    with pytest.raises(MalformedRecord) as refused:
        print_json(value)
    assert refused.value.message == shown
    assert print_name("a") == '"a"'


def test_a_member_is_there_once_or_not_at_all() -> None:
    """Two of a name have no meaning; what is no object has no members."""
    value = strictjson.parse(b'{"a": 1, "b": 2, "b": 3, "c": null}')
    one = member(value, "a")
    assert isinstance(one, strictjson.Number)
    assert one.value == 1
    assert member(value, "c") is member(value, "x") is member(None, "a") is member(["a"], "a") is None
    with pytest.raises(MalformedRecord, match="b is there twice"):
        member(value, "b")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.0"),
        (-0.0, "-0.0"),
        (1.0, "1.0"),
        (-2.5, "-2.5"),
        (0.1, "0.1"),
        (1e-6, "0.000001"),
        (1.5e-7, "1.5e-7"),
        (1e12, "1000000000000.0"),
        (1e13, "1e+13"),
        (16777216.0, "16777216.0"),
        (3.4028235e38, "3.4028235e+38"),
        (1e-45, "1e-45"),
    ],
)
def test_an_f32_is_written_with_the_fewest_digits_that_give_it_back(value: float, text: str) -> None:
    """Plain where that is short, as the reference prints it."""
    assert print_f32(narrow(value)) == text
    assert narrow(float(text)) == narrow(value)


def test_beyond_f32_is_refused() -> None:
    """Not made infinite."""
    with pytest.raises(MalformedRecord, match="out of the range of f32"):
        narrow(1e39)
