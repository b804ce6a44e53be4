"""What is signed, the text of keys and signatures, and the verdicts on signed events.

On purpose different: no key of small order verifies anything (see `test_ed25519_edge`).
"""

from __future__ import annotations

from hashlib import sha256

import pytest

from fleetsync.errors import MalformedRecord
from fleetsync.records import actors, channels, multibase, signatures, strictjson
from fleetsync.records.signatures import Signed
from tests.conformance.vectors import Row, each
from tests.fakes.ed25519 import check, is_weak, key_of


def _input(row: Row) -> bytes:
    return signatures.sign_input_of(
        row["channel_id"],
        actors.read_actor(strictjson.parse(row["actor_json"].encode())),
        row["kind"],
        strictjson.parse(row["payload_json"].encode()),
        row["idempotency_key"],
    )


def _signs(row: Row) -> bool:
    """What the reference says, if its key is one."""
    return bool(row["valid"]) and not is_weak(signatures.read_key(row["public_key"]))


@each("sign_inputs")
def test_row(row: Row) -> None:
    """Every row of whatever type says what the reference says."""
    {
        "input": _test_input,
        "verify": _test_verify,
        "verify_event": _test_verify_event,
        "public_key": _test_public_key,
    }[row["type"]](row)


def _test_input(row: Row) -> None:
    """The exact bytes; with a seed the reference's key and signature; with a line the same from the line."""
    message = _input(row)
    assert message.decode() == row["canonical_utf8"]
    assert sha256(message).hexdigest() == row["sha256"]
    if "seed_hex" in row:
        public, private = key_of(bytes.fromhex(row["seed_hex"]))
        assert (public.hex(), multibase.encode(public)) == (row["public_key_hex"], row["public_key"])
        assert multibase.encode(private.sign(message)) == row["sig"]
    if "event_line" in row:
        event = channels.parse_event(row["event_line"].encode())
        assert signatures.sign_input(row["channel_id"], event) == message
        key = signatures.read_key(row["public_key"])
        assert signatures.judge(row["channel_id"], [(event, key)], check) == ["verified"]


def _test_verify(row: Row) -> None:
    """A signature text over the parts of an event."""
    try:
        claims = [
            Signed(
                signatures.read_key(row["public_key"]),
                _input(row),
                signatures.read_signature(row["sig"]),
                strict,
            )
            for strict in (False, True)
        ]
    except MalformedRecord:
        assert not row["valid"]
        return
    assert signatures.verify(claims, check) == [_signs(row), row["valid_strict"]]


def _test_verify_event(row: Row) -> None:
    """A line, with and without a demand for signatures."""
    event = channels.parse_event(row["event_line"].encode())
    key = signatures.read_key(row["public_key"])
    [verdict] = signatures.judge(row["channel_id"], [(event, key)], check)
    assert verdict.permits(required=False) == row["ok_if_sig_optional"]
    assert verdict.permits(required=True) == row["ok_if_sig_required"]


def _test_public_key(row: Row) -> None:
    """The text of a key."""
    if row["ok"]:
        assert signatures.read_key(row["text"]).hex() == row["hex"]
        return
    with pytest.raises(MalformedRecord):
        signatures.read_key(row["text"])
