"""Numbers are read, ranged and printed as the reference does."""

from __future__ import annotations

import struct

import pytest

from fleetsync.errors import MalformedRecord
from fleetsync.records import strictjson
from fleetsync.records.strictjson import Number
from tests.conformance.vectors import Row, each


@each("numbers")
def test_number(row: Row) -> None:
    """A lexeme has the reference's type, value and print in every kind of field, or is malformed."""
    if not row["ok"]:
        with pytest.raises(MalformedRecord):
            strictjson.parse(row["input"].encode())
        return
    number = strictjson.parse(row["input"].encode())
    assert isinstance(number, Number)
    assert number.lexeme == row["input"].strip()
    assert (number.printed, number.type) == (row["printed"], row["type"])
    real = strictjson.as_f64(number)
    assert real is not None
    assert struct.pack(">d", real).hex() == row["f64_bits"]
    assert strictjson.print_f64(real) == row["as_f64_field"]
    assert _text(strictjson.as_u64(number)) == row["as_u64_field"]
    assert _text(strictjson.as_i32(number)) == row["as_i32_field"]


def _text(value: int | None) -> str | None:
    return None if value is None else str(value)
