"""Channel manifests: participants are exchanged, everything else stays as its author wrote it."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetsync.errors import MalformedRecord
from fleetsync.merge import participants
from fleetsync.records import channel_manifests, yamltree
from fleetsync.records.actors import Agent, Human, System
from fleetsync.records.channel_manifests import Entry, Goal, entries, with_entries

HEAD = (
    "# my channel\nv: 2\nid: c1\ntitle: 'fleet: dev'  # short\nstate: working\n"
    "owner: {kind: human, name: me}\n"
)
TAIL = (
    "# below\npurpose: fleet-run\ncreated_at: 2026-06-16T00:00:00Z\n"
    "updated_at: 2026-06-16T00:00:00.123456789Z\n"
)
QA = "- actor:\n    kind: agent\n    id: qa\n  role: owner\n  joined_at: 2026-06-16T00:00:02Z\n"
ME = (
    "- actor:\n    kind: human\n    name: me\n  role: observer\n"
    "  joined_at: 2026-06-16T00:00:01Z\n  mood: fine\n"
)
LATE = "- actor:\n    kind: agent\n    id: qa\n  role: delegate\n  joined_at: 2026-06-16T00:00:09Z\n"


def _manifest(*entries: str, head: str = HEAD, tail: str = TAIL) -> bytes:
    return f"{head}participants:\n{''.join(entries)}{tail}".encode()


def _entries(data: bytes) -> list[Entry]:
    found = entries(data)
    assert found is not None
    return found


def _merged(*values: bytes) -> bytes:
    return with_entries(values[0], participants.unite([_entries(value) for value in values]))


def test_uniting_changes_nothing_but_the_list() -> None:
    """Comments, unknown keys and spellings survive, also those of the entry that comes from elsewhere."""
    assert _merged(_manifest(QA), _manifest(ME)) == _manifest(ME, QA)


def test_nothing_new_leaves_every_byte() -> None:
    """The winner's own spelling stays where the others know nobody else, and so does its order."""
    winner = _manifest(QA, ME)
    assert _merged(winner) == _merged(winner, _manifest(ME, LATE), _manifest()) == winner


def test_the_winner_decides_about_whom_it_knows() -> None:
    """Another version's role or date of the same actor is not taken over."""
    assert _merged(_manifest(LATE), _manifest(QA, ME)) == _manifest(ME, LATE)


def test_order_of_the_losers_does_not_matter_to_who_takes_part() -> None:
    """A version later in the order of stamps only adds whom no earlier one knows."""
    assert _merged(_manifest(ME), _manifest(QA), _manifest(LATE)) == _manifest(ME, QA)
    assert _merged(_manifest(ME), _manifest(LATE), _manifest(QA)) == _manifest(ME, LATE)


@pytest.mark.parametrize(
    "winner",
    [
        HEAD + "participants: []\n" + TAIL,
        HEAD + "participants:\n" + TAIL,
        HEAD + TAIL,
        HEAD + TAIL.rstrip("\n"),
        HEAD + TAIL + "participants: [] # nobody",
        HEAD
        + "participants: [{actor: {kind: system}, role: router, joined_at: 2026-06-15T00:00:00Z}]\n"
        + TAIL,
    ],
)
def test_any_spelling_of_the_list_can_be_replaced(winner: str) -> None:
    """Empty, missing, last, in brackets."""
    merged = _merged(winner.encode(), _manifest(QA, ME))
    known = _entries(winner.encode())
    assert [e.actor for e in _entries(merged)] == [
        *[e.actor for e in known],
        *[e.actor for e in _entries(_manifest(ME, QA))],
    ]
    assert b"# my channel" in merged
    assert b"purpose: fleet-run" in merged


def test_a_manifest_in_brackets_cannot_be_spliced() -> None:
    """Rather than changing more than the list, nothing is changed."""
    winner = (
        b"{v: 2, id: c1, title: t, state: working, owner: {kind: system}, created_at: 2026-06-16T00:00:00Z, "
    )
    winner += b"updated_at: 2026-06-16T00:00:00Z}\n"
    with pytest.raises(MalformedRecord):
        _merged(winner, _manifest(QA))


def test_a_list_that_would_change_its_neighbour_is_not_put_in() -> None:
    """A block that keeps its line breaks would take the one before the new key for its own."""
    winner = (HEAD + TAIL + "purpose: |+\n  x\n").replace("purpose: fleet-run\n", "").encode()
    with pytest.raises(MalformedRecord, match="changing more"):
        _merged(winner, _manifest(QA))


NOTED = QA.replace("id: qa", "id: noted") + "  note: |\n    two\n    lines\n"
KEPT = QA.replace("id: qa", "id: kept") + "  note: |+\n    two\n    lines\n\n  more: |+\n    x\n\n"


