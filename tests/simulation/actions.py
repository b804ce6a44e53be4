"""What happens in a story: people and mur at work, and everything that goes wrong.

A `Script` is drawn from the seed before the story begins: which laptops and skills there are, and which
kinds of trouble. `People` and `Trouble` then act at moments that the seed decides. Rule of the file: each
action is one small method, and its name is what the story tells.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import anyio

from fleetsync.sync.wake import Change
from tests.simulation.disk import Fault
from tests.simulation.laptop import Laptop
from tests.simulation.network import Dialect, Network, Weather

STEADY, EDITED, PASSING = "skills/deploy", "skills/build", "skills/fleeting"
"""A skill whose manifest never changes, one that is edited everywhere, one that people also delete."""
PROMPT = "agents/qa/sys_prompt.md"
OPEN_ITEMS = "open-items.jsonl"

NETWORK, KILLS, ERRORS, POWER, LIES, FULL, CLOCKS, VERSIONS, ACCIDENTS, CARELESS = (
    "network",
    "kills",
    "errors",
    "power",
    "lies",
    "full",
    "clocks",
    "versions",
    "accidents",
    "careless",
)
THEMES = (NETWORK, KILLS, ERRORS, POWER, LIES, FULL, CLOCKS, VERSIONS, ACCIDENTS, CARELESS)


def log(skill: str) -> str:
    """The events of a skill."""
    return f"{skill}/events.jsonl"


def manifest(skill: str) -> str:
    """The manifest of a skill."""
    return f"{skill}/skill.yaml"


@dataclass(frozen=True)
class Script:
    """What a seed makes of a story."""

    laptops: int
    seconds: float
    pause: float  # seconds between two acts of one person, about
    trouble: float  # seconds between two troubles, about
    themes: frozenset[str]
    skills: tuple[str, ...]

    @classmethod
    def drawn(cls, dice: random.Random) -> Script:
        """A script for two to five laptops."""
        laptops = dice.choices((2, 3, 4, 5), (60, 27, 8, 5))[0]
        themes = frozenset(theme for theme in THEMES if dice.random() < 0.35)
        skills = tuple(skill for skill in (EDITED, PASSING) if dice.random() < 0.6)
        return cls(
            laptops, dice.uniform(8, 40), dice.uniform(1, 6), dice.uniform(1, 6), themes, (STEADY, *skills)
        )


@dataclass
class Stage:
    """Where it all happens."""

    laptops: list[Laptop]
    network: Network
    script: Script
    dice: random.Random
    unsure: set[tuple[str, str]] = field(default_factory=set)
    """(laptop, skill) whose counters only a rebuild makes exact."""
    lost_logs: set[str] = field(default_factory=set)
    """Laptops of which somebody removed a log."""

    def furnish(self) -> None:
        """Homes as they are before the first daemon starts: some have a skill, some have common lines."""
        common = [self.laptops[0].mur.event("success") for _ in range(self.dice.randrange(4))]
        for laptop in self.laptops:
            for skill in self.script.skills:
                if laptop is self.laptops[0] or self.dice.random() < 0.6:
                    self._furnish(laptop, skill, common)
            laptop.disk.settle()

    def _furnish(self, laptop: Laptop, skill: str, common: list[bytes]) -> None:
        def act(mur):
            mur.make(skill)
            mur.edit(manifest(skill), manifest_of(skill, "0"))
            for line in common if skill == STEADY else ():
                mur.append(log(skill), line, locked=True)

        laptop.by_mur(act)


def manifest_of(skill: str, edition: str) -> bytes:
    """A manifest as mur writes it, with or without a time of its own."""
    return f"name: {skill.rpartition('/')[2]}\nversion: 1.0.0\ndescription: edition {edition}\n".encode()


class People:
    """Somebody at one laptop, and the programs that run there."""

    def __init__(self, stage: Stage, laptop: Laptop) -> None:
        self._stage = stage
        self._laptop = laptop
        self._dice = random.Random(stage.dice.random())
        self._edits = 0
        self._acts: list[tuple[Callable[[], str | None], float]] = [
            (self.write_a_line, 8.0),
            (self.write_as_an_older_mur, 3.0),
            (self.write_many_lines, 1.0),
            (self.break_off_a_line, 0.7),
            (self.note_an_open_item, 1.0),
            (self.edit_the_prompt, 0.7),
            (self.edit_a_manifest, 2.0),
        ]
        if ACCIDENTS in stage.script.themes:
            self._acts += [(self.lose_a_log, 0.4), (self.lose_the_counters, 0.3)]
        if PASSING in stage.script.skills:
            self._acts += [(self.delete_a_skill, 0.4), (self.make_a_skill, 0.6)]
        laptop.disk.intruder = self.intrude

    async def live(self) -> None:
        """Act now and then, until the story is over."""
        while True:
            await anyio.sleep(self._dice.expovariate(1 / self._stage.script.pause))
            self.act()

    def act(self) -> None:
        """Do something, and let the watcher see it or not."""
        acts, weights = zip(*self._acts, strict=True)
        act = self._dice.choices(acts, weights)[0]
        path = act()
        if path is not None:
            self._laptop.tell(f"{act.__name__.replace('_', ' ')}: {path}")
            if self._dice.random() < 0.8:
                self._laptop.touched(path)

    def intrude(self) -> None:
        """Another program acts between two calls of the daemon."""
        path = self._dice.choice((self.write_as_an_older_mur, self.write_a_line, self.edit_a_manifest))()
        if path is not None:
            self._laptop.tell(f"meanwhile, {path} is written")

    # --- logs -------------------------------------------------------------------------------------

    def _skill(self) -> str | None:
        here = [s for s in self._stage.script.skills if (self._laptop.disk.home / manifest(s)).exists()]
        return self._dice.choice(here) if here else None

    def _outcome(self) -> str | None:
        return self._dice.choice(("success", "success", "failure", None))

    def write_a_line(self, *, locked: bool = True) -> str | None:
        """mur runs a skill."""
        skill = self._skill()
        if skill is None:
            return None
        mur, path = self._laptop.mur, log(skill)
        line = mur.event(self._outcome())
        return path if self._laptop.by_mur(lambda m: m.append(path, line, locked=locked)) else None

    def write_as_an_older_mur(self) -> str | None:
        """The same, by a version that takes no lock."""
        return self.write_a_line(locked=False)

    def write_many_lines(self) -> str | None:
        """mur is busy."""
        paths = [self.write_a_line() for _ in range(self._dice.randrange(5, 30))]
        return paths[-1]

    def break_off_a_line(self) -> str | None:
        """mur is killed in the middle of a line."""
        skill = self._skill()
        if skill is None:
            return None
        path, line = log(skill), self._laptop.mur.event("success")
        part = line[: self._dice.choice((len(line), self._dice.randrange(1, len(line))))]
        locked = self._dice.random() < 0.5
        return path if self._laptop.by_mur(lambda mur: mur.scrap(path, part, locked=locked)) else None

    def note_an_open_item(self) -> str | None:
        """An agent leaves something undone."""
        line = self._laptop.mur.open_item()
        self._laptop.by_mur(lambda mur: mur.append(OPEN_ITEMS, line, locked=True))
        return OPEN_ITEMS

    # --- whole files --------------------------------------------------------------------------------

    def _edition(self) -> str:
        self._edits += 1
        return f"{self._laptop.letter}{self._edits}"

    def edit_a_manifest(self) -> str | None:
        """A person edits a skill."""
        skill = self._skill()
        if skill is None or skill == STEADY:
            return None
        path, value = manifest(skill), manifest_of(skill, self._edition())
        if self._dice.random() < 0.3:
            value += b"updated_at: %b\n" % self._laptop.mur.stamp().encode()
        in_place = self._dice.random() < 0.3
        self._laptop.by_mur(lambda mur: mur.edit(path, value, in_place=in_place))
        self._unsure_everywhere(skill)
        return path

    def edit_the_prompt(self) -> str:
        """A person tells an agent how to behave."""
        value = b"Be kind. Edition %b.\n" % self._edition().encode()

        def act(mur):
            mur.make("agents/qa")
            mur.edit(PROMPT, value)

        self._laptop.by_mur(act)
        return PROMPT

    def make_a_skill(self) -> str | None:
        """A skill is made, perhaps again."""
        if (self._laptop.disk.home / manifest(PASSING)).exists():
            return None
        value = manifest_of(PASSING, self._edition())

        def act(mur):
            mur.make(PASSING)
            mur.edit(manifest(PASSING), value)

        self._laptop.by_mur(act)
        self._unsure_everywhere(PASSING)
        return manifest(PASSING)

    def delete_a_skill(self) -> str | None:
        """A person throws a skill away."""
        if not (self._laptop.disk.home / PASSING).exists():
            return None
        self._laptop.by_mur(lambda mur: mur.delete(PASSING))
        self._laptop.on_loss()
        self._unsure_everywhere(PASSING)
        return manifest(PASSING)

    def _unsure_everywhere(self, skill: str) -> None:
        """Counters begin anew with another manifest: what they count depends on when."""
        self._stage.unsure |= {(laptop.letter, skill) for laptop in self._stage.laptops}

    # --- accidents --------------------------------------------------------------------------------

    def lose_a_log(self) -> str | None:
        """A log is removed by accident; others have most of it."""
        skill = self._skill()
        if skill is None:
            return None
        path = log(skill)
        self._laptop.by_mur(lambda mur: mur.remove(path))
        self._laptop.on_loss()
        self._stage.unsure.add((self._laptop.letter, skill))
        self._stage.lost_logs.add(self._laptop.letter)
        return path

    def lose_the_counters(self) -> str | None:
        """The counters are removed: only a rebuild knows mur's own."""
        skill = self._skill()
        if skill is None:
            return None
        path = f"{skill}/stats.json"
        self._laptop.by_mur(lambda mur: mur.remove(path))
        self._stage.unsure.add((self._laptop.letter, skill))
        return path


