"""Profiles: the local blocks never leave, and come back byte for byte around a peer's text."""

from __future__ import annotations

import pytest

from fleetsync.errors import MalformedRecord
from fleetsync.records import profiles

FILE = b"""\
# the coder of this laptop
schema: 1
name: coder
# how it is reached here
transport:
  stdio: true
  socket:
    enabled: true   # yes
    bind: unix:///run/coder.sock

persona:
  tone: dry
lifecycle:
  restart: never
  # when it runs
  schedule:
  - cron: '0 9 * * *'
    message: |
      good morning

  max_restarts: 3

# --- keys ---
identity:
  pubkey: zABC # mine
  key_version: 0
deployment: {type: laptop}
house_note: kept   # unknown to mur
# end
"""
VALUE = b"""\
# the coder of this laptop
schema: 1
name: coder

persona:
  tone: dry
lifecycle:
  restart: never

  max_restarts: 3
house_note: kept   # unknown to mur
# end
"""
THEIRS = b"""\
name: coder
lifecycle:
    restart: always
    idle_triggers: []
schema: 2
house_note: changed
voice: {on: true}
"""


def test_the_local_blocks_stay() -> None:
    """Key, transport, deployment and schedule do not travel, nor do comments above them; all else does."""
    assert profiles.travelling(FILE) == VALUE
    profiles.check_value(VALUE)


def test_what_was_taken_apart_goes_together_again() -> None:
    """A device's own text leaves its profile as it is, whatever ends its lines and the file."""
    for file in (FILE, FILE.replace(b"\n", b"\r\n"), FILE.rstrip(b"\n"), b"---\n" + FILE):
        assert profiles.splice(file, profiles.travelling(file)) == file


def test_a_peers_text_takes_the_place_of_ours() -> None:
    """Each local block stands behind what it stood behind, indented as the peer's text is."""
    assert (
        profiles.splice(FILE, THEIRS)
        == b"""\
name: coder
# how it is reached here
transport:
  stdio: true
  socket:
    enabled: true   # yes
    bind: unix:///run/coder.sock
lifecycle:
    restart: always
    # when it runs
    schedule:
    - cron: '0 9 * * *'
      message: |
        good morning
    idle_triggers: []

# --- keys ---
identity:
  pubkey: zABC # mine
  key_version: 0
deployment: {type: laptop}
schema: 2
house_note: changed
voice: {on: true}
"""
    )


def test_local_blocks_keep_their_order() -> None:
    """Those that come to stand at one place stand there as they did, not by name."""
    file = b"name: x\ntransport: {a: 1}\nidentity: {b: 2}\nrole: y\ndeployment: 3\n"
    expected = b"name: b\ntransport: {a: 1}\nidentity: {b: 2}\ndeployment: 3\n"
    assert profiles.splice(file, b"name: b\n") == expected


def test_a_local_block_may_be_the_first_of_its_mapping() -> None:
    """With the comments above it, wherever in the file the mapping stands; a namesake elsewhere travels."""
    file = b"name: x\npersona:\n  identity: calm\nlifecycle:\n  # when\n  schedule: []\n  restart: never\n"
    travels = b"name: x\npersona:\n  identity: calm\nlifecycle:\n  restart: never\n"
    assert profiles.travelling(file) == travels
    assert profiles.splice(file, travels) == file
    assert profiles.splice(file, travels.replace(b"calm", b"wild")) == file.replace(b"calm", b"wild")


def test_a_block_without_company_comes_first() -> None:
    """Where nothing that stood before a local block is left, it stands before all else."""
    file = b"# x\n---\n# key\nidentity: {pubkey: z}\nname: a\n"
    assert profiles.travelling(file) == b"# x\n---\nname: a\n"
    assert (
        profiles.splice(file, b"---\nname: b\n# end") == b"---\n# key\nidentity: {pubkey: z}\nname: b\n# end"
    )
    assert profiles.splice(b"role: x\nidentity: 1", b"name: b\n") == b"identity: 1\nname: b\n"
    assert profiles.splice(b"name: x\nidentity: 1", b"name: b") == b"name: b\nidentity: 1"


def test_a_block_stands_behind_the_nearest_of_its_old_neighbours() -> None:
    """Where the member before a local block is gone, the one before that is taken."""
    file = b"name: a\nrole: x\nidentity: 1\nversion: 2\n"
    assert (
        profiles.splice(file, b"version: 3\nname: a\nid: 4\n") == b"version: 3\nname: a\nidentity: 1\nid: 4\n"
    )


@pytest.mark.parametrize(
    ("file", "theirs"),
    [
        (b"name: a\nidentity:\n  note: |\n    x", b"name: a\nid: 1\n"),
        (b"name: a\nidentity: 1\n", b"id: 1\nname: |\n  a"),
    ],
)
def test_a_text_that_would_say_something_else_is_refused(file: bytes, theirs: bytes) -> None:
    """An open block scalar at the end of a file says less than one with a line behind it."""
    with pytest.raises(MalformedRecord, match="changing more"):
        profiles.splice(file, theirs)


