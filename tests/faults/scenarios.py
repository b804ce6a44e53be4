"""What the crash tests do to a replica, and what must be true afterwards however often it died."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fleetsync.merge import register
from fleetsync.merge.register import Dot, Floor, Stamp, Version
from fleetsync.ports import END, START, Group, Outcome
from fleetsync.records import channels, keyrings
from fleetsync.records.names import DeviceId
from fleetsync.replica.replica import Replica
from fleetsync.replica.surroundings import Surroundings
from tests.fakes.signers import Signer

ME = DeviceId("a" * 52)
PEER = DeviceId("b" * 52)
NOW = 1_790_000_000_000_000
SKEW = 600_000_000

MANIFEST = b"name: deploy\nversion: 1.0.0\nupdated_at: 2026-05-30T00:00:00Z\n"
NEWER = b"name: deploy\nversion: 1.1.0\nupdated_at: 2026-06-30T00:00:00Z\n"
LOG = "skills/deploy/events.jsonl"
YAML = "skills/deploy/skill.yaml"


MODELS = "models.yaml"
OLD_ENTRY = b"provider: p\nmodel: old\n"
MODELS_MINE = b"""\
# mine
models:
  claude:
    provider: anthropic  # by key
    model: claude
  old:
    provider: p
    model: old
  other: {provider: q}
roles:
  router: claude  # not for others
"""
MODELS_AFTER = b"""\
# mine
models:
  claude:
    provider: anthropic
    model: newer
  gpt:4:
    provider: p
  other: {provider: q}
roles:
  router: claude  # not for others
"""


def line(second: int, device: str, outcome: str = "success") -> bytes:
    """An execution event as mur writes it."""
    ts = f"2026-06-01T00:{second // 60:02}:{second % 60:02}Z"
    return f'{{"kind":"execution","ts":"{ts}","device_id":"{device}","outcome":"{outcome}"}}'.encode()


LOCAL = [line(n, "here") for n in range(5)]
REMOTE = [line(n, "there", "failure" if n % 3 == 0 else "success") for n in range(40)]

CHANNEL, EVENTS = "channels/c1/channel.yaml", "channels/c1/events.jsonl"
CHANNEL_TEXT = b"v: 2\nid: c1\ntitle: ''\nstate: working\n"
SIGNER = Signer("qa", 1)
SIGNED = [channels.without_seq(SIGNER.line("c1", n, f"n{n}")) for n in range(6)]
KEYS = keyrings.publish(
    {"qa": keyrings.PublicFiles(SIGNER.public[-1], tuple(SIGNER.rotations.decode().split()))}
)


def opened(folder: Path) -> Replica:
    """The replica as the daemon opens it: recovery, then a full scan."""
    around = Surroundings(lambda: NOW, os.urandom)
    replica = Replica(folder / "home", folder / "state", ME, around, SKEW)
    replica.scan(None)
    return replica


def version_of(value: bytes, n: int, vector: dict[str, int], time: int) -> bytes:
    """A version that the peer minted."""
    stamp = Stamp(time, time, PEER, register.digest_of(value))
    return register.encode(Version(Dot(PEER, n), vector, stamp, value))


def make_home(folder: Path) -> None:
    """A skill with local lines, and stats that already count them, as mur leaves it."""
    skill = folder / "home/skills/deploy"
    skill.mkdir(parents=True)
    (skill / "skill.yaml").write_bytes(MANIFEST)
    (skill / "events.jsonl").write_bytes(b"".join(each + b"\n" for each in LOCAL))
    os.utime(skill / "skill.yaml", ns=(NOW * 1000 - 10**15, NOW * 1000 - 10**15))


def empty_home(folder: Path) -> None:
    """A home that has never seen the skill."""
    (folder / "home").mkdir()


def apply_lines(replica: Replica) -> None:
    """A peer's lines arrive."""
    accepted(replica, [Group(LOG, REMOTE)])


def apply_skill(replica: Replica) -> None:
    """A whole skill arrives: manifest and lines."""
    accepted(replica, [Group(LOG, REMOTE), Group(YAML, [version_of(MANIFEST, 1, {}, NOW - 10)])])


def apply_manifest(replica: Replica) -> None:
    """A newer manifest arrives, concurrent with the local one, and then lines."""
    accepted(replica, [Group(YAML, [version_of(NEWER, 1, {}, NOW - 5)]), Group(LOG, REMOTE)])


def apply_parked_first(replica: Replica) -> None:
    """Lines arrive before their manifest, which then releases them."""
    accepted(replica, [Group(LOG, REMOTE)])
    accepted(replica, [Group(YAML, [version_of(MANIFEST, 1, {}, NOW - 10)])])


def apply_deletion(replica: Replica) -> None:
    """A peer has deleted the skill, in knowledge of the manifest that stands here."""
    stamp = Stamp(NOW + 1, NOW + 1, PEER, register.GONE_DIGEST)
    gone = Version(Dot(PEER, NOW + 1), {ME: NOW}, stamp, None, Floor(NOW + 1, []), MANIFEST)
    accepted(replica, [Group(YAML, [register.encode(gone)])])


def apply_signed(replica: Replica) -> None:
    """Signed channel lines arrive before the key of their writer, which then releases them."""
    accepted(replica, [Group(CHANNEL, [version_of(CHANNEL_TEXT, 1, {}, NOW - 10)]), Group(EVENTS, SIGNED)])
    accepted(replica, [Group(f"devices/{PEER}/agent-keys", [version_of(KEYS, 2, {}, NOW - 10)])])


