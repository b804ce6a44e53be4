"""`python -m tests.campaign.kills --kills 1000`: daemons killed with SIGKILL at random instants.

Five scenes, in turn: push and apply under steady writing, both at once, the first sync, pairing, and the
rebuilding of a lost index. A killed daemon is started again at once, and every other one may be killed before
it is ready: recovery is under fire as well. Rule of the file: at the end of an episode every line is on both
devices once, counters are exact, sets are equal and no temporary is left. One seed gives the same victims and
the same waits; where in the code a kill falls is up to the machine. The short form is
`tests/system/test_random_kills.py`.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field

from tests.campaign.verdicts import verify
from tests.system.fleet import (
    MANIFEST,
    Fleet,
    Laptop,
    a_fleet,
    address_of,
    all_hold,
    connected,
    events,
    manifest,
    pair,
    until,
)

EPISODE, PAIRINGS = 20, 4
"""Kills before everything is started once more and held against what was written. A killed pairing takes two
new laptops each time.
"""
LONGEST_LIFE = 1.2
"""Seconds, counted from a daemon's start or from when it is ready."""
NOTES = "skills/notes/skill.yaml"
"""A manifest that both edit; counters of another skill are not touched by it."""


@dataclass
class Toll:
    """What has been done to the daemons so far."""

    kills: Counter[str] = field(default_factory=Counter)  # by scene
    before_ready: int = 0
    pairings_repeated: int = 0
    lines: int = 0

    @property
    def total(self) -> int:
        """All kills."""
        return sum(self.kills.values())


@dataclass
class Episode:
    """One fleet under fire."""

    fleet: Fleet
    rng: random.Random
    toll: Toll
    scene: str

    def strike(self, laptops: list[Laptop]) -> None:
        """Kill them together in the midst of their life, and start them again."""
        self.kill(laptops)
        for laptop in laptops:
            laptop.spawn()

    def kill(self, laptops: list[Laptop]) -> None:
        """Let them live for a random time, and kill them together. Half of all lives begin at the start, half
        when the daemon is ready: its work is under fire as often as its recovery.
        """
        if self.rng.random() < 0.5:
            settle(*laptops)
        time.sleep(self.rng.uniform(0, LONGEST_LIFE))
        for laptop in laptops:
            self.toll.before_ready += not laptop.is_ready
            laptop.kill()
            self.toll.kills[self.scene] += 1

    def verify(self, lines: dict[Laptop, list[bytes]]) -> None:
        """Hold both against what was written."""
        verify(lines)
        self.toll.lines += sum(map(len, lines.values()))

    def victims(self, *laptops: Laptop) -> list[Laptop]:
        """One of them, or now and then all."""
        return list(laptops) if self.rng.random() < 0.25 else [self.rng.choice(laptops)]


def settle(*laptops: Laptop) -> None:
    """Wait until the daemons that were started last are ready."""
    for laptop in laptops:
        laptop.ready()


@contextmanager
def writing(rng: random.Random, lines: dict[Laptop, list[bytes]]) -> Iterator[None]:
    """While the block runs, these laptops append lines and edit the shared manifest, as mur does."""
    done = threading.Event()

    def write(laptop: Laptop, seed: float) -> None:
        own = random.Random(seed)
        while not done.wait(own.uniform(0.005, 0.05)):
            lines[laptop] += laptop.append(events(laptop.name, own.randint(1, 12), len(lines[laptop])))
            if own.random() < 0.05:
                laptop.write(NOTES, manifest(f"{laptop.name} {len(lines[laptop])}", name="notes"))

    writers = [threading.Thread(target=write, args=(laptop, rng.random())) for laptop in lines]
    for writer in writers:
        writer.start()
    try:
        yield
    finally:
        done.set()
        for writer in writers:
            writer.join()


# --- the scenes -------------------------------------------------------------------------------


def steady(episode: Episode, kills: int) -> None:
    """Both write all the time; now one daemon dies, now the other, now both."""
    desk, travel = episode.fleet.pair()
    lines: dict[Laptop, list[bytes]] = {desk: [], travel: []}
    with writing(episode.rng, lines):
        for _ in range(kills):
            episode.strike(episode.victims(desk, travel)[:1])
    settle(desk, travel)
    episode.verify(lines)
    until(lambda: desk.read(NOTES) == travel.read(NOTES), "the manifest is the same")


def together(episode: Episode, kills: int) -> None:
    """Both daemons die at the same instant, as two laptops on one socket."""
    desk, travel = episode.fleet.pair()
    lines: dict[Laptop, list[bytes]] = {desk: [], travel: []}
    with writing(episode.rng, lines):
        for _ in range(0, kills, 2):
            episode.strike([desk, travel])
    settle(desk, travel)
    episode.verify(lines)
    assert desk.read(MANIFEST) == travel.read(MANIFEST)