@pytest.mark.parametrize("winner", [[QA], [NOTED], [QA, KEPT], [KEPT, NOTED], []])
@pytest.mark.parametrize("other", [[QA], [NOTED], [KEPT], [KEPT, QA, NOTED]])
@pytest.mark.parametrize("tail", [TAIL, TAIL.replace("# below\n", "")])
def test_blocks_of_text_in_an_entry_come_through(winner: list[str], other: list[str], tail: str) -> None:
    """Wherever the entry stands in the list: no line break too few behind it, and none too many."""
    merged = _merged(_manifest(*winner, tail=tail), _manifest(*other))
    both = [*_entries(_manifest(*winner, tail=tail)), *_entries(_manifest(*other))]
    known = {yamltree.digest(entry.node) for entry in both}
    assert {yamltree.digest(entry.node) for entry in _entries(merged)} == known
    assert b"purpose: fleet-run" in merged


@pytest.mark.parametrize("line_break", ["\n", "\r\n"])
def test_no_line_more_stands_behind_a_block_of_text(line_break: str) -> None:
    """The list is as long as its entries, whether it ended so before or does now."""
    last = _entries(_manifest(QA, NOTED))
    spliced = with_entries(_manifest(QA).replace(b"\n", line_break.encode()), last)
    assert spliced.replace(b"\r\n", b"\n") == _manifest(QA, NOTED)
    assert with_entries(_manifest(QA, NOTED), last[:1]) == _manifest(QA)


def test_nothing_under_a_key_is_an_empty_mapping() -> None:
    """A goal that says nothing is a goal; an owner is not."""
    data = _manifest(QA).replace(b"v: 2", b"v: 2\ngoal:")
    assert channel_manifests.parse_channel(data).goal == Goal()


def test_a_newer_manifest_is_not_merged() -> None:
    """Its version is known, its list is nobody's business."""
    newer = _manifest(QA).replace(b"v: 2", b"v: 3")
    assert channel_manifests.parse_channel(newer).is_newer
    assert entries(newer) is None
    assert channel_manifests.version_of(newer.replace(b"working", b"dreaming")) == 3
    assert not channel_manifests.parse_channel(_manifest(QA)).is_newer


def test_an_unreadable_manifest_is_not_merged() -> None:
    """Neither is one that mur could not read, or that hides something."""
    for data in (b"- 1\n", b"", b"\xff", _manifest(QA).replace(b"owner\n", b"Owner\n"), HEAD.encode()):
        assert entries(data) is None


def test_digest_does_not_change_when_mur_spells_anew() -> None:
    """The text that mur makes of its own manifest has the same digest, whoever laid it out first."""
    canonical = channel_manifests.parse_channel(_manifest(QA)).canonical_yaml
    shuffled = "\n".join(
        reversed(canonical.replace("title: 'fleet: dev'", 'title: "fleet: dev"').splitlines()[:3])
    )
    rest = "\n".join(canonical.splitlines()[3:])
    again = f"{shuffled}\n{rest}\n# end\n".encode()
    assert channel_manifests.content_digest(again) == channel_manifests.content_digest(canonical.encode())
    other = canonical.replace("working", "stale")
    assert channel_manifests.content_digest(other.encode()) != channel_manifests.content_digest(
        canonical.encode()
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"v: 2", b"v: -2"),
        (b"v: 2", b"v: 2.0"),
        (b"v: 2", b"v: [2]"),
        (b"v: 2", b"v: 2\nv: 2"),
        (b"state: working", b"state: {working: }"),
        (b"name: me}", b"name: 7}"),
        (b"name: me}", b"name: true}"),
        (b"kind: agent", b"kind: [agent]"),
        (b"joined_at: 2026-06-16T00:00:02Z", b"joined_at: 2026-06-16"),
        (b"participants:", b"participants: x\nothers:"),
    ],
)
def test_what_mur_refuses_is_malformed(old: bytes, new: bytes) -> None:
    """Types count where mur's reader counts them: an actor's name is no number, even in YAML."""
    data = _manifest(QA)
    assert old in data
    with pytest.raises(MalformedRecord):
        channel_manifests.parse_channel(data.replace(old, new))


def test_arrays_are_objects_in_json_only() -> None:
    """mur's JSON reader takes the members of a manifest as an array too; its YAML reader does not."""
    times = '"2026-06-16T00:00:00Z"'
    text = f'[2,"c1","t",["s",["a"]],"working",["system"],[[["agent","qa"],"owner",{times}]],{times},{times}]'
    channel = channel_manifests.parse_channel_json(text.encode())
    assert (channel.goal.statement, channel.participants[0].role) == ("s", "owner")
    for bad in (text.replace('"c1",', ""), text.replace('["a"]', '["a"],1'), text[:-1] + ",1]"):
        with pytest.raises(MalformedRecord):
            channel_manifests.parse_channel_json(bad.encode())
    for data in (text.encode(), _manifest(QA).replace(b"v: 2", b"v: 2\ngoal: [s]")):
        with pytest.raises(MalformedRecord):
            channel_manifests.parse_channel(data)


