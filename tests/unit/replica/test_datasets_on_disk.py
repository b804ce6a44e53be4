"""Every row of the table on a real disk: what one laptop learns, the other has, in its own place."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import pytest

from fleetsync import datasets, files
from fleetsync.datasets import Kind
from fleetsync.ports import Group
from fleetsync.records import channels
from tests.fakes.laptops import Laptop, meet
from tests.fakes.samples import EVENTS, PROFILE, YAML, event, manifest, row_of, write
from tests.faults.scenarios import MANIFEST, line

SAMPLES: dict[str, tuple[str, bytes, bytes]] = {
    "skill-events": ("skills/deploy/events.jsonl", line(1, "a") + b"\n", line(2, "b") + b"\n"),
    "skill-manifest": ("skills/deploy/skill.yaml", MANIFEST, MANIFEST + b"description: b\n"),
    "skill-manifest-legacy": ("skills/old/skill.md", b"# one\n", b"# two\n"),
    "agent-skill-manifest": ("agents/qa/skills/deploy/skill.yaml", MANIFEST, MANIFEST + b"description: b\n"),
    "agent-skill-manifest-legacy": ("agents/qa/skills/old/skill.md", b"# one\n", b"# two\n"),
    "agent-profile": ("agents/qa/profile.yaml", PROFILE % (b"one", b"1"), PROFILE % (b"two", b"2")),
    "model": (
        "models.yaml",
        b"models:\n  qwen:\n    provider: ollama\n    model: qwen3\nroles: {}\n",
        b"# mine\nmodels:\n  qwen:\n    provider: ollama\n    model: qwen4\n",
    ),
    "agent-prompt": ("agents/qa/sys_prompt.md", b"be kind\n", b"be brief\n"),
    "channel-events": (EVENTS, event(0, '{"text":"a"}') + b"\n", event(0, '{"text":"b"}') + b"\n"),
    "channel-manifest": (YAML, manifest(), manifest(updated="2026-06-01T00:00:00Z")),
    "open-items": (
        "open-items.jsonl",
        b'{"kind":"open","id":"0123456789ab","agent":"qa","title":"a","at":"2026-06-01T00:00:00Z"}\n',
        b'{"kind":"resolve","id":"0123456789ab","at":"2026-06-02T00:00:00Z"}\n',
    ),
    "experience-events": (
        "experience/main/events.jsonl",
        b'{"event_id":"e-1","occurred_at":"2026-01-01T00:00:00Z","tenant_id":null}\n',
        b'{"event_id":"e-2","occurred_at":"2026-01-01T00:00:00Z","tenant_id":null}\n',
    ),
}


def test_every_row_of_the_table_has_a_sample() -> None:
    """A new dataset is proven here too, or this test says so; what is published has no file."""
    assert SAMPLES.keys() == {row.name for row in datasets.DATASETS if not row.published}


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_written_on_one_while_the_other_writes_too_they_converge(
    name: str, pair: tuple[Laptop, Laptop]
) -> None:
    """Logs end with both lines on both; registers with the same value on both."""
    path, one_has, two_has = SAMPLES[name]
    write(pair[0], path, one_has)
    write(pair[1], path, two_has)
    meet(*pair)
    found = [laptop.path(path).read_bytes() for laptop in pair]
    row = row_of(path)
    if row.kind is Kind.LOG:
        lines = [sorted(filter(None, each.split(b"\n"))) for each in found]
        assert all(len(each) == 2 for each in lines)
    else:
        held = [datasets.contents(row, path, each).values for each in found]
        says = [{each: row.digest(value) for each, value in values.items()} for values in held]
        assert says[0] == says[1] != {}


def test_channel_lines_are_numbered_on_and_otherwise_as_their_author_wrote_them(
    pair: tuple[Laptop, Laptop],
) -> None:
    """The next number is the highest plus one; number spellings and unknown keys survive; lines that
    stand there are never numbered again.
    """
    one, two = pair
    odd = event(4, '{"n":1.50,"z":1,"a":2}', extra=',"extra":true')
    write(one, EVENTS, odd + b"\n")
    write(two, EVENTS, event(0, '{"text":"x"}') + b"\n" + event(7, '{"text":"y"}') + b"\n")
    meet(one, two)
    lines = [each for each in two.path(EVENTS).read_bytes().split(b"\n") if each]
    assert lines[:2] == [event(0, '{"text":"x"}'), event(7, '{"text":"y"}')]
    assert lines[2] == odd.replace(b'"seq":4', b'"seq":8')
    numbers = [channels.seq_of(each) for each in one.path(EVENTS).read_bytes().split(b"\n") if each]
    assert numbers == [4, 5, 6]


def test_after_the_last_number_comes_the_first(pair: tuple[Laptop, Laptop]) -> None:
    """As in mur, each time; a log that has come so far takes lines all the same."""
    one, two = pair
    last = event(0, '{"text":"x"}').replace(b'"seq":0', b'"seq":%d' % (2**64 - 1))
    write(one, EVENTS, last + b"\n")
    write(two, EVENTS, event(4, '{"text":"y"}') + b"\n" + event(5, '{"text":"z"}') + b"\n")
    meet(one, two)
    lines = [each for each in one.path(EVENTS).read_bytes().split(b"\n") if each]
    assert [channels.seq_of(each) for each in lines] == [2**64 - 1, 0, 0]


def test_numbering_reads_only_what_is_new_in_a_log(
    pair: tuple[Laptop, Laptop], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long the channel is. What another program appends counts, and a log that was replaced is
    read from its beginning.
    """
    one, two = pair
    meet(one, two)
    write(one, EVENTS, b"".join(event(n, '{"text":"old"}') + b"\n" for n in range(50)))
    length, read = one.path(EVENTS).stat().st_size, 0
    read_span = files.read_span

    def counted(fd: int, offset: int, size: int) -> bytes:
        nonlocal read
        data = read_span(fd, offset, size)
        read += len(data)
        return data

    def give(text: str) -> int | None:
        """A line from the peer; its number here."""
        [line] = [Group(EVENTS, [channels.without_seq(event(0, f'{{"text":"{text}"}}'))])]
        one.replica.apply([line], two.device)
        return channels.seq_of(one.path(EVENTS).read_bytes().rstrip().rpartition(b"\n")[2])

    assert give("one") == 50
    monkeypatch.setattr(files, "read_span", counted)
    assert give("two") == 51
    assert 0 < read < length // 4
    with one.path(EVENTS).open("ab") as log:
        log.write(event(58, '{"text":"mine"}') + b"\n")
    assert give("three") == 59
    one.path(EVENTS).unlink()
    write(one, EVENTS, event(3, '{"text":"anew"}') + b"\n")
    assert give("four") == 4


