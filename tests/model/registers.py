"""One skill's manifest and lines on three devices: edits, deletions, floors, whatever meets whatever.

What decides is the product: `Versions` mints and takes, `Registers.target` and `Lines.floor` say what
should stand in home. The files are modelled: a manifest, a set of lines, the digest last seen. A person
edits, appends, deletes and makes anew, at one minute or the next, watched or while the daemon is down, or
at the very moment a peer's version is put in place; every version and every line travels by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from itertools import permutations
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

from fleetsync import datasets
from fleetsync.merge import register
from fleetsync.merge.register import GONE_DIGEST, Version
from fleetsync.ports import Key
from fleetsync.records.names import DeviceId
from fleetsync.replica.journal import RegisterFile, StoredVersion
from fleetsync.replica.lines import Lines
from fleetsync.replica.registers import Registers
from fleetsync.replica.versions import Change, Clock, Versions

YAML = "skills/deploy/skill.yaml"
LOG = "skills/deploy/events.jsonl"
ROW = datasets.require(LOG)[1]
NAMES = tuple(DeviceId(letter * 52) for letter in "abc")
START, MINUTE, SKEW = 1_790_000_000_000_000, 60_000_000, 600_000_000


class Bounds(NamedTuple):
    """How far the search goes."""

    devices: int = 3
    deeds: int = 3
    """Of a person, on all devices together."""
    ties: bool = True
    """Whether two deeds may fall on one instant."""
    down: bool = True
    """Whether deeds may also be done while the daemon is down."""
    races: bool = True
    """Whether a person may also save while a peer's version is put in place."""
    begun: bool = True
    """Whether the skill is everywhere already, with one line; otherwise there is nothing."""


class Device(NamedTuple):
    """One device as a value. Lines are numbers; `shelved` are members whose body is in the journal."""

    versions: tuple[StoredVersion, ...] = ()
    number: int = 0
    hybrid: int = 0
    file: bytes | None = None
    remembered: bytes | None = None
    log: frozenset[int] = frozenset()
    members: frozenset[int] = frozenset()
    shelved: frozenset[int] = frozenset()
    history: frozenset[bytes] = frozenset()
    unseen: int | None = None
    """When (µs) the file was changed or taken away while the daemon was down."""


class Minted(NamedTuple):
    """A version, and what its author's file had held before: no version that came later may be covered."""

    body: bytes
    watched: bool
    base: bytes | None
    """The digest of the value that stood in the file."""
    unread: frozenset[bytes]
    """Versions that were known and not in the file yet."""
    lines: frozenset[int]
    """What stood in the log beside a deletion."""


@cache
def key_of(number: int) -> Key:
    """A line written in that minute, which is its number."""
    ts = f"2026-09-21T14:{13 + number // 60:02}:{20 + number % 60:02}Z"
    return datasets.identify_in(
        ROW, LOG, f'{{"kind":"retrieval","ts":"{ts}","device_id":"line{number}"}}'.encode()
    )


class Journal:
    """In place of `replica.journal.Journal`, for one register."""

    def __init__(self, device: Device) -> None:
        self.rows = {stored.id: stored for stored in device.versions}
        self.numbers = {"highest-number": device.number, "hybrid-clock": device.hybrid}
        self.remembered = device.remembered

    @contextmanager
    def transaction(self) -> Iterator[None]:
        yield

    def versions(self) -> list[StoredVersion]:
        return list(self.rows.values())

    def add_version(self, version: StoredVersion, covered: Iterable[bytes]) -> None:
        self.rows[version.id] = version
        for identity in covered:
            self.rows.pop(identity, None)

    def note_superseded(self, path: str, digests: Iterable[bytes]) -> None:
        pass

    def number(self, name: str) -> int:
        return self.numbers[name]

    def put_number(self, name: str, value: int) -> None:
        self.numbers[name] = value

    def get(self, _name: str) -> bytes | None:
        return None

    def register_files(self) -> dict[str, RegisterFile]:
        return {} if self.remembered is None else {YAML: RegisterFile(self.remembered, None)}

    def set_register_file(self, _path: str, file: RegisterFile, *, durable: bool = True) -> None:
        self.remembered = file.digest

    def drop_register_file(self, _path: str) -> None:
        self.remembered = None


