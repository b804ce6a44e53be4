"""`Fleet`: the devices that this one trusts, and what it remembers of each. `fleet.json` on disk.

Who is trusted is never stored: it is judged from the roster's records and the pairings made here
(`roster.py`). Rules of the file: a change of trust is on disk before it is in force; what is merely
remembered is written by `flush`; the state is one frozen value, swapped whole, so that any thread may
read while another writes, and no reader or note waits for the disk. Implements SEMANTICS §7.1 and §7.3.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import msgspec

from fleetsync import files
from fleetsync.devices import notary, roster
from fleetsync.devices.identity import Identity
from fleetsync.devices.notes import Direction, PeerNote, judge_instance, usable_addresses
from fleetsync.devices.roster import Judgement, Record, Removal, Sign, Verify, Vouch
from fleetsync.devices.words import Entropy
from fleetsync.errors import ClonedDevice, FleetDamaged, MalformedRecord, NotFound, PairingFailed, UserError
from fleetsync.records.names import DeviceId

FLEET_FILE = "fleet.json"
VERSION = 1
ROOM_FOR_ADDRESSES = 48 << 10
"""Bytes of the addresses in an offer: hearsay, of which a peer can make up any amount."""
_MACHINE_ID = Path("/etc/machine-id")  # systemd's; elsewhere the inode has to do


class Changes(NamedTuple):
    """What a roster operation has done to trust, and what is to be said of the peer that caused it."""

    added: frozenset[DeviceId]
    removed: frozenset[DeviceId]
    new: int = 0  # records that were not known
    malformed: int = 0  # offered, but no records
    forged: int = 0  # offered, but not signed by their author


class _State(msgspec.Struct, frozen=True):
    """The content of `fleet.json`."""

    version: int
    instance: bytes
    place: str
    records: tuple[bytes, ...] = ()
    pairings: frozenset[bytes] = frozenset()
    peers: dict[DeviceId, PeerNote] = {}


class _Known(NamedTuple):
    """The state with what follows from it."""

    state: _State
    records: Mapping[bytes, Record]
    judgement: Judgement


def place_of(state: Path) -> str:
    """What changes when a state directory is copied elsewhere: the machine, and the inode."""
    try:
        machine = _MACHINE_ID.read_bytes()
    except OSError:
        machine = b""
    return sha256(machine + str(state.stat().st_ino).encode()).hexdigest()[:32]


class Fleet:
    """The trusted devices, made by `Fleet.load`. One process per state directory may change them.

    `take`, `pair`, `remove`, `rename`, `pause`, `resume`, `direct` and `flush` write to disk and block.
    """

    def __init__(self, path: Path, identity: Identity, state: _State) -> None:
        self._path = path
        self._identity = identity
        self._me = identity.device
        self._writing = Lock()  # held while the disk is written
        self._swapping = Lock()  # held for an instant
        self._known = self._consider(state, {r.id: r for r in map(roster.read_record, state.records)})
        self._on_disk = state

    @classmethod
    def load(
        cls, state: Path, identity: Identity, *, entropy: Entropy = os.urandom, place: str | None = None
    ) -> Fleet:
        """The fleet in a state directory, an empty one if there is no file yet.

        A state directory found in another place than last time gets a new instance nonce. Raises
        `FleetDamaged`, naming the file; `StorageFailed`.
        """
        path, place = state / FLEET_FILE, place or place_of(state)
        stored = _read_state(path)
        current = stored or _State(VERSION, entropy(8), place)
        if current.place != place:
            current = msgspec.structs.replace(current, place=place, instance=entropy(8))
        try:
            fleet = cls(path, identity, current)
        except MalformedRecord as error:
            raise FleetDamaged(f"{path}: {error.message}") from error
        if current != stored:
            fleet._save(current)
        return fleet

    # --- reading -------------------------------------------------------------------------------------

    @property
    def me(self) -> DeviceId:
        """This device."""
        return self._me

    @property
    def instance(self) -> bytes:
        """Eight bytes that tell this state directory from a copy of it."""
        return self._known.state.instance

    def trusted(self) -> dict[DeviceId, bytes]:
        """Certificate (DER) by device, without this one; a fresh dictionary."""
        return dict(self._known.judgement.trusted)

    def peers(self) -> list[PeerNote]:
        """A note for every trusted device, in the order of their titles."""
        known = self._known
        notes = [_note_of(known, device) for device in known.judgement.trusted]
        return sorted(notes, key=lambda note: (note.title, note.device))

    def peer(self, device: DeviceId) -> PeerNote:
        """The note of one trusted device; raises `NotFound`."""
        known = self._known
        if device not in known.judgement.trusted:
            raise NotFound(f"{device[:7]} is no peer of this device", next_step="run `fleetsync peers`")
        return _note_of(known, device)

    def find(self, text: str) -> PeerNote:
        """The one peer meant by a name, an id or the beginning of an id.

        An exact name or id wins over a beginning. Raises `NotFound` for none, `UserError` for several.
        """
        plain = text.replace("-", "").lower()
        peers = self.peers()
        exact = [p for p in peers if (text and text in (p.alias, p.name)) or plain == p.device]
        found = exact or [p for p in peers if plain and p.device.startswith(plain)]
        if len(found) > 1:
            names = ", ".join(f"{p.title} ({p.device[:7]})" for p in found)
            raise UserError(f"{text[:80]!r} may be any of {names}", next_step="use more of the device id")
        if not found:
            raise NotFound(f"no peer is called {text[:80]!r}", next_step="run `fleetsync peers`")
        return found[0]

    def digest(self) -> bytes:
        """Eight bytes that differ when two devices' rosters differ."""
        return roster.digest(self._known.records)

    def offer(self) -> tuple[list[bytes], dict[str, list[str]]]:
        """All records, and where each trusted device was last met: the content of a roster offer."""
        return [record.raw for record in self._known.records.values()], _offered_addresses(self.peers())

    def removals_between(self, device: DeviceId) -> list[bytes]:
        """The ids of the known removals of that device or of this one: what a pairing sets aside."""
        said = [(r.id, r.statement) for r in self._known.records.values()]
        return [id_ for id_, s in said if isinstance(s, Removal) and s.subject in (device, self._me)]

    # --- trust ---------------------------------------------------------------------------------------

    def take(self, records: Sequence[bytes], verify: Verify = notary.verify_many) -> Changes:
        """Take in a peer's records, whatever of them is signed and matters. Idempotent.

        Raises `TooLarge`, `NotarySilent`, `StorageFailed`; nothing has changed then.
        """
        offered = roster.admit(self._known.records, records, self._identity.certificate, verify)
        with self._writing:
            before = self._known
            merged = self._merged(offered.new, before.state.pairings)
            if merged.keys() != before.records.keys():
                self._put(merged, before.state.pairings)
            return _changes(before, self._known, offered.malformed, offered.forged)

    def pair(
        self, certificate: bytes, name: str, addresses: Sequence[str], records: Sequence[bytes]
    ) -> PeerNote:
        """Trust a device after a finished pairing; its note, with the past forgotten.

        `records` holds this device's own vouch for it, and its vouch for this device. They are not
        verified again: they come from this user's own command. Raises `PairingFailed` when they do not
        lead to trust (a removal arrived meanwhile, or the roster is full), `MalformedRecord`.
        """
        device, new = roster.device_of(certificate), [roster.read_record(raw) for raw in records]
        note = PeerNote(device, roster.require_device_name(name), addresses=usable_addresses(addresses))
        mine = {r.id for r in new if r.statement.by == self._me and r.statement.subject == device}
        with self._writing:
            pairings = self._known.state.pairings | mine
            merged = self._merged(new, pairings)
            if device not in roster.trusted(merged.values(), self._me, pairings):
                raise PairingFailed(f"{note.name} was removed from the fleet meanwhile, or the fleet is full")
            self._put(merged, pairings, note)
        return note

    def remove(self, device: DeviceId, sign: Sign, *, entropy: Entropy = os.urandom) -> Changes:
        """Distrust a device, here now and everywhere once the record arrives.

        Whom it brought into the fleet until now stays. Raises `NotFound`, `NotarySilent`, `UserError`
        when the roster cannot hold another record of this device.
        """
        with self._writing:
            self.peer(device)
            before = self._known
            said = Removal(self._me, device, _vouches_by(before, device), entropy(16))
            removal = roster.write_record(said, sign)
            merged = self._merged([removal], before.state.pairings)
            if removal.id not in merged:
                raise UserError("the fleet is full: its roster cannot hold another record of this device")
            self._put(merged, before.state.pairings)
            return _changes(before, self._known)

    # --- notes ---------------------------------------------------------------------------------------

    def rename(self, device: DeviceId, alias: str) -> PeerNote:
        """Call a peer so on this device; the empty text goes back to its own name."""
        if alias:
            roster.require_device_name(alias)
        return self._write(device, lambda note: msgspec.structs.replace(note, alias=alias))

    def pause(self, device: DeviceId) -> PeerNote:
        """Exchange nothing with a peer until resumed; idempotent."""
        return self._write(device, lambda note: msgspec.structs.replace(note, paused=True))

    def resume(self, device: DeviceId) -> PeerNote:
        """Undo `pause`, and forget a clone that the person has dealt with; idempotent."""
        return self._write(device, lambda note: msgspec.structs.replace(note, paused=False, instances=()))

    def direct(self, device: DeviceId, direction: Direction) -> PeerNote:
        """Let items go only that way between this device and a peer."""
        return self._write(device, lambda note: msgspec.structs.replace(note, direction=direction))

    def note_contact(self, device: DeviceId, now: float, *, address: str = "", name: str = "") -> None:
        """The peer was heard of, perhaps at an address that it listens on, perhaps by a new name."""
        self._note(device, lambda note: note.met(now, address, name))

    def note_converged(self, device: DeviceId, now: float) -> None:
        """An exchange with the peer proved its cut."""
        self._note(device, lambda n: msgspec.structs.replace(n, last_converged_at=now, last_contact=now))

    def note_known(self, device: DeviceId, now: float) -> float:
        """It is a peer now; since when it is one. A time ahead of the clock was never true."""
        since = self.peer(device).known_since
        since = now if since is None else min(since, now)
        self._note(device, lambda note: msgspec.structs.replace(note, known_since=since))
        return since

    def note_addresses(self, addresses: Mapping[str, Sequence[str]]) -> None:
        """Where another device met the peers; from a roster offer, devices unknown here among them."""
        for device, note in {note.device: note for note in self.peers()}.items():
            if device in addresses:
                heard = note.also_at(addresses[device]).addresses
                self._note(device, lambda note, heard=heard: note.also_at(heard))  # type: ignore[misc]

    def note_instance(self, device: DeviceId, nonce: bytes, live: Collection[bytes]) -> None:
        """The peer showed this instance nonce in its hello; `live` are those of its open connections.

        Raises `ClonedDevice`; the nonce that was accepted last stays the accepted one.
        """
        note = self.peer(device)
        seen = judge_instance(note.instances, live, nonce)
        if seen is None:
            raise ClonedDevice(
                f"two machines use the device key of {note.title}: a state directory was copied",
                next_step="delete the state directory on one of the two and pair it again, then run "
                f"`fleetsync peers resume {note.title}`",
            )
        if seen != note.instances:
            self._note(device, lambda note: msgspec.structs.replace(note, instances=seen))

    def flush(self) -> None:
        """Write the notes that are only in memory; costs nothing when there are none."""
        with self._writing:
            if self._known.state != self._on_disk:
                self._save(self._known.state)

    # --- where the state changes -----------------------------------------------------------------------

    def _write(self, device: DeviceId, change: Callable[[PeerNote], PeerNote]) -> PeerNote:
        """Change a note, disk first: what a person was told to have failed must not come true later."""
        self.peer(device)
        with self._writing:
            state = self._noted(device, change).state
            if state != self._on_disk:
                self._save(state)
            self._note(device, change)
        return self.peer(device)

    def _note(self, device: DeviceId, change: Callable[[PeerNote], PeerNote]) -> None:
        """Change a note in memory; that the device has just lost its trust is no error."""
        with self._swapping:
            self._known = self._noted(device, change)

    def _noted(self, device: DeviceId, change: Callable[[PeerNote], PeerNote]) -> _Known:
        """What is known with that note changed."""
        known = self._known
        if device not in known.judgement.trusted:
            return known
        peers = {**known.state.peers, device: change(_note_of(known, device))}
        return known._replace(state=msgspec.structs.replace(known.state, peers=peers))

    def _merged(self, new: Iterable[Record], pairings: Collection[bytes]) -> dict[bytes, Record]:
        """The roster with new records, without those of authors nobody ever vouched for."""
        new, known = list(new), self._known.records
        records = [*known.values(), *new]
        heard = roster.known_authors(records, self._me, pairings)
        near = {record.statement.subject for record in records if record.id in pairings} | {self._me}
        return roster.merge(known, [record for record in new if record.statement.by in heard], near)

    def _put(
        self, records: Mapping[bytes, Record], pairings: frozenset[bytes], note: PeerNote | None = None
    ) -> None:
        """Disk first, then force. Called with `_writing` held; notes may change in between."""
        self._save(self._succeeding(records, pairings, note).state)
        with self._swapping:
            self._known = self._succeeding(records, pairings, note)

    def _succeeding(
        self, records: Mapping[bytes, Record], pairings: frozenset[bytes], note: PeerNote | None
    ) -> _Known:
        """What follows the present state; devices that are trusted no more are forgotten."""
        state = self._known.state
        known = self._consider(msgspec.structs.replace(state, pairings=pairings), records)
        peers = {d: kept for d, kept in state.peers.items() if d in known.judgement.trusted}
        peers |= {note.device: note} if note else {}
        raws = tuple(records[id_].raw for id_ in sorted(records))
        return known._replace(state=msgspec.structs.replace(known.state, records=raws, peers=peers))

    def _consider(self, state: _State, records: Mapping[bytes, Record]) -> _Known:
        return _Known(state, records, roster.judge(records.values(), self._me, state.pairings))

    def _save(self, state: _State) -> None:
        files.replace_private(self._path, msgspec.json.format(msgspec.json.encode(state), indent=1))
        self._on_disk = state


