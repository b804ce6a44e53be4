"""Lines and counters on three devices, whatever is written, sent, torn and killed in whatever order.

What moves is the product: `Logs`, `Lines` and `Counting` run on the modelled machine, one call a step,
and again stopped before each of their changes of disk and journal. Around them, mur opens the log,
writes a line and its newline apart without a lock, and counts it later; the network carries any one line
or all that are missing. Lines are named by the order in which they were begun, so devices are alike and
their order in a state means nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import suppress
from functools import cache, lru_cache
from itertools import permutations
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

from fleetsync import datasets
from fleetsync.files import Folder as RealFolder
from fleetsync.merge import counters
from fleetsync.ports import Group
from fleetsync.records import loglines, skills, stats, timestamps
from fleetsync.records.names import DeviceId
from fleetsync.replica import jsonl
from fleetsync.replica.appending import Appending
from fleetsync.replica.counting import STATS, Counting
from fleetsync.replica.guard import Guard
from fleetsync.replica.layout import see
from fleetsync.replica.lines import Lines
from fleetsync.replica.logs import Logs
from fleetsync.replica.postponed import Postponed
from tests.model.machine import (
    LOG,
    LOG_NAME,
    NEVER,
    Disk,
    Fate,
    Folder,
    Index,
    Indexed,
    Journal,
    Kept,
    Steps,
    Stopped,
)

ROW = datasets.require(LOG)[1]
PEER = DeviceId("p" * 52)
MANIFEST = b"name: deploy\nversion: 1.0.0\n"
NOW = timestamps.at(1_790_000_000_000_000_000)
OUTCOMES = ("success", "failure")


class Bounds(NamedTuple):
    """How far the search goes."""

    devices: int = 3
    lines: int = 2
    crashes: int = 1
    power: bool = False
    """Whether a crash may also be a power loss."""
    slow: int = 1
    """Of the lines, how many mur writes in three calls; the others in one."""


@lru_cache
def line(number: int) -> bytes:
    """The line that is begun as this one; every one counts differently."""
    return (
        f'{{"kind":"execution","ts":"2026-06-0{number + 1}T00:00:00Z","device_id":"d",'
        f'"outcome":"{OUTCOMES[number % 2]}"}}'
    ).encode()


def _identity(body: bytes) -> bytes:
    return datasets.identify_in(ROW, LOG, body).id


class Writer(NamedTuple):
    """mur with the log open: the file it has, and what it will still write, call by call."""

    inode: int
    left: tuple[bytes, ...]


class Device(NamedTuple):
    """One device as a value."""

    up: bool
    names: tuple[tuple[str, int], ...]
    inodes: tuple[tuple[int, bytes], ...]
    kept: Kept = Kept()
    indexed: Indexed = Indexed()
    writer: Writer | None = None
    written: tuple[int, ...] = ()
    """The lines that mur has written here, whole."""
    uncounted: tuple[int, ...] = ()
    """Those of them that mur has yet to count."""

    def file(self, name: str) -> bytes | None:
        """What a file holds."""
        inode = dict(self.names).get(name)
        return None if inode is None else dict(self.inodes)[inode]

    @property
    def log(self) -> bytes:
        """What the log holds."""
        return self.file(LOG_NAME) or b""


BLANK = Device(True, ((LOG_NAME, 1), ("skill.yaml", 2)), ((1, b""), (2, MANIFEST)))


class Running:
    """A device at work: the product's objects over the modelled machine."""

    def __init__(self, device: Device, fate: Fate) -> None:
        self.steps = Steps(fate)
        self.disk = Disk(dict(device.names), dict(device.inodes), self.steps)
        self.folder: Any = Folder(self.disk)
        self.journal = cast(Any, Journal(device.kept, self.steps))
        self.index = cast(Any, Index(device.indexed))
        self.logs = Logs(self.journal, self.index)
        self.appending = Appending(self.journal, self.index, self.logs)
        self.counting = Counting(self.journal, lambda: NOW, self._token)
        manifest: Any = SimpleNamespace(current=lambda _path: SimpleNamespace(value=b"x", floor=None))
        unsigned: Any = SimpleNamespace(reasons=lambda *_: {}, forget=lambda _ids: None)
        shelf: Any = SimpleNamespace(bodies=lambda _ids: [])
        guard = Guard(self.journal, lambda: 0)
        self.lines = Lines(
            self.journal,
            self.index,
            self.logs,
            self.appending,
            shelf,
            manifest,
            self.counting,
            guard,
            unsigned,
            Postponed(lambda: 0),
        )

    def _token(self) -> str:
        return str(len(self.disk.names))


