"""`python -m tests.campaign.networks`: two daemons on two hosts with a bad network between them.

Each case is a fleet of its own: what is wrong with the network, then how long it takes until both devices
have everything and say so. Rules of the file: every case proves that its network was bad (packets were
dropped, cut or late); at its end each line is on both once, counters are exact, sets are equal. Prints a
table as in docs/reliability.md. The short form is `tests/system/test_networks.py`. Needs root.
"""

from __future__ import annotations

import argparse
import io
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from tests.campaign.verdicts import verify
from tests.system.fleet import Laptop, a_fleet, events, until
from tests.system.hosts import PORT, Travellers, a_network, missing, seconds_until

PATIENCE = 900.0
"""Seconds within which two devices must be equal again once they can reach each other at all."""
BLACK_HOLE = "counter drop"
RESET = "reject with tcp reset"


class Size(NamedTuple):
    """How much there is to move."""

    lines: int  # written at once; each has 64 bytes that nothing can compress
    live: int  # single lines each way, one after the other
    silence: float  # seconds for which nothing passes


LONG = Size(lines=15_000, live=20, silence=120.0)
SHORT = Size(lines=500, live=3, silence=4.0)


class Figure(NamedTuple):
    """One row of the table; seconds."""

    what: str
    seconds: float


class Story:
    """The two laptops of a case and what was written on each."""

    def __init__(self, travellers: Travellers) -> None:
        self.both = travellers
        self.network = travellers.network
        self.desk, self.travel = travellers.desk, travellers.travel
        self.lines: dict[Laptop, list[bytes]] = {self.desk: [], self.travel: []}

    def write(self, laptop: Laptop, count: int) -> None:
        """So many more lines on one of them, no two of them alike."""
        have = len(self.lines[laptop])
        noise = random.Random(f"{laptop.name} {have}")
        told = [
            line[:-1] + f',"note":"{noise.randbytes(64).hex()}"}}'.encode()
            for line in events(laptop.name, count, have)
        ]
        self.lines[laptop] += laptop.pour(told)

    def everything(self) -> list[bytes]:
        """All lines written so far."""
        return [line for lines in self.lines.values() for line in lines]

    def arrived(self) -> bool:
        """Whether both have as many lines as were written, and know that they are equal."""
        count = len(self.everything())
        return all(laptop.has_lines(count) for laptop in self.lines) and self.both.equal()

    def until_equal(self, what: str) -> Figure:
        """How long it takes from now."""
        return Figure(what, seconds_until(self.arrived, what, PATIENCE))

    def one_line(self, author: Laptop, reader: Laptop) -> float:
        """How long a line takes from the one log into the other."""
        self.write(author, 1)
        there = partial(reader.has_lines, len(self.everything()))
        return seconds_until(there, f"a line of {author.name} is with {reader.name}", PATIENCE)

    def live(self, count: int) -> Iterator[Figure]:
        """Single lines each way."""
        for author, reader in ((self.desk, self.travel), (self.travel, self.desk)):
            took = []
            for _ in range(count):
                took.append(self.one_line(author, reader))
                time.sleep(0.3)
            which = f"one line {author.name} → {reader.name}"
            yield Figure(f"{which}, median", statistics.median(took))
            yield Figure(f"{which}, worst", max(took))


Tale = Callable[[Story, Size], Iterator[Figure]]


# --- bad from the beginning -------------------------------------------------------------------


def _from_the_beginning(spoil: Callable[[Story], None]) -> Tale:
    """Pairing, many lines at once and single lines, all through the same bad network."""

    def tale(story: Story, size: Size) -> Iterator[Figure]:
        spoil(story)
        began = time.monotonic()
        story.both.pair(PATIENCE)
        yield Figure("start and pair, until both know the other", time.monotonic() - began)
        story.write(story.desk, size.lines)
        yield story.until_equal(f"{size.lines:,} lines at once")
        yield from story.live(size.live)

    return tale


def _lossy(story: Story) -> None:
    story.network.rules("numgen random mod 100 < 20 counter drop")


def _one_way(refusal: str) -> Callable[[Story], None]:
    """Only travel can call: what desk begins is refused or lost."""

    def spoil(story: Story) -> None:
        desk = story.both.at[story.desk].address
        story.network.rules(f"ip saddr {desk} ct state new counter {refusal}")

    return spoil


# --- bad after a good beginning ---------------------------------------------------------------


def _together(story: Story) -> None:
    story.both.pair()
    story.until_equal("they begin equal")


def _half_open(story: Story, size: Size) -> Iterator[Figure]:
    """Every packet is lost without a word while both write; then none is."""
    _together(story)
    story.network.rules(BLACK_HOLE)
    _write_apart(story, size.silence)
    story.network.rules()
    yield story.until_equal(f"equal again after {size.silence:.0f} s of silence")


