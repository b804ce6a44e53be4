"""Addresses as text: one grammar for what is configured, typed, announced and dialled."""

from __future__ import annotations

import pytest

from fleetsync.errors import UserError
from fleetsync.records.addresses import Address, parse_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("localhost:8473", Address("localhost", 8473)),
        ("desk.local:65535", Address("desk.local", 65535)),
        ("192.168.1.5:0", Address("192.168.1.5", 0)),
        ("[::]:8473", Address("::", 8473)),
        (" [fe80::1%en0]:1 ", Address("fe80::1%en0", 1)),
    ],
)
def test_addresses_are_read_and_written_alike(text: str, address: Address) -> None:
    """`host:port`, with brackets around IPv6, is read, and `str` gives it back."""
    assert parse_address(text) == address
    assert str(address) == text.strip()


@pytest.mark.parametrize(
    "text",
    ["", "host", "host:", ":80", "::1:80", "[::1]", "[::1]80", "h:65536", "h:-1", "a b:1", "u@h:1", "h:+1"],
)
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    """An address that could be read in two ways is not guessed at."""
    with pytest.raises(UserError, match="is not HOST:PORT"):
        parse_address(text)
