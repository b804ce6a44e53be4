"""The messages of protocol version 1 and their one encoding.

Values are MessagePack arrays (fields in order, extra trailing fields ignored), tagged where several
kinds may come. A payload is one byte of encoding (0 plain, 1 zstd) and the body; in a stream each
payload is a frame with a four-byte big-endian length in front. Limits come before memory: at most
1 MiB encoded, 16 MiB expanded, checked while expanding. Implements docs/protocol.md, "Encoding".
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from fleetsync.ports import Group, Head, Verdict

PROTOCOL_MIN = 1
PROTOCOL_MAX = 1

INSTANCE_HEADER = "fleetsync-instance"
"""The caller's instance in hexadecimal, on every request: the one header with a meaning of ours."""

MAX_BODY = 1 << 20
MAX_ENCODED = MAX_BODY + 1024
"""Of a payload. The 1 KiB lets one body of the largest size travel with its path uncompressed: a
member that fits no message could never converge."""
MAX_EXPANDED = 16 << 20
MAX_RECONCILE = 1 << 20
MAX_GROUPS = 4096
MAX_MEMBERS = 65_536
"""Bodies in one batch, and verdicts in one receipt: objects cost more memory than their bytes."""
MAX_WANTED = 16_384
MAX_SPANS = 4096
"""Ids and spans in one `Want`."""

MAX_EXCLUDED = 16_384
"""Rules in one hello."""

HEARTBEAT_SECONDS = 30.0
"""The longest silence of a change stream that works."""
SILENCE_SECONDS = 90.0
"""A change stream silent for so long is broken."""


_Word = Annotated[str, msgspec.Meta(max_length=256)]
_Pattern = Annotated[str, msgspec.Meta(max_length=1024)]
_Eight = Annotated[bytes, msgspec.Meta(max_length=8)]
"""What is kept of a peer is bounded where it is read: names, and nonces that go to disk."""


class Hello(msgspec.Struct, frozen=True, array_like=True):
    """Who a device is and the state of its set; a whole no-change exchange is this one message."""

    device: _Word
    name: _Word
    protocol_min: int
    protocol_max: int
    capabilities: Annotated[list[_Word], msgspec.Meta(max_length=256)]
    clock: int  # wall clock, µs since 1970
    head: Head
    instance: _Eight  # new at each installation of the state directory: finds clones
    roster: _Eight  # digest of the roster; differing digests are exchanged first
    highest_dot: int  # the highest version number of the *caller* known here (SEMANTICS §2.8)
    # Rules for the paths that are no members here (SEMANTICS §1.4).
    excluded: Annotated[list[_Pattern], msgspec.Meta(max_length=MAX_EXCLUDED)] = []


class Terms(msgspec.Struct, frozen=True, array_like=True):
    """What a caller says of itself with its request for a hello; a caller without any leaves it out."""

    excluded: Annotated[list[_Pattern], msgspec.Meta(max_length=MAX_EXCLUDED)] = []
    capabilities: Annotated[list[_Word], msgspec.Meta(max_length=64)] = []


NO_TERMS = Terms()


class Batch(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """Bodies grouped by path."""

    groups: list[Group]


class Heartbeat(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """The sender's state; meaningful to a receiver that has read the stream up to here."""

    head: Head


Frame = Batch | Heartbeat


class Span(msgspec.Struct, frozen=True, array_like=True):
    """All members with lower ≤ key < upper."""

    lower_ts: int
    lower_prefix: bytes
    upper_ts: int
    upper_prefix: bytes


class Want(msgspec.Struct, frozen=True, array_like=True):
    """What is asked for: ids one by one, and spans in which the asker has nothing."""

    ids: list[bytes]
    spans: list[Span] = []


class Receipt(msgspec.Struct, frozen=True, array_like=True):
    """The answer to an offered batch: the verdicts that are not NEW, by position in the batch."""

    exceptions: Annotated[dict[int, Verdict], msgspec.Meta(max_length=MAX_MEMBERS)]
    head: Head  # of the receiver, after the batch


class RosterOffer(msgspec.Struct, frozen=True, array_like=True):
    """All roster records one device holds, and where it last met each device."""

    records: list[bytes]
    addresses: dict[str, list[str]]  # device id → "host:port", most recent first
    name: str  # of the sender
    port: int  # on which the sender listens


class Refusal(msgspec.Struct, frozen=True, array_like=True):
    """Why a request failed: the body of every answer whose status is not 200."""

    code: str
    message: str
