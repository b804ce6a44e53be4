"""docs/formats.md cannot drift from the code: its tables and examples are what the code reads and writes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fleetsync import datasets
from fleetsync.errors import MalformedRecord
from fleetsync.merge import register
from fleetsync.merge.register import Dot, Floor, Stamp, Version
from fleetsync.records import execution, keyrings, loglines, skills, stats, strictjson, timestamps
from fleetsync.records.names import name_of, part_of
from fleetsync.replica import reading

TEXT = (Path(__file__).parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")
MICROS = 1_780_099_200_000_000  # 2026-05-30T00:00:00Z

LINE = b'{"kind":"retrieval","ts":"2026-05-30T00:00:00.123456789Z","device_id":"cli"}'
VALUE = b"name: deploy\nupdated_at: 2026-05-30T00:00:00Z\n"
AUTHOR, OTHER = "a" * 52, "b" * 52
VERSION = register.encode(
    Version(
        Dot(AUTHOR, MICROS + 1_000_000),
        {OTHER: 1_780_000_000_000_000},
        Stamp(MICROS, MICROS + 1_000_000, AUTHOR, register.digest_of(VALUE)),
        VALUE,
    )
)


def section(heading: str) -> str:
    """The text below a heading, up to the next one."""
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", TEXT, flags=re.MULTILINE | re.DOTALL)
    assert found is not None, heading
    return found[1]


def table(heading: str) -> list[list[str]]:
    """The rows of the first table of a section, without the headings of its columns."""
    rows = re.search(r"(?:^\|.*\n)+", section(heading), flags=re.MULTILINE)
    assert rows is not None
    return [[cell.strip() for cell in row.strip("|").split(" |")] for row in rows[0].splitlines()[2:]]


def ticked(text: str) -> list[str]:
    """What stands between backticks."""
    return re.findall(r"`([^`]+)`", text)


def example(name: str) -> bytes:
    """The bytes of an example."""
    block = re.search(rf"^```bytes {name}\n(.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL)
    assert block is not None
    return bytes.fromhex("".join(block[1].split()))


@pytest.mark.parametrize("row", table("Timestamps"), ids=lambda row: row[0])
def test_every_time_in_the_table_is_read_and_written_so(row):
    """Text to microseconds and back to the text that mur writes."""
    instant = timestamps.parse(row[0].strip("`"))
    assert (instant.micros, f"`{instant.canonical}`") == (int(row[1]), row[2])


def test_leap_seconds_sort_before_the_second_whose_microseconds_they_share():
    """As the page says of them."""
    leap, after = map(timestamps.parse, ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z"))
    assert leap.micros == after.micros
    assert leap < after


def test_json_nests_as_deep_as_the_page_says():
    """One container more than it says is malformed."""
    depth = int(re.findall(r"at most (\d+) containers", section("JSON"))[0])
    assert depth == strictjson.MAX_DEPTH
    strictjson.parse(b"[" * depth + b"]" * depth)
    with pytest.raises(MalformedRecord):
        strictjson.parse(b"[" * (depth + 1) + b"]" * (depth + 1))


def test_a_line_of_spaces_is_not_an_empty_line():
    """Empty lines mean nothing; a line that holds a space makes mur refuse the file."""
    assert list(loglines.lines(b"\n\r\n\n")) == []
    assert len(skills.read_log(LINE + b"\n\n\n" + LINE + b"\n")) == 2
    with pytest.raises(MalformedRecord):
        skills.read_log(LINE + b"\n \n" + LINE + b"\n")


def test_every_kind_and_its_fields_are_in_the_table():
    """The kinds that mur knows, and their fields in the order in which it writes them."""
    documented = {row[0].strip("`"): tuple(ticked(row[1])) for row in table("Skill events")}
    assert documented == skills.FIELDS


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (b'{"kind":"retrieval","ts":"2026-05-30T00:00:00Z","device_id":"d","new":[1]}', skills.SkillEvent),
        (b'{"kind":"praise","ts":"2026-05-30T00:00:00Z","device_id":"d","x":0}', skills.OpaqueEvent),
        (b'{"kind":"execution","ts":"2026-05-30T00:00:00Z","device_id":"d","outcome":7}', None),
        (b'{"kind":"praise","ts":"yesterday","device_id":"d"}', None),
    ],
)
def test_lines_are_what_the_page_calls_them(line, kind):
    """Known with unknown fields, opaque, or malformed and then no member."""
    if kind is None:
        with pytest.raises(MalformedRecord):
            datasets.identify("skills/deploy/events.jsonl", line)
    else:
        assert type(skills.read_event(line)) is kind
        assert datasets.identify("skills/deploy/events.jsonl", line)


def test_every_field_of_stats_is_in_the_table_in_its_place():
    """The order of the table is the order of the file."""
    assert [name for row in table("stats.json") for name in ticked(row[0])] == list(
        stats.SkillStats.__struct_fields__
    )
    states = ticked(next(row[1] for row in table("stats.json") if "lifecycle_state" in row[0]))
    assert states == [str(state) for state in stats.LifecycleState]


def test_the_markers_of_a_broken_environment_are_mur_s():
    """All of them, in their order, and what their number means."""
    block = re.search(r"^```markers\n(.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL)
    assert block is not None
    assert tuple(" ".join(block[1].split()).split(" · ")) == execution.ENV_MARKERS
    assert execution.classify_failure("boom") == ("workflow", 0.6)
    assert execution.classify_failure("HTTP 401") == ("env", 0.6)
    assert execution.classify_failure("HTTP 401: TLS") == ("env", 0.9)
    assert f"first {execution.MAX_ERROR_CHARACTERS} characters" in section("Recording a run")


def test_the_structures_of_a_version_are_in_the_table():
    """Names and order of the fields are the encoding."""
    for row, kind in zip(table("Register versions"), (Version, Dot, Stamp, Floor), strict=True):
        fields = [part.split()[0] for part in re.split(r", (?![^{]*\})", row[1])]
        assert (row[0], tuple(fields)) == (kind.__name__, kind.__struct_fields__)


def test_the_limits_of_a_version_are_the_code_s():
    """Devices in a vector, the range of numbers, the size of a value."""
    assert f"at most {register.MAX_VECTOR} devices" in section("Register versions")
    assert f"at most {reading.LIMIT:,} bytes" in section("Register versions")
    assert register.MAX_NUMBER == 2**53 - 1
    assert "Numbers are 0 … 2^53−1" in section("Register versions")


def test_the_version_of_the_example_has_these_bytes():
    """A second implementation that writes them agrees with ours; later fields are ignored."""
    assert example("version") == VERSION
    assert register.decode(b"\x97" + VERSION[1:] + b"\xa5later").dot == Dot(AUTHOR, MICROS + 1_000_000)


def test_the_ids_of_the_examples():
    """Key = (timestamp, SHA-256(path ‖ 00 ‖ identity)), for a line and for a version."""
    line = datasets.identify("skills/deploy/events.jsonl", LINE)
    version = datasets.identify("skills/deploy/skill.yaml", VERSION)
    assert (line.ts, line.id) == (1_780_099_200_123_456, example("line-id"))
    assert (version.ts, version.id) == (1_780_099_201_000_000, example("version-id"))


def test_names_of_models_in_paths():
    """Each name of the table has the path beside it, and only that one."""
    for name, path in [(row[0].strip("`"), row[1].strip("`")) for row in table("Models")]:
        file, _, part = path.partition("/")
        assert (file, part_of(name), name_of(part)) == ("models.yaml", part, name)
        assert datasets.require(path)[1].name == "model"


def test_every_dataset_has_its_row():
    """The paths of the table are the datasets, in their order; registers are keyed by the whole body."""
    rows = table("Item ids")
    assert [row[0].strip("`") for row in rows] == [row.pattern for row in datasets.DATASETS]
    whole = [row[1] == "the whole body" for row in rows]
    assert whole == [row.kind is datasets.Kind.REGISTER for row in datasets.DATASETS]
    assert f"bodies over {datasets.MAX_BODY:,} bytes" in section("Item ids")


def test_the_record_of_published_keys():
    """The example is what a device with one agent publishes."""
    [example] = re.findall(r"```json keys\n(.*)\n```", TEXT)
    [(agent, files)] = keyrings.published(example.encode()).items()
    assert keyrings.public_files(files.identity.encode(), None) == files
    assert keyrings.publish({agent: files}) == example.encode()
