"""Roster records as bytes, and what a small fleet makes of them."""

from __future__ import annotations

import msgspec
import pytest

from fleetsync.devices import roster
from fleetsync.devices.roster import (
    MAX_OFFERED,
    MAX_PER_AUTHOR,
    Record,
    Vouch,
    admit,
    device_of,
    judge,
    merge,
    read_record,
    trusted,
)
from fleetsync.errors import IllegalName, MalformedRecord, TooLarge
from tests.fakes.rosters import Someone, pairing, verify

A, B, C, R, THIEF = (Someone(name) for name in ("anna", "bert", "cora", "rob", "thief"))


def names(records: list[Record], me: Someone, pairings: list[Record]) -> set[str]:
    found = trusted(records, me.device, {record.id for record in pairings})
    return {s.name for s in (A, B, C, R, THIEF) if s.device in found}


def fields(record: Record) -> dict[str, object]:
    payload, _ = msgspec.msgpack.decode(record.raw, type=tuple[bytes, bytes])
    decoded: dict[str, object] = msgspec.msgpack.decode(payload)
    return decoded


def resealed(content: object, author: Someone = A) -> bytes:
    payload = content if isinstance(content, bytes) else msgspec.msgpack.encode(content)
    return msgspec.msgpack.encode((payload, author.sign(b"fleetsync roster record 1\0" + payload)))


# --- bytes -----------------------------------------------------------------------------------------


def test_a_record_survives_its_bytes():
    """What was written is read back, with the same id."""
    record = A.vouch(B, [A.remove(B)])
    assert read_record(record.raw) == record


def test_unknown_fields_are_carried():
    """A record with a field from the future is read, and passed on as it was authored."""
    raw = resealed({**fields(A.vouch(B)), "colour": "red"})
    assert read_record(raw).raw == raw
    assert admit({}, [raw, B.vouch(A).raw], B.certificate, verify).forged == 0


@pytest.mark.parametrize(
    "change",
    [
        {"by": B.device},  # vouches for itself
        {"by": "anna"},
        {"by": A.device.upper()},
        {"subject": C.device},  # with bert's certificate
        {"certificate": b"x" * 1025},
        {"name": ""},
        {"name": "a\nb"},
        {"name": "a" * 65},
        {"name": "\u202eevil"},
        {"overrides": [b"short"]},
        {"overrides": [bytes(32)] * 65},
        {"nonce": b""},
        {"nonce": 7},
        {"kind": "coronation"},
        {"padding": bytes(9000)},
    ],
    ids=lambda change: "-".join(f"{k}={str(v)[:12]}" for k, v in change.items()),
)
def test_a_record_that_breaks_a_limit_is_malformed(change):
    """Every field is bounded, and both devices are named in full."""
    with pytest.raises(MalformedRecord):
        read_record(resealed({**fields(A.vouch(B)), **change}))


def test_a_second_spelling_is_malformed():
    """Bytes that decode to the same statement in another spelling could mean two things to two readers."""
    record = A.vouch(B)
    payload, _ = msgspec.msgpack.decode(record.raw, type=tuple[bytes, bytes])
    assert payload[0] & 0xF0 == 0x80, "a small map"
    doubled = bytes([payload[0] + 1]) + payload[1:] + msgspec.msgpack.encode("name") + b"\xa4evil"
    longer = b"\xde\x00" + bytes([payload[0] & 0x0F]) + payload[1:]
    for bad in (doubled, longer, payload + b"\x00"):
        with pytest.raises(MalformedRecord):
            read_record(resealed(bad))


@pytest.mark.parametrize("raw", [b"", b"\x92", b"\x91" * 8000, b"\x92\xc4\x00\xc4\x00", b"\xff" * 100])
def test_noise_is_malformed(raw):
    """Nothing but `MalformedRecord` comes out of bytes that are no record."""
    with pytest.raises(MalformedRecord):
        read_record(raw)


def test_a_nested_field_does_not_exhaust_the_reader():
    """A deeply nested unknown field is refused like any malformed record."""
    deep = msgspec.msgpack.encode(fields(A.vouch(B)))
    deep = bytes([deep[0] + 1]) + deep[1:] + b"\xa1z" + b"\x91" * 7000 + b"\x90"
    with pytest.raises(MalformedRecord):
        read_record(resealed(deep))


def test_device_ids_are_base32_of_the_certificate():
    """52 lower-case letters and digits, no padding."""
    assert device_of(b"") == "4oymiquy7qobjgx36tejs35zeqt24qpemsnzgtfeswmrw6csxbkq"