def test_how_it_is_spelled_is_not_what_it_says() -> None:
    """mur rewriting a profile is no change of it; a changed field is."""
    respelled = b"house_note: 'kept'\nlifecycle: {max_restarts: 3, restart: never}\npersona: {tone: dry}\n"
    respelled += b'"name": coder\nschema: 1'
    assert profiles.digest(respelled) == profiles.digest(VALUE)
    assert profiles.digest(VALUE.replace(b"dry", b"wry")) != profiles.digest(VALUE)
    moved = FILE.replace(b"zABC", b"zXYZ").replace(b"key_version: 0", b"key_version: 1")
    assert profiles.travelling(moved) == VALUE


@pytest.mark.parametrize("block", sorted(profiles.LOCAL))
def test_a_text_with_anothers_local_block_is_refused(block: tuple[str, ...]) -> None:
    """Whatever a peer sends, this device's key, transport and schedule cannot be replaced by it."""
    name = block[-1].encode()
    spellings = [name + b": {}", b"'" + name + b"': {}", b'"\\x%02x' % name[0] + name[1:] + b'": {}']
    for spelled in spellings:
        theirs = b"name: coder\nlifecycle:\n  restart: never\n" + b"  " * (len(block) - 1) + spelled + b"\n"
        for refused in (
            lambda v: profiles.splice(FILE, v),
            profiles.digest,
            lambda v: profiles.fresh(v, "coder"),
        ):
            with pytest.raises(MalformedRecord, match="another device"):
                refused(theirs)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"# nothing\n",
        b"name",
        b"- name\n",
        b"{name: coder}\n",
        b"name: &a coder\n",
        b"name: !t coder\n",
        b"name: a\nname: b\n",
        b"x: {a: 1, a: 2}\n",
        b"name: a\n---\nname: b\n",
        b"? name\n: a\n",
        b"name: [\n",
        b"\xff",
        b"a: [" * 50,
    ],
)
def test_what_cannot_be_taken_apart_does_not_sync(value: bytes) -> None:
    """No block style, anchors, tags, repeated keys, no YAML: neither sent nor taken."""
    with pytest.raises(MalformedRecord):
        profiles.travelling(value)
    with pytest.raises(MalformedRecord):
        profiles.splice(FILE, value)
    with pytest.raises(MalformedRecord):
        profiles.splice(value, VALUE)


@pytest.mark.parametrize(
    "file",
    [
        b"name: a\nlifecycle: {restart: never, schedule: []}\n",
        b"name: a\nlifecycle:\n  schedule: []\n",
        b"identity: {}\n",
        b"name: |+\n  a\n\nidentity: {}\n\nrole: b\n",
    ],
)
def test_a_local_block_that_cannot_be_cut_out_stays_with_its_profile(file: bytes) -> None:
    """In doubt nothing travels."""
    with pytest.raises(MalformedRecord):
        profiles.travelling(file)


def test_a_block_that_has_no_place_any_more_is_not_dropped() -> None:
    """A peer's text without a `lifecycle` is refused where there is a schedule to keep."""
    with pytest.raises(MalformedRecord, match="lifecycle"):
        profiles.splice(FILE, b"name: coder\n")
    with pytest.raises(MalformedRecord):
        profiles.splice(FILE, b"name: coder\nlifecycle: {restart: never}\n")


@pytest.mark.parametrize(
    "last", [b"note: |\n  open", b"note: 'x'", b"x:\n- a\n  # deep", b"a: 1\n...\n", b"note: >-\n  x\n\n\n"]
)
def test_nothing_a_peer_ends_with_swallows_a_local_block(last: bytes) -> None:
    """What is put behind a peer's last line is still a block of its own, or all is refused."""
    file = FILE.replace(b"house_note: kept   # unknown to mur\n# end\n", b"")
    theirs = b"lifecycle:\n  restart: never\n" + last
    try:
        result = profiles.splice(file, theirs)
    except MalformedRecord:
        return
    assert profiles.lacking(result) == ()
    assert profiles.digest(profiles.travelling(result)) == profiles.digest(theirs)


def test_a_device_without_the_agent_gets_it_without_a_key() -> None:
    """The text as it travelled; what a person must add is said; a text about another agent is refused."""
    assert profiles.fresh(VALUE, "coder") == VALUE
    assert profiles.lacking(VALUE) == ("identity", "transport")
    assert profiles.lacking(FILE) == ()
    for value in (VALUE.replace(b"name: coder\n", b""), VALUE, b"name: [coder]\n"):
        with pytest.raises(MalformedRecord):
            profiles.fresh(value, "tester")