def test_the_second_line_with_an_idempotency_key_is_a_member_but_not_written(
    pair: tuple[Laptop, Laptop],
) -> None:
    """mur writes only the first of them."""
    one, two = pair
    key = ',"idempotency_key":"k"'
    write(one, EVENTS, event(0, '{"text":"first"}', extra=key) + b"\n")
    write(two, EVENTS, event(0, '{"text":"second"}', extra=key) + b"\n")
    meet(one, two)
    for laptop in pair:
        assert laptop.path(EVENTS).read_bytes().count(b'"idempotency_key":"k"') == 1
        assert laptop.replica.condition().parked == 1


def test_a_question_from_another_device_waits_for_its_answer(pair: tuple[Laptop, Laptop]) -> None:
    """Nobody here can answer it; once it is answered, question and answer are history like any other."""
    one, two = pair
    asked = event(0, '{"hitl_id":"hitl-1","action_hash":"x"}', kind="hitl-request")
    write(one, EVENTS, asked + b"\n")
    meet(one, two)
    assert not two.path(EVENTS).exists()
    answered = event(1, '{"hitl_id":"hitl-1","approved":true}', kind="hitl-response")
    write(one, EVENTS, asked + b"\n" + answered + b"\n")
    meet(one, two)
    assert two.path(EVENTS).read_bytes().count(b'"hitl-1"') == 2
    assert two.replica.condition().parked == 0