Act = Callable[[Running], None]


def scan(running: Running) -> None:
    """As a full scan does with a log and the counters beside it."""
    root: RealFolder = running.folder
    look = see(root, LOG)
    if look is not None and running.logs.changed(LOG, look):
        running.logs.read(root, LOG, ROW)
    running.lines.unpark_all(root)
    running.lines.recount(root)


def start(running: Running) -> None:
    """As a start does, in its order."""
    root: RealFolder = running.folder
    running.counting.recover(root)
    running.appending.recover(root)
    running.counting.sweep(root, "skills/deploy")
    scan(running)


def take(bodies: tuple[bytes, ...]) -> Act:
    """A peer's lines arrive."""

    def act(running: Running) -> None:
        running.lines.take(running.folder, LOG, ROW, Group(LOG, list(bodies)), PEER)

    return act


# --- running and stopping -----------------------------------------------------------------------------


def run(device: Device, act: Act, fate: Fate) -> tuple[Device, Steps]:
    """What becomes of a device; one that stopped has lost its index's last transaction."""
    running = Running(device, fate)
    with suppress(Stopped):
        act(running)
    if fate.step < 0:
        return _frozen(device, running, running.index.indexed()), running.steps
    if fate.power:
        running.disk.lose_power()
    return _frozen(device._replace(up=False), running, device.indexed, power=fate.power), running.steps


def _frozen(device: Device, running: Running, indexed: Indexed, *, power: bool = False) -> Device:
    """As a value. Files other than logs are numbered by name: their numbers mean nothing."""
    disk = running.disk
    logs = {disk.names[LOG_NAME]} | ({device.writer.inode} if device.writer else set())
    names = {name: n if n in logs else -1 - at for at, (name, n) in enumerate(sorted(disk.names.items()))}
    inodes = {n: disk.inodes[n] for n in logs}
    inodes |= {names[name]: disk.inodes[n] for name, n in disk.names.items() if n not in logs}
    return device._replace(
        names=tuple(sorted(names.items())),
        inodes=tuple(sorted(inodes.items())),
        kept=running.journal.kept(power=power),
        indexed=indexed,
    )


