"""The public keys of every agent on every device, and whose signature stands on a channel event.

mur's keys belong to one device: the agent `mur` of another laptop signs with another key. So each
device publishes what its agents' two public files say, as one record of its own, and an event is
judged by the keys of all devices: nothing in it says where it was written. Rule of the file: nothing
secret comes in, and nothing is concluded from a key that may still be on its way. Implements
SEMANTICS §7.4 and docs/formats.md, "Published keys".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from fleetsync.errors import MalformedRecord
from fleetsync.records import rotations, signatures
from fleetsync.records.actors import writer_of
from fleetsync.records.channels import ChannelEvent
from fleetsync.records.names import DeviceId, legal_name
from fleetsync.records.rotations import AgentKeys
from fleetsync.records.signatures import Check, Verdict

MAX_FILE = 1 << 18
"""Of each of the two files, bytes: four hundred rotations. A longer one is not published."""


class PublicFiles(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an agent's `identity.pub` (one line) and `rotations.jsonl` say."""

    identity: str = ""
    rotations: tuple[str, ...] = ()


class _Record(msgspec.Struct, frozen=True):
    agents: dict[str, PublicFiles]


_ENCODER = msgspec.json.Encoder(order="sorted")
_DECODER = msgspec.json.Decoder(_Record)


def public_files(identity: bytes | None, chain: bytes | None) -> PublicFiles | None:
    """What of an agent's two files is published (None: the file is missing); None if nothing is.

    Only lines that are rotations, and a line that is a public key: whatever else a file of that name
    holds stays here.
    """
    key = (identity or b"").decode(errors="replace").strip()
    try:
        signatures.read_key(key)
    except MalformedRecord:
        key = ""
    found = PublicFiles(key, tuple(rotations.lines_of(chain or b"")))
    return None if found == PublicFiles() else found


def publish(agents: Mapping[str, PublicFiles]) -> bytes:
    """The record of a device with these agents: equal for equal keys."""
    return _ENCODER.encode(_Record(dict(agents)))


def published(value: bytes) -> dict[str, PublicFiles]:
    """The agents in a device's record; raises `MalformedRecord`."""
    try:
        agents = _DECODER.decode(value).agents
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise MalformedRecord(f"not a record of published keys: {error}") from None
    if not all(legal_name("agent", name) for name in agents):
        raise MalformedRecord("not a record of published keys: an agent's name is not legal")
    return agents


class Judgement(NamedTuple):
    """What is known of an event's signature, and whose it is.

    `devices` are those whose agent made it; of one that is wrong, those whose agent it claims to be.
    """

    verdict: Verdict
    devices: tuple[DeviceId, ...] = ()


class KeyRing:
    """All keys that are known. `check` is asked for many signatures at once."""

    def __init__(self, check: Check) -> None:
        self._check = check
        self._fleet: frozenset[DeviceId] = frozenset()
        self._files: dict[DeviceId, dict[str, PublicFiles]] = {}
        self._values: dict[DeviceId, bytes] = {}
        self._keys: dict[tuple[DeviceId, str], AgentKeys] = {}

    def learn(self, device: DeviceId, value: bytes) -> bool:
        """A device's record; True if it says something new. Raises `MalformedRecord`."""
        if self._values.get(device) == value:
            return False
        self._files[device] = published(value)
        self._values[device] = value
        self._keys = {pair: keys for pair, keys in self._keys.items() if pair[0] != device}
        return True

    def expect(self, fleet: Iterable[DeviceId]) -> bool:
        """The devices whose records belong here; True if these are others than before."""
        before, self._fleet = self._fleet, frozenset(fleet)
        return before != self._fleet

    def judge(self, channel: str, events: Sequence[ChannelEvent]) -> list[Judgement]:
        """The judgement on each event of a channel, in order."""
        offered = [self._keys_for(event) for event in events]
        pairs = [
            (event, key)
            for event, keys in zip(events, offered, strict=True)
            for key in dict.fromkeys(keys.values())
        ]
        verdicts = iter(signatures.judge(channel, pairs, self._check))
        return [
            self._judgement(event, keys, {key: next(verdicts) for key in dict.fromkeys(keys.values())})
            for event, keys in zip(events, offered, strict=True)
        ]

    def _judgement(
        self, event: ChannelEvent, keys: Mapping[DeviceId, bytes], verdicts: Mapping[bytes, Verdict]
    ) -> Judgement:
        if event.sig is None:
            return Judgement(Verdict.UNSIGNED)
        signers = [device for device, key in keys.items() if verdicts[key] is Verdict.VERIFIED]
        if signers:
            return Judgement(Verdict.VERIFIED, tuple(sorted(signers)))
        claimed = [device for device in keys if self._knows(device, event)]
        # A device that has published nothing yet may be the one that wrote it.
        if not claimed or self._fleet - self._files.keys():
            return Judgement(Verdict.KEY_UNKNOWN)
        return Judgement(Verdict.WRONG, tuple(sorted(claimed)))

    def _keys_for(self, event: ChannelEvent) -> dict[DeviceId, bytes]:
        """The key with which each device's agent would have signed this event."""
        agent = writer_of(event.actor)
        if event.sig is None or agent is None:
            return {}
        found = {
            device: self._agent(device, agent) for device, agents in self._files.items() if agent in agents
        }
        keys = {device: agent_keys.of(event.key_version) for device, agent_keys in found.items()}
        return {device: key for device, key in keys.items() if key is not None}

    def _knows(self, device: DeviceId, event: ChannelEvent) -> bool:
        """Whether the key of this version is known, and not only one that stands in for it."""
        head = self._agent(device, writer_of(event.actor) or "").head
        return head is None or event.key_version is None or event.key_version <= head

    def _agent(self, device: DeviceId, agent: str) -> AgentKeys:
        found = self._keys.get((device, agent))
        if found is None:
            files = self._files[device][agent]
            chain = "\n".join(files.rotations).encode()
            found = rotations.agent_keys(chain, files.identity.encode(), self._check)
            self._keys[device, agent] = found
        return found
