"""Rotations: a chain is believed as a whole, and nobody begins one anew."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from fleetsync.errors import MalformedRecord
from fleetsync.records import multibase, rotations
from fleetsync.records.rotations import Broken, Chain, Flaw, Rotation
from fleetsync.records.signatures import Signed
from tests.fakes.ed25519 import check, key_of, sign_with_neutral_point

KEYS = [key_of(bytes([n]) * 32) for n in range(5)]
TEXTS = [multibase.encode(public) for public, _ in KEYS]
WEAK = multibase.encode(b"\x01" + bytes(31))
FORGED = multibase.encode(b"\x01" + bytes(63))
IDENTITY_PUB = TEXTS[4].encode() + b"\n"


def _rotation(old: int, new: int, reason: str = "scheduled") -> Rotation:
    unsigned = Rotation(1, "u", "ed25519", TEXTS[old], TEXTS[new], old, new, "2026-06-16T00:00:00Z", reason)
    return _sign(unsigned, old)


def _sign(rotation: Rotation, by: int) -> Rotation:
    signature = multibase.encode(KEYS[by][1].sign(rotation.sign_input))
    return msgspec.structs.replace(rotation, signature=signature)


FIRST = Rotation(1, "u", "ed25519", "", TEXTS[0], 0, 0, "2026-06-16T00:00:00Z", "scheduled", bootstrap=True)
CHAIN = [FIRST, _rotation(0, 1), _rotation(1, 2), _rotation(2, 3)]


def _file(chain: Sequence[Rotation]) -> bytes:
    return "".join(rotation.canonical + "\n" for rotation in chain).encode()


def _verify(chain: Sequence[Rotation], *, allow_emergency: bool = False) -> Chain | Broken:
    return rotations.verify_chain(chain, check, allow_emergency=allow_emergency)


def test_a_whole_chain() -> None:
    """Every key by its version; the file reads back as the chain."""
    assert _verify(CHAIN) == Chain(tuple(TEXTS[:4]))
    assert rotations.read_rotations(_file(CHAIN)) == CHAIN


def test_all_signatures_are_asked_for_at_once() -> None:
    """One process per chain, not per key."""
    asked: list[int] = []

    def counted(claims: Sequence[Signed]) -> list[bool]:
        asked.append(len(claims))
        return check(claims)

    assert isinstance(rotations.verify_chain(CHAIN, counted), Chain)
    assert asked == [3]


@pytest.mark.parametrize(
    ("chain", "broken"),
    [
        ([], Broken(Flaw.MISSING_BOOTSTRAP)),
        (CHAIN[1:], Broken(Flaw.MISSING_BOOTSTRAP)),
        ([msgspec.structs.replace(FIRST, bootstrap=False)], Broken(Flaw.MISSING_BOOTSTRAP)),
        ([msgspec.structs.replace(FIRST, new_key_version=1)], Broken(Flaw.MISSING_BOOTSTRAP)),
        ([FIRST, FIRST], Broken(Flaw.DUPLICATE_VERSION, 0)),
        ([*CHAIN, CHAIN[1]], Broken(Flaw.DUPLICATE_VERSION, 1)),
        ([FIRST, _rotation(1, 2)], Broken(Flaw.VERSION_SKIP, 2)),
        (
            [FIRST, _sign(msgspec.structs.replace(CHAIN[1], old_pubkey=TEXTS[2]), 2)],
            Broken(Flaw.PUBKEY_DISCONTINUITY, 1),
        ),
        ([FIRST, _rotation(0, 1, "emergency")], Broken(Flaw.EMERGENCY_DISALLOWED, 1)),
        ([FIRST, _sign(CHAIN[1], 3), CHAIN[2]], Broken(Flaw.BAD_SIGNATURE, 1)),
        ([FIRST, msgspec.structs.replace(CHAIN[1], uuid="v"), CHAIN[3]], Broken(Flaw.BAD_SIGNATURE, 1)),
        ([FIRST, msgspec.structs.replace(CHAIN[1], signature="")], Broken(Flaw.BAD_SIGNATURE, 1)),
    ],
)
def test_broken_chains(chain: list[Rotation], broken: Broken) -> None:
    """The first thing wrong is named, with its key version."""
    assert _verify(chain) == broken


def test_nobody_begins_anew() -> None:
    """A second unsigned first line would let anybody who can append replace the key."""
    takeover = msgspec.structs.replace(CHAIN[1], new_pubkey=TEXTS[4], signature="", bootstrap=True)
    assert _verify([FIRST, takeover]) == Broken(Flaw.SECOND_BOOTSTRAP, 1)
    emergency = msgspec.structs.replace(takeover, reason="emergency")
    assert _verify([FIRST, emergency], allow_emergency=True) == Broken(Flaw.SECOND_BOOTSTRAP, 1)
    assert rotations.resolve_key(_file([FIRST, takeover]), None, 1, check) is None


def test_a_weak_key_signs_nothing() -> None:
    """Once a chain leads to a key of small order anybody could go on with it: nobody can."""
    to_weak = _sign(msgspec.structs.replace(CHAIN[1], new_pubkey=WEAK), 0)
    onward = msgspec.structs.replace(CHAIN[2], old_pubkey=WEAK, signature=FORGED)
    assert _verify([FIRST, to_weak, onward]) == Broken(Flaw.BAD_SIGNATURE, 2)


def test_a_weak_signature_rotates_nothing() -> None:
    """mur verifies rotations strictly: a good signature whose own point is neutral is refused."""
    signature = sign_with_neutral_point(bytes(32), CHAIN[1].sign_input)
    assert check([Signed(KEYS[0][0], CHAIN[1].sign_input, signature)]) == [True]
    weak = msgspec.structs.replace(CHAIN[1], signature=multibase.encode(signature))
    assert _verify([FIRST, weak]) == Broken(Flaw.BAD_SIGNATURE, 1)


def test_an_allowed_emergency() -> None:
    """It may go unsigned, but a signature that is there must be right."""
    unsigned = msgspec.structs.replace(_rotation(0, 1, "emergency"), signature="")
    assert isinstance(_verify([FIRST, unsigned, CHAIN[2]], allow_emergency=True), Chain)
    wrong = _sign(unsigned, 3)
    assert _verify([FIRST, wrong], allow_emergency=True) == Broken(Flaw.BAD_SIGNATURE, 1)


def test_nobody_has_allowed_an_emergency_unasked() -> None:
    """A chain with one is not believed, though it be signed."""
    chain = [FIRST, _rotation(0, 1, "emergency")]
    assert rotations.verify_chain(chain, check) == Broken(Flaw.EMERGENCY_DISALLOWED, 1)
    assert rotations.resolve_key(_file(chain), None, 1, check) is None


def test_keys_by_version() -> None:
    """The head without a version, else the one that is named; what nobody knows is `identity.pub`."""
    keys = rotations.agent_keys(_file(CHAIN), IDENTITY_PUB, check)
    assert [keys.of(v) for v in (None, 0, 1, 2, 3, 4)] == [KEYS[n][0] for n in (3, 0, 1, 2, 3, 4)]


def test_a_chain_that_is_not_believed_says_nothing() -> None:
    """Not even of the versions before the break."""
    keys = rotations.agent_keys(_file([FIRST, CHAIN[2]]), IDENTITY_PUB, check)
    assert [keys.of(v) for v in (None, 0, 1)] == [KEYS[4][0]] * 3


def test_bad_files() -> None:
    """Bad lines are skipped; a file that is no text, and a missing one, is no chain."""
    assert rotations.read_rotations(b"garbage\n\n  \n" + _file(CHAIN) + b"{") == CHAIN
    assert rotations.read_rotations(b"\xff\n" + _file(CHAIN)) == []
    assert rotations.resolve_key(None, None, None, check) is None
    assert rotations.resolve_key(None, b"\xff", 3, check) is None
    odd = msgspec.structs.replace(FIRST, new_pubkey="no key")
    assert rotations.resolve_key(_file([odd]), IDENTITY_PUB, None, check) == KEYS[4][0]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"schema":1,', ""),
        ('"schema":1,', '"schema":-1,'),
        ('"schema":1,', '"schema":1,"schema":1,'),
        ('"scheduled"', '"whim"'),
        ('"bootstrap":true', '"bootstrap":1'),
        ('"bootstrap":true', '"bootstrap":null'),
        ('"bootstrap":true', '"signature":null'),
    ],
)
def test_bad_lines(old: str, new: str) -> None:
    """Every member has its type; those that may be missing may not be null."""
    assert old in FIRST.canonical
    with pytest.raises(MalformedRecord):
        rotations.parse_rotation(FIRST.canonical.replace(old, new).encode())


def test_other_spellings_of_a_line() -> None:
    """The array form and a reason as an object, as mur's reader takes them; unknown members do not matter."""
    array = f'[1,"u","ed25519","","{TEXTS[0]}",0,0,"2026-06-16T00:00:00Z",{{"scheduled":null}},"",true]'
    assert rotations.parse_rotation(array.encode()) == FIRST
    assert rotations.parse_rotation(FIRST.canonical.replace('"uuid"', '"x":1e999,"uuid"').encode()) == FIRST
    spaced = FIRST.canonical.replace(",", ", ").encode()
    assert rotations.read_rotations(spaced + b"\r\n" + spaced) == [FIRST, FIRST]


def test_an_array_may_lack_its_last_two_values() -> None:
    """Signature and bootstrap, as in an object; nothing else, and none may be added."""
    values = [1, "u", "ed25519", "", TEXTS[0], 0, 0, "2026-06-16T00:00:00Z", "scheduled", "", True, 0]
    for length in (9, 10, 11):
        read = rotations.parse_rotation(msgspec.json.encode(values[:length]))
        assert read == msgspec.structs.replace(FIRST, bootstrap=length == 11)
    for length in (0, 8, 12):
        with pytest.raises(MalformedRecord):
            rotations.parse_rotation(msgspec.json.encode(values[:length]))
