"""One line of a channel log: read, numbered and written back as the reference does.

On purpose different: a line of a kind, or by a kind of actor, that the reference does not know is
refused by it; here it has an identity and is carried, because a newer mur on another device may know
it (DESIGN §12). An event in the array form, which nothing writes, is read but does not travel.
"""

from __future__ import annotations

import json

import pytest

from fleetsync.errors import MalformedRecord
from fleetsync.records import channels
from fleetsync.records.channels import OpaqueEvent
from tests.conformance.vectors import Row, each


@each("channel_events")
def test_line(row: Row) -> None:
    """The reference's number, instant, kind, payload and canonical line; malformed where it fails."""
    line = row["input"].encode()
    if not row["ok"]:
        with pytest.raises(MalformedRecord):
            channels.parse_event(line)
        return
    event = channels.parse_event(line)
    assert (event.seq, event.ts.micros, event.kind) == (row["seq"], row["ts_micros"], row["kind"])
    assert event.payload_text == row["payload_text"]
    assert event.canonical.decode() == row["canonical"]


@each("channel_events")
def test_parts(row: Row) -> None:
    """Number, kind and idempotency key are found alone as in the whole event; a number also on a
    line that only a newer version of the reference could read.
    """
    line = row["input"].encode()
    if row["ok"]:
        assert channels.seq_of(line) == row["seq"]
        assert channels.kind_of(line) == row["kind"]
        assert channels.idempotency_key(line) == json.loads(row["canonical"]).get("idempotency_key")
    else:
        assert channels.seq_of(line) is None or isinstance(channels.read_event(line), OpaqueEvent)


@each("channel_events")
def test_identity_is_that_of_the_body(row: Row) -> None:
    """Whatever number another device gives an event, its identity and instant stay."""
    line = row["input"].encode()
    if not row["ok"] or line.startswith(b"["):
        return
    identity = channels.event_identity(line)
    assert identity[1] == row["ts_micros"]
    for seq in (0, 7, 2**64 - 1):
        renumbered = channels.with_seq(channels.without_seq(line), seq)
        assert channels.event_identity(renumbered) == identity
        again = channels.parse_event(renumbered)
        assert (again.seq, again.payload_text) == (seq, row["payload_text"])


@each("channel_events")
def test_what_the_reference_refuses_has_no_identity(row: Row) -> None:
    """Unless only its kind or its actor's kind is unknown, or all that is missing is the number."""
    line = row["input"].encode()
    if row["ok"]:
        return
    try:
        channels.event_identity(line)
    except MalformedRecord:
        return
    value = json.loads(line)
    new_actor = value["actor"]["kind"] not in ("human", "agent", "system")
    assert value["kind"] not in channels.KINDS or new_actor or "seq" not in value


@each("channel_events")
def test_what_is_certain_to_be_readable_is_read_by_the_reference(row: Row) -> None:
    """The strict validator never passes a line that the reference refuses once it has a number."""
    line = row["input"].encode()
    if channels.readable_by_mur(line):
        assert row["ok"] or "seq" not in json.loads(line)


@each("channel_events")
def test_what_the_reference_writes_is_certain_to_be_readable(row: Row) -> None:
    """Lines as the reference writes them are never parked, unless their year has a sign."""
    if row["ok"] and '"ts":"+' not in row["canonical"] and '"ts":"-' not in row["canonical"]:
        assert channels.readable_by_mur(row["canonical"].encode())
        assert channels.readable_by_mur(channels.without_seq(row["canonical"].encode()))


@each("channel_events")
def test_canonical_line_reads_as_the_same_event(row: Row) -> None:
    """Writing an event back changes neither what it says nor its canonical line."""
    if row["ok"]:
        assert channels.parse_event(row["canonical"].encode()).canonical.decode() == row["canonical"]
