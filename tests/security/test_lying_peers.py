"""What a paired device can send to burn memory and time, to confuse, or to speak through our screens.

Two devices in one process, or one message against one function; bounds are measured where they are claimed.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
import tracemalloc
from collections.abc import Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from backports import zstd

from fleetsync import datasets
from fleetsync.app.logs import OneLine
from fleetsync.errors import DishonestPeer, MalformedMessage, MalformedRecord, PeerError, TooLarge
from fleetsync.merge import reconcile
from fleetsync.merge.negentropy_wire import END, Limits, Writer
from fleetsync.merge.ranges import ListRanges
from fleetsync.ports import Group, Outcome, Verdict
from fleetsync.records.names import DeviceId
from fleetsync.sync.exchange import Ending
from fleetsync.sync.responder import Responder
from fleetsync.sync.session import Session
from fleetsync.sync.transfer import covering_versions, paths_of
from fleetsync.wire import codec
from fleetsync.wire.messages import MAX_EXCLUDED, Batch, Heartbeat, Hello, Receipt, Refusal, RosterOffer, Want
from fleetsync.wire.statuses import MAX_SHOWN, error_of
from tests.fakes.fleet import Laptop, event, log_path
from tests.fakes.peer import HEAD, hello_of

DEPLOY = log_path("deploy")
ESCAPES = "\x1b]0;owned\x07\x1b[2J\x9b31m\r\n\u202enil"
QUIET_SECONDS = 10.0
"""Of the processor, for what takes a fraction of a second on a quiet machine."""


def seconds(work: Callable[[], object]) -> float:
    """What the work costs, in seconds of the processor."""
    began = time.process_time()
    work()
    return time.process_time() - began


def peak(work: Callable[[], object]) -> int:
    """The most memory that the work holds at once, bytes."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# --- messages built to blow up -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def members() -> ListRanges:
    """A set of 30,000."""
    return ListRanges((number * 30, hashlib.sha256(b"%d" % number).digest()) for number in range(30_000))