def fates(steps: Steps, *, power: bool) -> Iterator[Fate]:
    """Every way to stop: before each step and behind the last, and inside what is written to the log."""
    for step, size in enumerate([*steps.taken, 0]):
        yield Fate(step)
        if power:
            yield Fate(step, power=True)
        for cut in {1, size // 4, size // 2, size // 2 + 1, size - 2, size - 1, size} - {0}:
            if 0 < cut <= size:
                yield Fate(step, cut)


# --- the system ---------------------------------------------------------------------------------------


class State(NamedTuple):
    """All devices, by their numbers in the model's table, and what has been spent."""

    devices: tuple[int, ...]
    begun: int = 0
    crashes: int = 0


Outcomes = tuple[tuple[str, int], ...]


class LineModel:
    """The model of `explorer.Model` for lines and counters."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self._table: list[Device] = []
        self._numbers: dict[Device, int] = {}
        self._after = cache(self._outcomes)
        self._own = cache(self._own_steps)
        self._sent = cache(self._sent_steps)
        self._fault = cache(self._fault_of)

    def beginnings(self) -> Iterable[tuple[str, State]]:
        """All devices are alike: a skill without lines."""
        blank = self._number_of(BLANK)
        yield f"{self.bounds.devices} devices, one skill, no lines", State((blank,) * self.bounds.devices)

    def key(self, state: State) -> Hashable:
        """The devices without their order: they are alike."""
        return *sorted(state.devices), state.begun, state.crashes

    def steps(self, state: State) -> Iterator[tuple[str, State]]:
        """What mur, the daemons and the network may do."""
        may_begin = state.begun < self.bounds.lines
        may_crash = state.crashes < self.bounds.crashes
        for at, device in enumerate(state.devices):
            for what, after, crashed in self._own(device, state.begun if may_begin else None, may_crash):
                begun = state.begun + what.startswith("mur begins")
                yield f"device {at + 1}: {what}", self._put(state, at, after, begun, crashed)
        for here, there in permutations(range(len(state.devices)), 2):
            for what, after, crashed in self._sent(state.devices[here], state.devices[there], may_crash):
                name = f"device {here + 1} to device {there + 1}: {what}"
                yield name, self._put(state, there, after, state.begun, crashed)

    @staticmethod
    def _put(state: State, at: int, device: int, begun: int, crashed: bool) -> State:
        devices = (*state.devices[:at], device, *state.devices[at + 1 :])
        return State(devices, begun, state.crashes + crashed)

    def _number_of(self, device: Device) -> int:
        number = self._numbers.setdefault(device, len(self._table))
        if number == len(self._table):
            self._table.append(device)
        return number

    def _own_steps(self, at: int, number: int | None, may_crash: bool) -> list[tuple[str, int, bool]]:
        """What a device may do by itself; `number` is the line that mur may begin."""
        device = self._table[at]
        found: list[tuple[str, Device]] = []
        if number is not None and device.writer is None:
            slow = number < self.bounds.slow
            found.append((f"mur begins line {number}", self.mur_begins(device, number, slow=slow)))
        if device.writer is not None:
            found.append((f"mur writes {device.writer.left[0][:12]!r}", mur_writes(device)))
        if device.uncounted:
            found.append(("mur counts", mur_counts(device)))
        own = [(what, self._number_of(after), False) for what, after in found]
        act, word = (scan, "scans") if device.up else (start, "starts")
        return own + self._done(word, self._after(at, act, (), may_crash))

    def mur_begins(self, device: Device, number: int, *, slow: bool) -> Device:
        """mur opens the log to write a line: in three calls, or at once."""
        body = line(number)
        writer = Writer(dict(device.names)[LOG_NAME], (body, b"\n") if slow else (body + b"\n",))
        begun = device._replace(writer=writer)
        return begun if slow else mur_writes(begun)

    def _sent_steps(self, here: int, there: int, may_crash: bool) -> list[tuple[str, int, bool]]:
        """What may become of the second device by what the first one sends it."""
        sender, receiver = self._table[here], self._table[there]
        if not (sender.up and receiver.up):
            return []
        found: list[tuple[str, int, bool]] = []
        for bodies in self.messages(sender, receiver):
            what = f"lines {[_number(body) for body in bodies]}"
            found += self._done(what, self._after(there, take, bodies, may_crash))
        return found

    def _done(self, what: str, outcomes: Outcomes) -> list[tuple[str, int, bool]]:
        return [(what + how, after, not self._table[after].up) for how, after in outcomes]

    def messages(self, sender: Device, receiver: Device) -> list[tuple[bytes, ...]]:
        """What one may send another: any one line that it lacks, or all of them."""
        known = {entry.key.id for entry in receiver.indexed.entries}
        lacking = [
            sender.log[entry.offset : entry.offset + entry.length]
            for entry in sender.indexed.entries
            if entry.key.id not in known
        ]
        return [(body,) for body in lacking] + ([tuple(lacking)] if len(lacking) > 1 else [])

    def _outcomes(self, at: int, act: Any, bodies: tuple[bytes, ...], may_crash: bool) -> Outcomes:
        """All that may become of a device by this act, each once."""
        device = self._table[at]
        deed: Act = act(bodies) if bodies else act
        after, steps = run(device, deed, NEVER)
        found = {after._replace(up=True): ""}
        for fate in fates(steps, power=self.bounds.power) if may_crash else ():
            how = f", and it {'loses power' if fate.power else 'is killed'} at step {fate.step}"
            how += f", {fate.cut} bytes written" if fate.cut else ""
            found.setdefault(run(device, deed, fate)[0], how)
        return tuple((how, self._number_of(each)) for each, how in found.items())

    # --- the rules ------------------------------------------------------------------------------------

    def wrong(self, state: State, *, final: bool) -> str | None:
        """The rules of DESIGN §5 that a state of lines and counters can break."""
        for at, device in enumerate(state.devices):
            fault = self._fault(device)
            if fault is not None:
                return f"device {at + 1}: {fault}"
        return self._wrong_in_the_end(state) if final else None

    def _wrong_in_the_end(self, state: State) -> str | None:
        everything = set(range(state.begun))
        for at, device in enumerate(self._table[number] for number in state.devices):
            missing = everything - set(standing(device))
            if missing:
                return f"device {at + 1}: in the end its log lacks lines {sorted(missing)}"
            # The first success is left out: mur keeps the one that it knows, whatever is counted later.
            counted, due = counted_in(device)[:5], fold_of(device)[:5]
            if counted != due:
                return f"device {at + 1}: in the end its counters say {counted[:3]}, its log says {due[:3]}"
        return None

    def _fault_of(self, number: int) -> str | None:
        device = self._table[number]
        lines = standing(device)
        lost = [n for n in device.written if line(n) not in device.log]
        if lost:
            return f"mur's lines {lost} are not in the log any more"
        if len(lines) > len(set(lines)):
            return f"a line stands twice in the log: {lines}"
        if device.up and device.writer is None and (scraps := unreadable(device)):
            return f"mur cannot read {scraps[0]!r}"
        counted = counted_in(device)[0]
        if counted > len(set(lines)):
            return f"{counted} uses are counted and the log holds {len(set(lines))}"
        return None


def mur_writes(device: Device) -> Device:
    """mur's next call, at the end of the file that it opened."""
    assert device.writer is not None
    first, *left = device.writer.left
    inodes = dict(device.inodes)
    inodes[device.writer.inode] += first
    begun = _number(first)
    device = device._replace(
        inodes=tuple(sorted(inodes.items())),
        writer=device.writer._replace(left=tuple(left)) if left else None,
    )
    if begun is None:
        return device
    return device._replace(written=(*device.written, begun), uncounted=(*device.uncounted, begun))


def mur_counts(device: Device) -> Device:
    """mur adds what it has written to stats.json, under its lock and by one rename."""
    raw = device.file(STATS)
    before = stats.new("deploy", "1.0.0", "0" * 64, NOW) if raw is None else stats.loads(raw)
    events = [event for n in device.uncounted if (event := skills.read_countable(line(n))) is not None]
    data = stats.dumps(counters.apply_new_events_to_stats(before, events))
    names = {**dict(device.names), STATS: dict(device.names).get(STATS, -9)}
    inodes = {**dict(device.inodes), names[STATS]: data}
    return device._replace(
        names=tuple(sorted(names.items())), inodes=tuple(sorted(inodes.items())), uncounted=()
    )


@lru_cache(maxsize=64)
def _number(body: bytes) -> int | None:
    return next((n for n in range(9) if body.rstrip(b"\n") == line(n)), None)


def standing(device: Device) -> list[int]:
    """The lines that stand in the log, each as often as it does."""
    found = [_number(part.body) for part, key in jsonl.keyed(device.log, 0, _identity) if key is not None]
    return [number for number in found if number is not None]


def unreadable(device: Device) -> list[bytes]:
    """What mur would stumble over."""
    return [each.body for each in loglines.lines(device.log) if not ROW.readable(each.body)]


def counted_in(device: Device) -> tuple[Any, ...]:
    """The counters as they stand in stats.json."""
    raw = device.file(STATS)
    return tuple(counters.Counters()) if raw is None else stats.loads(raw).counters


def fold_of(device: Device) -> tuple[Any, ...]:
    """What the log adds up to."""
    events = [skills.read_event(each.body) for each in loglines.lines(device.log)]
    return tuple(counters.fold(event for event in events if isinstance(event, skills.SkillEvent)))
