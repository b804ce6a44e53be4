"""A conversation as bytes: recorded from two devices of one version, played to devices of a later one.

A tape is JSON lines. `set` lines hold what a side had before (`side` is caller or callee); `call` lines
one request and its answers, in order, in the encoding of the wire (docs/protocol.md); the `end` line the
fingerprint that both sides had at last. A tape is pinned: it is added to, never changed.
"""

from __future__ import annotations

import base64
import json
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fleetsync.ports import Group
from fleetsync.records.names import DeviceId
from fleetsync.wire import codec
from fleetsync.wire.messages import NO_TERMS, Batch, Hello, Receipt, RosterOffer, Terms, Want
from fleetsync.wire.peer import Peer


@dataclass(frozen=True)
class Call:
    """One request: its name, its body (empty for hello), and the payloads of its answer."""

    name: str
    body: bytes
    answers: list[bytes] = field(default_factory=list)


@dataclass
class Tape:
    """One conversation. Fingerprints are 16 bytes."""

    device: DeviceId  # of the callee
    before: dict[str, list[bytes]] = field(default_factory=lambda: {"caller": [], "callee": []})  # batches
    calls: list[Call] = field(default_factory=list)
    end: bytes = b""

    def groups(self, side: str) -> Iterator[list[Group]]:
        """What that side had, batch by batch."""
        return (codec.decode_batch(payload).groups for payload in self.before[side])

    def write(self, path: Path) -> None:
        """Pin it."""
        rows: list[dict[str, Any]] = [{"tape": 1, "device": self.device}]
        rows += [{"set": side, "batch": _text(p)} for side, batches in self.before.items() for p in batches]
        rows += [
            {"call": call.name, "body": _text(call.body), "answers": [_text(p) for p in call.answers]}
            for call in self.calls
        ]
        rows.append({"end": self.end.hex()})
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def read_tape(path: Path) -> Tape:
    """A pinned one."""
    head, *rows = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    tape = Tape(DeviceId(head["device"]))
    for row in rows:
        if "set" in row:
            tape.before[row["set"]].append(_bytes(row["batch"]))
        elif "call" in row:
            tape.calls.append(Call(row["call"], _bytes(row["body"]), [_bytes(p) for p in row["answers"]]))
        else:
            tape.end = bytes.fromhex(row["end"])
    return tape


def _text(payload: bytes) -> str:
    return base64.b64encode(payload).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text)


class Recorder:
    """A peer that is called through this; what passes is on the tape."""

    def __init__(self, peer: Peer, tape: Tape) -> None:
        self.device = peer.device
        self._peer = peer
        self._tape = tape

    async def hello(self, terms: Terms = NO_TERMS) -> Hello:
        answer = await self._peer.hello()
        self._tape.calls.append(Call("hello", b"", [codec.encode(answer)]))
        return answer

    async def reconcile(self, message: bytes) -> bytes:
        answer = await self._peer.reconcile(message)
        self._tape.calls.append(Call("reconcile", message, [answer]))
        return answer

    @asynccontextmanager
    async def items(self, want: Want) -> AsyncIterator[AsyncIterator[Batch]]:
        async with self._peer.items(want) as batches:
            found = [batch async for batch in batches]
        self._tape.calls.append(Call("items", codec.encode(want), [codec.encode(batch) for batch in found]))
        yield _each(found)

    async def offer(self, batch: Batch) -> Receipt:
        answer = await self._peer.offer(batch)
        self._tape.calls.append(Call("offer", codec.encode(batch), [codec.encode(answer)]))
        return answer

    async def roster(self, offer: RosterOffer) -> RosterOffer:
        answer = await self._peer.roster(offer)
        self._tape.calls.append(Call("roster", codec.encode(offer), [codec.encode(answer)]))
        return answer

    def changes(self) -> Any:
        raise NotImplementedError("a change stream is not part of an exchange")

    async def aclose(self) -> None:
        await self._peer.aclose()


class Player:
    """A device of that version: answers what it was asked then, and nothing else.

    Raises `AssertionError` for another question: whether the old version answers it well, no tape can tell.
    """

    def __init__(self, tape: Tape) -> None:
        self.device = tape.device
        self._answers: dict[tuple[str, bytes], deque[list[bytes]]] = {}
        for call in tape.calls:
            self._answers.setdefault(_asked(call.name, call.body), deque()).append(call.answers)

    async def hello(self, terms: Terms = NO_TERMS) -> Hello:
        return codec.decode(self._answer("hello", b"")[0], Hello)

    async def reconcile(self, message: bytes) -> bytes:
        return self._answer("reconcile", message)[0]

    @asynccontextmanager
    async def items(self, want: Want) -> AsyncIterator[AsyncIterator[Batch]]:
        yield _each([codec.decode_batch(payload) for payload in self._answer("items", codec.encode(want))])

    async def offer(self, batch: Batch) -> Receipt:
        return codec.decode_receipt(self._answer("offer", codec.encode(batch))[0])

    async def roster(self, offer: RosterOffer) -> RosterOffer:
        return codec.decode(self._answer("roster", codec.encode(offer))[0], RosterOffer)

    def changes(self) -> Any:
        raise NotImplementedError("a change stream is not part of an exchange")

    async def aclose(self) -> None:
        pass

    def left(self) -> list[str]:
        """What it was asked then, and not now."""
        return [name for (name, _), answers in self._answers.items() for _ in answers]

    def _answer(self, name: str, body: bytes) -> list[bytes]:
        answers = self._answers.get(_asked(name, body))
        assert answers, f"the older device was never asked this: {name} {body[:80]!r}"
        return answers.popleft()


def _asked(name: str, body: bytes) -> tuple[str, bytes]:
    """A request without what a compressor may spell otherwise, and without the order of its groups."""
    if name == "offer":
        body = b"".join(sorted(spelt(codec.decode_batch(body))))
    elif name == "items":
        want = codec.decode(body, Want)
        body = b"".join(sorted(want.ids)) + repr(want.spans).encode()
    return name, body


def spelt(batch: Batch) -> list[bytes]:
    """Each item of a batch as one value."""
    return [group.path.encode() + b"\0" + body for group in batch.groups for body in group.bodies]


async def _each(batches: Sequence[Batch]) -> AsyncIterator[Batch]:
    for batch in batches:
        yield batch
