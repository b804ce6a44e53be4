"""The numbers in docs/security.md, and those of trust and pairing in docs/protocol.md, are the code's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fleetsync.devices import notes, pairing, roster, words
from fleetsync.wire import listener
from fleetsync.wire import pairing as pairing_wire

DOCS = Path(__file__).parents[2] / "docs"
SECURITY = (DOCS / "security.md").read_text(encoding="utf-8")
PROTOCOL = (DOCS / "protocol.md").read_text(encoding="utf-8")
PACKAGE = DOCS.parent / "daemon/fleetsync"


def section(heading: str) -> str:
    """The text of protocol.md below a heading, up to the next one of its rank."""
    found = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", PROTOCOL, flags=re.MULTILINE | re.DOTALL)
    assert found is not None
    return " ".join(found[1].split())


def test_a_guess_is_as_hopeless_as_the_page_says():
    """Two words of a list of 256, one conversation, five minutes."""
    assert f"1 in {len(words.WORDS) ** 2:,}" in SECURITY
    assert f"It lives {pairing.LIFE_SECONDS:g} s" in SECURITY
    assert f"at\nmost {listener.Limits().unfinished}, the oldest goes" in SECURITY


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`([\w/]+\.py)`", SECURITY))))
def test_every_module_named_exists(path):
    """A page about what holds must name what is there."""
    assert (PACKAGE / path).exists() or (DOCS.parent / path).exists()


def test_the_bounds_of_the_roster():
    """Each number stands beside what it bounds."""
    text = section("Roster")
    for said in (
        f"at most {roster.MAX_RECORD:,} bytes",
        f"at most {roster.MAX_CERTIFICATE:,} bytes",
        f"1 … {roster.MAX_NAME} printable",
        f"overrides (at most {roster.MAX_OVERRIDES} ids)",
        f"keeps (at most {roster.MAX_KEEPS} ids)",
        f"Of one author {roster.MAX_PER_AUTHOR} records count",
        f"at most {roster.ROOM >> 10} KiB, vouches at most {roster.ROOM_FOR_VOUCHES >> 10} KiB",
        f"Besides there are {roster.RESERVED >> 10} KiB in even shares",
    ):
        assert said in text, said
    for kind in (roster.Vouch, roster.Removal):
        row = next(row for row in text.split("| `") if row.startswith(str(kind.__struct_config__.tag)))
        places = [row.index(field) for field in kind.__struct_fields__]
        assert places == sorted(places)


def test_the_requests_and_fields_of_pairing():
    """Paths, fields in their order, and limits."""
    text = section("Pairing")
    spoken = (
        (pairing_wire.BEGIN, pairing.Begin, pairing.Answer),
        (pairing_wire.CONFIRM, pairing.Confirm, pairing.Welcome),
        (pairing_wire.FINISH, pairing.Farewell, None),
    )
    for path, asked, answered in spoken:
        row = text.partition(f"| `{path}` | ")[2].split(" |")
        for cell, message in zip(row, (asked, answered), strict=False):
            names = [part.split()[0] for part in cell.split(", ")]
            assert names == (list(message.__struct_fields__) if message else ["empty"])
    assert f"at most {pairing.MAX_MESSAGE >> 10} KiB" in text
    assert f"the code lives, {pairing.LIFE_SECONDS:g} s at most" in text
    assert f"same connection within {pairing_wire.Limits().conversation:g} s" in text


def test_a_clone_is_found_as_the_page_says():
    """An old instance that returns after a new one is a clone; a new one alone is not."""
    assert notes.judge_instance([b"old"], (), b"new") == (b"old", b"new")
    assert notes.judge_instance([b"old", b"new"], (), b"old") is None
