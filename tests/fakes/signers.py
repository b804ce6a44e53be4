"""Agents of mur with keys of their own: what they sign, and the two public files they leave."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from fleetsync.records import channels, multibase, signatures
from fleetsync.records.rotations import Rotation
from tests.fakes.ed25519 import key_of

WHEN = "2026-06-16T00:00:00Z"


class Signer:
    """One agent on one device; `seeds` are its keys, one for each version from 0."""

    def __init__(self, agent: str, *seeds: int) -> None:
        self.agent = agent
        self._keys = [key_of(bytes([seed]) * 32) for seed in seeds]

    @property
    def public(self) -> Sequence[str]:
        """The public keys, as mur writes them."""
        return [multibase.encode(public) for public, _ in self._keys]

    @property
    def identity_pub(self) -> bytes:
        """The file of that name: the newest key."""
        return self.public[-1].encode() + b"\n"

    @property
    def rotations(self) -> bytes:
        """The file `rotations.jsonl`."""
        return "".join(f"{rotation.canonical}\n" for rotation in self._chain()).encode()

    def line(self, channel: str, seq: int, text: str, *, key_version: int | None = 0) -> bytes:
        """A message, signed with the key of that version (None: the newest, and not said)."""
        actor = f'{{"kind":"agent","id":"{self.agent}"}}'
        head = f'{{"seq":{seq},"ts":"2026-06-16T00:00:{seq % 60:02}Z","actor":{actor},"kind":"message"'
        unsigned = f'{head},"payload":{{"text":"{text}"}}'
        event = channels.parse_event(f"{unsigned}}}".encode())
        _, private = self._keys[-1 if key_version is None else key_version]
        signature = multibase.encode(private.sign(signatures.sign_input(channel, event)))
        version = "" if key_version is None else f',"key_version":{key_version}'
        return f'{unsigned},"sig":"{signature}"{version}}}'.encode()

    def _chain(self) -> list[Rotation]:
        texts = self.public
        first = Rotation(1, "u", "ed25519", "", texts[0], 0, 0, WHEN, "scheduled", bootstrap=True)
        return [first, *(self._rotation(version) for version in range(1, len(texts)))]

    def _rotation(self, version: int) -> Rotation:
        old, new = self.public[version - 1], self.public[version]
        rotation = Rotation(1, "u", "ed25519", old, new, version - 1, version, WHEN, "scheduled")
        signature = multibase.encode(self._keys[version - 1][1].sign(rotation.sign_input))
        return msgspec.structs.replace(rotation, signature=signature)