def _half_open_and_killed(story: Story, size: Size) -> Iterator[Figure]:
    """As above, and one of the two forgets its connections meanwhile."""
    _together(story)
    story.network.rules(BLACK_HOLE)
    _write_apart(story, 1)
    story.travel.kill()
    story.travel.start()
    time.sleep(size.silence / 4)
    story.network.rules()
    yield story.until_equal("equal again after silence and a crash of one side")


def _write_apart(story: Story, seconds: float) -> None:
    for laptop in story.lines:
        story.write(laptop, 50)
    until(lambda: story.network.hits() > 0, "something is held back")
    time.sleep(seconds)
    assert not story.arrived()


def _moved(story: Story, size: Size) -> Iterator[Figure]:
    """Travel gets another address, which desk does not know; desk has its own still."""
    _together(story)
    story.both.at[story.travel].move(9)
    for laptop in story.lines:
        story.write(laptop, 10)
    yield story.until_equal("equal again after one side's address changed")
    story.travel.stop()
    story.write(story.desk, 10)
    story.travel.start()
    yield story.until_equal("and after its next start")


def _both_moved(story: Story, size: Size) -> Iterator[Figure]:
    """Both get another address at once; the configuration names both places of each."""
    desk, travel = (f"10.77.{number}" for number in (1, 2))
    static = {net: ", ".join(f'"{net}.{last}:{PORT}"' for last in (2, 9)) for net in (desk, travel)}
    for laptop in story.lines:
        laptop.configure(f"[peers]\ndesk = [{static[desk]}]\ntravel = [{static[travel]}]\n")
    _together(story)
    for host in story.both.at.values():
        host.move(9)
    for laptop in story.lines:
        story.write(laptop, 10)
    yield story.until_equal("equal again after both addresses changed, both configured")


def _resetting(rule: str) -> Tale:
    """A middlebox ends connections with a reset while a first sync runs."""

    def tale(story: Story, size: Size) -> Iterator[Figure]:
        _together(story)
        story.network.rules(f"meta l4proto tcp {rule} counter {RESET}")
        for laptop in story.lines:
            story.write(laptop, size.lines)
        yield story.until_equal(f"{size.lines:,} lines each way at once")
        yield from story.live(size.live)

    return tale


@dataclass(frozen=True)
class Case:
    """What is wrong, and what happens then; `counted`: nft rules must have met packets."""

    tale: Tale
    counted: bool = True


CASES: dict[str, Case] = {
    "nothing wrong": Case(_from_the_beginning(lambda story: None), counted=False),
    "loss 20 %": Case(_from_the_beginning(_lossy)),
    "300 ms round trip": Case(_from_the_beginning(lambda story: story.network.late(0.15)), counted=False),
    "64 kbit/s": Case(_from_the_beginning(lambda story: story.network.rate(64)), counted=False),
    "MTU 576": Case(_from_the_beginning(lambda story: story.network.mtu(576)), counted=False),
    "only one side can call, the other is not answered": Case(_from_the_beginning(_one_way("drop"))),
    "only one side can call, the other is refused": Case(_from_the_beginning(_one_way(RESET))),
    "half-open": Case(_half_open, counted=False),
    "half-open and killed": Case(_half_open_and_killed, counted=False),
    "one address changes": Case(_moved, counted=False),
    "both addresses change": Case(_both_moved, counted=False),
    "each connection is reset after 500 kB": Case(_resetting("ct bytes > 500000")),
    "one packet in 20 is answered with a reset": Case(_resetting("numgen random mod 20 < 1")),
}


# --- running ----------------------------------------------------------------------------------


@contextmanager
def a_story() -> Iterator[Story]:
    """Two laptops on two hosts that have not begun."""
    with a_network() as network, a_fleet() as fleet:
        yield Story(Travellers(fleet, network))


def run(name: str, size: Size) -> list[Figure]:
    """One case to its end; raises `AssertionError` if a promise is broken."""
    case = CASES[name]
    with a_story() as story:
        figures = list(case.tale(story, size))
        assert not case.counted or story.network.hits() > 0, "the network was not bad"
        verify(story.lines)
    return figures


def main() -> int:
    """Every case in its long form, as rows of a table; 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--case", choices=CASES, action="append", help="only these")
    parser.add_argument("--short", action="store_true", help="the sizes of the test suite")
    chosen = parser.parse_args()
    if (reason := missing()) is not None:
        sys.stdout.write(f"cannot be run here: {reason}\n")
        return 1
    failed = 0
    sys.stdout.write("| network | what | seconds |\n|---|---|---|\n")
    for name in chosen.case or CASES:
        heard = io.StringIO()
        try:
            with redirect_stdout(heard):
                figures = run(name, SHORT if chosen.short else LONG)
        except AssertionError as error:
            failed += 1
            sys.stdout.write(f"{heard.getvalue()}\nFAILED {name}: {error}\n")
            continue
        for figure in figures:
            sys.stdout.write(f"| {name} | {figure.what} | {figure.seconds:.2f} |\n")
        sys.stdout.flush()
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