def make_models(folder: Path) -> None:
    """A `models.yaml` as a person keeps it."""
    (folder / "home").mkdir()
    (folder / "home" / MODELS).write_bytes(MODELS_MINE)


def apply_models(replica: Replica) -> None:
    """A peer has changed one entry, made one and taken one away, in knowledge of what stands here."""
    known: dict[str, int] = {ME: NOW + SKEW // 2}
    stamp = Stamp(NOW + 3, NOW + 3, PEER, register.GONE_DIGEST)
    gone = Version(Dot(PEER, NOW + SKEW), known, stamp, None, None, OLD_ENTRY)
    changed = version_of(b"provider: anthropic\nmodel: newer\n", NOW + SKEW, known, NOW + 1)
    made = version_of(b"provider: p\n", 1, {}, NOW + 2)
    groups = {"claude": changed, "gpt%3A4": made, "old": register.encode(gone)}
    accepted(replica, [Group(f"{MODELS}/{name}", [body]) for name, body in groups.items()])


def accepted(replica: Replica, groups: list[Group]) -> None:
    """Apply as often as a peer would offer; nothing of it may be refused."""
    verdicts = replica.apply(groups, PEER)
    assert all(verdict.outcome is not Outcome.REFUSED for verdict in verdicts), verdicts


def lines_whole(folder: Path, expected: list[bytes]) -> None:
    """Every expected line stands in the log exactly once, and every line is one mur can read."""
    data = (folder / "home" / LOG).read_bytes()
    lines = [each for each in data.split(b"\n") if each]
    assert all(isinstance(json.loads(each), dict) for each in lines)
    assert sorted(lines) == sorted(expected)


def counted(folder: Path, lines: list[bytes]) -> None:
    """stats.json holds each of these lines once and nothing else."""
    stats = json.loads((folder / "home/skills/deploy/stats.json").read_bytes())
    events = [json.loads(each) for each in lines]
    wins = sum(event["outcome"] == "success" for event in events)
    assert (stats["usage_count"], stats["success_count"], stats["failure_count"]) == (
        len(events),
        wins,
        len(events) - wins,
    )


def manifest_is(folder: Path, value: bytes) -> None:
    """The manifest in home is this one, whole."""
    assert (folder / "home" / YAML).read_bytes() == value


def check_lines(folder: Path) -> None:
    """Local and remote lines once each; only the remote ones are ours to count."""
    lines_whole(folder, LOCAL + REMOTE)
    counted(folder, REMOTE)
    manifest_is(folder, MANIFEST)


def check_skill(folder: Path) -> None:
    """The skill is there as the peer has it."""
    lines_whole(folder, REMOTE)
    counted(folder, REMOTE)
    manifest_is(folder, MANIFEST)


def check_manifest(folder: Path) -> None:
    """The newer manifest stands, the older one is in history, lines and counts are exact."""
    lines_whole(folder, LOCAL + REMOTE)
    counted(folder, REMOTE)
    manifest_is(folder, NEWER)
    replica = opened(folder)
    kept = [replica.history.value(entry.path, entry.version)[1] for entry in replica.history.entries(YAML)]
    replica.close()
    assert MANIFEST in kept


def check_deletion(folder: Path) -> None:
    """The skill has left home; its lines are members still, and restoring brings all of it back."""
    assert not (folder / "home/skills/deploy").exists()
    replica = opened(folder)
    members = [item for page in replica.between(START, END) for item in page]
    assert sorted(item.body for item in members if item.path == LOG) == sorted(LOCAL)
    assert len(members) == replica.head().count
    replica.restore("skills/deploy", None)
    replica.close()
    lines_whole(folder, LOCAL)
    manifest_is(folder, MANIFEST)


def check_signed(folder: Path) -> None:
    """Every line stands once in the channel, numbered from 0 on without a gap, otherwise as it came."""
    data = (folder / "home" / EVENTS).read_bytes()
    lines = [each for each in data.split(b"\n") if each]
    assert [channels.seq_of(each) for each in lines] == list(range(len(SIGNED)))
    assert sorted(map(channels.without_seq, lines)) == sorted(SIGNED)
    assert (folder / "home" / CHANNEL).read_bytes() == CHANNEL_TEXT


def check_models(folder: Path) -> None:
    """Exactly these entries have changed, all else is as it was, and what went is in history."""
    assert (folder / "home" / MODELS).read_bytes() == MODELS_AFTER
    replica = opened(folder)
    kept = [replica.history.value(entry.path, entry.version)[1] for entry in replica.history.entries(MODELS)]
    groups = [item.path for page in replica.between(START, END) for item in page]
    replica.close()
    assert OLD_ENTRY in kept
    assert b"provider: anthropic  # by key\nmodel: claude\n" in kept
    assert sorted(groups) == [f"{MODELS}/{name}" for name in ("claude", "gpt%3A4", "old", "other")]


@dataclass(frozen=True)
class Scenario:
    """How it begins, what is done, and what must hold once it was done as often as needed."""

    prepare: Callable[[Path], None]
    act: Callable[[Replica], None]
    check: Callable[[Path], None]


SCENARIOS = {
    "lines": Scenario(make_home, apply_lines, check_lines),
    "skill": Scenario(empty_home, apply_skill, check_skill),
    "manifest": Scenario(make_home, apply_manifest, check_manifest),
    "deletion": Scenario(make_home, apply_deletion, check_deletion),
    "models": Scenario(make_models, apply_models, check_models),
    "parked": Scenario(empty_home, apply_parked_first, check_skill),
    "signed": Scenario(empty_home, apply_signed, check_signed),
}
