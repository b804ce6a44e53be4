"""What arrives and needs a person, or a newer program: agents without a key, channels of a newer mur."""

from __future__ import annotations

import pytest

from fleetsync.ports import Group, HomeState
from fleetsync.records import channel_manifests
from tests.fakes.laptops import Laptop, meet
from tests.fakes.samples import EVENTS, YAML, event, manifest, write

PROFILE = "agents/qa/profile.yaml"
AT_HOME = b"schema: 1\nname: qa\ndescription: one\nidentity:\n  pubkey: z1\ntransport:\n  stdio: true\n"


def _told(laptop: Laptop) -> dict[str, tuple[str, str]]:
    return {alert.code: (alert.detail, alert.next) for alert in laptop.replica.condition().alerts}


def test_an_agent_that_came_without_a_key_is_told_and_gets_none(pair: tuple[Laptop, Laptop]) -> None:
    """Where it was made nothing is said; where it came the agent and the next command are named, until
    mur has made a key. Nothing is written but the profile.
    """
    one, two = pair
    write(one, PROFILE, AT_HOME)
    meet(one, two)
    assert _told(one) == {}
    detail, step = _told(two)["needs-key"]
    assert PROFILE in detail
    assert "`transport`" in detail
    assert "`mur agent rekey qa --emergency`" in step
    assert sorted(path.name for path in two.path("agents/qa").iterdir()) == ["profile.yaml"]
    assert not two.path("keys").exists()
    assert two.replica.condition().state is HomeState.OK
    two.reopen()
    assert "needs-key" in _told(two)
    two.path("agents/qa/identity.pub").write_bytes(b"z2\n")
    two.replica.scan(["agents/qa/identity.pub"])
    assert _told(two) == {}


def test_a_profile_that_has_its_blocks_needs_nothing(pair: tuple[Laptop, Laptop]) -> None:
    """A peer's edit leaves them where they are."""
    one, two = pair
    write(two, PROFILE, AT_HOME.replace(b"z1", b"z2"))
    write(one, PROFILE, AT_HOME.replace(b"one", b"later"))
    meet(one, two)
    assert b"pubkey: z2" in two.path(PROFILE).read_bytes()
    assert _told(two) == {}


def test_a_channel_of_a_newer_mur_is_carried_and_not_merged(pair: tuple[Laptop, Laptop]) -> None:
    """The whole winner stands on both, with its own participants, and both say why."""
    one, two = pair
    newer = manifest("qa", updated="2026-06-02T00:00:00Z").replace(b"v: 2", b"v: 3") + b"shape: round\n"
    write(one, YAML, newer)
    write(two, YAML, manifest("mur"))
    meet(one, two)
    for laptop in pair:
        assert laptop.path(YAML).read_bytes() == newer
        assert "is of version 3" in _told(laptop)["newer-channel"][0]


@pytest.mark.parametrize(
    ("text", "version"),
    [
        (manifest(), None),
        (manifest().replace(b"v: 2", b"v: 1"), None),
        (manifest().replace(b"v: 2", b"v: 20"), 20),
        (b"id: x\nv: 3\n", 3),
        (b"id: x\nv: 2\n", None),
        (b"no manifest", None),
    ],
)
def test_versions_are_told_without_reading_all_of_it(text: bytes, version: int | None) -> None:
    """The usual first line says it; else the manifest is read."""
    assert channel_manifests.newer_version(text) == version


def test_a_channel_that_exists_only_elsewhere_appears_whole(pair: tuple[Laptop, Laptop]) -> None:
    """Its lines may come first: nothing is made of it until the manifest is there, then both stand there
    at once, the directory by one rename.
    """
    one, two = pair
    write(one, EVENTS, b"".join(event(n, f'{{"text":"{n}"}}') + b"\n" for n in range(3)))
    lines = [body for group in one.groups() if group.path == EVENTS for body in group.bodies]
    two.replica.apply([Group(EVENTS, lines)], one.device)
    assert not two.path("channels").exists()
    seen: list[list[str]] = []
    two.replica.hear(
        wrote=lambda path: seen.append(sorted(x.name for x in two.path(path).parent.iterdir())),
        keeps_others=lambda: None,
    )
    meet(one, two)
    assert seen[0] == ["channel.yaml"]
    assert two.path(YAML).read_bytes() == manifest()
    assert two.path(EVENTS).read_bytes() == one.path(EVENTS).read_bytes()
    assert list(two.path(".fleetsync/staging").iterdir()) == []