def test_participants_of_concurrent_manifests_are_united_and_nothing_is_minted_for_it(
    pair: tuple[Laptop, Laptop],
) -> None:
    """Both devices show both; the set holds the two versions and no third."""
    one, two = pair
    write(one, YAML, manifest("mur"))
    write(two, YAML, manifest("qa", "2026-05-31T00:00:00Z", "2026-06-01T00:00:00Z"))
    meet(one, two)
    for laptop in pair:
        laptop.replica.scan(None)
        text = laptop.path(YAML).read_text()
        assert "id: mur" in text
        assert "id: qa" in text
        assert len([group for group in laptop.groups() if group.path == YAML]) == 2


def test_united_participants_do_not_depend_on_what_came_first(tmp_path: Path) -> None:
    """Two losers know the same agent differently: the later stamp has its way in every order of arrival."""
    written = [
        manifest("mur", "2026-05-30T00:00:00Z", "2026-06-03T00:00:00Z"),
        manifest("qa", "2026-05-31T00:00:00Z", "2026-06-01T00:00:00Z"),
        manifest("qa", "2026-05-29T00:00:00Z", "2026-06-02T00:00:00Z"),
    ]
    told = []
    for letter, text in zip("abc", written, strict=True):
        author = Laptop(tmp_path, letter)
        write(author, YAML, text)
        told.append((author.groups(), author.device))
        author.replica.close()
    found = set()
    for number, order in enumerate(permutations(told)):
        reader = Laptop(tmp_path / str(number), "d")
        for groups, device in order:
            reader.replica.apply(groups, device)
        found.add(reader.path(YAML).read_bytes())
        reader.replica.close()
    [text] = found
    assert b"2026-05-29T00:00:00Z" in text


def test_a_manifest_that_mur_has_spelled_anew_is_no_change(pair: tuple[Laptop, Laptop]) -> None:
    """The content hash is over the value tree, since mur re-spells whole files."""
    one, _ = pair
    write(one, YAML, manifest())
    before = one.ids()
    one.path(YAML).write_bytes(manifest().replace(b"title: 'fleet: dev'", b'title: "fleet: dev"'))
    one.replica.scan(None)
    assert one.ids() == before


def test_a_profile_travels_without_the_blocks_of_the_device(pair: tuple[Laptop, Laptop]) -> None:
    """Each device keeps its own identity; everything else is the newer edit's, comments included."""
    one, two = pair
    path = "agents/qa/profile.yaml"
    write(one, path, PROFILE % (b"one", b"1"))
    meet(one, two)
    assert b"identity" not in two.path(path).read_bytes()
    with two.path(path).open("ab") as profile:
        profile.write(b"identity:\n  pubkey: z2\n")
    two.replica.scan(None)
    meet(one, two)
    edited = two.path(path).read_bytes().replace(b"description: one", b"description: three  # why not")
    two.path(path).write_bytes(edited)
    two.replica.scan(None)
    meet(one, two)
    assert b"description: three  # why not" in one.path(path).read_bytes()
    assert b"pubkey: z1" in one.path(path).read_bytes()
    assert b"pubkey: z2" in two.path(path).read_bytes()


def test_a_profile_that_does_not_parse_is_never_replaced(pair: tuple[Laptop, Laptop]) -> None:
    """It is told, and left as it is."""
    one, two = pair
    path = "agents/qa/profile.yaml"
    write(one, path, PROFILE % (b"one", b"1"))
    meet(one, two)
    two.path(path).write_bytes(b"name: [broken\n")
    two.replica.scan(None)
    write(one, path, PROFILE % (b"newer", b"1"))
    two.replica.apply(one.groups(), one.device)
    assert two.path(path).read_bytes() == b"name: [broken\n"
    assert any(path in alert.detail for alert in two.replica.condition().alerts)
