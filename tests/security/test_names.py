"""Names and links that lead out of home: what a paired device sends, and what somebody has planted here.

A real replica on a real disk; beside home lies a directory that nothing may touch.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from fleetsync import datasets
from fleetsync.errors import FleetsyncError, MalformedRecord
from fleetsync.merge import register
from fleetsync.merge.register import Dot, Stamp, Version
from fleetsync.ports import Group, Outcome
from fleetsync.records.names import DeviceId
from fleetsync.replica.replica import Replica
from fleetsync.replica.surroundings import Surroundings
from tests.fakes.fleet import event

ME, PEER = DeviceId("b" * 52), DeviceId("a" * 52)
NOW = 1_800_000_000_000_000
MANIFEST, LOG = "skills/deploy/skill.yaml", "skills/deploy/events.jsonl"
CHANNEL = "channels/general/channel.yaml"
VALUE = b"name: deploy\nversion: 1.0.0\npublisher: human:x\ndescription: from a peer\n"

OUT_OF_HOME = [
    "../outside/events.jsonl",
    "../../../../../../etc/passwd",
    "/etc/passwd",
    "//etc/passwd",
    "skills/../../outside/skill.yaml",
    "skills/./deploy/skill.yaml",
    "skills//deploy/skill.yaml",
    "skills/deploy/",
    "skills/deploy/../../../outside/secret",
    "skills/..%2f..%2foutside/skill.yaml",
    "skills/..\\..\\outside/skill.yaml",
    "C:\\Users\\x",
    "skills/deploy/skill.yaml\0.txt",
    "skills/deploy\n/skill.yaml",
    "skills/\u202edeploy/skill.yaml",
    "skills/dep\u0301loy/skill.yaml",
    "skills/\uff0e\uff0e/skill.yaml",
    "skills/DEPLOY/skill.yaml",
    "skills/-rf/skill.yaml",
    "skills/~root/skill.yaml",
    "skills/$HOME/skill.yaml",
    "skills/" + "x" * 65 + "/skill.yaml",
    "skills/con:/skill.yaml",
    "skills/deploy/stats.json",
    "skills/deploy/stats.lock",
    "skills/deploy/.skill.yaml.mur-tmp",
    "skills/deploy/identity.key",
    "agents/coder/identity.key",
    "agents/coder/rotations.jsonl",
    "agents/coder/auth.json",
    "agents/coder/skills/../profile.yaml",
    "keys/mur.key",
    "secrets/token",
    "auth.json",
    "index/x",
    ".fleetsync/staging/x",
    ".git/config",
    ".ssh/authorized_keys",
    "channels/general/events.lock",
    "models.yaml",
    "models.yaml/",
    "models.yaml/../x",
    "",
    ".",
    "..",
    "skills",
    "x" * 100_000,
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A home, a state directory, and something outside of both."""
    (tmp_path / "home").mkdir()
    (tmp_path / "outside/deeper").mkdir(parents=True)
    for name in ("secret", "events.jsonl", "skill.yaml", "stats.json", "stats.lock", "deeper/skill.yaml"):
        (tmp_path / "outside" / name).write_bytes(b"not yours\n")
    return tmp_path


@pytest.fixture
def replica(root: Path) -> Iterator[Replica]:
    """The replica of that home."""
    made = Replica(root / "home", root / "state", ME, Surroundings(lambda: NOW, os.urandom), 600_000_000)
    made.scan(None)
    yield made
    made.close()


def everything_outside(root: Path) -> dict[str, bytes]:
    """What lies outside, to the byte; also names that would be new."""
    found = {path: path.read_bytes() for path in (root / "outside").rglob("*") if path.is_file()}
    return {str(path.relative_to(root)): data for path, data in found.items()} | {
        path.name: b"" for path in root.iterdir()
    }


def version(value: bytes, number: int = 1) -> bytes:
    """A version of a register as a peer sends it."""
    time = NOW - 10**9 + number
    stamp = Stamp(time, time, PEER, register.digest_of(value))
    return register.encode(Version(Dot(PEER, time), {}, stamp, value))


def tries(replica: Replica) -> list[Outcome]:
    """A peer gives a manifest and lines; whatever stands in the way is told by an error of ours."""
    groups = [Group(MANIFEST, [version(VALUE)]), Group(LOG, [event(n, at=NOW / 1e6 - 99) for n in range(3)])]
    outcomes: list[Outcome] = []
    for group in groups:
        with suppress(FleetsyncError):
            outcomes += [verdict.outcome for verdict in replica.apply([group], PEER)]
    with suppress(FleetsyncError):
        replica.scan(None)
    with suppress(FleetsyncError):
        replica.settle()
    return outcomes


