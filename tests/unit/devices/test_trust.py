"""`Fleet`: trust that is on disk before it is in force, and notes that never cost it."""

from __future__ import annotations

import json
import stat
import threading
from pathlib import Path

import pytest

from fleetsync import files
from fleetsync.devices import roster
from fleetsync.devices.identity import Identity
from fleetsync.devices.notes import Direction, judge_instance, usable_addresses
from fleetsync.devices.roster import Record
from fleetsync.devices.trust import Fleet, place_of
from fleetsync.errors import (
    ClonedDevice,
    FleetDamaged,
    IllegalName,
    NotFound,
    PairingFailed,
    StorageFailed,
    UserError,
)
from tests.fakes.rosters import Someone, pairing, verify

A, B, C, R = (Someone(name) for name in ("anna", "bert", "cora", "rob"))


def identity(someone: Someone, state: Path) -> Identity:
    return Identity(someone.device, someone.certificate, state / "identity.key", state / "identity.crt")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path


def load(state: Path, me: Someone = A, place: str | None = None) -> Fleet:
    return Fleet.load(state, identity(me, state), place=place)


def pair(fleet: Fleet, me: Someone, other: Someone, *addresses: str) -> tuple[Record, Record]:
    overrides = fleet.removals_between(other.device)
    mine = me.vouch(other, [Record(i, me.remove(other).statement, b"") for i in overrides])
    theirs = other.vouch(me)
    fleet.pair(other.certificate, other.name, addresses, [mine.raw, theirs.raw])
    return mine, theirs


def raws(*records: Record) -> list[bytes]:
    return [record.raw for record in records]


# --- on disk ---------------------------------------------------------------------------------------


def test_an_empty_fleet_trusts_nobody_and_has_an_instance(state):
    """The first load makes a private file with a nonce that stays."""
    fleet = load(state)
    assert fleet.trusted() == {}
    assert fleet.peers() == []
    assert len(fleet.instance) == 8
    assert load(state).instance == fleet.instance
    assert stat.S_IMODE((state / "fleet.json").stat().st_mode) == 0o600


def test_since_when_a_peer_is_one_survives_a_restart(state):
    """A laptop that is shut down daily would never notice that they have not converged for days."""
    fleet = load(state)
    pair(fleet, A, B, "10.0.0.2:8473")
    assert [fleet.note_known(B.device, at) for at in (50.0, 70.0)] == [50.0, 50.0]
    fleet.flush()
    again = load(state)
    assert [again.note_known(B.device, at) for at in (90.0, 20.0, 90.0)] == [50.0, 20.0, 20.0]


def test_everything_survives_a_restart(state):
    """Trust, names, addresses, pauses and times are what they were."""
    fleet = load(state)
    pair(fleet, A, B, "10.0.0.2:8473")
    fleet.pause(B.device)
    fleet.rename(B.device, "big one")
    fleet.direct(B.device, Direction.SEND)
    fleet.note_converged(B.device, 12.5)
    fleet.note_instance(B.device, b"n" * 8, set())
    fleet.flush()
    again = load(state)
    assert again.peers() == fleet.peers()
    assert again.trusted() == {B.device: B.certificate}
    assert again.digest() == fleet.digest()
    note = again.peer(B.device)
    assert (note.title, note.name, note.addresses) == ("big one", "bert", ("10.0.0.2:8473",))
    assert (note.paused, note.direction, note.last_converged_at) == (True, Direction.SEND, 12.5)


def test_trust_that_cannot_be_written_is_not_in_force(state, monkeypatch):
    """A full disk leaves trust as it was, in memory and on disk."""
    fleet = load(state)
    pair(fleet, A, B)
    before = (state / "fleet.json").read_bytes()

    def full(path: Path, data: bytes) -> None:
        raise StorageFailed(f"{path}: No space left on device")

    monkeypatch.setattr(files, "replace_private", full)
    for attempt in (
        lambda: pair(fleet, A, C),
        lambda: fleet.take(raws(*pairing(B, C)), verify),
        lambda: fleet.remove(B.device, A.sign),
    ):
        with pytest.raises(StorageFailed):
            attempt()
        assert fleet.trusted().keys() == {B.device}
    assert (state / "fleet.json").read_bytes() == before


