"""Signatures on channel events: what is signed, by which key, and what to think of one.

A signature binds the channel, the actor, the kind, the payload and the idempotency key, but neither
number nor time, so it stays good in every device's file. Nothing is verified here: `Check` is handed
in, and is asked for many at once, because asking is dear (a child process). Rule of the file: a key
for which anybody can make signatures (a point of small order) is no key; mur takes such keys, we do
not. Implements SEMANTICS §7.4 and docs/formats.md, "Signatures".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import Final, TypeAlias

import msgspec

from fleetsync.errors import MalformedRecord
from fleetsync.records import multibase
from fleetsync.records.actors import Actor, members, print_members
from fleetsync.records.channels import ChannelEvent, print_sorted
from fleetsync.records.strictjson import Json, print_string

KEY_BYTES = 32
SIGNATURE_BYTES = 64

_P = 2**255 - 19
_ORDER_8 = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_SMALL_ORDER: Final = frozenset({0, 1, _P - 1, _P, _P + 1, _ORDER_8, _P - _ORDER_8})
"""The y of every point of order 1, 2, 4 and 8, in canonical and other spellings."""


class Signed(msgspec.Struct, frozen=True, array_like=True):
    """The claim that a public key (32 bytes) signed a message (64 bytes of signature).

    `strict`: the signature's own point may not be of small order either, as mur demands of rotations.
    """

    key: bytes
    message: bytes
    signature: bytes
    strict: bool = False


Check: TypeAlias = Callable[[Sequence[Signed]], list[bool]]
"""Which claims hold by plain Ed25519 (RFC 8032, without cofactor), in order. Sees sound claims only."""


class Verdict(StrEnum):
    """What is known of an event's signature."""

    UNSIGNED = "unsigned"
    VERIFIED = "verified"
    KEY_UNKNOWN = "key-unknown"  # the writer's key has not been heard of yet
    WRONG = "wrong"  # the key is known and did not make this signature

    def permits(self, *, required: bool) -> bool:
        """Whether the event may be written: one that is signed must verify, whatever is required."""
        return self is Verdict.VERIFIED or (self is Verdict.UNSIGNED and not required)


def sign_input(channel: str, event: ChannelEvent) -> bytes:
    """The bytes that the writer of this event has signed, if it has signed it."""
    return sign_input_of(channel, event.actor, event.kind, event.payload, event.idempotency_key)


def sign_input_of(channel: str, actor: Actor, kind: str, payload: Json, key: str | None) -> bytes:
    """`sign_input` from its parts: compact JSON, keys sorted at every level."""
    text = (
        f'{{"actor":{print_members(sorted(members(actor)))},"channel_id":{print_string(channel)}'
        f',"idempotency_key":{"null" if key is None else print_string(key)}'
        f',"kind":"{kind}","payload":{print_sorted(payload)},"v":1}}'
    )
    return text.encode()


def read_key(text: str) -> bytes:
    """The 32 bytes of a public key in multibase; raises `MalformedRecord`."""
    key = multibase.decode(text)
    if len(key) != KEY_BYTES:
        raise MalformedRecord(f"a public key has {KEY_BYTES} bytes, not {len(key)}")
    return key


def read_signature(text: str) -> bytes:
    """The 64 bytes of a signature in multibase; raises `MalformedRecord`."""
    signature = multibase.decode(text)
    if len(signature) != SIGNATURE_BYTES:
        raise MalformedRecord(f"a signature has {SIGNATURE_BYTES} bytes, not {len(signature)}")
    return signature


def small_order(point: bytes) -> bool:
    """Whether 32 bytes spell a point of small order, for which anybody can make signatures."""
    return int.from_bytes(point, "little") & (2**255 - 1) in _SMALL_ORDER


def verify(claims: Sequence[Signed], check: Check) -> list[bool]:
    """Which claims hold, in order; unsound ones do not, and are not asked for."""
    sound = [claim for claim in claims if _is_sound(claim)]
    held = iter(check(sound) if sound else ())
    return [_is_sound(claim) and next(held) for claim in claims]


def judge(channel: str, events: Iterable[tuple[ChannelEvent, bytes | None]], check: Check) -> list[Verdict]:
    """The verdict on each event, given its writer's key (None: not known), in order."""
    found = [_claim(channel, event, key) for event, key in events]
    held = iter(verify([claim for claim in found if isinstance(claim, Signed)], check))
    return [_verdict(next(held)) if isinstance(claim, Signed) else claim for claim in found]


def _verdict(held: bool) -> Verdict:
    return Verdict.VERIFIED if held else Verdict.WRONG


def _claim(channel: str, event: ChannelEvent, key: bytes | None) -> Signed | Verdict:
    if event.sig is None:
        return Verdict.UNSIGNED
    if key is None:
        return Verdict.KEY_UNKNOWN
    try:
        return Signed(key, sign_input(channel, event), read_signature(event.sig))
    except MalformedRecord:
        return Verdict.WRONG


def _is_sound(claim: Signed) -> bool:
    if len(claim.key) != KEY_BYTES or len(claim.signature) != SIGNATURE_BYTES or small_order(claim.key):
        return False
    return not claim.strict or not small_order(claim.signature[:KEY_BYTES])