def test_what_mur_takes_is_read() -> None:
    """Any scalar is a string where a string is wanted, and integers come in four bases."""
    data = _manifest(QA).replace(b"v: 2", b"v: 0x2").replace(b"id: c1", b"id: 007").replace(b"me}", b"'7'}")
    channel = channel_manifests.parse_channel(data)
    assert (channel.v, channel.id, channel.owner) == (2, "007", Human("7"))
    assert channel.updated_at.nanos == 123456789


TEXTS = st.text(st.sampled_from("ab:#-\n \t'\"|>é"), max_size=8)


@given(st.lists(TEXTS, min_size=6, max_size=6))
def test_what_is_written_is_read_back(texts: list[str]) -> None:
    """Whatever people have called things, over however many lines, in YAML and in JSON."""
    known = channel_manifests.parse_channel(_manifest(QA, ME))
    qa, me = known.participants
    channel = msgspec.structs.replace(
        known,
        id=texts[0],
        title=texts[1],
        goal=Goal(texts[2], (texts[3], texts[4], texts[3])),
        owner=Human(texts[5]),
        participants=(msgspec.structs.replace(qa, actor=Agent(texts[4])), me),
    )
    assert channel_manifests.parse_channel(channel.canonical_yaml.encode()) == channel
    assert channel_manifests.parse_channel_json(channel.canonical_json.encode()) == channel


def test_lines_of_a_text_stand_two_columns_behind_its_key() -> None:
    """As libyaml lays out a literal block, wherever in the manifest it stands."""
    known = channel_manifests.parse_channel(_manifest(QA))
    [qa] = known.participants
    several = msgspec.structs.replace(
        known,
        title="a\nb\n",
        goal=Goal("a\nb", ("a\n\n", "b")),
        owner=Human("a\nb\n\n"),
        participants=(msgspec.structs.replace(qa, actor=Agent("a\n")),),
    )
    assert (
        several.canonical_yaml
        == """\
v: 2
id: c1
title: |
  a
  b
goal:
  statement: |-
    a
    b
  acceptance_criteria:
  - |+
    a

  - b
state: working
owner:
  kind: human
  name: |+
    a
    b

participants:
- actor:
    kind: agent
    id: |
      a
  role: owner
  joined_at: 2026-06-16T00:00:02Z
created_at: 2026-06-16T00:00:00Z
updated_at: 2026-06-16T00:00:00.123456789Z
"""
    )


def test_a_word_in_json_may_be_an_object_of_its_name() -> None:
    """As mur's reader takes it, with nothing in it; any other object is no word."""
    text = channel_manifests.parse_channel(_manifest(QA)).canonical_json
    expected = channel_manifests.parse_channel_json(text.encode())
    spelled = text.replace('"working"', '{"working":null}').replace('"role":"owner"', '"role":{"owner":null}')
    assert spelled.count("null") == 2
    assert channel_manifests.parse_channel_json(spelled.encode()) == expected
    for bad in ("{}", '{"working":1}', '{"working":null,"stale":null}', '{"dreaming":null}', "null"):
        with pytest.raises(MalformedRecord):
            channel_manifests.parse_channel_json(text.replace('"working"', bad).encode())


@pytest.mark.parametrize(("owner", "read"), [("[human, me]", Human("me")), ("[system]", System())])
def test_an_actor_may_be_a_list_in_yaml_too(owner: str, read: Human | System) -> None:
    """Its name has a type there as well: a number is none."""
    data = _manifest(QA).replace(b"{kind: human, name: me}", owner.encode())
    assert channel_manifests.parse_channel(data).owner == read
    for bad in (b"[human, 7]", b"[human, ~]", b"[human]", b"[7, me]", b"human", b"7", b"true", b"[]", b""):
        with pytest.raises(MalformedRecord):
            channel_manifests.parse_channel(_manifest(QA).replace(b"{kind: human, name: me}", bad))


def test_a_version_has_no_sign_and_no_more_than_32_bits() -> None:
    """Not even a zero has."""
    for good, number in ((b"0", 0), (b"4294967295", 2**32 - 1), (b"+2", 2)):
        assert channel_manifests.version_of(b"v: " + good + b"\n") == number
    for bad in (b"-0", b"-1", b"4294967296", b"two", b"", b"'2'"):
        with pytest.raises(MalformedRecord):
            channel_manifests.version_of(b"v: " + bad + b"\n")


@pytest.mark.parametrize(
    ("data", "newer"),
    [
        (b"v: 3\n", 3),
        (b"# by a newer mur\nv: 0x10\nstate: dreaming\n", 16),
        (b"v: 2\n", None),
        (b"v: 2\nv: 3\n", None),
        (b"v: 2 \n", None),
        (b"x: 1\nv: 2\n", None),
        (b"v: 20\n", 20),
        (b"id: c1\n", None),
        (b"[", None),
        (b"", None),
    ],
)
def test_a_newer_version_is_told_whatever_else_stands_there(data: bytes, newer: int | None) -> None:
    """Nothing else of the manifest need be understood; one without a version is none."""
    assert channel_manifests.newer_version(data) == newer