def test_a_decision_that_cannot_be_written_does_not_come_true_later(state, monkeypatch):
    """A person who was told that the disk is full finds no peer paused or renamed after the next start."""
    fleet = load(state)
    pair(fleet, A, B)
    before = fleet.peer(B.device)

    def full(path: Path, data: bytes) -> None:
        raise StorageFailed(f"{path}: No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(files, "replace_private", full)
        for attempt in (
            lambda: fleet.pause(B.device),
            lambda: fleet.rename(B.device, "big one"),
            lambda: fleet.direct(B.device, Direction.SEND),
        ):
            with pytest.raises(StorageFailed):
                attempt()
            assert fleet.peer(B.device) == before
    fleet.note_converged(B.device, 12.5)
    fleet.flush()
    assert not load(state).peer(B.device).paused


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[" * 100_000, b"\xff", b'{"version":1,"instance":"","place":"","records":["AAAA"]}'],
)
def test_a_damaged_file_stops_with_its_name(state, content):
    """Trust cannot be recomputed, so nothing is made up in its place."""
    (state / "fleet.json").write_bytes(content)
    with pytest.raises(FleetDamaged, match=r"fleet\.json"):
        load(state)
    assert (state / "fleet.json").read_bytes() == content


def test_a_file_from_the_future_is_not_misread(state):
    """Another version is named, with what to do."""
    load(state)
    content = json.loads((state / "fleet.json").read_text())
    (state / "fleet.json").write_text(json.dumps({**content, "version": 2}))
    with pytest.raises(FleetDamaged) as caught:
        load(state)
    assert caught.value.next == "upgrade fleetsync"


def test_notes_are_kept_in_memory_until_flushed(state, monkeypatch):
    """A contact a second does not mean a write a second; flushing twice writes once."""
    fleet = load(state)
    pair(fleet, A, B)
    writes: list[Path] = []
    real = files.replace_private

    def counted(path: Path, data: bytes) -> None:
        writes.append(path)
        real(path, data)

    monkeypatch.setattr(files, "replace_private", counted)
    for now in range(50):
        fleet.note_contact(B.device, now, address="10.0.0.2:1")
    assert not writes
    fleet.flush()
    fleet.flush()
    assert len(writes) == 1
    assert load(state).peer(B.device).last_contact == 49


def test_a_note_taken_while_trust_is_written_is_not_lost(state, monkeypatch):
    """Notes do not wait for the disk, and what they say survives the change that was under way."""
    fleet = load(state)
    pair(fleet, A, B)
    writing, noted = threading.Event(), threading.Event()
    real = files.replace_private

    def slowly(path: Path, data: bytes) -> None:
        writing.set()
        assert noted.wait(10)
        real(path, data)

    monkeypatch.setattr(files, "replace_private", slowly)
    writer = threading.Thread(target=lambda: fleet.take(raws(*pairing(B, C)), verify))
    writer.start()
    assert writing.wait(10)
    fleet.note_contact(B.device, 7.0)
    noted.set()
    writer.join(10)
    assert fleet.peer(B.device).last_contact == 7.0
    assert C.device in fleet.trusted()
    fleet.flush()
    assert load(state).peer(B.device).last_contact == 7.0


# --- trust -----------------------------------------------------------------------------------------


def test_taking_records_says_whom_it_adds_and_removes(state):
    """And taking them again changes nothing."""
    fleet = load(state)
    pair(fleet, A, B)
    bc, cb = pairing(B, C)
    changes = fleet.take(raws(bc, cb), verify)
    assert (changes.added, changes.removed, changes.new) == (frozenset({C.device}), frozenset(), 2)
    assert fleet.take(raws(bc, cb), verify).new == 0
    changes = fleet.take(raws(B.remove(C)), verify)
    assert (changes.added, changes.removed) == (frozenset(), frozenset({C.device}))
    assert fleet.trusted().keys() == {B.device}
    assert fleet.peer(B.device).name == "bert"
    with pytest.raises(NotFound):
        fleet.peer(C.device)


def test_forged_and_unconnected_records_are_not_kept(state):
    """What is forged is counted; what nobody of ours has to do with is not carried around."""
    fleet = load(state)
    pair(fleet, A, B)
    digest = fleet.digest()
    forged = B.vouch(C).raw[:-1] + b"\0"
    stranger = Someone("stranger")
    changes = fleet.take([forged, b"noise", *raws(*pairing(stranger, R))], verify)
    assert (changes.new, changes.forged, changes.malformed) == (0, 1, 1)
    assert fleet.digest() == digest


def test_two_fleets_that_swap_offers_agree(tmp_path):
    """After each has taken the other's offer the digests are equal, whatever was removed where."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    fleet, other = load(tmp_path / "a"), load(tmp_path / "b", B)
    ab, ba = pair(fleet, A, B)
    other.pair(A.certificate, "anna", [], raws(ba, ab))
    pair(fleet, A, C, "10.0.0.3:1")
    pair(other, B, R)
    fleet.take(other.offer()[0], verify)
    fleet.remove(R.device, A.sign)
    other.take(fleet.offer()[0], verify)
    assert fleet.digest() == other.digest()
    assert other.trusted().keys() == {A.device, C.device}
    other.note_addresses(fleet.offer()[1])
    assert other.peer(C.device).addresses == ("10.0.0.3:1",)


def test_removing_keeps_whom_the_removed_had_brought(state):
    """And neither a replay nor a fresh introduction brings the removed one back, but a pairing does."""
    fleet = load(state)
    pair(fleet, A, B)
    br, rb = pairing(B, R)
    rc, cr = pairing(R, C)
    fleet.take(raws(br, rb, rc, cr), verify)
    changes = fleet.remove(R.device, A.sign)
    assert changes.removed == {R.device}
    assert fleet.trusted().keys() == {B.device, C.device}
    fleet.take(raws(br, rb, B.vouch(R), C.vouch(R)), verify)
    assert R.device not in fleet.trusted()
    pair(fleet, A, R)
    assert R.device in fleet.trusted()
    assert R.device in load(state).trusted()


def test_a_pairing_that_leads_to_no_trust_fails(state):
    """A removal that arrived while the code was typed is not set aside by a pairing that did not know it."""
    fleet = load(state)
    pair(fleet, A, B)
    fleet.take(raws(*pairing(B, R)), verify)
    unaware = pairing(A, R)
    fleet.take(raws(B.remove(R)), verify)
    with pytest.raises(PairingFailed):
        fleet.pair(R.certificate, "rob", [], raws(*unaware))
    assert fleet.trusted().keys() == {B.device}


def test_a_pairing_without_our_own_vouch_fails(state):
    """Only what this device signed for that very certificate makes a peer."""
    fleet = load(state)
    with pytest.raises(PairingFailed):
        fleet.pair(B.certificate, "bert", [], raws(B.vouch(A), A.vouch(C)))
    assert fleet.trusted() == {}


def test_pairing_again_forgets_the_past(state):
    """A peer that was set up anew starts without pause, alias or clone alarm."""
    fleet = load(state)
    pair(fleet, A, B, "10.0.0.2:1")
    fleet.pause(B.device)
    fleet.note_instance(B.device, b"1", set())
    pair(fleet, A, B, "10.0.0.9:1")
    note = fleet.peer(B.device)
    assert (note.paused, note.instances, note.addresses) == (False, (), ("10.0.0.9:1",))


def test_a_pairing_sets_aside_removals_of_either_side(state):
    """A device that was removed itself names that too, or its new vouches would be void elsewhere."""
    fleet = load(state)
    pair(fleet, A, B)
    of_me, of_other, of_a_third = B.remove(A), B.remove(C), B.remove(R)
    fleet.take(raws(of_me, of_other, of_a_third), verify)
    assert sorted(fleet.removals_between(C.device)) == sorted([of_me.id, of_other.id])


def test_removing_a_stranger_is_not_found(state):
    """Nothing is signed for a device that is no peer."""
    with pytest.raises(NotFound):
        load(state).remove(R.device, A.sign)


def test_a_full_roster_says_so(state, monkeypatch):
    """Neither a pairing nor a removal that cannot be kept is reported as done."""
    fleet = load(state)
    pair(fleet, A, B)
    monkeypatch.setattr(roster, "ROOM", 0)
    monkeypatch.setattr(roster, "ROOM_FOR_VOUCHES", 0)
    monkeypatch.setattr(roster, "RESERVED", 0)
    with pytest.raises(UserError):
        fleet.remove(B.device, A.sign)
    with pytest.raises(PairingFailed):
        pair(fleet, A, C)
    assert fleet.trusted().keys() == {B.device}


# --- naming ----------------------------------------------------------------------------------------


def test_peers_are_found_by_name_id_and_beginning(state):
    """Exact beats beginning; none and several are told apart."""
    fleet = load(state)
    pair(fleet, A, B)
    pair(fleet, A, C)
    assert fleet.find("bert").device == B.device
    assert fleet.find(B.device.upper()).device == B.device
    assert fleet.find(B.device[:9]).device == B.device
    fleet.rename(C.device, "bert")
    with pytest.raises(UserError, match="may be any of"):
        fleet.find("bert")
    for nobody in ("", "-", "nobody", "0"):
        with pytest.raises(NotFound):
            fleet.find(nobody)


def test_an_alias_is_local_and_can_be_taken_back(state):
    """The peer's own name returns, and what cannot be shown is refused."""
    fleet = load(state)
    pair(fleet, A, B)
    assert fleet.rename(B.device, "work").title == "work"
    assert fleet.rename(B.device, "").title == "bert"
    with pytest.raises(IllegalName):
        fleet.rename(B.device, "a\x1b[31m")


def test_a_peer_s_new_name_is_heard_if_it_can_be_shown(state):
    """A hello with an unprintable name changes nothing."""
    fleet = load(state)
    pair(fleet, A, B)
    fleet.note_contact(B.device, 1.0, name="evil\nname")
    assert fleet.peer(B.device).title == "bert"
    fleet.note_contact(B.device, 2.0, name="bert's laptop")
    assert fleet.peer(B.device).title == "bert's laptop"


def test_addresses_are_most_recent_first_and_few(state):
    """Contact moves an address to the front, hearsay goes to the back, nonsense nowhere."""
    fleet = load(state)
    pair(fleet, A, B, "a:1", "b:1")
    fleet.note_contact(B.device, 1.0, address="b:1")
    fleet.note_addresses({B.device: ["c:1", "a:1", "no address", "d"], R.device: ["x:1"], "junk": ["y:1"]})
    assert fleet.peer(B.device).addresses == ("b:1", "a:1", "c:1")
    fleet.note_addresses({B.device: [f"h{n}:1" for n in range(99)]})
    assert len(fleet.peer(B.device).addresses) == 8


@pytest.mark.parametrize(
    ("text", "usable"),
    [
        *((text, True) for text in ("[::1]:80", "[fe80::1%eth0]:80", "10.0.0.1:80", "my-host.local:8473")),
        *((text, False) for text in ("host", "::1:80", "[::1]", "a b:1", "h:123456", "h:1\n", "")),
    ],
)
def test_what_can_be_an_address(text, usable):
    """Host and port, IPv6 in brackets."""
    assert bool(usable_addresses([text])) is usable


# --- clones ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seen", "live", "nonce", "accepted"),
    [
        ((), set(), b"1", (b"1",)),  # first contact
        ((b"1",), set(), b"1", (b"1",)),  # the same again
        ((b"1",), {b"1"}, b"1", (b"1",)),  # a second connection
        ((b"1",), set(), b"2", (b"1", b"2")),  # a restored state directory
        ((b"1",), {b"1"}, b"2", None),  # two at once
        ((b"1", b"2"), set(), b"1", None),  # the old one returns
        ((b"1", b"2"), {b"1"}, b"2", None),
        ((b"1", b"2"), {b"2"}, b"2", (b"1", b"2")),
    ],
)
def test_a_clone_is_an_instance_beside_another_or_one_that_returns(seen, live, nonce, accepted):
    """The rule of SEMANTICS §7.3, row by row."""
    assert judge_instance(seen, live, nonce) == accepted


def test_a_clone_is_refused_until_the_person_has_dealt_with_it(state):
    """The newest instance stays accepted; `resume` lets the remaining one be the old one."""
    fleet = load(state)
    pair(fleet, A, B)
    fleet.note_instance(B.device, b"1", set())
    fleet.note_instance(B.device, b"2", set())
    with pytest.raises(ClonedDevice, match="bert"):
        fleet.note_instance(B.device, b"1", set())
    fleet.note_instance(B.device, b"2", set())
    fleet.resume(B.device)
    fleet.note_instance(B.device, b"1", set())


def test_a_copied_state_directory_gets_another_instance(state):
    """The copy shows a new nonce and keeps it; the original keeps its own."""
    original = load(state, place="here").instance
    copy = load(state, place="there").instance
    assert copy != original
    assert load(state, place="there").instance == copy


def test_a_place_is_an_inode(tmp_path):
    """A rename leaves the place, a copy does not."""
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    place = place_of(tmp_path / "one")
    assert place_of(tmp_path / "two") != place
    (tmp_path / "one").rename(tmp_path / "moved")
    assert place_of(tmp_path / "moved") == place
