"""Rosters as weapons: records forged, replayed, rolled back, and a roster filled to the brim.

Real keys and certificates; the devices are fleets in this process.
"""

from __future__ import annotations

import os
from base64 import b32encode
from pathlib import Path

import pytest

from fleetsync.devices import roster, seal
from fleetsync.devices.identity import Identity, ensure_identity
from fleetsync.devices.roster import Removal, Statement, Vouch
from fleetsync.devices.trust import FLEET_FILE, Fleet
from fleetsync.errors import FleetDamaged
from fleetsync.records.names import DeviceId
from fleetsync.wire import codec
from fleetsync.wire.messages import MAX_ENCODED, RosterOffer


class Device:
    """A device with a fleet of its own; `says` signs whatever it likes to say."""

    def __init__(self, root: Path, name: str) -> None:
        self.name, self.state = name, root / name
        self.identity: Identity = ensure_identity(self.state, create=seal.new_credentials)
        self.id = self.identity.device
        self.sign = seal.signer(self.identity.key())
        self.fleet = Fleet.load(self.state, self.identity)

    def says(self, statement: Statement) -> bytes:
        return roster.write_record(statement, self.sign).raw

    def vouches(self, other: Device, overrides: tuple[bytes, ...] = ()) -> bytes:
        certificate = other.identity.certificate
        return self.says(Vouch(self.id, other.id, certificate, other.name, overrides, os.urandom(16)))

    def removes(self, other: DeviceId, keeps: tuple[bytes, ...] = ()) -> bytes:
        return self.says(Removal(self.id, other, keeps, os.urandom(16)))

    def takes(self, *records: bytes) -> tuple[int, int, int]:
        """Offer records to it; how many were new, malformed, forged."""
        changes = self.fleet.take(records, seal.verify_many)
        return changes.new, changes.malformed, changes.forged


@pytest.fixture
def anna(tmp_path: Path) -> Device:
    return Device(tmp_path, "anna")


@pytest.fixture
def bert(tmp_path: Path) -> Device:
    return Device(tmp_path, "bert")


@pytest.fixture
def mallory(tmp_path: Path) -> Device:
    return Device(tmp_path, "mallory")


def pair(one: Device, other: Device, overrides: tuple[bytes, ...] = ()) -> tuple[bytes, bytes]:
    """A pairing as two people make it; the two vouches."""
    mine, theirs = one.vouches(other, overrides), other.vouches(one, overrides)
    one.fleet.pair(other.identity.certificate, other.name, [], [mine, theirs])
    other.fleet.pair(one.identity.certificate, one.name, [], [theirs, mine])
    return mine, theirs


def somebody() -> DeviceId:
    """An id that no device has."""
    return DeviceId(b32encode(os.urandom(32)).decode().rstrip("=").lower())