def _question(parts: int, write: Callable[[Writer, Any], None]) -> bytes:
    """A message of so many ranges that cover the whole set."""
    writer = Writer()
    for number in range(1, parts):
        write(writer, (number * (1_000_000 // parts), b""))
    write(writer, END)
    return bytes(writer.out)


BLOW_UPS: dict[str, bytes] = {
    "a fingerprint for every other member": _question(
        45_000, lambda w, at: w.fingerprint(at, os.urandom(16))
    ),
    "nothing but skips": _question(60_000, lambda w, at: w.skip(at)),
    "an id in every range": _question(25_000, lambda w, at: w.id_list(at, os.urandom(32))),
    "an empty list for every range": _question(60_000, lambda w, at: w.id_list(at, b"")),
    "the same bound all the time": _question(50_000, lambda w, _: w.fingerprint((7, b""), bytes(16))),
    "everything in two lists": _question(2, lambda w, at: w.id_list(at, os.urandom(32 * 16_000))),
    "eleven bytes": _question(2, lambda w, at: w.id_list(at, b"")),
}


@pytest.mark.parametrize("name", BLOW_UPS)
def test_a_reconciliation_message_costs_little(members: ListRanges, name: str) -> None:
    """Whatever a megabyte of it says, an answer takes seconds at most, and little more memory than itself."""
    message = BLOW_UPS[name]
    assert len(message) <= 1 << 20
    answers: list[bytes] = []
    assert seconds(lambda: answers.append(reconcile.respond(members, message))) < QUIET_SECONDS
    assert peak(lambda: reconcile.respond(members, message)) < 16 << 20
    assert len(answers[0]) <= reconcile.FRAME_LIMIT


@pytest.mark.parametrize("name", BLOW_UPS)
def test_a_responder_that_never_ends_is_given_up(members: ListRanges, name: str) -> None:
    """An initiator follows for so many round trips and no further, each of which costs little."""
    initiator = reconcile.Initiator(limits=Limits(rounds=4))
    initiator.initiate(members)

    for _ in range(4):
        assert seconds(lambda: initiator.receive(members, BLOW_UPS[name])) < QUIET_SECONDS
    with pytest.raises(MalformedMessage, match="no end"):
        initiator.receive(members, BLOW_UPS[name])
    assert Limits().rounds <= 64


@pytest.mark.parametrize("decode", [codec.decode_batch, codec.decode_frame, codec.decode_receipt])
def test_a_bomb_costs_no_more_than_its_limit(decode: Callable[[bytes], object]) -> None:
    """64 MiB of zeros in a few kilobytes, or of elements that take more room than their bytes."""
    bomb = b"\x01" + zstd.compress(bytes(64 << 20), 3)
    empties = b"\x01" + zstd.compress(b"\x92\x01\xdd\x00\xf0\x00\x00" + b"\x80" * (15 << 20), 3)
    nested = b"\x01" + zstd.compress(b"\x91" * (16 << 20), 3)
    for payload in (bomb, empties, nested):

        def refused(payload: bytes = payload) -> None:
            with pytest.raises((TooLarge, MalformedMessage)):
                decode(payload)

        assert peak(refused) < 40 << 20


CONFUSIONS: list[Any] = [
    None,
    True,
    -1,
    2**64 - 1,
    1.5,
    float("nan"),
    "text",
    b"bytes",
    [],
    {},
    [[]],
    [None] * 12,
    [[[[[]]]]],
    {"device": 1},
    {1: 2, b"x": []},
    msgspec.msgpack.Ext(5, b"x"),
    [1, [["path", "no list"]]],
    [1, [["path", ["text"]]]],
    [1, [[b"path", []]]],
    [2, [1, 2, 3]],
    [3, []],
    [{0: ["new"]}, 5],
    [{2**40: ["no such outcome"]}, [b"", 0, 0, b""]],
]


@pytest.mark.parametrize(
    "kind", [Hello, Want, RosterOffer, Refusal, Heartbeat, Receipt], ids=lambda k: k.__name__
)
def test_other_types_than_promised(kind: type[msgspec.Struct]) -> None:
    """Every field of every message is refused as a whole when it holds another type than it should."""
    for value in CONFUSIONS:
        payload = b"\x00" + msgspec.msgpack.encode(value)
        with pytest.raises((MalformedMessage, TooLarge)):
            codec.decode_batch(payload)
        if kind is not Want or value not in ([], [[]]):
            with pytest.raises((MalformedMessage, TooLarge)):
                codec.decode(payload, kind)


@pytest.mark.parametrize(
    "changed",
    [
        {"name": "n" * 257},
        {"device": "d" * 257},
        {"instance": bytes(1 << 19)},
        {"roster": bytes(9)},
        {"capabilities": ["c"] * 257},
        {"capabilities": ["c" * 257]},
        {"excluded": ["skills/*"] * (MAX_EXCLUDED + 1)},
        {"excluded": ["s" * 1025]},
        {"head": msgspec.structs.replace(HEAD, epoch=bytes(9))},
        {"head": msgspec.structs.replace(HEAD, fingerprint=bytes(17))},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_what_is_kept_of_a_greeting_is_bounded(changed: dict[str, Any]) -> None:
    """A name, a nonce or a head of any length would stay in memory and on disk."""
    greeting = hello_of(DeviceId("a" * 52))
    assert codec.decode(codec.encode(greeting), Hello) == greeting
    with pytest.raises(MalformedMessage):
        codec.decode(codec.encode(msgspec.structs.replace(greeting, **changed)), Hello)


def test_long_paths_do_not_stay_in_memory() -> None:
    """What a peer calls a path is forgotten when it is refused, however many it makes up."""

    def ask() -> None:
        for number in range(300):
            path = f"skills/{number}" + "x" * (1 << 20)
            assert datasets.find(path) is None
            with pytest.raises(MalformedRecord):
                datasets.require(path)

    assert peak(ask) < 16 << 20


# --- through our screens and logs ----------------------------------------------------------------------


def test_a_refusal_cannot_act_on_a_terminal() -> None:
    """What another device says is shown short and without anything that a terminal would obey."""
    error = error_of(Refusal("dishonest-peer", ESCAPES + "x" * 5000), "travel")
    assert isinstance(error, DishonestPeer)
    assert error.message.isprintable()
    assert len(error.message) < MAX_SHOWN + 50


def test_a_log_line_cannot_act_on_a_terminal() -> None:
    """Whatever a message holds, the log has one line of printable characters for it."""
    record = logging.LogRecord("x", logging.WARNING, "", 0, "peer %s\n%s", ("é", ESCAPES), None)
    line = OneLine("%(message)s").format(record)
    assert line.isprintable()
    assert line.startswith("peer é | ")
    assert "\\x1b]0;owned\\x07" in line


async def test_reasons_and_paths_cannot_act_on_a_terminal() -> None:
    """Refusals of a peer, and the paths that it makes up, are cleaned where they are taken in."""
    here, there = Laptop("a"), Laptop("b")
    here.learn(DEPLOY, [event(1)])
    there.learn(DEPLOY, [event(2)])
    there.storage.apply = lambda groups, origin: [Verdict(Outcome.REFUSED, ESCAPES * 999)] * 1

    class Liar(Responder):
        @asynccontextmanager
        async def items(self, want):
            async def lies():
                yield Batch([Group("skills/" + ESCAPES * 999, [event(2)]), Group(DEPLOY, [event(2)])])

            yield lies()

    result = await Session(here.local, Liar(there.local, there.caller(here))).run()
    assert result.refused
    for refusal in result.refused:
        assert refusal.reason.isprintable()
        assert refusal.path.isprintable()
        assert len(refusal.reason) + len(refusal.path) <= 2 * MAX_SHOWN


# --- lying ids and counts ------------------------------------------------------------------------------


async def test_an_item_given_again_and_again() -> None:
    """A peer that answers a question for one id with the same body for ever is dishonest, not a hang."""
    here, there = Laptop("a"), Laptop("b")
    here.learn(DEPLOY, [event(1), event(2)])
    there.learn(DEPLOY, [event(1), event(3)])

    class Parrot(Responder):
        @asynccontextmanager
        async def items(self, want):
            async def echoes():
                while True:
                    yield Batch([Group(DEPLOY, [event(3)] * 10_000)])

            yield echoes()

    result = await Session(here.local, Parrot(there.local, there.caller(here))).run()
    assert result.ending is Ending.FAILED
    assert isinstance(result.error, DishonestPeer)
    assert event(3) not in here.lines(DEPLOY)


def test_a_receipt_for_what_was_not_offered() -> None:
    """Positions outside of the batch are refused; a verdict on everything that was offered costs no time."""
    batch = Batch([Group(f"skills/s{number}/events.jsonl", [b"x"] * 16) for number in range(1024)])
    count = len(paths_of(batch))
    everything = Receipt({n: Verdict(Outcome.SUPERSEDED, covering=b"v") for n in range(count)}, HEAD)
    assert seconds(lambda: covering_versions(batch, everything)) < 2
    for position in (-1, count, 2**63):
        with pytest.raises(MalformedMessage):
            covering_versions(batch, Receipt({position: Verdict(Outcome.REFUSED)}, HEAD))


async def test_thousands_of_refused_paths_cost_no_time() -> None:
    """A batch of 4,096 paths with 16 bodies each, all of them refused, is noted within seconds."""
    here, there = Laptop("a"), Laptop("b")
    there.learn(DEPLOY, [event(1)])
    bad = [Group(f"../{number}", [b"x"] * 16) for number in range(4096)]

    class Liar(Responder):
        @asynccontextmanager
        async def items(self, want):
            async def lies():
                yield Batch([*bad, Group(DEPLOY, [event(1)])])

            yield lies()

    began = time.process_time()
    result = await Session(here.local, Liar(there.local, there.caller(here))).run()
    assert time.process_time() - began < QUIET_SECONDS
    assert isinstance(result.error, PeerError | None)
    assert here.lines(DEPLOY) in (set(), {event(1)})


# --- bodies --------------------------------------------------------------------------------------------

DIGITS = b"9" * 500_000
BODIES: dict[str, tuple[str, bytes]] = {
    "deep objects": (DEPLOY, b'{"a":' * 150_000 + b"1" + b"}" * 150_000),
    "deep arrays": (DEPLOY, b"[" * 500_000 + b"]" * 500_000),
    "deep in a payload": (
        "channels/general/events.jsonl",
        b'{"ts":"2026-06-16T00:00:00Z","actor":{"kind":"system"},"kind":"note","payload":'
        + b"[" * 400_000
        + b"]" * 400_000
        + b"}",
    ),
    "a huge integer": (DEPLOY, b'{"kind":"retrieval","ts":' + DIGITS + b',"device_id":"a"}'),
    "a huge exponent": ("open-items.jsonl", b'{"kind":"resolve","id":1e' + DIGITS + b',"at":"x"}'),
    "a huge year": (DEPLOY, b'{"kind":"retrieval","ts":"+' + DIGITS + b'-01-01T00:00:00Z","device_id":"a"}'),
    "a line break": (DEPLOY, b'{"kind":"retrieval",\n"ts":"2026-05-30T00:00:00Z","device_id":"a"}'),
    "a carriage return": ("open-items.jsonl", b'{"kind":"resolve"}\r'),
    "NUL": (DEPLOY, b'{"kind":"retrieval","ts":"2026-05-30T00:00:00Z","device_id":"a"}\0'),
    "half a surrogate": ("open-items.jsonl", b'{"id":"\\ud800"}'),
    "no UTF-8": ("experience/main/events.jsonl", b'{"id":"\xff"}'),
    "a version of nothing": ("skills/deploy/skill.yaml", b"\xc0"),
    "nested msgpack": ("skills/deploy/skill.yaml", b"\x91" * (1 << 20)),
    "an array that is not there": ("skills/deploy/skill.yaml", b"\xdd\xff\xff\xff\xff"),
}


@pytest.mark.parametrize("name", BODIES)
def test_bodies_that_nobody_may_send(name: str) -> None:
    """Refused as malformed within seconds, whatever they do to a parser that believes them."""
    path, body = BODIES[name]

    def refused() -> None:
        with pytest.raises(MalformedRecord):
            datasets.identify(path, body)

    assert seconds(refused) < QUIET_SECONDS


BOMBS = {
    "laughs": b"a: &a [x,x,x,x]\nb: &b [*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b]\nd: [*c,*c,*c,*c]\n",
    "merge": b"a: &a {x: 1}\nb: {<<: *a}\n",
    "deep": b"a: " + b"[" * 300_000,
    "deep blocks": b"".join(b" " * depth + b"a:\n" for depth in range(1000)),
    "many": b"a: [" + b"x," * 110_000 + b"]",
    "a python object": b"a: !!python/object/apply:os.system ['true']\n",
    "documents": b"a: 1\n---\n" * 100_000,
    "anchors": b"".join(b"k%d: &a%d x\n" % (n, n) for n in range(50_000)),
    "a long key": b"k" * 900_000 + b": 1\n",
    "comments": b"#\n" * 500_000 + b"a: 1\n",
}


@pytest.mark.parametrize("name", BOMBS)
def test_yaml_bombs(name: str) -> None:
    """In a manifest, a channel, a profile or a model: within seconds it is malformed, or just a value."""
    from fleetsync.records import channel_manifests, manifests, model_entries, models, profiles

    readers: tuple[Callable[[bytes], object], ...] = (
        manifests.top_scalars,
        channel_manifests.content_digest,
        profiles.travelling,
        profiles.check_value,
        models.entries,
        lambda value: model_entries.check_entry("x", value),
    )
    for reader in readers:

        def read(reader: Callable[[bytes], object] = reader) -> None:
            try:
                reader(BOMBS[name])
            except MalformedRecord:
                return

        assert seconds(read) < QUIET_SECONDS
    if name not in ("a long key", "comments"):
        with pytest.raises(MalformedRecord):
            profiles.check_value(BOMBS[name])