@pytest.mark.parametrize("path", OUT_OF_HOME, ids=lambda path: repr(path[:40]))
def test_names_that_lead_elsewhere(root: Path, replica: Replica, path: str) -> None:
    """Refused one by one, with a reason, and neither home nor anything else has changed."""
    before = everything_outside(root)
    standing = sorted((root / "home").rglob("*"))
    verdicts = replica.apply([Group(path, [event(1), version(VALUE)])], PEER)
    assert {verdict.outcome for verdict in verdicts} == {Outcome.REFUSED}
    assert all(verdict.reason for verdict in verdicts)
    assert everything_outside(root) == before
    assert sorted((root / "home").rglob("*")) == standing
    with pytest.raises(MalformedRecord):
        datasets.require(path)


PLANTED: dict[str, Callable[[Path, Path], None]] = {
    "skills": lambda home, out: (home / "skills").symlink_to(out),
    "the skill": lambda home, out: _linked(home / "skills/deploy", out),
    "the log": lambda home, out: _linked(home / LOG, out / "events.jsonl"),
    "the manifest": lambda home, out: _linked(home / MANIFEST, out / "skill.yaml"),
    "the counters": lambda home, out: _linked(home / "skills/deploy/stats.json", out / "stats.json"),
    "the lock of the counters": lambda home, out: _linked(
        home / "skills/deploy/stats.lock", out / "stats.lock"
    ),
    "our own directory": lambda home, out: (home / ".fleetsync").symlink_to(out),
    "the staging": lambda home, out: _linked(home / ".fleetsync/staging", out),
    "a link to itself": lambda home, _: (home / "skills").symlink_to("skills"),
    "a link upwards": lambda home, _: (home / "skills").symlink_to(".."),
    "a pipe for a log": lambda home, _: _pipe(home / LOG),
    "a pipe for a manifest": lambda home, _: _pipe(home / MANIFEST),
    "a directory for a log": lambda home, _: (home / LOG).mkdir(parents=True),
    "a directory for a manifest": lambda home, _: (home / MANIFEST).mkdir(parents=True),
}


def _linked(at: Path, to: Path) -> None:
    at.parent.mkdir(parents=True, exist_ok=True)
    at.symlink_to(to)


def _pipe(at: Path) -> None:
    at.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(at)


@pytest.mark.parametrize("what", PLANTED)
@pytest.mark.timeout(30)
def test_links_that_lead_elsewhere(root: Path, replica: Replica, what: str) -> None:
    """Planted before anything arrives: not read, not written, not followed, and never waited for."""
    before = everything_outside(root)
    PLANTED[what](root / "home", root / "outside")
    tries(replica)
    assert everything_outside(root) == before
    with suppress(FleetsyncError):
        replica.condition()


def test_a_link_planted_at_the_moment_of_writing(root: Path, replica: Replica) -> None:
    """While lines and manifests arrive, the skill's directory is exchanged for a link and back, as fast as it
    can be: nothing ever lands outside.
    """
    before, home, stop = everything_outside(root), root / "home", threading.Event()
    tries(replica)
    aside, link = home / "aside", home / "link"

    def juggle() -> None:
        while not stop.is_set():
            with suppress(OSError):
                link.symlink_to(root / "outside")
                (home / "skills/deploy").rename(aside)
                link.rename(home / "skills/deploy")
            with suppress(OSError):
                (home / "skills/deploy").unlink()
            with suppress(OSError):
                aside.rename(home / "skills/deploy")

    juggler = threading.Thread(target=juggle)
    juggler.start()
    try:
        for number in range(60):
            value = VALUE + b"n: %d\n" % number
            lines = [event(1000 + number, at=NOW / 1e6 - 99)]
            for group in (Group(MANIFEST, [version(value, number + 2)]), Group(LOG, lines)):
                with suppress(FleetsyncError):
                    replica.apply([group], PEER)
    finally:
        stop.set()
        juggler.join()
    assert everything_outside(root) | {"home": b""} == before


def test_contents_that_only_look_like_paths(root: Path, replica: Replica) -> None:
    """A device id, a title or a value may be any text: none of it ever becomes the name of a file."""
    before = everything_outside(root)
    evil = "../../outside/secret"
    lines = [event(5, device=evil, at=NOW / 1e6 - 99)]
    stamp = Stamp(NOW, NOW, evil, register.digest_of(VALUE))
    body = register.encode(Version(Dot(evil, NOW), {evil + "2": 3}, stamp, VALUE))
    channel = b"v: 2\nid: ../../outside\ntitle: ../../x\n"
    replica.apply([Group(MANIFEST, [body]), Group(LOG, lines), Group(CHANNEL, [version(channel)])], PEER)
    replica.scan(None)
    replica.settle()
    assert everything_outside(root) == before
    history = [path.name for path in (root / "state").rglob("*")]
    assert not any("secret" in name for name in history)
