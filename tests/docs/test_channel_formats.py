"""What docs/formats.md says of channels, signatures and YAML is what the code reads and writes."""

from __future__ import annotations

import re

import pytest

from fleetsync.errors import MalformedRecord
from fleetsync.records import channel_manifests, channels, rotations, signatures, yamlscalars, yamltree
from tests.docs.test_formats import TEXT, section, table, ticked


def test_kinds_states_and_roles_are_in_the_table():
    """Each row lists exactly what mur knows, in its order."""
    rows = {row[0]: tuple(ticked(row[1])) for row in table("Channels")}
    assert rows["kind of event"] == channels.KINDS
    assert rows["state of a channel"] == channels.STATES
    assert rows["role in a channel"] == channel_manifests.ROLES


def test_the_fields_of_events_manifests_and_rotations_stand_in_their_order():
    """The order of the text is the order of the file."""
    for heading, fields in (
        ("Channels", channels.FIELDS),
        ("Channels", channel_manifests.FIELDS),
        ("Signatures", rotations.FIELDS),
    ):
        listed = ", ".join(f"`{name}`" for name in fields)
        assert listed in " ".join(section(heading).split())


def test_the_signed_bytes_of_the_example():
    """A second implementation that signs these bytes is believed by mur and by us."""
    block = re.search(r"^```json sign-input\n(.*?)\n```", TEXT, flags=re.MULTILINE | re.DOTALL)
    assert block is not None
    line = (
        b'{"seq":3,"ts":"2026-06-16T00:00:00Z","actor":{"kind":"agent","id":"qa"},"kind":"message"'
        b',"payload":{"text":"hi"}}'
    )
    assert signatures.sign_input("c1", channels.parse_event(line)) == block[1].encode()


def test_plain_scalars_mean_what_the_page_says():
    """YAML 1.2, where mur's own library reads it so."""
    for plain in ("on", "y", "1_000"):
        assert yamlscalars.meaning(plain) == plain
        assert f"`{plain}`" in section("YAML")


@pytest.mark.parametrize("text", [b"a: &x 1\nb: *x\n", b"a: 1\n---\nb: 2\n", b"a: !!int 1\n"])
def test_what_the_page_calls_refused_is_refused(text):
    """Anchors and aliases, several documents, tags."""
    with pytest.raises(MalformedRecord):
        yamltree.read(text)
