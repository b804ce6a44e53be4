"""Key rotations: lines, signatures, chains, and which key a writer gets.

On purpose different: the reference accepts a second `bootstrap` line without a signature, so that
whoever can append to the file replaces the key; here that breaks the chain.
"""

from __future__ import annotations

import json

import pytest

from fleetsync.errors import MalformedRecord
from fleetsync.records import multibase, rotations, signatures
from fleetsync.records.rotations import Broken, Chain, Flaw
from fleetsync.records.signatures import Signed
from tests.conformance.vectors import Row, each
from tests.fakes.ed25519 import check, key_of


def _bootstraps(text: str) -> int:
    found = 0
    for line in text.split("\n"):
        try:
            found += json.loads(line).get("bootstrap", False)
        except (ValueError, AttributeError):
            continue
    return found


@each("rotations")
def test_row(row: Row) -> None:
    """Every row of whatever type says what the reference says."""
    {"line": _test_line, "signature": _test_signature, "chain": _test_chain, "resolve": _test_resolve}[
        row["type"]
    ](row)


def _test_line(row: Row) -> None:
    """The line that the reference writes back and the bytes that are signed."""
    if not row["ok"]:
        with pytest.raises(MalformedRecord):
            rotations.parse_rotation(row["input"].encode())
        return
    rotation = rotations.parse_rotation(row["input"].encode())
    assert rotation.canonical == row["canonical"]
    assert rotation.sign_input.decode() == row["sign_bytes_utf8"]


def _test_signature(row: Row) -> None:
    """The signature of a seed over those bytes."""
    public, private = key_of(bytes.fromhex(row["seed_hex"]))
    message = row["sign_bytes_utf8"].encode()
    assert multibase.encode(public) == row["public_key"]
    assert multibase.encode(private.sign(message)) == row["signature"]
    claim = Signed(public, message, signatures.read_signature(row["signature"]), strict=True)
    assert signatures.verify([claim], check) == [True]


def _test_chain(row: Row) -> None:
    """The head of a whole chain, or the first thing wrong with it."""
    found = rotations.read_rotations(row["text"].encode())
    chain = rotations.verify_chain(found, check, allow_emergency=row["allow_emergency"])
    if not row["valid"]:
        assert isinstance(chain, Broken)
        if chain.flaw is Flaw.SECOND_BOOTSTRAP:
            return
        assert chain.flaw.name.replace("_", "").lower() == row["reason"].split()[0].split("(")[0].lower()
    elif _bootstraps(row["text"]) > 1:
        assert chain == Broken(Flaw.SECOND_BOOTSTRAP, row["head_key_version"])
    else:
        assert isinstance(chain, Chain)
        assert (chain.head_key_version, chain.head_pubkey) == (row["head_key_version"], row["head_pubkey"])
        assert len(chain.keys) == row["length"]


def _test_resolve(row: Row) -> None:
    """The key for a version, out of an agent's two public files."""
    chain, public = (
        None if row[name] is None else row[name].encode() for name in ("rotations", "identity_pub")
    )
    key = rotations.resolve_key(chain, public, row["key_version"], check)
    if _bootstraps(row["rotations"] or "") > 1:
        assert key == rotations.resolve_key(None, public, None, check)
        return
    assert (None if key is None else key.hex()) == row["pubkey_hex"]