def test_forged_records_are_not_believed(anna: Device, bert: Device, mallory: Device, tmp_path: Path) -> None:
    """Signed by another key, changed by a byte, or spelled in another way: nothing of it counts."""
    friend = Device(tmp_path, "friend")
    pair(anna, bert)
    pair(anna, mallory)
    said = Removal(anna.id, bert.id, (), bytes(16))
    forged = roster.write_record(said, mallory.sign).raw
    assert mallory.says(said) == forged
    assert anna.takes(forged) == (0, 0, 1)
    vouch = bytearray(mallory.vouches(friend))
    for at in (10, len(vouch) // 2, len(vouch) - 1):
        changed = vouch.copy()
        changed[at] ^= 1
        new, malformed, refused = anna.takes(bytes(changed))
        assert (new, malformed + refused) == (0, 1)
    assert anna.takes(bytes(vouch) + b"\0", b"", b"\x92\xc4\x00\xc4\x00")[1] == 3
    assert anna.fleet.trusted().keys() == {bert.id, mallory.id}


def test_a_vouch_for_a_certificate_that_is_no_device(anna: Device, mallory: Device) -> None:
    """A paired device cannot bring in certificates that could sign others, or that are none."""
    pair(anna, mallory)
    nonsense = b"not a certificate"
    statement = Vouch(mallory.id, roster.device_of(nonsense), nonsense, "x", (), os.urandom(16))
    assert anna.takes(mallory.says(statement)) == (0, 0, 1)
    assert anna.fleet.trusted().keys() == {mallory.id}


def test_replayed_records_bring_nobody_back(anna: Device, bert: Device, mallory: Device) -> None:
    """Once removed, a device is not helped by its old vouches, nor by new ones of its own."""
    old = [*pair(anna, bert), *pair(anna, mallory), *pair(bert, mallory)]
    for device in (anna, bert):
        device.takes(*old)
    anna.fleet.remove(mallory.id, anna.sign)
    removal = next(iter(anna.fleet.removals_between(mallory.id)))
    records = anna.fleet.offer()[0]
    bert.takes(*records)
    for device in (anna, bert):
        device.takes(*old, mallory.vouches(bert), mallory.vouches(anna))
        device.takes(mallory.removes(device.id), mallory.vouches(bert, (removal,)))
        assert mallory.id not in device.fleet.trusted()
    assert bert.id in anna.fleet.trusted()
    assert anna.id in bert.fleet.trusted()


def test_a_roster_rolled_back_learns_again(anna: Device, bert: Device, mallory: Device) -> None:
    """A device put back to an older state trusts the removed one until it hears of the removal, and no
    longer; a file that was cut short is refused, not half believed.
    """
    old = [*pair(anna, bert), *pair(anna, mallory)]
    bert.takes(*old)
    before = (bert.state / FLEET_FILE).read_bytes()
    anna.fleet.remove(mallory.id, anna.sign)
    bert.takes(*anna.fleet.offer()[0])
    assert mallory.id not in bert.fleet.trusted()
    (bert.state / FLEET_FILE).write_bytes(before)
    restored = Fleet.load(bert.state, bert.identity)
    assert mallory.id in restored.trusted()
    restored.take(anna.fleet.offer()[0], seal.verify_many)
    assert mallory.id not in restored.trusted()
    (bert.state / FLEET_FILE).write_bytes(before[:-20])
    with pytest.raises(FleetDamaged):
        Fleet.load(bert.state, bert.identity)


def test_nobody_can_make_itself_impossible_to_remove(
    anna: Device, bert: Device, mallory: Device, tmp_path: Path
) -> None:
    """A device that fills the roster with all that it and its puppets can sign is removed all the same, also
    on the other devices, and the roster still fits a message.
    """
    known = [*pair(anna, bert), *pair(anna, mallory)]
    bert.takes(*known)
    puppets = [Device(tmp_path, f"puppet{n}") for n in range(5)]
    for device in (anna, bert):
        device.takes(*(mallory.vouches(puppet) for puppet in puppets))
        for author in (mallory, *puppets[:2]):
            keeps = tuple(os.urandom(32) for _ in range(roster.MAX_KEEPS))
            device.takes(*(author.removes(somebody(), keeps) for _ in range(100)))
        for author, count in zip(puppets[2:], (40, 8, 0), strict=True):
            device.takes(*(author.removes(somebody(), (bytes(32),) * count) for _ in range(100)))
        assert sum(map(len, device.fleet.offer()[0])) > roster.ROOM - 1000
        sneaky = {str(puppet.id): [f"{'a' * 240}.example:{n}" for n in range(8)] for puppet in puppets}
        device.fleet.note_addresses(sneaky)
    assert mallory.id in anna.fleet.trusted()
    anna.fleet.remove(mallory.id, anna.sign)
    bert.takes(*anna.fleet.offer()[0])
    for device in (anna, bert):
        assert mallory.id not in device.fleet.trusted()
        offer = RosterOffer(*device.fleet.offer(), device.name, 8473)
        payload = codec.encode(offer)
        assert len(payload) <= MAX_ENCODED
        assert codec.decode(payload, RosterOffer) == offer