class Running:
    """A device at work: the product's decisions over modelled files."""

    def __init__(self, device: Device, name: DeviceId, now: int) -> None:
        self.was = device
        self.file, self.log = device.file, set(device.log)
        self.members, self.shelved = set(device.members), set(device.shelved)
        self.history, self.unseen = set(device.history), device.unseen
        self.minted: list[Minted] = []
        self.journal = cast(Any, Journal(device))
        self.versions = Versions(name, self.journal, Clock(lambda: now, SKEW))
        self.now = now
        self.lines = Lines.__new__(Lines)
        self.lines._versions = self.versions
        self.lines._index = self  # type: ignore[assignment]
        nothing: Any = SimpleNamespace()
        self.registers = Registers(self.versions, self.journal, nothing, lambda: "")
        self.registers.outlived = self.lines.outlived
        self.unread: set[bytes] = set(self._waiting())

    def of_path(self, path: str) -> list[SimpleNamespace]:
        """As the index."""
        return [SimpleNamespace(key=key_of(n)) for n in sorted(self.members)] if path == LOG else []

    def frozen(self) -> Device:
        """What has become of the device."""
        return Device(
            tuple(sorted(self.journal.rows.values())),
            self.journal.numbers["highest-number"],
            self.journal.numbers["hybrid-clock"],
            self.file,
            self.journal.remembered,
            frozenset(self.log),
            frozenset(self.members),
            frozenset(self.shelved),
            frozenset(self.history),
            self.unseen,
        )

    def _waiting(self) -> Iterator[bytes]:
        """The version that counts, if the file neither holds it nor what follows from it."""
        current, target, held = (
            self.versions.current(YAML),
            self.registers.target(YAML),
            self.journal.remembered,
        )
        if current is None or target is None or held in {None, current.stamp.digest, target.digest}:
            return
        yield register.encode(current)

    # --- what the daemon does: `Replica`, with modelled files ---------------------------------------------

    def scan(self) -> None:
        """The file and the log are read, or their absence has lasted long enough; then what is left
        to do is done, as by `Replica._catch_up`.
        """
        if self.file is None:
            self.settle()
        else:
            self._look()
            self.bring()
            self.members = self.log | self.shelved
        if self.registers.is_unapplied(YAML):
            self.bring()
        self.take_away()
        self._unpark()

    def _look(self) -> None:
        if self.file is None:
            return
        digest = register.digest_of(self.file)
        target = self.registers.target(YAML)
        if self.journal.remembered != digest and (target is None or target.digest != digest):
            self._mint_found()
        self.registers.sightings.remember(YAML, digest, None)
        self.unseen = None

    def _mint_found(self) -> None:
        assert self.file is not None
        base, mtime = self.journal.remembered, self.now if self.unseen is None else self.unseen
        look: Any = SimpleNamespace(mtime_ns=mtime * 1000, ctime_ns=mtime * 1000)
        change = self.registers.edits._mint_found(YAML, self.file, look, watched=self.unseen is None)
        self._note(change, base, frozenset())

    def _note(self, change: Change, base: bytes | None, lines: frozenset[int]) -> None:
        for member in change.added:
            watched = self.unseen is None
            self.minted.append(Minted(member.stored.body, watched, base, frozenset(self.unread), lines))

    def settle(self) -> None:
        """As `Units.settle`: the directory is gone for good."""
        present = self.journal.remembered not in {None, GONE_DIGEST}
        if present and self.deletes():
            lines, base = frozenset(self.members), self.journal.remembered
            self._drop_lines()
            current = self.versions.current(YAML)
            if current is not None and current.value is not None:
                self.history.add(current.value)
            keys = [key_of(n) for n in sorted(lines)]
            watched, unread = self.unseen is None, self.registers.edits.unread(YAML)
            change = self.versions.mint_gone(YAML, keys, watched=watched, unread=unread)
            self._note(change, base, lines)
            self.registers.note_gone(YAML)
        elif present:
            self.registers.sightings.forget(YAML)
        self.unseen = None

    def deletes(self) -> bool:
        """Whether the absence is taken for a deletion."""
        return self.unseen is None or not self.registers.edits.unread(YAML)

    def _drop_lines(self) -> None:
        self.members = set(self.shelved)

    def bring(self) -> None:
        """As `Replica._bring`: the file becomes what it should be, and lines go where they belong."""
        if self._apply():
            current = self.versions.current(YAML)
            self.history |= set(self.registers.losers.others(YAML, current))
            self._unpark()
            self.unread.clear()

    def _apply(self) -> bool:
        target, remembered = self.registers.target(YAML), self.journal.remembered
        if target is None or target.value is None or remembered == target.digest:
            return True
        if self.file is None:
            if remembered not in {None, GONE_DIGEST}:
                return False
            self.log = set()
        elif register.digest_of(self.file) != remembered:
            self._mint_found()
            self.registers.sightings.remember(YAML, register.digest_of(self.file), None)
            return self._apply()
        else:
            self.history.add(self.file)
        self.file = target.value
        self.registers.sightings.remember(YAML, target.digest, None)
        return True

    def _unpark(self) -> None:
        floor = self.lines.floor(LOG, ROW)
        if self.file is not None:
            free = {n for n in self.shelved if not register.is_below(floor, *key_of(n))}
            self.log |= free
            self.shelved -= free

    def take_version(self, body: bytes, saved: bytes | None) -> None:
        """A peer's version arrives, and perhaps a person saves before it is put in place."""
        self._look()
        verdict, _ = self.versions.take(YAML, body, NAMES[0])
        assert verdict is not None
        self.unread |= {body} & set(self._waiting())
        if saved is not None and self.file is not None:
            self.file = saved
        self.bring()
        self.take_away()

    def begin_with(self, body: bytes) -> None:
        """A peer's skill with its first line."""
        self.take_version(body, None)
        self.take_line(0)

    def take_line(self, number: int) -> None:
        """A peer's line arrives."""
        self.members.add(number)
        self.shelved.add(number)
        self._unpark()
        current = self.versions.current(YAML)
        if current is not None and current.value is None:
            self.bring()
        self.take_away()

    def take_away(self) -> None:
        """As `Units.take_away`: what is gone by the versions leaves home."""
        target = self.registers.target(YAML)
        present = self.journal.remembered not in {None, GONE_DIGEST}
        if target is None or target.value is not None or not present:
            return
        if self.file is not None:
            self.history.add(self.file)
            self.shelved |= self.log
        self._drop_lines()
        self.file, self.log = None, set()
        self.registers.note_gone(YAML)


