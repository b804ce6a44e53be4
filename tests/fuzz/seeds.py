"""What a search begins with: the recorded vectors of mur, and one good example of each message."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec

from fleetsync.merge import reconcile, register
from fleetsync.merge.ranges import ListRanges
from fleetsync.merge.register import Dot, Floor, Stamp, Version
from fleetsync.ports import Group, Outcome, Verdict
from fleetsync.wire import codec
from fleetsync.wire.messages import Batch, Heartbeat, Receipt, Refusal, RosterOffer, Span, Want
from tests.fakes.peer import HEAD, hello_of
from tests.fakes.rosters import Someone
from tests.fuzz.messages import DEVICE

VECTORS = Path(__file__).parents[1] / "vectors"
MAX_SEEDS, MAX_SEED = 300, 4096


def vectors(file: str, *keys: str) -> tuple[bytes, ...]:
    """The texts under these keys in a file of vectors; the whole lines if no key is named."""
    found: dict[bytes, None] = {}
    for line in (VECTORS / file).read_bytes().splitlines():
        values = [json.loads(line).get(key) for key in keys]
        texts = [value.encode() for value in values if isinstance(value, str)] if keys else [line]
        found |= dict.fromkeys(text for text in texts if len(text) <= MAX_SEED)
    return tuple(found)[:MAX_SEEDS]


def negentropy() -> tuple[bytes, ...]:
    """Recorded messages, and the first ones of ours."""
    found: list[bytes] = []
    for line in (VECTORS / "negentropy.jsonl").read_bytes().splitlines():
        texts = json.loads(line).get("messages", [])
        found += [bytes.fromhex(text) for text in texts if len(text) <= MAX_SEED]
    ours = [
        reconcile.Initiator().initiate(ListRanges([(n, bytes([n] * 32)) for n in range(size)]))
        for size in (0, 1, 99)
    ]
    return (*ours, *found[:MAX_SEEDS])


def messages() -> tuple[bytes, ...]:
    """One of each kind."""
    covering = Verdict(Outcome.SUPERSEDED, "", versions()[0])
    kinds = (
        hello_of(DEVICE),
        Heartbeat(HEAD),
        Want([b"i" * 32], [Span(0, b"", 2**64 - 1, b"")]),
        Receipt({0: covering, 1: Verdict(Outcome.REFUSED, "no")}, HEAD),
        RosterOffer([b"record"], {DEVICE: ["127.0.0.1:8473", "[::1]:1"]}, "desk", 8473),
        Refusal("not-trusted", "go away"),
        Batch([]),
    )
    return tuple(codec.encode(kind) for kind in kinds)


def batches() -> tuple[bytes, ...]:
    """Plain and compressed."""
    line = b'{"kind":"retrieval","ts":"2026-05-30T00:00:00Z","device_id":"dev-a"}'
    groups = [Group("skills/deploy/events.jsonl", [line]), Group("skills/deploy/skill.yaml", [versions()[0]])]
    return codec.encode(Batch(groups)), codec.encode(Batch([*groups, Group("open-items.jsonl", [line] * 20)]))


def frames() -> tuple[bytes, ...]:
    """Streams of one or two frames."""
    several = [*batches(), codec.encode(Heartbeat(HEAD))]
    return (b"".join(map(codec.frame, several)), *map(codec.frame, several))


def versions() -> tuple[bytes, ...]:
    """A value, one that covers another, and a deletion with a floor."""
    value = b"name: deploy\nversion: 1.0.0\nupdated_at: 2026-05-30T00:00:00Z\n"
    stamp = Stamp(5, 5, DEVICE, register.digest_of(value))
    gone = Stamp(9, 9, DEVICE, b"")
    return tuple(
        register.encode(version)
        for version in (
            Version(Dot(DEVICE, 5), {}, stamp, value),
            Version(Dot(DEVICE, 7), {DEVICE: 5, "b" * 52: 3}, stamp, value),
            Version(Dot(DEVICE, 9), {DEVICE: 5}, gone, None, Floor(8, [b"i" * 32]), value),
        )
    )


def roster() -> tuple[bytes, ...]:
    """A vouch, a removal, and both after one another."""
    one, other = Someone("one"), Someone("other")
    vouch, removal = one.vouch(other, nonce=1), one.remove(other, nonce=2)
    again = one.vouch(other, [removal], nonce=3)
    return vouch.raw, removal.raw, b"\xff\xff\xff".join([vouch.raw, removal.raw, again.raw])


def pairing() -> tuple[bytes, ...]:
    """Messages of the right shape with the wrong contents."""
    element = b"S" + bytes(32)
    values = (
        [1, 1, "desk", 8473, b"certificate", element],
        [1, "desk", 8473, element],
        [b"mac", b"signature", []],
    )
    return tuple(msgspec.msgpack.encode(value) for value in values)


YAML = (
    b"name: deploy\nversion: 1\nupdated_at: 2026-05-30T00:00:00Z\nsteps:\n- run: x\n  with: {a: 1, b: [2]}\n",
    b"a: &x 1\nb: *x\nc: !!str 2\n? d\n: e\n",
    b"a: |\n  literal\n\nb: >-\n  folded\n# remark\nc: 'q''q'\nd: \"\\u0041\\n\"\n",
    b"--- # begin\n{a: [1, 2], 'b': {}}\n...\n",
)
PROFILES = (
    b"name: coder\nidentity:\n  key: k1\n# above\ntransport: stdio\nlifecycle:\n  state: on\n  schedule: x\n",
    b"name: coder\nmodel: big\n",
    b"name: coder\nidentity: {a: b}\nmodel: x # why\ndeployment:\n- one\n- two\n",
)
MODELS = (
    b"schema_version: 1\nmodels:\n  big:\n    provider: x\n    secret: env:KEY\n  small: {provider: local}\n",
    b"{models: {a: {provider: x}}}\n",
    b"models:\n  bad:\n    secret: cmd:rm\n  anchored: &a\n    provider: y\n",
)
LINES = (
    b'{"kind":"resolve","id":"x","at":"2025-01-01T00:00:00Z"}',
    b'{"kind":"open","id":"x","agent":"qa","title":"t","next":null,"at":"2025-01-01T00:00:00Z"}',
)
CONFIG = (
    b'device.name = "desk"\n[device]\nlisten = "127.0.0.1:1"\n',
    b'[sync]\npush = 0.5\n[peers]\ntravel = ["[::1]:8473"]\n[store]\nurl = "postgres://x"\n',
)
PATHS = (
    b"skills/deploy/events.jsonl",
    b"agents/coder/skills/x/skill.yaml",
    b"../../etc/passwd",
    b"channels/a/channel.yaml",
    b"aaaaaaa-bbbbbbb",
)
FLEET = (
    b'{"version":1,"instance":"AAAAAAAAAAA=","place":"here","records":[],"pairings":[],"peers":{}}',
    b'{"version":1,"instance":"AAAAAAAAAAA=","place":"x","peers":{"a":{"device":"a","addresses":["x:1"],"paused":true}}}',
)
KEYRINGS = (
    b'{"agents":{"qa":{"identity":"z6r2jGDj52hGmGRf6pKeoRiUhrEonq1CLxtXfo6FoT5RR","rotations":["{}"]}}}',
    b'{"agents":{}}',
)
CODES = (b"7-orbit-falcon", b"127.0.0.1:8473", b"[::1]:8473", b" 7 ORBIT falcon ")
