"""Published keys: whose signature stands on an event, and what may not be concluded yet."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from fleetsync.errors import MalformedRecord
from fleetsync.records import channels, keyrings
from fleetsync.records.channels import ChannelEvent
from fleetsync.records.keyrings import Judgement, KeyRing, PublicFiles
from fleetsync.records.names import DeviceId
from fleetsync.records.signatures import Signed, Verdict
from tests.fakes.ed25519 import check
from tests.fakes.signers import Signer

A, B, C = (DeviceId(letter * 52) for letter in "abc")
ON_A, ON_B = Signer("qa", 1, 2), Signer("qa", 3)


def _value(*signers: Signer) -> bytes:
    found = {s.agent: keyrings.public_files(s.identity_pub, s.rotations) for s in signers}
    return keyrings.publish({name: files for name, files in found.items() if files is not None})


def _event(signer: Signer, version: int | None = 0, text: str = "hi") -> ChannelEvent:
    return channels.parse_event(signer.line("c1", 0, text, key_version=version))


def _ring(**values: bytes) -> KeyRing:
    ring = KeyRing(check)
    for letter, value in values.items():
        ring.learn(DeviceId(letter * 52), value)
    return ring


def _judge(ring: KeyRing, event: ChannelEvent) -> Judgement:
    [judgement] = ring.judge("c1", [event])
    return judgement


def test_the_device_is_found_by_its_key() -> None:
    """Two devices have an agent of the same name; the key says which of them wrote."""
    ring = _ring(a=_value(ON_A), b=_value(ON_B))
    for version in (0, 1, None):
        assert _judge(ring, _event(ON_A, version)) == Judgement(Verdict.VERIFIED, (A,))
    assert _judge(ring, _event(ON_B)) == Judgement(Verdict.VERIFIED, (B,))


def test_a_key_that_nobody_has_published_is_unknown() -> None:
    """No agent of that name, or no such version of its key yet."""
    assert _judge(_ring(), _event(ON_A)) == Judgement(Verdict.KEY_UNKNOWN)
    assert _judge(_ring(b=_value(Signer("other", 3))), _event(ON_A)) == Judgement(Verdict.KEY_UNKNOWN)
    assert _judge(_ring(a=_value(Signer("qa", 1))), _event(ON_A, 1)) == Judgement(Verdict.KEY_UNKNOWN)


def test_wrong_is_said_of_the_device_whose_key_is_known() -> None:
    """The line claims to be from that agent, and its key did not sign it."""
    stranger = Signer("qa", 9)
    assert _judge(_ring(a=_value(ON_A)), _event(stranger)) == Judgement(Verdict.WRONG, (A,))
    both = _ring(a=_value(ON_A), b=_value(ON_B))
    assert _judge(both, _event(stranger)) == Judgement(Verdict.WRONG, (A, B))
    late = Signer("qa", 9, 8)
    assert _judge(both, _event(late, 1)) == Judgement(Verdict.WRONG, (A,))  # B has no such version


def test_an_unsigned_line_is_unsigned() -> None:
    """Whatever keys its writer has; it makes no claim that could be wrong."""
    line = b'{"seq":0,"ts":"2026-06-16T00:00:00Z","actor":{"kind":"agent","id":"qa"},"kind":"message"}'
    assert _judge(_ring(a=_value(ON_A)), channels.parse_event(line)) == Judgement(Verdict.UNSIGNED)


def test_a_key_without_a_chain_is_the_key_of_every_version() -> None:
    """What it did not sign is wrong; so is a line that names no version and that no newest key signed."""
    alone = keyrings.publish({"qa": PublicFiles(ON_A.public[-1])})
    for version in (0, 7, None):
        assert _judge(_ring(a=alone), _event(Signer("qa", *[9] * 8), version)) == Judgement(
            Verdict.WRONG, (A,)
        )
    assert _judge(_ring(a=alone), _event(ON_A, 1)) == Judgement(Verdict.VERIFIED, (A,))
    assert _judge(_ring(a=_value(ON_A)), _event(Signer("qa", 9), None)) == Judgement(Verdict.WRONG, (A,))


def test_while_a_device_has_published_nothing_no_line_is_wrong() -> None:
    """Its agents may have the same names: what fits no known key may be theirs."""
    ring = _ring(b=_value(ON_B))
    assert ring.expect([A, B])
    assert not ring.expect([B, A])
    assert _judge(ring, _event(ON_A)) == Judgement(Verdict.KEY_UNKNOWN)
    assert ring.learn(A, _value(ON_A))
    assert _judge(ring, _event(ON_A)) == Judgement(Verdict.VERIFIED, (A,))
    assert _judge(ring, _event(Signer("qa", 9))).verdict is Verdict.WRONG


def test_an_agent_that_no_directory_can_have_signs_nothing() -> None:
    """Its key can never be known."""
    line = ON_A.line("c1", 0, "hi").replace(b'"id":"qa"', b'"id":"../qa"')
    assert _judge(_ring(a=_value(ON_A)), channels.parse_event(line)) == Judgement(Verdict.KEY_UNKNOWN)


def test_all_is_asked_for_at_once() -> None:
    """A batch costs one question for the events, and one for each chain that is new."""
    asked: list[int] = []

    def counted(claims: Sequence[Signed]) -> list[bool]:
        asked.append(len(claims))
        return check(claims)

    ring = KeyRing(counted)
    ring.learn(A, _value(ON_A))
    ring.learn(B, _value(ON_B))
    events = [_event(ON_A, n % 2, f"{n}") for n in range(10)]
    assert [j.verdict for j in ring.judge("c1", events)] == [Verdict.VERIFIED] * 10
    assert asked == [1, 20]  # the chain of A; then each event under both devices' keys
    ring.judge("c1", events)
    assert asked[2:] == [20]


def test_a_record_that_says_the_same_is_no_news() -> None:
    """A key that changed is, and the one before is no longer believed."""
    ring = _ring(a=_value(ON_A), b=_value(ON_B))
    assert _judge(ring, _event(ON_A)) == Judgement(Verdict.VERIFIED, (A,))
    assert not ring.learn(A, _value(ON_A))
    assert ring.learn(A, _value(Signer("qa", 4)))
    assert _judge(ring, _event(ON_A)) == Judgement(Verdict.WRONG, (A, B))
    assert _judge(ring, _event(ON_B)) == Judgement(Verdict.VERIFIED, (B,))


def test_only_what_is_public_is_published() -> None:
    """Whatever else those files hold, a private key above all, stays on its device."""
    assert keyrings.public_files(None, None) is None
    assert keyrings.public_files(bytes(range(32)), b"secret\n") is None
    assert keyrings.public_files(bytes(range(200, 232)), b"\xff\n") is None
    found = keyrings.public_files(ON_A.identity_pub + b"\n", ON_A.rotations + b'{"secret":1}\nhunter2\n')
    assert found == PublicFiles(ON_A.public[-1], tuple(ON_A.rotations.decode().splitlines()))
    assert keyrings.published(keyrings.publish({"qa": found})) == {"qa": found}


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        b'{"agents":{"../x":{}}}',
        b'{"agents":{"qa":{"rotations":[1]}}}',
        b"[" * 9999,
    ],
)
def test_what_is_no_record(value: bytes) -> None:
    """It is refused as a whole."""
    with pytest.raises(MalformedRecord):
        keyrings.published(value)


def test_later_fields_are_ignored() -> None:
    """A newer fleetsync may say more."""
    assert keyrings.published(b'{"agents":{"qa":{"x":1}},"y":2}') == {"qa": PublicFiles()}