# --- the system ---------------------------------------------------------------------------------------


class State(NamedTuple):
    """All devices in the order of their names, the minute, and what a person has done. Devices and what
    was minted are numbers in the model's tables.
    """

    devices: tuple[int, ...]
    minute: int
    deeds: int
    minted: frozenset[int]
    deleted: frozenset[int]
    """Lines that stood in a directory when a person deleted it."""
    lines: frozenset[int]
    replaced: frozenset[bytes | None] = frozenset()
    """Values that a person saved over."""


Act = Callable[[Running], None]


class RegisterModel:
    """The model of `explorer.Model` for versions, deletions and floors."""

    running: type[Running] = Running

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self._table: list[Device] = []
        self._numbers: dict[Device, int] = {}
        self._minted: list[Minted] = []
        self._done = cache(self._outcome)
        self._news = cache(self._news_of)
        self._kept = cache(self._kept_at)
        self._covered = cache(self._covered_at)
        self._fault = cache(self._depends_on_more)
        self._told: dict[Hashable, Hashable] = {}

    def beginnings(self) -> Iterable[tuple[str, State]]:
        """Nothing anywhere, or a skill with a line that all have."""
        blank = Device()
        if not self.bounds.begun:
            devices = (self._number(blank),) * self.bounds.devices
            yield "nothing anywhere", State(devices, 1, 0, frozenset(), frozenset(), frozenset())
            return
        first = self._run(0, 0, blank._replace(file=b"value 0", log=frozenset({0})), lambda r: r.scan())
        body = first.minted[0].body
        others = [
            self._run(at, 0, blank, lambda r: r.begin_with(body)).frozen()
            for at in range(1, self.bounds.devices)
        ]
        devices = tuple(self._number(each) for each in [first.frozen(), *others])
        minted = self._all_minted(first)
        yield (
            "a skill with line 0, everywhere",
            State(devices, 1, 0, minted, frozenset(), frozenset({0})),
        )

    def key(self, state: State) -> Hashable:
        """Names decide ties, so no device is like another."""
        return state

    def steps(self, state: State) -> Iterator[tuple[str, State]]:
        """What a person, the daemons and the network may do."""
        for at, number in enumerate(state.devices):
            device = self._table[number]
            name = f"device {'abc'[at]}"
            if state.deeds < self.bounds.deeds:
                for minute in (state.minute + 1, state.minute) if self.bounds.ties else (state.minute + 1,):
                    for what, after in self._deeds(device, state, minute):
                        yield f"{name}, minute {minute}: a person {what}", self._did(state, at, after, minute)
            yield f"{name} scans", self._after(state, at, "scan", None, None)
        for here, there in permutations(range(len(state.devices)), 2):
            yield from self._sent(state, here, there)

    def _deeds(self, device: Device, state: State, minute: int) -> Iterator[tuple[str, Device]]:
        value = b"value %d" % (state.deeds + 1)
        for down in (False, True) if self.bounds.down else (False,):
            unseen = START + minute * MINUTE if down else device.unseen
            how = " while the daemon is down" if down else ""
            new = device.log if device.file is not None else frozenset[int]()
            yield f"saves {value.decode()!r}{how}", device._replace(file=value, unseen=unseen, log=new)
            if device.file is not None:
                yield f"deletes the skill{how}", device._replace(file=None, log=frozenset(), unseen=unseen)
        if device.file is not None and minute not in state.lines:
            yield f"has mur write line {minute}", device._replace(log=device.log | {minute})

    def _did(self, state: State, at: int, after: Device, minute: int) -> State:
        before = self._table[state.devices[at]]
        deleted = state.deleted | (before.log if after.file is None else frozenset())
        return state._replace(
            devices=self._with(state, at, after),
            minute=minute,
            deeds=state.deeds + 1,
            deleted=deleted,
            lines=state.lines | after.log,
            replaced=state.replaced | {before.file},
        )

    def _sent(self, state: State, here: int, there: int) -> Iterator[tuple[str, State]]:
        name = f"device {'abc'[here]} to device {'abc'[there]}"
        versions, lines = self._news(state.devices[here], state.devices[there])
        standing = self._table[state.devices[there]].file
        for body in versions:
            what = f"{name}: {told(decoded(body))}"
            yield what, self._after(state, there, "version", body, None)
            if self.bounds.races and state.deeds < self.bounds.deeds and standing is not None:
                saved = b"value %d" % (state.deeds + 1)
                after = self._after(state, there, "version", body, saved)
                what += f", and a person saves {saved.decode()!r} at that moment"
                yield what, after._replace(deeds=state.deeds + 1, replaced=state.replaced | {standing})
        for line in lines:
            yield f"{name}: line {line}", self._after(state, there, "line", line, None)

    def _news_of(self, here: int, there: int) -> tuple[list[bytes], list[int]]:
        """The versions and lines that one device has and another lacks."""
        sender, receiver = self._table[here], self._table[there]
        known = [decoded(stored.body) for stored in receiver.versions]
        offered = {stored.body: decoded(stored.body) for stored in sender.versions}
        news = [
            body
            for body, version in offered.items()
            if not any(version.dot == each.dot or register.covers(each, version) for each in known)
        ]
        lines = (sender.members - receiver.members) & (sender.log | sender.shelved)
        return news, sorted(lines)

    def _after(self, state: State, at: int, act: str, what: Any, saved: bytes | None) -> State:
        number, minted = self._done(at, state.minute, state.devices[at], act, what, saved)
        devices = (*state.devices[:at], number, *state.devices[at + 1 :])
        return state._replace(devices=devices, minted=state.minted | minted if minted else state.minted)

    def _outcome(
        self, at: int, minute: int, number: int, act: str, what: Any, saved: bytes | None
    ) -> tuple[int, frozenset[int]]:
        acts: dict[str, Act] = {
            "scan": lambda r: r.scan(),
            "version": lambda r: r.take_version(what, saved),
            "line": lambda r: r.take_line(what),
        }
        after = self._run(at, minute, self._table[number], acts[act])
        return self._number(after.frozen()), self._all_minted(after)

    def _all_minted(self, running: Running) -> frozenset[int]:
        fresh = [minted for minted in running.minted if minted not in self._minted]
        self._minted += fresh
        return frozenset(map(self._minted.index, running.minted))

    def _run(self, at: int, minute: int, device: Device, act: Act) -> Running:
        running = self.running(device, NAMES[at], START + minute * MINUTE)
        act(running)
        return running

    def _with(self, state: State, at: int, device: Device) -> tuple[int, ...]:
        return (*state.devices[:at], self._number(device), *state.devices[at + 1 :])

    def _number(self, device: Device) -> int:
        number = self._numbers.setdefault(device, len(self._table))
        if number == len(self._table):
            self._table.append(device)
        return number

    # --- the rules ------------------------------------------------------------------------------------

    def wrong(self, state: State, *, final: bool) -> str | None:
        """The rules of DESIGN §5 and SEMANTICS §2–3 that such a state can break."""
        minted = [self._minted[number] for number in sorted(state.minted)]
        faults = [_covers_unread(each) for each in minted] + [
            self._fault(*each) for each in enumerate(state.devices)
        ]
        fault = next((each for each in faults if each is not None), None) or self._lost(state, minted)
        if fault is not None or not final:
            return fault
        devices, covered = [self._table[n] for n in state.devices], self._covered(state.devices[0])
        return _apart(devices, covered) or _buried(minted, devices) or _risen(minted, devices, covered)

    def _depends_on_more(self, at: int, number: int) -> str | None:
        """What should stand in home is a function of the set."""
        device = self._table[number]
        members = frozenset(stored.id for stored in device.versions), device.members
        target = self._run(at, 0, device, lambda r: None).registers.target(YAML)
        says = (None if target is None else target.value), self._covered(number)
        if self._told.setdefault(members, says) != says:
            return f"of one set device {'abc'[at]} makes {says}, another one {self._told[members]}"
        return None

    def _covered_at(self, number: int) -> frozenset[int]:
        device = self._table[number]
        floor = self._run(0, 0, device, lambda r: None).lines.floor(LOG, ROW)
        return frozenset(n for n in device.members if register.is_below(floor, *key_of(n)))

    def _lost(self, state: State, minted: list[Minted]) -> str | None:
        """Nothing that a person wrote disappears, unless by that person's own hand."""
        values, lines = set(state.replaced), set(state.deleted)
        for number in state.devices:
            kept_values, kept_lines = self._kept(number)
            values |= kept_values
            lines |= kept_lines
        lost = state.lines - lines
        if lost:
            return f"lines {sorted(lost)} are nowhere any more"
        gone = [v for each in minted if (v := decoded(each.body).value) is not None and v not in values]
        return f"{gone[0].decode()!r} is nowhere any more" if gone else None

    def _kept_at(self, number: int) -> tuple[set[bytes | None], set[int]]:
        """The values and lines that are on a device, in whatever place."""
        device = self._table[number]
        versions = [decoded(stored.body) for stored in device.versions]
        values = {device.file, *device.history, *(v.value for v in versions), *(v.before for v in versions)}
        return values, {*device.log, *device.shelved}