def first_sync(episode: Episode, kills: int) -> None:
    """A long history meets an empty home; whoever is killed, it goes on where it was."""
    desk, travel = episode.fleet.laptop("desk").skill(), episode.fleet.laptop("travel")
    lines: dict[Laptop, list[bytes]] = {desk: desk.pour(events("desk", 20_000)), travel: []}
    pair(desk.start(), travel.start())
    for _ in range(kills):
        episode.strike(episode.victims(desk, travel)[:1])
    settle(desk, travel)
    episode.verify(lines)


def index_rebuild(episode: Episode, kills: int) -> None:
    """Each kill takes the index with it; it is made again while the next one comes."""
    desk, travel = episode.fleet.pair()
    lines = {desk: desk.pour(events("desk", 10_000)), travel: travel.pour(events("travel", 5_000))}
    all_hold(lines, lines[desk] + lines[travel])
    for number in range(kills):
        [victim] = episode.victims(desk, travel)[:1]
        episode.kill([victim])
        if number % 3 == 0:
            for path in victim.state.glob("index.db*"):
                path.unlink()
        lines[victim] += victim.append(events(victim.name, 3, len(lines[victim])))
        victim.spawn()
    settle(desk, travel)
    episode.verify(lines)


def pairing(episode: Episode, kills: int) -> None:
    """One of the two dies while they pair: it is done on both, or doing it again does it."""
    for number in range(kills):
        desk = episode.fleet.laptop(f"desk-{number}").skill()
        travel = episode.fleet.laptop(f"travel-{number}")
        lines = {desk: desk.append(events("desk", 20)), travel: []}
        desk.start()
        travel.start()
        _pair_under_fire(episode, desk, travel)
        settle(desk, travel)
        if not (desk.peer(travel) and travel.peer(desk)):
            episode.toll.pairings_repeated += 1
            pair(desk, travel)
        connected((desk, travel))
        episode.verify(lines)
        for laptop in (desk, travel):
            laptop.stop()


def _pair_under_fire(episode: Episode, desk: Laptop, travel: Laptop) -> None:
    """Both commands run to their end, or as far as they come, while a daemon is killed and started."""
    with desk.offering() as offering:
        assert offering.stdout is not None
        offer = json.loads(offering.stdout.readline())
        taking = subprocess.Popen(
            travel.command("pair", offer["code"], "--at", address_of(offer), "--yes", "--json"),
            env=travel.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        episode.strike(episode.victims(desk, travel)[:1])
        try:
            taking.wait(30)
        finally:
            taking.kill()
            taking.wait()


SCENES: dict[str, Callable[[Episode, int], None]] = {
    "push and apply": steady,
    "both at once": together,
    "first sync": first_sync,
    "index rebuild": index_rebuild,
    "pairing": pairing,
}


# --- the campaign -----------------------------------------------------------------------------


def run(scene: str, seed: str, kills: int, toll: Toll) -> None:
    """One episode; raises `AssertionError` with what was not as it should be."""
    with a_fleet() as fleet:
        SCENES[scene](Episode(fleet, random.Random(seed), toll, scene), kills)


def campaign(kills: int, seed: int, scenes: list[str]) -> int:
    """Episodes in turn until so many kills are done; says how it went. 1 if a promise was broken."""
    toll, began, number, failed = Toll(), time.monotonic(), 0, []
    while toll.total < kills:
        scene = scenes[number % len(scenes)]
        heard = io.StringIO()
        try:
            with redirect_stdout(heard):
                most = PAIRINGS if scene == "pairing" else EPISODE
                run(scene, f"{seed}:{number}", min(most, kills - toll.total), toll)
        except AssertionError as error:
            failed.append(f"episode {number} ({scene}): {error}")
            sys.stdout.write(f"{heard.getvalue()}\nFAILED {failed[-1]}\n")
        sys.stdout.write(f"{toll.total} of {kills} kills, {time.monotonic() - began:.0f} s: {scene}\n")
        sys.stdout.flush()
        number += 1
    by_scene = ", ".join(f"{name} {count}" for name, count in toll.kills.items())
    sys.stdout.write(
        f"{toll.total} kills ({by_scene}), {toll.before_ready} of them before the daemon was ready, in "
        f"{number} episodes and {time.monotonic() - began:.0f} s; {toll.lines} lines verified; "
        f"{toll.pairings_repeated} pairings had to be done again; {len(failed)} episodes failed\n"
    )
    return int(bool(failed))


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scene", choices=SCENES, help="only this one")
    chosen = parser.parse_args()
    return campaign(chosen.kills, chosen.seed, [chosen.scene] if chosen.scene else list(SCENES))


if __name__ == "__main__":
    sys.exit(main())