class Trouble:
    """Everything that goes wrong."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._dice = random.Random(stage.dice.random())
        by_theme: dict[str, list[Callable[[], str]]] = {
            NETWORK: [self.bad_weather, self.part, self.join],
            KILLS: [self.kill, self.kill_in_a_call, self.kill_in_a_call, self.rest, self.forget_the_index],
            ERRORS: [self.fail_a_call],
            POWER: [self.power_loss, self.power_loss_in_a_call],
            LIES: [self.lie],
            FULL: [self.fill_the_disk],
            CLOCKS: [self.set_a_clock],
        }
        themes = stage.script.themes
        self._kinds = [act for theme, acts in by_theme.items() if theme in themes for act in acts]
        self._kinds.append(self.intrude)

    def begin(self) -> None:
        """What is wrong from the start."""
        themes = self._stage.script.themes
        if NETWORK in themes:
            self.bad_weather()
        for laptop in self._stage.laptops:
            laptop.mur.careful = CARELESS not in themes
            if VERSIONS in themes:
                laptop.dialect = self._dice.choice((*Dialect,))
            if CLOCKS in themes:
                laptop.skew = self._dice.uniform(-250, 250)

    async def live(self) -> None:
        """Something goes wrong now and then, until the story is over."""
        while True:
            await anyio.sleep(self._dice.expovariate(1 / self._stage.script.trouble))
            laptop = self._dice.choice(self._stage.laptops)
            self._laptop = laptop
            act = self._dice.choice(self._kinds)
            what = act()
            if what:
                laptop.tell(f"{act.__name__.replace('_', ' ')}: {what}")

    def end(self) -> None:
        """All is well from now on."""
        self._stage.network.weather = Weather()
        self._stage.network.parted.clear()
        for laptop in self._stage.laptops:
            laptop.disk.arm(None)
            laptop.disk.full = laptop.disk.lies = laptop.cut_off = False
            laptop.wanted = True
            laptop.skew = max(-200.0, min(200.0, laptop.skew))

    # --- network ----------------------------------------------------------------------------------

    def bad_weather(self) -> str:
        """The network is another one."""
        lost, repeated, late = (self._share(0.3) for _ in range(3))
        cut, skipped, overtaken = (self._share(0.2) for _ in range(3))
        delay = self._dice.choice((0.001, 0.05, 0.5))
        self._stage.network.weather = Weather(lost, repeated, cut, skipped, overtaken, delay, late)
        return "the network changes"

    def _share(self, most: float) -> float:
        return self._dice.choice((0.0, self._dice.uniform(0, most)))

    def part(self) -> str:
        """Two laptops cannot reach each other."""
        other = self._dice.choice([each for each in self._stage.laptops if each is not self._laptop])
        self._stage.network.parted.add(frozenset((self._laptop.device, other.device)))
        return other.letter

    def join(self) -> str:
        """All can reach each other again."""
        self._stage.network.parted.clear()
        return "everybody"

    # --- processes --------------------------------------------------------------------------------

    def kill(self) -> str:
        """SIGKILL between two calls."""
        self._laptop.kill()
        return "now"

    def kill_in_a_call(self) -> str:
        """SIGKILL at one of the next calls to the disk."""
        fault = self._dice.choice((Fault.KILL, Fault.KILL_AFTER, Fault.TORN))
        return self._arm(fault)

    def _arm(self, fault: Fault) -> str:
        calls = self._dice.choice((1, self._dice.randint(1, 12), self._dice.randint(1, 80)))
        self._laptop.disk.arm(fault, calls)
        return f"{fault} after {calls} calls"

    def rest(self) -> str:
        """The daemon is stopped for a while."""
        laptop = self._laptop
        laptop.wanted = not laptop.wanted
        if not laptop.wanted:
            laptop.kill()
        return "again" if laptop.wanted else "for a while"

    def forget_the_index(self) -> str:
        """The index is deleted while no daemon runs."""
        laptop = self._laptop
        if laptop.daemon is not None:
            return ""
        for path in laptop.disk.state.glob("index.db*"):
            path.unlink()
        return "index.db"

    # --- disks ------------------------------------------------------------------------------------

    def fail_a_call(self) -> str:
        """The disk fails once."""
        return self._arm(self._dice.choice((Fault.EIO, Fault.EIO_READ, Fault.SHORT)))

    def power_loss(self) -> str:
        """The power fails."""
        self._laptop.kill(power=True)
        return "now"

    def power_loss_in_a_call(self) -> str:
        """The power fails at one of the next calls to the disk."""
        self._laptop.cut_off = True
        return self._arm(self._dice.choice((Fault.KILL, Fault.KILL_AFTER, Fault.TORN)))

    def lie(self) -> str:
        """The disk says that it has written what it has not, for a while; then the power fails."""
        disk = self._laptop.disk
        if disk.lies:
            self._laptop.kill(power=True)
            disk.lies = False
            return "until now, and the power fails"
        disk.lies = True
        return "from now on"

    def fill_the_disk(self) -> str:
        """The disk is full, or has space again."""
        disk = self._laptop.disk
        disk.full = not disk.full
        return "full" if disk.full else "space again"

    def intrude(self) -> str:
        """Another program acts between two calls of the daemon."""
        return self._arm(Fault.INTRUDE)

    # --- clocks -----------------------------------------------------------------------------------

    def set_a_clock(self) -> str:
        """A clock jumps, by minutes or by days, and may be noticed."""
        laptop = self._laptop
        by = self._dice.choice((60.0, 500.0, 3600.0, 86_400.0)) * self._dice.choice((-1, 1))
        laptop.skew = self._dice.choice((0.0, laptop.skew + by))
        if laptop.engine is not None and self._dice.random() < 0.5:
            change = Change.SLEPT if by > 0 else Change.CLOCK_SET_BACK
            laptop.daemon._tasks.start_soon(laptop.engine.woke, {change})
        return f"{laptop.skew:+.0f} s"
