"""docs/protocol.md cannot drift from the code: examples, tables and limits are held against it."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest
from starlette.routing import Route

from fleetsync import errors, ports
from fleetsync.errors import FleetsyncError
from fleetsync.merge.fingerprint import fingerprint
from fleetsync.merge.ranges import ListRanges
from fleetsync.merge.reconcile import REFERENCE, Initiator
from fleetsync.ports import Group, Head, Outcome, Verdict
from fleetsync.wire import client, codec, listener, messages, server, statuses
from fleetsync.wire.messages import Batch, Heartbeat, Receipt, Refusal, Span, Want
from tests.fakes.peer import FakePeer

TEXT = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8")
HEAD = Head(bytes(range(8)), 7, 5, bytes(range(16)))
HEARTBEAT = codec.encode(Heartbeat(HEAD))

EXAMPLES = {
    "heartbeat": HEARTBEAT,
    "heartbeat-frame": codec.frame(HEARTBEAT),
    "batch": codec.encode(Batch([Group("skills/deploy/events.jsonl", [b'{"kind":"x"}'])])),
    "want": codec.encode(Want([b"\x11" * 32], [Span(1, b"", 2, b"\xff")])),
    "receipt": codec.encode(Receipt({1: Verdict(Outcome.REFUSED, "illegal name")}, HEAD)),
    "refusal": codec.encode(Refusal("too-large", "no")),
    "empty-fingerprint": fingerprint(0, 0),
    "empty-reference": Initiator(REFERENCE).initiate(ListRanges([])),
    "empty-tuned": Initiator().initiate(ListRanges([])),
}

MESSAGES = (
    messages.Hello,
    messages.Terms,
    ports.Head,
    messages.Batch,
    messages.Heartbeat,
    ports.Group,
    messages.Want,
    messages.Span,
    messages.Receipt,
    ports.Verdict,
    messages.RosterOffer,
    messages.Refusal,
)


def table(heading: str) -> list[list[str]]:
    """The rows of the first table below a heading, without the headings of its columns."""
    section = re.split(rf"^#+ {re.escape(heading)}$", TEXT, flags=re.MULTILINE)[1]
    rows = re.search(r"(?:^\|.*\n)+", section, flags=re.MULTILINE)
    assert rows is not None
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[0].splitlines()[2:]]


def test_every_example_is_what_the_code_writes():
    """Each block of bytes in the document is exactly the encoding of what the text above it says."""
    written = {
        name: bytes.fromhex("".join(block.split()))
        for name, block in re.findall(r"^```wire ([\w-]+)\n(.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL)
    }
    assert written == EXAMPLES


def test_every_message_has_its_row_and_every_field_its_place():
    """The fields of each message stand in the table in the order in which they are encoded."""
    rows = dict(table("Messages"))
    assert set(rows) == {kind.__name__ for kind in MESSAGES}
    for kind in MESSAGES:
        fields = [part.split()[0] for part in re.split(r", (?![^(]*\))", rows[kind.__name__])]
        tag = kind.__struct_config__.tag
        expected = [] if tag is None else [f"`{tag}`"]
        assert fields == [*expected, *kind.__struct_fields__], kind


def test_every_request_of_the_server_is_in_the_table():
    """The routes of the application, the two that refuse other versions aside, are the requests."""
    app = server.application(FakePeer)
    routes = [route for route in app.routes if isinstance(route, Route) and "{" not in route.path]
    served = {f"`{method} {route.path}`" for route in routes for method in route.methods or ()}
    assert {row[0] for row in table("Requests")} == served


@pytest.mark.parametrize(
    "kind",
    [
        k
        for k in vars(errors).values()
        if isinstance(k, type) and issubclass(k, FleetsyncError) and k in statuses.STATUSES
    ],
    ids=lambda kind: kind.code,
)
def test_every_status_is_in_the_table(kind):
    """Each class that has a status of its own stands in the row of that status."""
    rows = {int(status): codes for status, codes in table("Failures")}
    if kind is not errors.PeerError:
        assert f"`{kind.code}`" in rows[statuses.STATUSES[kind]]
    assert set(rows) == set(statuses.STATUSES.values())


def test_every_limit_is_the_code_s():
    """The numbers of the table of limits, in its order."""
    numbers = [
        int(match.replace(",", "")) for row in table("Encoding") for match in re.findall(r"^[\d,]+", row[1])
    ]
    assert numbers == [
        messages.MAX_ENCODED,
        messages.MAX_EXPANDED,
        codec.MAX_SMALL,
        (1 << codec.WINDOW_LOG_MAX) >> 20,
        messages.MAX_BODY,
        messages.MAX_GROUPS,
        messages.MAX_MEMBERS,
        messages.MAX_WANTED,
        messages.MAX_SPANS,
        messages.MAX_RECONCILE,
    ]
    assert f"{codec.BATCH_BYTES >> 10} KiB of bodies" in TEXT
    assert f"{codec.BATCH_MEMBERS:,} bodies and {codec.BATCH_GROUPS:,} paths" in TEXT
    assert f"plain below {codec.PLAIN_BELOW} bytes" in TEXT


def test_every_deadline_is_the_code_s():
    """The seconds of the table of deadlines, in its order, and the others in the text."""
    limits, patience, deadlines = listener.Limits(), server.Patience(), client.Deadlines()
    assert [float(row[1].split()[0]) for row in table("Deadlines")] == [
        limits.handshake,
        limits.header,
        patience.body,
        patience.write,
        deadlines.answer,
        deadlines.offer,
        deadlines.frame,
        deadlines.silence,
    ]
    assert f"silent for longer than {messages.HEARTBEAT_SECONDS:g} s" in TEXT
    assert (
        f"live for {limits.idle / 60:g} minutes, a caller lets go after {client.IDLE_SECONDS / 60:g}" in TEXT
    )
    assert f"at most {limits.per_device} connections of" in TEXT
    assert f"one device and {limits.unfinished} that have not finished" in TEXT


def test_every_outcome_is_explained():
    """The outcomes of an offered body are those of the code."""
    assert {row[0].strip("`") for row in table("Transactions")} == {outcome.value for outcome in Outcome}


def test_every_link_within_the_document_leads_somewhere():
    """An anchor is the heading in lower case with dashes."""
    anchors = {
        re.sub(r"[^\w -]", "", h).lower().replace(" ", "-")
        for h in re.findall(r"^#+ (.*)$", TEXT, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([\w-]+)\)", TEXT)) <= anchors


def test_unknown_trailing_fields_are_ignored_as_promised():
    """A hello from a later version, with a field more, is read by this one."""
    longer = msgspec.msgpack.encode(
        [
            "a" * 52,
            "n",
            1,
            2,
            [],
            0,
            msgspec.to_builtins(HEAD, builtin_types=(bytes,)),
            b"",
            b"",
            0,
            [],
            "later",
        ]
    )
    assert codec.decode(b"\x00" + longer, messages.Hello).protocol_max == 2
