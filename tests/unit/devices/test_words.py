"""Codes that people read out, and the words of a fingerprint."""

from __future__ import annotations

from itertools import combinations

import pytest

from fleetsync.devices.words import WORDS, fingerprint, new_code, parse_code
from fleetsync.errors import UserError


def one_slip_apart(one: str, other: str) -> bool:
    """Whether one letter changed, added or dropped makes one word of the other."""
    short, long = sorted((one, other), key=len)
    if len(long) - len(short) > 1:
        return False
    at = next((i for i, (x, y) in enumerate(zip(short, long, strict=False)) if x != y), len(short))
    return short[at:] == long[at + 1 :] or short[at + 1 :] == long[at + 1 :]


def test_the_list_has_a_word_for_every_byte():
    """256 different lower-case nouns of four to eight letters, in the order of the protocol."""
    assert len(set(WORDS)) == len(WORDS) == 256
    assert list(WORDS) == sorted(WORDS)
    assert all(w.isascii() and w.islower() and w.isalpha() and 4 <= len(w) <= 8 for w in WORDS)


def test_no_slip_makes_another_word():
    """Words differ in their first four letters, and by more than one letter."""
    assert len({word[:4] for word in WORDS}) == 256
    assert not [pair for pair in combinations(WORDS, 2) if one_slip_apart(*pair)]


def test_a_code_is_what_its_bytes_say():
    """A digit from 1 to 9 and two words, so every code has the promised form."""
    assert new_code(lambda n: bytes(n)) == f"1-{WORDS[0]}-{WORDS[0]}"
    assert new_code(lambda _n: bytes([255, 255, 1])) == f"4-{WORDS[255]}-{WORDS[1]}"


@pytest.mark.parametrize(
    "typed", ["7-orbit-falcon", " 7-Orbit-FALCON\n", "7 orbit falcon", "7 - orbit -falcon"]
)
def test_typing_is_forgiven(typed):
    """Case and spaces do not matter."""
    assert parse_code(typed) == "7-orbit-falcon"


@pytest.mark.parametrize(
    "typed",
    ["", "7", "orbit-falcon", "0-orbit-falcon", "7-orbit", "7-orbit-falcon-owl", "7-órbit-falcon", "7" * 999],
)
def test_what_is_no_code_costs_no_attempt(typed):
    """It is refused before anything is sent."""
    with pytest.raises(UserError):
        parse_code(typed)


def test_a_mistyped_word_is_named_with_its_neighbour():
    """The error says which word, and which one was probably meant."""
    with pytest.raises(UserError, match="falcom") as caught:
        parse_code("7-orbit-falcom")
    assert "falcon" in caught.value.next


def test_a_fingerprint_is_four_words():
    """One word for each of the first four bytes."""
    assert fingerprint(bytes([0, 1, 2, 255, 9])) == (WORDS[0], WORDS[1], WORDS[2], WORDS[255])
