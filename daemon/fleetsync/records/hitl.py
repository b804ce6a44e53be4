"""Questions that an agent asks a person in a channel, and where it remembers what it was allowed.

Only the device that asked can take an answer: what follows from that is for the replica to know.
Implements docs/formats.md, "Channels".
"""

from __future__ import annotations

from fleetsync.records import strictjson
from fleetsync.records.channels import kind_of, readable_event
from fleetsync.records.names import legal_name
from fleetsync.records.strictjson import Object

APPROVAL_MARKER = "hitl-channel"
"""The file in an agent's directory that names the channel of its approval memory."""


NO_ID = ""
"""The id of a question that has none: no line answers it."""


def question(line: bytes) -> str | None:
    """The id of the question that this line asks a person, if it does."""
    return _id(line) if kind_of(line) == "hitl-request" else None


def answer(line: bytes) -> str | None:
    """The id of the question that this line answers, if it does."""
    return (_id(line) or None) if kind_of(line) == "hitl-response" else None


def _id(line: bytes) -> str:
    event = readable_event(line)
    if event is None or not isinstance(event.payload, Object):
        return NO_ID
    return strictjson.as_string(dict(event.payload.members).get("hitl_id")) or NO_ID


def approval_channel(marker: bytes) -> str | None:
    """The channel that an agent's approval marker names; None if it names none."""
    name = marker.decode(errors="replace").strip()
    return name if legal_name("channel", name) else None
