"""One story from its seed: a fleet at work, everything that goes wrong, and then peace.

The same seed tells the same story, on any machine. When the trouble is over the laptops have
`PEACE_SECONDS` to become equal by themselves, and a person answers whatever the guard asks; then the
oracle judges.
"""

from __future__ import annotations

import logging
import random
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import anyio

from fleetsync.replica.replica import Replica
from fleetsync.replica.surroundings import Surroundings
from tests.simulation import clock
from tests.simulation.actions import People, Script, Stage, Trouble
from tests.simulation.disk import Drives
from tests.simulation.laptop import SKEW, Laptop
from tests.simulation.mur import Mur
from tests.simulation.network import Network
from tests.simulation.oracle import Oracle, Wrong

PEACE_SECONDS = 900.0
"""How long becoming equal may take once all is well."""
CALM_SECONDS = 100.0
"""And how long they must stay so: longer than the second look at what was replaced."""
MEMORY = Path("/dev/shm")


@dataclass
class Outcome:
    """How a story went."""

    seed: int
    failure: str = ""
    story: list[str] = field(default_factory=list)
    injected: Counter[str] = field(default_factory=Counter)
    calls: int = 0  # to disks
    lines: int = 0  # written by all murs
    lives: int = 0  # of all daemons
    seconds: float = 0.0  # until all were equal


def tell(seed: int, watch: Callable[[str], None] = lambda _: None) -> Outcome:
    """The story of this seed; `watch` gets it line by line."""
    outcome = Outcome(seed)
    memory = MEMORY if MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="fleetsync-simulation-", dir=memory) as root:
        world = World(seed, Path(root), outcome, watch)
        try:
            clock.play(world.run)
        except Exception as error:  # noqa: BLE001 - whatever ends a story is its failure
            outcome.failure = _told(error)
        finally:
            world.end()
    return outcome


class World:
    """Everything in one story."""

    def __init__(self, seed: int, root: Path, outcome: Outcome, watch: Callable[[str], None]) -> None:
        self._dice = random.Random(seed)
        self._root = root
        self._outcome = outcome
        self._watch = watch
        self._drives = Drives()
        self._laptops: list[Laptop] = []

    def tell(self, text: str) -> None:
        """One line of the story."""
        line = f"{anyio.current_time():9.3f}  {text}".replace(f"{self._root}/", "")
        self._outcome.story.append(line)
        self._watch(line)

    async def run(self) -> None:
        """Tell it."""
        with self._drives.installed(), _surprises() as surprises:
            stage = self._set()
            oracle, trouble = Oracle(stage), Trouble(stage)
            stage.furnish()
            trouble.begin()
            async with anyio.create_task_group() as life:
                for laptop in self._laptops:
                    life.start_soon(laptop.live)
                await self._troubled(stage, trouble)
                await self._peace()
                if surprises:
                    raise Wrong(f"unexpected: {surprises[0]}")
                oracle.judge()
                oracle.remember_heads()
                life.cancel_scope.cancel()
            self._index_anew(oracle)

    def _set(self) -> Stage:
        dice = self._dice
        script = Script.drawn(dice)
        network = Network(random.Random(dice.random()))
        self._network = network
        for letter in "abcde"[: script.laptops]:
            mine = random.Random(dice.random())
            self._laptops.append(Laptop(letter, self._root, self._drives, network, mine, self.tell))
        for laptop in self._laptops:
            laptop.others = [other.device for other in self._laptops if other is not laptop]
        self.tell(f"{script.laptops} laptops, {', '.join(sorted(script.themes)) or 'no trouble'}")
        return Stage(self._laptops, network, script, dice)

    async def _troubled(self, stage: Stage, trouble: Trouble) -> None:
        with anyio.move_on_after(stage.script.seconds):
            async with anyio.create_task_group() as tasks:
                for laptop in self._laptops:
                    tasks.start_soon(People(stage, laptop).live)
                tasks.start_soon(trouble.live)
        trouble.end()
        for laptop in self._laptops:
            for skill in stage.script.skills:
                if laptop.by_mur(partial(Mur.mend, directory=skill)):
                    laptop.tell(f"a person removes {skill}/stats.json")
        self.tell("all is well from now on")

    async def _peace(self) -> None:
        began = anyio.current_time()
        with anyio.move_on_after(PEACE_SECONDS):
            await self._until_equal()
        self._outcome.seconds = anyio.current_time() - began
        self.tell(f"equal after {self._outcome.seconds:.0f} s")
        await anyio.sleep(CALM_SECONDS)
        with anyio.move_on_after(max(0.0, began + PEACE_SECONDS - anyio.current_time())):
            await self._until_equal()

    async def _until_equal(self) -> None:
        while not self._equal():  # noqa: ASYNC110 - it is true of many things at once
            await anyio.sleep(1.0)

    def _equal(self) -> bool:
        """Whether all daemons run and their sets are equal; a person and mur do what waits for them."""
        heads = set()
        for laptop in self._laptops:
            replica = laptop.running
            if replica is None:
                return False
            if laptop.mur.uncounted:
                laptop.by_mur(lambda _: None)
            if replica.guarded is not None:
                laptop.tell(f"a person undoes {replica.guarded}")
                with self._drives.used(laptop.disk, faulty=False):
                    replica.decide(confirm=False)
                laptop.touched(".")
                return False
            head = replica.head()
            heads.add((head.count, head.fingerprint))
        return len(heads) == 1

    def _index_anew(self, oracle: Oracle) -> None:
        laptop = self._dice.choice(self._laptops)
        laptop.disk.release(power=False)
        for path in laptop.disk.state.glob("index.db*"):
            path.unlink()
        around = Surroundings(laptop.now, laptop.dice.randbytes)
        with self._drives.used(laptop.disk, faulty=False):
            replica = Replica(laptop.disk.home, laptop.disk.state, laptop.device, around, SKEW)
            oracle.index_is_whole(laptop, replica)
            replica.close()

    def end(self) -> None:
        """Let go of everything, and count what happened."""
        outcome = self._outcome
        for laptop in self._laptops:
            laptop.disk.release(power=False)
            outcome.calls += laptop.disk.calls
            outcome.lines += sum(map(len, laptop.mur.written.values()))
            outcome.lives += laptop.lives
            outcome.injected.update(laptop.disk.injected)
        if self._laptops:
            outcome.injected.update(self._network.injected)


@contextmanager
def _surprises() -> Iterator[list[str]]:
    """What the daemons' log tells with a traceback: nobody expected it, whatever became of it."""
    found: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.exc_info:
                found.append(logging.Formatter().formatException(record.exc_info))

    handler, logger = Handler(logging.ERROR), logging.getLogger("fleetsync")
    logger.addHandler(handler)
    try:
        yield found
    finally:
        logger.removeHandler(handler)


def _told(error: BaseException) -> str:
    """A broken promise in its own words, anything else with its traceback."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return str(error) if isinstance(error, Wrong) else "".join(traceback.format_exception(error))