def test_names_people_use_are_accepted():
    """Letters of any script and spaces are fine in a device's name."""
    assert roster.require_device_name("Ännas Laptop 💻")
    with pytest.raises(IllegalName):
        roster.require_device_name("  ")


# --- taking in -------------------------------------------------------------------------------------


def test_admitting_tells_forged_from_orphaned_from_malformed():
    """A wrong signature, an unknown author and noise are counted apart; the rest is new."""
    good = A.vouch(B)
    forged = msgspec.msgpack.encode((*msgspec.msgpack.decode(B.vouch(C).raw)[:1], bytes(64)))
    orphan = R.vouch(THIEF)
    admission = admit({}, [good.raw, forged, orphan.raw, b"noise"], A.certificate, verify)
    assert admission == ((good,), 1, 1, 1)


def test_a_forged_twin_does_not_hide_the_real_record():
    """The same statement under a wrong signature, offered first, changes nothing."""
    good = A.vouch(B)
    payload, _ = msgspec.msgpack.decode(good.raw, type=tuple[bytes, bytes])
    twin = msgspec.msgpack.encode((payload, bytes(64)))
    assert admit({}, [twin, good.raw], A.certificate, verify).new == (good,)


def test_an_endless_offer_is_refused_before_any_work():
    """Too many records, or too many bytes, cost no signature check."""

    def never(_claims):
        raise AssertionError("verified")

    for offer in ([b""] * (MAX_OFFERED + 1), [bytes(1 << 20)] * 2):
        with pytest.raises(TooLarge):
            admit({}, offer, A.certificate, never)


def test_one_author_fills_only_its_share():
    """128 records of one author count, the same ones in whatever order they come, removals first."""
    many = [A.vouch(B) for _ in range(MAX_PER_AUTHOR + 20)]
    smallest = sorted(record.id for record in many)[MAX_PER_AUTHOR - 1]
    removal = next(r for r in iter(lambda: A.remove(C), None) if r.id > smallest)  # not saved by its id
    at_once = merge({}, [*many, removal])
    in_turn: dict[bytes, Record] = {}
    for record in [*reversed(many), removal]:
        in_turn = merge(in_turn, [record])
    assert in_turn.keys() == at_once.keys()
    assert len(at_once) == MAX_PER_AUTHOR
    assert removal.id in at_once


def test_those_near_are_heard_in_a_full_roster(monkeypatch):
    """Whatever others have filled it with, this device's removals and its partners' get in, within shares."""
    monkeypatch.setattr(roster, "ROOM", 3000)
    full = merge({}, [B.remove(Someone(f"device {n}")) for n in range(40)], {A.device})
    ours = A.remove(B)
    assert merge(full, [ours, C.remove(B)], {A.device}).keys() == full.keys() | {ours.id}
    monkeypatch.setattr(roster, "RESERVED", 5 * len(ours.raw))
    many = [A.remove(Someone(f"device {n}")) for n in range(9)]
    assert len(merge(full, many, {A.device, C.device}).keys() - full.keys()) == 2


def test_vouches_never_use_up_the_room_of_removals(monkeypatch):
    """When the roster is full of vouches, a removal still gets in, and what is known stays."""
    monkeypatch.setattr(roster, "ROOM_FOR_VOUCHES", 1000)
    monkeypatch.setattr(roster, "ROOM", 2000)
    full = merge({}, [Someone(f"device {n}").vouch(B) for n in range(20)])
    assert 0 < sum(len(record.raw) for record in full.values()) <= 1000
    removal = A.remove(B)
    after = merge(full, [removal, C.vouch(B)])
    assert after.keys() == full.keys() | {removal.id}


# --- judging ---------------------------------------------------------------------------------------


def test_trust_reaches_through_vouches():
    """Pair once, join the fleet: whom my peer has paired I trust, with its certificate."""
    ab, ba = pairing(A, B)
    bc, cb = pairing(B, C)
    assert trusted([ab, ba, bc, cb], A.device, {ab.id}) == {
        B.device: B.certificate,
        C.device: C.certificate,
    }


def test_only_pairings_made_here_are_roots():
    """Records alone give no trust, not even signed with this device's own (stolen) key."""
    ab, ba = pairing(A, B)
    assert names([ab, ba, A.vouch(THIEF)], A, [ab]) == {"bert"}
    assert names([ab, ba], A, []) == set()