def _read_state(path: Path) -> _State | None:
    try:
        with files.storage_errors(path):
            content = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        state = msgspec.json.decode(content, type=_State)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise FleetDamaged(f"{path}: {error}") from error
    if state.version != VERSION:
        raise FleetDamaged(f"{path} is of version {state.version}", next_step="upgrade fleetsync")
    return state


def _note_of(known: _Known, device: DeviceId) -> PeerNote:
    """The note of a trusted device; one that is trusted by introduction has its vouched name."""
    return known.state.peers.get(device) or PeerNote(device, _vouched_name(known, device))


def _offered_addresses(notes: Iterable[PeerNote]) -> dict[str, list[str]]:
    """Where devices were met, those met last first, as far as there is room: the offer must fit a message."""
    offered: dict[str, list[str]] = {}
    room = ROOM_FOR_ADDRESSES
    for note in sorted(notes, key=lambda note: note.last_contact or 0.0, reverse=True):
        room -= len(note.device) + sum(map(len, note.addresses))
        if note.addresses and room >= 0:
            offered[str(note.device)] = list(note.addresses)
    return offered


def _vouched_name(known: _Known, device: DeviceId) -> str:
    """Without clocks no vouch is the latest: take the same one everywhere."""
    vouches = (known.records[id_].statement for id_ in sorted(known.judgement.standing))
    return next((v.name for v in vouches if isinstance(v, Vouch) and v.subject == device), "")


def _vouches_by(known: _Known, device: DeviceId) -> tuple[bytes, ...]:
    """The vouches by a device that count now."""
    by_it = (i for i in sorted(known.judgement.standing) if known.records[i].statement.by == device)
    return tuple(by_it)[: roster.MAX_KEEPS]


def _changes(before: _Known, after: _Known, malformed: int = 0, forged: int = 0) -> Changes:
    old, new = before.judgement.trusted.keys(), after.judgement.trusted.keys()
    arrived = len(after.records.keys() - before.records.keys())
    return Changes(frozenset(new - old), frozenset(old - new), arrived, malformed, forged)
