"""Signatures on events: what they bind, what they leave open, and whom nobody may ask."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

import msgspec
import pytest

from fleetsync.errors import MalformedRecord
from fleetsync.records import channels, multibase, signatures
from fleetsync.records.channels import ChannelEvent
from fleetsync.records.signatures import Signed, Verdict
from tests.fakes.ed25519 import check, key_of

KEY, PRIVATE = key_of(bytes(range(32)))
OTHER, _ = key_of(bytes(32))
IDENTITY = b"\x01" + bytes(31)  # the neutral point: its "signatures" fit every message
FORGED = multibase.encode(IDENTITY + bytes(32))
LINE = (
    b'{"seq":1,"ts":"2026-06-16T00:00:00Z","actor":{"kind":"agent","id":"qa"},"kind":"message"'
    b',"payload":{"n":1}}'
)


def _event(**changes: object) -> ChannelEvent:
    return msgspec.structs.replace(channels.parse_event(LINE), **changes)


def _signed(event: ChannelEvent, channel: str = "c1") -> ChannelEvent:
    signature = PRIVATE.sign(signatures.sign_input(channel, event))
    return msgspec.structs.replace(event, sig=multibase.encode(signature))


def _judge(event: ChannelEvent, key: bytes | None = KEY, channel: str = "c1") -> Verdict:
    [verdict] = signatures.judge(channel, [(event, key)], check)
    return verdict


def test_worked_example() -> None:
    """The two texts of the format's description, to the byte."""
    event = channels.parse_event(LINE.replace(b'"n":1', b'"text":"hi"'))
    assert signatures.sign_input("c1", event) == (
        b'{"actor":{"id":"qa","kind":"agent"},"channel_id":"c1","idempotency_key":null,"kind":"message"'
        b',"payload":{"text":"hi"},"v":1}'
    )
    assert multibase.encode(KEY) == "zFAe4sisG95oZ42w7buUn5qEE4TAnfTTFPiguZUHmhiF"


def test_number_and_time_are_left_open() -> None:
    """An event stays verified in every device's file."""
    signed = _signed(_event())
    later = channels.parse_event(LINE.replace(b"00:00:00Z", b"11:11:11Z"))
    for event in (signed, msgspec.structs.replace(signed, seq=9, key_version=3, ts=later.ts)):
        assert _judge(event) is Verdict.VERIFIED


def test_everything_else_is_bound() -> None:
    """Another channel, actor, kind, payload or idempotency key is another message."""
    signed = _signed(_event())
    others = [
        msgspec.structs.replace(signed, kind="note"),
        msgspec.structs.replace(signed, payload=None),
        msgspec.structs.replace(signed, idempotency_key="k"),
        msgspec.structs.replace(signed, actor=channels.parse_event(LINE.replace(b'"qa"', b'"qb"')).actor),
    ]
    assert [_judge(event) for event in others] == [Verdict.WRONG] * 4
    assert _judge(signed, channel="c2") is Verdict.WRONG
    assert _judge(signed, key=OTHER) is Verdict.WRONG


def test_verdicts() -> None:
    """Unsigned, not known whose, unreadable: three different things."""
    assert _judge(_event()) is Verdict.UNSIGNED
    assert _judge(_event(), key=None) is Verdict.UNSIGNED
    assert _judge(_signed(_event()), key=None) is Verdict.KEY_UNKNOWN
    for text in ("", "z", "zz", multibase.encode(bytes(63)), multibase.encode(bytes(65)), "no multibase"):
        assert _judge(_event(sig=text)) is Verdict.WRONG


@pytest.mark.parametrize(
    ("verdict", "optional", "required"),
    [
        (Verdict.UNSIGNED, True, False),
        (Verdict.VERIFIED, True, True),
        (Verdict.KEY_UNKNOWN, False, False),
        (Verdict.WRONG, False, False),
    ],
)
def test_what_may_be_written(verdict: Verdict, optional: bool, required: bool) -> None:
    """A signature that does not verify is worse than none."""
    assert (verdict.permits(required=False), verdict.permits(required=True)) == (optional, required)


def test_a_weak_key_verifies_nothing() -> None:
    """OpenSSL takes the forgery, we do not even ask."""
    assert check([Signed(IDENTITY, b"anything", multibase.decode(FORGED))]) == [True]
    assert _judge(_event(sig=FORGED), key=IDENTITY) is Verdict.WRONG
    assert signatures.verify([Signed(IDENTITY, b"anything", multibase.decode(FORGED))], _never) == [False]


def test_a_claim_of_the_wrong_size_is_not_asked_for() -> None:
    """Keys of 32 bytes and signatures of 64, nothing else."""
    good = PRIVATE.sign(b"m")
    claims = [Signed(KEY[:31], b"m", good), Signed(KEY, b"m", good[:63]), Signed(b"", b"", b"")]
    assert signatures.verify(claims, _never) == [False] * 3


def test_answers_stay_in_order() -> None:
    """All events are asked for at once, and each gets its own answer."""
    asked: list[int] = []

    def counted(claims: Sequence[Signed]) -> list[bool]:
        asked.append(len(claims))
        return check(claims)

    good = _signed(_event())
    events = [
        (good, KEY),
        (_event(), KEY),
        (good, OTHER),
        (good, None),
        (_event(sig=FORGED), IDENTITY),
        (good, KEY),
    ]
    verdicts = signatures.judge("c1", events, counted)
    assert verdicts == ["verified", "unsigned", "wrong", "key-unknown", "wrong", "verified"]
    assert asked == [3]


def test_nothing_to_ask_asks_nobody() -> None:
    """Unsigned channels cost no process."""
    assert signatures.judge("c1", [(_event(), KEY), (_signed(_event()), None)], _never) == [
        Verdict.UNSIGNED,
        Verdict.KEY_UNKNOWN,
    ]


def test_keys_are_32_bytes() -> None:
    """A key of any other length is no key."""
    for size in (0, 31, 33):
        with pytest.raises(MalformedRecord):
            signatures.read_key(multibase.encode(bytes(size)))


def test_no_cryptography_is_loaded() -> None:
    """The daemon that reads signatures stays as light as one that does not."""
    code = "import sys, fleetsync.records.rotations; sys.exit('cryptography' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def _never(claims: Sequence[Signed]) -> list[bool]:
    raise AssertionError(f"asked for {claims}")
