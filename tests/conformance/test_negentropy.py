"""Reconciliation against transcripts recorded from the C++ reference, and through the harness.

Item `i` of a vector has the id SHA-256(str(i)) and a timestamp by the vector's rule; `messages`
alternate initiator and responder.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from hashlib import sha256
from pathlib import Path

import pytest

from fleetsync.merge.fingerprint import fingerprint, id_sum
from fleetsync.merge.negentropy_wire import Key, Limits
from fleetsync.merge.ranges import ListRanges
from fleetsync.merge.reconcile import REFERENCE, TUNED, Initiator, Profile, respond
from tests.conformance.vectors import Row, each, rows

HARNESS = Path(__file__).with_name("negentropy_harness.py")
TIMESTAMPS: dict[str, Callable[[int], int]] = {
    "micros": lambda i: 1_748_000_000_000_000 + 7919 * i,
    "seconds": lambda i: 1_677_970_534 + i,
    "equal": lambda i: 1_700_000_000_000_000,
    "steps": lambda i: 1_700_000_000_000_000 + i // 37 * 1_000_000,
    "zero": lambda i: i,
}
LIMITS = Limits(rounds=1000)  # recorded frame limits are small, so sessions may be long


def members(row: Row, side: str) -> list[Key]:
    """The set that a side has in a row."""
    stamp = TIMESTAMPS[row["timestamps"]]
    numbers = [i for start, stop in row[side] for i in range(start, stop)]
    return [(stamp(i), sha256(str(i).encode()).digest()) for i in numbers]


def digest(ids: Iterable[bytes]) -> str:
    """The digest that a vector gives for a set of ids."""
    return sha256("".join(sorted(identity.hex() for identity in ids)).encode()).hexdigest()


@each("negentropy")
def test_transcript(row: Row) -> None:
    """Both sides of the reference profile write what the reference wrote, byte for byte."""
    asking, answering = (ListRanges(members(row, side)) for side in ("initiator", "responder"))
    initiator = Initiator(REFERENCE, row["frame_initiator"], LIMITS)
    message: bytes | None = initiator.initiate(asking)
    transcript, have, need = [], [], []
    while message is not None:
        answer = respond(answering, message, REFERENCE, row["frame_responder"], LIMITS)
        transcript += [message.hex(), answer.hex()]
        step = initiator.receive(asking, answer)
        have += step.have
        need += step.need
        message = step.message
    assert transcript == row["messages"]
    assert (len(have), digest(have)) == (row["have"], row["have_digest"])
    assert (len(need), digest(need)) == (row["need"], row["need_digest"])


@pytest.mark.parametrize(("asks", "answers"), [(TUNED, TUNED), (TUNED, REFERENCE), (REFERENCE, TUNED)])
def test_other_profiles_find_the_same(asks: Profile, answers: Profile) -> None:
    """Whichever side is tuned, the outcome is that of the reference."""
    for row in rows("negentropy"):
        own, theirs = members(row, "initiator"), members(row, "responder")
        asking, answering = ListRanges(own), ListRanges(theirs)
        initiator = Initiator(asks, row["frame_initiator"], LIMITS)
        message: bytes | None = initiator.initiate(asking)
        have, need = set[bytes](), set[bytes]()
        while message is not None:
            step = initiator.receive(
                asking, respond(answering, message, answers, row["frame_responder"], LIMITS)
            )
            have.update(step.have, (key[1] for s in step.have_spans for key in own if s[0] <= key < s[1]))
            need.update(step.need, (key[1] for s in step.need_spans for key in theirs if s[0] <= key < s[1]))
            message = step.message
        assert (digest(have), digest(need)) == (row["have_digest"], row["need_digest"]), row["name"]


def test_known_values() -> None:
    """The values that the C++ harness gives for tiny sets."""
    ones, effs = b"\x01" * 32, b"\xff" * 32
    assert fingerprint(0, 0).hex() == "7f9c9e31ac8256ca2f258583df262dbc"
    assert fingerprint(id_sum([ones, effs]), 2).hex() == "a45b81d5bd8f90ade27ed6ec281d7f3e"
    pair = ListRanges([(1_700_000_000_000_001, ones), (1_700_000_000_000_002, effs)])
    assert Initiator(REFERENCE).initiate(pair) == bytes.fromhex("6100000202") + ones + effs
    assert Initiator(REFERENCE).initiate(ListRanges([])).hex() == "6100000200"
    assert respond(pair, bytes.fromhex("62aabb")).hex() == "61"


class Process:
    """The harness in a process of its own."""

    def __init__(self, items: Iterable[Key], frame_limit: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(HARNESS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "FRAMESIZELIMIT": str(frame_limit)},
        )
        for ts, identity in items:
            self.write(f"item,{ts},{identity.hex()}")
        self.write("seal")

    def write(self, line: str) -> None:
        """Give it one line."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def read(self) -> tuple[str, str]:
        """Its next line: command and value."""
        assert self._process.stdout is not None
        command, _, value = self._process.stdout.readline().strip().partition(",")
        return command, value

    def close(self) -> int:
        """End its input and return its exit code."""
        self._process.communicate(timeout=20)
        return self._process.returncode


@pytest.mark.parametrize("frame_limit", [0, 4096])
def test_two_harnesses_converge(frame_limit: int) -> None:
    """Two harness processes that speak the line protocol find exactly what differs."""
    keys = [(1_677_970_534 + i // 3, sha256(str(i).encode()).digest()) for i in range(2000)]
    own, theirs = keys[:1500], keys[100:]
    asking, answering = Process(own, frame_limit), Process(theirs, frame_limit)
    found: dict[str, set[str]] = {"have": set(), "need": set()}
    asking.write("initiate")
    while (line := asking.read())[0] != "done":
        command, value = line
        if command == "msg":
            assert not frame_limit or len(value) // 2 <= frame_limit
            answering.write(f"msg,{value}")
            asking.write(",".join(answering.read()))
        else:
            found[command].add(value)
    assert found["have"] == {identity.hex() for _, identity in keys[:100]}
    assert found["need"] == {identity.hex() for _, identity in keys[1500:]}
    assert (asking.close(), answering.close()) == (0, 0)


def test_harness_refuses_nonsense() -> None:
    """A message that is none ends the harness with an error, as it ends the reference's."""
    process = Process([], 0)
    process.write("msg,ff")
    assert process.close() != 0
