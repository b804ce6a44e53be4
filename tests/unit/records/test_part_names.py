"""Names of parts of files, as they stand in paths."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetsync.errors import IllegalName
from fleetsync.records.names import NAME_RULES, name_of, parse_path, part_of

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=32)


@given(NAMES)
def test_any_name_stands_in_a_path_and_comes_back(name: str) -> None:
    """Whatever it is made of, in one spelling that every device takes."""
    part = part_of(name)
    assert parse_path(f"models.yaml/{part}") == f"models.yaml/{part}"
    assert NAME_RULES["part"].fullmatch(part)
    assert name_of(part) == name


def test_half_a_character_is_a_question() -> None:
    """No UTF-8 spells it; two such names are one, and no name comes back."""
    assert part_of("a\ud800") == "a%3F"


@given(NAMES, NAMES)
def test_different_names_have_different_paths(one: str, two: str) -> None:
    """Also those that look alike."""
    assert (part_of(one) == part_of(two)) is (one == two)


@pytest.mark.parametrize(
    "part", ["", "%41", "%2f", "%2F%", "%FF", "%C3", ".x", "a b", "ü", "%ED%A0%80", "%2D", "x%5F"]
)
def test_another_spelling_is_refused(part: str) -> None:
    """Two spellings of one name would be two registers of one entry."""
    with pytest.raises(IllegalName):
        name_of(part)
