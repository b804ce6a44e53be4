"""Whatever is done to two engines, they come together soon after, with nothing left to the schedule.

On virtual time, and with a timetable on which nothing is ever due: what these tests wait for happens by
itself. `FLEETSYNC_STORIES=first:last` tells other stories than the usual ones.
"""

from __future__ import annotations

import os
import random
from contextlib import asynccontextmanager
from functools import partial

import anyio
import pytest

from fleetsync.devices.notes import Direction
from fleetsync.ports import Head
from fleetsync.records.names import DeviceId
from fleetsync.sync import push
from fleetsync.sync.rival import DIGESTS_SECONDS
from fleetsync.sync.wake import Change
from tests.fakes.engines import World
from tests.fakes.fleet import device_id, event, log_path
from tests.fakes.waiting import eventually
from tests.simulation.clock import play

DEPLOY = log_path("deploy")
FIRST, LAST = map(int, os.environ.get("FLEETSYNC_STORIES", "0:150").split(":"))
SOON = DIGESTS_SECONDS + 5
"""Seconds: a peer that fetched and can call no more is waited for, and everything else takes moments."""
PAUSES = (0.0, 0.0, 0.005, 0.02, 0.1, 0.3, 1.0, 4.0)
DEEDS = ("write", "write", "write", "burst", "flip", "flip", "flip", "flips", "wake", "pause", "sync", "cut")


class Story:
    """What happens to a and b, as the dice fall."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.world = World("ab", self.dice)
        self.written: dict[str, set[bytes]] = {"a": set(), "b": set()}
        self.directions = {"a": Direction.BOTH, "b": Direction.BOTH}
        self.told: list[str] = []

    async def run(self) -> str:
        """Tell it; the empty string, or how it went if it did not end well."""
        async with self.world.running():
            for _ in range(self.dice.randrange(4, 14)):
                await self._happens(self.dice.choice(DEEDS), self.dice.choice("ab"))
                await anyio.sleep(self.dice.choice(PAUSES))
            await self._end()
            with anyio.move_on_after(SOON):
                await eventually(lambda: not self.missing(), SOON)
            return "" if not self.missing() else "\n".join([*self.told, *map(str, self.world.views())])

    def missing(self) -> list[tuple[str, bytes]]:
        """What may travel and has not come, by who wrote it."""
        return [
            (here, line)
            for here, there in self.world.pairs()
            if self.directions[here].sends and self.directions[there].receives
            for line in self.written[here] - self.world[there].lines(DEPLOY)
        ]

    async def _end(self) -> None:
        if self.dice.random() < 0.3:
            letter = self.dice.choice("ab")
            self._tell(f"{letter} cannot call any more")
            self.world.network.cut(device_id(letter), self._other(letter))
        await self._flip(self.dice.choice("ab"))
        for _ in range(3):
            await anyio.sleep(self.dice.choice((0.0, 0.01, 0.02, 0.05, 0.1, 0.3)))
            self._write(self.dice.choice("ab"), self.dice.choice((1, 1, 60)))

    async def _happens(self, deed: str, letter: str) -> None:
        engine, other = self.world.engine(letter), self._other(letter)
        self._tell(f"{deed} {letter}")
        if deed in ("write", "burst"):
            self._write(letter, 1 if deed == "write" else 60)
        elif deed in ("flip", "flips"):
            for _ in range(1 if deed == "flip" else 4):
                await self._flip(letter)
                await anyio.sleep(self.dice.choice((0.0, 0.01, 0.1)))
        elif deed == "pause":
            await engine.pause(other)
            await anyio.sleep(self.dice.choice(PAUSES))
            await engine.resume(other)
        elif deed == "sync":
            with anyio.move_on_after(self.dice.choice((0.05, 30))):
                await engine.sync_now()
        else:
            await self._interrupted(letter, for_seconds=self.dice.choice(PAUSES) if deed == "cut" else 0.0)

    async def _interrupted(self, letter: str, *, for_seconds: float) -> None:
        if for_seconds:
            self.world.network.cut(device_id(letter), self._other(letter))
            await anyio.sleep(for_seconds)
            self.world.network.mend(device_id(letter), self._other(letter))
        await self.world.engine(letter).woke({Change.SLEPT})

    async def _flip(self, letter: str) -> None:
        direction = self.directions[letter] = self.dice.choice(list(Direction))
        self._tell(f"{letter}: {direction}")
        await self.world.engine(letter).redirect(self._other(letter), direction)

    def _write(self, letter: str, count: int) -> None:
        first = sum(map(len, self.written.values()))
        lines = [event(first + number) for number in range(count)]
        self.written[letter].update(lines)
        self.world.write(letter, DEPLOY, lines)

    def _other(self, letter: str) -> DeviceId:
        return device_id("b" if letter == "a" else "a")

    def _tell(self, text: str) -> None:
        self.told.append(f"{anyio.current_time():8.3f}  {text}")


@pytest.mark.parametrize("first", range(FIRST, LAST, 25))
def test_whatever_happens_they_come_together(first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Directions flip, lines are cut, peers paused, bursts written, at the worst moments: all that may
    travel has travelled soon after.
    """
    monkeypatch.setattr(push, "FAR_BEHIND", 20)
    for seed in range(first, min(first + 25, LAST)):
        failure = play(partial(_told, seed))
        assert not failure, f"story {seed}:\n{failure}"


