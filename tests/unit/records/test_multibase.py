"""Multibase text: every base reads back, and of several texts for the same bytes only one is taken."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetsync.errors import MalformedRecord
from fleetsync.records import multibase

KEY = bytes(range(32))


@given(st.binary(max_size=70))
def test_base58_reads_back(data: bytes) -> None:
    """What is written is what is read, leading zeros included."""
    assert multibase.decode(multibase.encode(data)) == data


@given(st.binary(max_size=70))
def test_bases_of_the_standard_library(data: bytes) -> None:
    """The same text as the standard library makes, with and without padding, in either case."""
    padded = {
        "M": base64.b64encode(data),
        "U": base64.urlsafe_b64encode(data),
        "C": base64.b32encode(data),
        "T": base64.b32hexencode(data),
        "F": base64.b16encode(data),
    }
    for code, text in padded.items():
        assert multibase.decode(code + text.decode()) == data
        if code in "MU":
            assert multibase.decode(code.lower() + text.decode().rstrip("=")) == data
        else:
            assert multibase.decode(code.lower() + text.decode().lower()) == data
    assert multibase.decode("B" + padded["C"].decode().rstrip("=")) == data
    assert multibase.decode("v" + padded["T"].decode().rstrip("=").lower()) == data


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("0" + "0110100001101001", b"hi"),
        ("7" + "320644", b"hi"),
        ("9" + "26729", b"hi"),
        ("k" + "kmh", b"hi"),
        ("K" + "KMH", b"hi"),
        ("h" + "pbwo", b"hi"),
        ("z" + "8wr", b"hi"),
        ("Z" + "8WR", b"hi"),
        ("z11", b"\0\0"),
        ("z", b""),
        ("MaGlX", b"hiW"),
        ("z" + "1" * (multibase.MAX_TEXT - 1), bytes(multibase.MAX_TEXT - 1)),
    ],
)
def test_the_other_bases(text: str, data: bytes) -> None:
    """One known text for each."""
    assert multibase.decode(text) == data


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "8wr",
        "z0",
        "zO",
        "z8wr ",
        " z8wr",
        "z8wr\n",
        "é",
        "f6",
        "f6g",
        "ma",
        "maGk=",
        "MaGk",
        "MaGk==",
        "maGl",
        "z" + "1" * multibase.MAX_TEXT,
        "fı",
        "bnbu",
        "bnbuq=",
        "7320645",
    ],
)
def test_refused(text: str) -> None:
    """No prefix, a wrong character, wrong padding, spare bits, or no end of it."""
    with pytest.raises(MalformedRecord):
        multibase.decode(text)