@cache
def decoded(body: bytes) -> Version:
    """A version, read once."""
    return register.decode(body)


@cache
def _covers_unread(minted: Minted) -> str | None:
    """A vector holds nothing that its author had not applied."""
    author = decoded(minted.body)
    unread = [decoded(body) for body in minted.unread if register.covers(author, decoded(body))]
    return f"{told(author)} covers {told(unread[0])}, which its author had never seen" if unread else None


def told(version: Version) -> str:
    """A version for people."""
    what = "gone" if version.value is None else version.value.decode()
    return f"{what!r} by {version.dot.device[0]}"


def _apart(devices: list[Device], covered: frozenset[int]) -> str | None:
    """In the end all are equal, by what is known and by what stands in home; but lines that a deletion
    covers stay in a log that stood all the time (docs/decisions.md).
    """
    for what, parts in (
        ("versions", {tuple(stored.id for stored in device.versions) for device in devices}),
        ("lines", {device.members for device in devices}),
        ("manifests", {device.file for device in devices}),
        ("logs", {device.log - covered for device in devices}),
    ):
        if len(parts) > 1:
            return f"in the end the devices have different {what}: {sorted(map(str, parts))}"
    return None


def _buried(minted: list[Minted], devices: list[Device]) -> str | None:
    """A deletion that nobody watched wins over no edit that is later than what it deleted."""
    winner = _winner(devices)
    unwatched = {m.body: m for m in minted if not m.watched and decoded(m.body).value is None}
    own = None if winner is None else unwatched.get(register.encode(winner))
    if winner is None or own is None:
        return None
    others = [decoded(m.body) for m in minted if m.body not in unwatched]
    best = register.current(others, START * 2)
    deleted = max(_time(version) for version in others if version.stamp.digest == own.base)
    if best is None or best.value is None or _time(best) <= deleted:
        return None
    return f"{told(winner)}, while the daemon was down, wins over {told(best)}"


def _time(version: Version) -> tuple[int, int]:
    return version.stamp.effective, version.stamp.hybrid


def _winner(devices: list[Device]) -> Version | None:
    return register.current([decoded(stored.body) for stored in devices[0].versions], START * 2)


def _risen(minted: list[Minted], devices: list[Device], covered: frozenset[int]) -> str | None:
    """A skill that is made anew in knowledge of its deletion does not bring the old lines back."""
    winner = _winner(devices)
    if winner is None or winner.value is None:
        return None
    for each in minted:
        gone = decoded(each.body)
        back = (each.lines & devices[0].members) - covered
        if gone.value is None and register.covers(winner, gone) and back:
            return f"lines {sorted(back)} were deleted by {told(gone)} and are back"
    return None