def test_one_way_what_came_between_the_exchange_and_the_stream_is_not_lost() -> None:
    """The sets of a one-way pair never match, so the first heartbeat has to say it by its arrival number."""

    async def story() -> None:
        world = World("ab", random.Random(1))
        a, b, wait = world["a"].device, world["b"].device, anyio.Event()
        world.network.cut(b, a)  # the one who gives can do nothing about it
        async with world.running():
            await eventually(lambda: world.engine("a")._links[b]._following)
            world.write("a", DEPLOY, [event(1)])
            await eventually(lambda: world.equal(DEPLOY, 1))
            await anyio.sleep(5)
            world.wires["a", "b"].changes = _late(world.wires["a", "b"].changes, wait)
            await world.engine("a").redirect(b, Direction.RECEIVE)
            world.write("a", DEPLOY, [event(2)])  # from now on the sets differ for good
            await anyio.sleep(5)
            await world["b"].take_in(DEPLOY, [event(3)])
            wait.set()
            await eventually(lambda: event(3) in world["a"].lines(DEPLOY))

    play(story)


def test_a_burst_is_streamed_to_a_peer_that_could_not_see_that_it_was_skipped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Far behind, a stream skips and leaves the rest to an exchange, but a one-way peer begins none."""
    monkeypatch.setattr(push, "FAR_BEHIND", 20)

    async def story() -> None:
        world = World("ab", random.Random(1))
        async with world.running():
            await eventually(world.settled)
            await world.engine("a").redirect(world["b"].device, Direction.RECEIVE)
            world.write("a", DEPLOY, [event(1)])
            await anyio.sleep(5)
            lines = [event(2 + number) for number in range(60)]
            world.write("b", DEPLOY, lines)
            await eventually(lambda: world["a"].lines(DEPLOY) >= set(lines))

    play(story)


def test_a_doubt_that_arises_during_an_exchange_is_followed_up_after_it() -> None:
    """Nobody knows whether that exchange compared before or after what is doubted."""

    async def story() -> None:
        world = World("ab", random.Random(1))
        async with world.running():
            await eventually(world.settled)
            [link] = world.engine("a")._links.values()
            exchanges = 0

            async def exchange() -> None:
                nonlocal exchanges
                exchanges += 1
                link._standing.doubt()
                await anyio.sleep(1.0)

            async def differs(remote: Head) -> bool:
                return exchanges < 3

            link._exchange_or_fail, link._standing.differs = exchange, differs
            link._standing.doubt()
            await eventually(lambda: exchanges == 3)

    play(story)


async def _told(seed: int) -> str:
    return await Story(seed).run()


def _late(changes, wait: anyio.Event):
    @asynccontextmanager
    async def later():
        await wait.wait()
        async with changes() as frames:
            yield frames

    return later