def test_a_removal_outranks_every_older_and_newer_introduction():
    """Neither the old vouch nor a fresh one that does not name the removal brings a device back."""
    ab, ba = pairing(A, B)
    br, rb = pairing(B, R)
    gone = A.remove(R)
    assert names([ab, ba, br, rb, gone, B.vouch(R), A.vouch(R)], A, [ab]) == {"bert"}


def test_a_new_pairing_that_names_the_removal_brings_a_device_back():
    """Both vouches of the new pairing name it; then the device's own new vouches count again too."""
    ab, ba = pairing(A, B)
    br, rb = pairing(B, R)
    gone = A.remove(R)
    new = pairing(B, R, [gone])
    rc = R.vouch(C, [gone])
    assert names([ab, ba, br, rb, gone, *new, rc], A, [ab]) == {"bert", "rob", "cora"}


def test_a_second_removal_needs_a_third_pairing():
    """A replayed pairing that names only the first removal is void after the second."""
    ab, ba = pairing(A, B)
    first, second = A.remove(R), A.remove(R)
    back = pairing(B, R, [first])
    assert names([ab, ba, first, *back], A, [ab]) == {"bert", "rob"}
    assert names([ab, ba, first, *back, second], A, [ab]) == {"bert"}
    assert names([ab, ba, first, *back, second, *pairing(B, R, [first, second])], A, [ab]) == {"bert", "rob"}


def test_the_removed_device_s_kept_vouches_stay_valid():
    """Whom it had brought in stays, though nobody else vouches for them."""
    ar, ra = pairing(A, R)
    rc, cr = pairing(R, C)
    gone = A.remove(R, keeps=[rc, ra])
    assert names([ar, ra, rc, cr, gone], A, [ar]) == {"cora"}
    assert names([ar, ra, rc, cr, gone], C, [cr]) == {"anna"}


def test_two_removals_keep_what_both_keep():
    """All but the listed vouches are void, by each removal."""
    ar, ra = pairing(A, R)
    ab, ba = pairing(A, B)
    rc, _ = pairing(R, C)
    removals = [A.remove(R, keeps=[rc]), B.remove(R)]
    assert names([ar, ra, ab, ba, rc, *removals], A, [ar, ab]) == {"bert"}


def test_a_thief_cannot_bring_in_a_device_after_the_removal():
    """Its later vouch is void, even when it names the removal and even when it is paired again later."""
    ar, ra = pairing(A, R)
    ab, ba = pairing(A, B)
    gone = A.remove(R, keeps=[ra])
    knowing, unknowing = R.vouch(THIEF, [gone]), R.vouch(THIEF)
    assert names([ar, ra, ab, ba, gone, knowing, unknowing], A, [ar, ab]) == {"bert"}
    back = pairing(B, R, [gone])
    assert names([ar, ra, ab, ba, gone, unknowing, *back], A, [ar, ab]) == {"bert", "rob"}


def test_a_device_that_went_twice_keeps_what_its_last_removal_keeps():
    """A vouch made between two removals names the first and is listed by the second."""
    ab, ba = pairing(A, B)
    first = A.remove(R)
    back = pairing(B, R, [first])
    rc = R.vouch(C, [first])
    second = A.remove(R, keeps=[rc])
    assert names([ab, ba, first, *back, rc, second], A, [ab]) == {"bert", "cora"}


def test_mutual_removals_both_hold():
    """Nobody can tell which came first, so a third device trusts neither."""
    ca, ac = pairing(C, A)
    cr, rc = pairing(C, R)
    both = [A.remove(R), R.remove(A)]
    assert names([ca, ac, cr, rc, *both], C, [ca, cr]) == set()
    assert names([ca, ac, cr, rc, *both], A, [pairing(A, C)[0]]) == set()


def test_a_stranger_s_removal_counts_nothing():
    """Only somebody who was ever vouched for can remove anybody."""
    ab, ba = pairing(A, B)
    assert names([ab, ba, THIEF.remove(B)], A, [ab]) == {"bert"}


def test_being_removed_does_not_shake_one_s_own_pairings():
    """The removed device goes on trusting; it is the others who refuse it."""
    ab, ba = pairing(A, B)
    assert names([ab, ba, B.remove(A)], A, [ab]) == {"bert"}


def test_standing_vouches_are_those_that_count():
    """`judge` says which vouches a removal could keep."""
    ab, ba = pairing(A, B)
    void = R.vouch(THIEF)
    assert judge([ab, ba, void], A.device, {ab.id}).standing == {ab.id, ba.id}


def test_a_vouch_shows_its_fields():
    """A vouch can be read in a failing assert."""
    said = A.vouch(B).statement
    assert isinstance(said, Vouch)
    assert "bert" in repr(said)
