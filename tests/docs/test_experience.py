"""docs/experience.md cannot drift from the code: its kinds, fields, states and limits are the code's."""

from __future__ import annotations

import re
from pathlib import Path

from fleetsync import datasets
from fleetsync.cli import experience
from fleetsync.records import experiences, strictjson
from fleetsync.records.artifacts import LEGAL
from fleetsync.records.experience_json import SIGNIFICANT
from fleetsync.records.experience_queries import EventQuery
from fleetsync.records.experience_types import KINDS, RENAMED, Envelope
from fleetsync.records.governance import STREAM, TENANT

TEXT = (Path(__file__).parents[2] / "docs" / "experience.md").read_text(encoding="utf-8")


def section(heading: str) -> str:
    """The text below a heading, up to the next one."""
    after = re.split(rf"^## {re.escape(heading)}$", TEXT, flags=re.MULTILINE)[1]
    return re.split(r"^## ", after, flags=re.MULTILINE)[0]


def table(heading: str) -> dict[str, list[str]]:
    """The first table of a section: what is ticked in the first column → in the second."""
    rows = re.search(r"(?:^\|.*\n)+", section(heading), flags=re.MULTILINE)
    assert rows is not None
    cells = [row.strip("|").split(" |") for row in rows[0].splitlines()[2:]]
    return {", ".join(re.findall(r"`([^`]+)`", row[0])): re.findall(r"`([^`]+)`", row[1]) for row in cells}


def test_every_kind_and_its_fields_are_in_the_table() -> None:
    """In the order in which they are written."""
    fields = {name: list(kind.__struct_encode_fields__) for name, kind in KINDS.items()}
    assert table("Types") == fields
    assert all(
        f"`{old}`" in section("Types") and f"`{new}`" in section("Types") for old, new in RENAMED.items()
    )


def test_every_field_of_the_envelope_is_in_the_table() -> None:
    """And the limits of ids and times."""
    names = [name for key in table("The log") for name in key.split(", ")]
    assert names == list(Envelope.__struct_fields__)
    assert f"1 … {experiences.MAX_ID} of" in section("The log")
    assert f"1 … {experiences.MAX_TIME} bytes" in section("The log")


def test_limits_are_the_code_s() -> None:
    """Ids inside events, lines, nesting, digits, batches."""
    assert f"at most {experiences.MAX_ID} bytes" in section("Types")
    assert f"{experiences.MAX_LINE:,}" in section("Types")
    assert experiences.MAX_LINE == datasets.MAX_BODY
    assert f"at most {strictjson.MAX_DEPTH} containers" in section("Types")
    assert f"to {SIGNIFICANT} digits" in section("Canonical content")
    assert f"{experience.PORTION_BYTES >> 20} MiB" in section("Log and index")


def test_every_transition_is_in_the_table() -> None:
    """All states, and what may follow each."""
    found = {state: set(after) for state, after in table("Artifacts").items()}
    assert found == {str(state): {str(each) for each in after} for state, after in LEGAL.items()}


def test_every_condition_is_in_the_table() -> None:
    """All fields of a question."""
    names = {name for key in table("Questions") for name in key.split(", ")}
    assert names == set(EventQuery.__struct_fields__)


def test_the_daemon_s_stream_and_tenant_are_named() -> None:
    """So that its events can be asked for."""
    assert f"stream `{STREAM}`, as tenant `{TENANT}`" in section("What the daemon writes")
