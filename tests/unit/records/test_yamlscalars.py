"""YAML scalars: what is written is what libyaml would write, and reads back as the same string."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from fleetsync.records import yamlscalars
from fleetsync.records.strictjson import Number

PIECES = st.sampled_from(
    [
        *" \n\t'\"#:-?,[]{}&*!|>%@`ab01.~+eE_xo\\\r\x00\x07\x85\xa0\u2028\u2029\ufeff\u3042é",
        "null",
        "0x1F",
        "---",
    ]
)
TEXTS = st.lists(PIECES, max_size=7).map("".join)


def _by_libyaml(text: str, style: str | None) -> str:
    events = [
        yaml.StreamStartEvent(),
        yaml.DocumentStartEvent(explicit=False),
        yaml.MappingStartEvent(None, None, True, flow_style=False),
        yaml.ScalarEvent(None, None, (True, False), "k"),
        yaml.ScalarEvent(None, None, (True, True), text, style=style),
        yaml.ScalarEvent(None, None, (True, False), "z"),
        yaml.ScalarEvent(None, None, (True, True), "1"),
        yaml.MappingEndEvent(),
        yaml.DocumentEndEvent(explicit=False),
        yaml.StreamEndEvent(),
    ]
    written: str = yaml.emit(events, Dumper=yaml.CDumper, width=1 << 30, allow_unicode=True)
    return written.removesuffix("...\n")


def _style(text: str) -> str | None:
    """What mur's library asks libyaml for."""
    if "\n" in text:
        return "|"
    digits = text.lstrip("+-")
    odd = digits.isdecimal() and digits.startswith("0") and len(digits) > 1 and len(text) - len(digits) < 2
    return "'" if odd or not isinstance(yamlscalars.meaning(text), str) else None


@pytest.mark.skipif(not hasattr(yaml, "CDumper"), reason="this PyYAML was built without libyaml")
@given(TEXTS)
@example("\u2028 a")
@example("a\n b ")
@example(" \u2028a")
@example("\x01\x7f\x80\x9f")
@example("\ufffe\uffff")
def test_written_as_libyaml_writes_it(text: str) -> None:
    """Plain, quoted either way or as a literal block: every byte, and where the next key begins."""
    written = yamlscalars.print_scalar(text, 2)
    gap = "" if written[-1] in yamlscalars.BREAKS else "\n"
    assert f"k: {written}{gap}z: 1\n" == _by_libyaml(text, _style(text))


@given(
    st.text(st.characters(exclude_characters="\r\x85\u2028\u2029", exclude_categories=["Cs"]), max_size=12)
)
def test_reads_back(text: str) -> None:
    """A string without exotic line breaks survives being written."""
    written = yamlscalars.print_scalar(text, 2)
    gap = "" if written.endswith("\n") else "\n"
    assert yaml.load(f"k: {written}{gap}z: 1\n", Loader=yaml.BaseLoader) == {"k": text, "z": "1"}


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("+12", 12),
        ("-0x1F", -31),
        ("0o17", 15),
        ("0b" + "1" * 128, 2**128 - 1),
        ("-0b1" + "0" * 127, -(2**127)),
        (str(2**128 - 1), 2**128 - 1),
        (str(2**128), None),
        (str(-(2**127)), -(2**127)),
        (str(-(2**127) - 1), None),
        ("0x" + "0" * 128, 0),
        ("0x" + "0" * 129, None),
        ("1.0", None),
    ],
)
def test_an_integer_has_128_bits(text: str, number: int | None) -> None:
    """In four bases and with as many digits, as mur's library reads it; what it spells is kept."""
    assert yamlscalars.read_integer(text) == number
    if number is not None:
        assert yamlscalars.meaning(text) == Number(text, number)


@pytest.mark.parametrize("text", ["", "~", "null", "Null", "NULL"])
def test_nothing(text: str) -> None:
    """The five ways to say nothing."""
    assert yamlscalars.meaning(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "0",
        "-0",
        "+12",
        "0x1F",
        "-0x1f",
        "0o17",
        "0b1",
        "1.",
        ".5",
        "1e5",
        "-1.5E-3",
        ".inf",
        "+.INF",
        "-.Inf",
        ".nan",
        "9" * 40,
        "9" * 300,
    ],
)
def test_numbers(text: str) -> None:
    """What a reader of YAML 1.2 takes for a number."""
    assert isinstance(yamlscalars.meaning(text), Number)
    assert yamlscalars.print_scalar(text, 2) == f"'{text}'"


@pytest.mark.parametrize(
    "text",
    [
        "on",
        "yes",
        "y",
        "N",
        "tRue",
        "nan",
        "inf",
        "1_000",
        "0X1F",
        "0x",
        "0xG",
        "1e",
        "++1",
        "1.2.3",
        "-.nan",
        "1e999",
        "2026-06-16",
        "12:30:45",
        "９",
        "0x" + "f" * 40,
    ],
)
def test_strings(text: str) -> None:
    """What only older readers, or none, would take for something else stands plain."""
    assert yamlscalars.meaning(text) == text
    assert yamlscalars.print_scalar(text, 2) == text


def test_leading_zeros() -> None:
    """`02` is a string, and is quoted lest it be taken for a number."""
    assert yamlscalars.meaning("02") == "02"
    assert yamlscalars.read_integer("-007") is None
    assert yamlscalars.print_scalar("02", 2) == "'02'"


def test_integers() -> None:
    """Four bases and two signs."""
    texts = ["12", "+12", "-12", "0x1f", "-0x1F", "0o17", "0b101", "x", "1.0", ""]
    assert [yamlscalars.read_integer(t) for t in texts] == [12, 12, -12, 31, -31, 15, 5, None, None, None]
