"""Names that may be opened or shown, and no others."""

from __future__ import annotations

import pytest

from fleetsync.errors import IllegalName
from fleetsync.records.names import (
    MAX_PATH_BYTES,
    folded,
    grouped,
    legal_name,
    parse_device_id,
    parse_path,
    require_name,
)

LETTERS = "abcdefghijklmnopqrstuvwxyz234567" + "abcdefghijklmnopqrst"


@pytest.mark.parametrize("character", list('\\:*?"<>|\0\n\x1b\x7f ü．\u202e'))
def test_a_path_is_made_of_what_every_filesystem_takes(character: str) -> None:
    """Of what some filesystem gives a meaning to, only the slash and the dot; a space is plain."""
    for text in (character, f"skills/{character}", f"skills/a{character}b/skill.yaml"):
        if character == " ":
            assert parse_path(text) == text
            continue
        with pytest.raises(IllegalName, match="is not a path that may be synced"):
            parse_path(text)


@pytest.mark.parametrize(
    "text", ["", "/a", "a/", "a//b", ".", "..", "a/./b", "a/../b", "./a", "../a", "a/.."]
)
def test_a_path_leads_down_from_home(text: str) -> None:
    """By plain components only."""
    with pytest.raises(IllegalName, match="is not a path that may be synced"):
        parse_path(text)


@pytest.mark.parametrize(
    "text", ["a", "...", "a.b", ".hidden/x", "a/..b/c..", "a/.../b", "x" * MAX_PATH_BYTES]
)
def test_plain_components_may_have_dots(text: str) -> None:
    """And a path may be as long as the bound."""
    assert parse_path(text) == text


def test_what_is_refused_is_shown_in_part() -> None:
    """A name from elsewhere may be of any length and hold anything: 80 characters of it, spelled out."""
    for refuse in (parse_path, parse_device_id, lambda text: require_name("skill", text)):
        with pytest.raises(IllegalName) as refused:
            refuse("\x1b" + "x" * 1000)
        assert f"'\\x1b{'x' * 79}' is not a" in refused.value.message
        assert "x" * 80 not in refused.value.message


def test_a_path_of_more_than_the_bound_is_refused() -> None:
    """By one byte."""
    with pytest.raises(IllegalName):
        parse_path("x" * (MAX_PATH_BYTES + 1))


@pytest.mark.parametrize(
    ("kind", "legal", "illegal"),
    [
        ("skill", ["a", "0-9", "x" * 64], ["", "-a", "a-", "A", "a_b", "x" * 65, "a\n"]),
        ("agent", ["A_b", "a-", "x" * 64], ["", "-a", "a.b", "x" * 65]),
        ("channel", ["a", "0_-", "x" * 128], ["", "_a", "A", "x" * 129]),
        ("stream", ["a", "x" * 64], ["", "-a", "x" * 65]),
        ("device", [LETTERS], [LETTERS[1:], LETTERS.upper(), "1" * 52]),
        ("part", ["a", "%41", "a.b"], ["", ".a", "%4", "a b"]),
    ],
)
def test_each_kind_of_name_has_its_rule(kind: str, legal: list[str], illegal: list[str]) -> None:
    """A legal name comes back as it is; any other is refused by its kind."""
    for name in legal:
        assert legal_name(kind, name)
        assert require_name(kind, name) == name
    for name in illegal:
        assert not legal_name(kind, name)
        with pytest.raises(IllegalName, match=f"is not a legal {kind} name"):
            require_name(kind, name)


def test_spellings_that_differ_in_case_alone_fold_to_one() -> None:
    """As a filesystem that ignores case takes them for one file."""
    assert folded("agents/Coder/X.yaml") == folded("agents/coder/x.YAML") == "agents/coder/x.yaml"


def test_a_device_id_is_shown_in_groups_and_read_in_any_spelling() -> None:
    """Groups of seven; a person may leave out dashes or type capitals."""
    device = parse_device_id(LETTERS)
    shown = grouped(device)
    assert shown == "abcdefg-hijklmn-opqrstu-vwxyz23-4567abc-defghij-klmnopq-rst"
    for typed in (LETTERS, shown, shown.upper(), LETTERS.upper()):
        assert parse_device_id(typed) == device
    for typed in (shown[:-1], shown.replace("-", " "), shown.replace("a", "1"), ""):
        with pytest.raises(IllegalName, match="is not a device id"):
            parse_device_id(typed)
