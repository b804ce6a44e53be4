"""Channel manifests: `channels/<channel>/channel.yaml`, what mur keeps of a channel beside its log.

A manifest travels as bytes. It is read exactly as mur reads it, or it is malformed; of one written
by a newer mur only the version is believed: it is carried, and never merged. The one thing ever
written here is the list of participants, spliced into the text so that all else stays as its author
wrote it. `canonical_yaml` and `canonical_json` are what mur makes of the same manifest. Implements
SEMANTICS §2.6–2.7 and docs/formats.md, "Channels".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias, cast

import msgspec

from fleetsync.errors import MalformedRecord
from fleetsync.records import actors, strictjson, timestamps, yamlscalars, yamltree
from fleetsync.records.actors import Actor
from fleetsync.records.channels import STATES
from fleetsync.records.strictjson import Json, Number, Object, print_string
from fleetsync.records.timestamps import Timestamp
from fleetsync.records.yamlscalars import BREAKS, print_scalar, stacked
from fleetsync.records.yamltree import Mapping, Node, Scalar

VERSION = 2
"""The newest manifest whose meaning is known."""

ROLES = ("owner", "router", "delegate", "observer")
FIELDS = ("v", "id", "title", "goal", "state", "owner", "participants", "created_at", "updated_at")
"""The members of a manifest in the order in which mur writes them; it has no others, or drops them."""

_GOAL = ("statement", "acceptance_criteria")
_PARTICIPANT = ("actor", "role", "joined_at")


class Goal(msgspec.Struct, frozen=True):
    """What a channel is for."""

    statement: str = ""
    acceptance_criteria: tuple[str, ...] = ()


class Participant(msgspec.Struct, frozen=True):
    """Who takes part, as what, and since when."""

    actor: Actor
    role: str
    joined_at: Timestamp


class Channel(msgspec.Struct, frozen=True):
    """A manifest as mur reads it."""

    v: int
    id: str
    title: str
    goal: Goal
    state: str
    owner: Actor
    participants: tuple[Participant, ...]
    created_at: Timestamp
    updated_at: Timestamp

    @property
    def is_newer(self) -> bool:
        """Whether a mur newer than any that is known wrote it: carried, never merged."""
        return self.v > VERSION

    @property
    def canonical_json(self) -> str:
        """The manifest as mur writes it in JSON."""
        criteria = ",".join(map(print_string, self.goal.acceptance_criteria))
        participants = ",".join(map(_json_of_participant, self.participants))
        return (
            f'{{"v":{self.v},"id":{print_string(self.id)},"title":{print_string(self.title)}'
            f',"goal":{{"statement":{print_string(self.goal.statement)},"acceptance_criteria":[{criteria}]}}'
            f',"state":"{self.state}","owner":{actors.print_members(actors.members(self.owner))}'
            f',"participants":[{participants}]'
            f',"created_at":"{self.created_at.canonical}","updated_at":"{self.updated_at.canonical}"}}'
        )

    @property
    def canonical_yaml(self) -> str:
        """The text that mur writes into `channel.yaml`."""
        top = [
            f"v: {self.v}",
            f"id: {print_scalar(self.id, 2)}",
            f"title: {print_scalar(self.title, 2)}",
            "goal:",
            f"  statement: {print_scalar(self.goal.statement, 4)}",
            _criteria(self.goal.acceptance_criteria),
            f"state: {self.state}",
            stacked(["owner:", *_yaml_of_actor(self.owner, 2)]),
            _participants(self.participants),
            f"created_at: {print_scalar(self.created_at.canonical, 2)}",
            f"updated_at: {print_scalar(self.updated_at.canonical, 2)}",
        ]
        return stacked(top) + "\n"


# --- writing ------------------------------------------------------------------------------------------


def _json_of_participant(participant: Participant) -> str:
    actor = actors.print_members(actors.members(participant.actor))
    return f'{{"actor":{actor},"role":"{participant.role}","joined_at":"{participant.joined_at.canonical}"}}'


def _criteria(criteria: Sequence[str]) -> str:
    if not criteria:
        return "  acceptance_criteria: []"
    return stacked(["  acceptance_criteria:", *(f"  - {print_scalar(text, 4)}" for text in criteria)])


def _yaml_of_actor(actor: Actor, indent: int) -> list[str]:
    members = actors.members(actor)
    return [f"{' ' * indent}{name}: {print_scalar(text, indent + 2)}" for name, text in members]


def _participants(participants: Sequence[Participant]) -> str:
    if not participants:
        return "participants: []"
    return stacked(["participants:", *map(_yaml_of_participant, participants)])


def _yaml_of_participant(participant: Participant) -> str:
    return stacked(
        [
            "- actor:",
            *_yaml_of_actor(participant.actor, 4),
            f"  role: {participant.role}",
            f"  joined_at: {print_scalar(participant.joined_at.canonical, 4)}",
        ]
    )


# --- reading ------------------------------------------------------------------------------------------


class Plain(msgspec.Struct, frozen=True):
    """A plain YAML scalar: what it means depends on what is wanted."""

    text: str


Value: TypeAlias = Any
"""`Json`; out of YAML with `Plain` for plain scalars, and with tuples for lists, at any depth."""


def parse_channel(data: bytes) -> Channel:
    """The manifest in the bytes of a `channel.yaml`, of whatever version; raises `MalformedRecord`."""
    return _channel(_value(yamltree.read(data)))


def parse_channel_json(data: bytes) -> Channel:
    """The manifest in a JSON text; raises `MalformedRecord`."""
    return _channel(strictjson.parse_members(data, FIELDS))


def version_of(data: bytes) -> int:
    """The version of a `channel.yaml`, even if nothing else of it can be read; raises `MalformedRecord`."""
    return _u32(_members(_value(yamltree.read(data)), ("v",)), "v")


def newer_version(data: bytes) -> int | None:
    """The version of a `channel.yaml` that a newer mur wrote; None for any other, and if it has none."""
    if _KNOWN_VERSION.search(data):
        return None  # mur writes it so; reading YAML takes a thousand times as long
    try:
        version = version_of(data)
    except MalformedRecord:
        return None
    return version if version > VERSION else None


_KNOWN_VERSION = re.compile(rb"\Av: [0-2]\n")


def _value(node: Node) -> Value:
    if isinstance(node, Scalar):
        return Plain(node.text) if node.plain else node.text
    if isinstance(node, Mapping):
        return Object(tuple((key.text, _value(value)) for key, value in node.members))
    return tuple(_value(item) for item in node.items)


def _channel(value: Value) -> Channel:
    fields = _members(value, FIELDS)
    return Channel(
        _u32(fields, "v"),
        _text(fields, "id"),
        _text(fields, "title"),
        _goal(fields["goal"]) if "goal" in fields else Goal(),
        _word(fields, "state", STATES),
        _actor(fields, "owner"),
        tuple(map(_participant, _items(fields, "participants"))),
        _time(fields, "created_at"),
        _time(fields, "updated_at"),
    )


def _goal(value: Value) -> Goal:
    fields = _members(value, _GOAL)
    criteria = [{"criterion": item} for item in _items(fields, "acceptance_criteria")]
    statement = _text(fields, "statement") if "statement" in fields else ""
    return Goal(statement, tuple(_text(item, "criterion") for item in criteria))


def _participant(value: Value) -> Participant:
    fields = _members(value, _PARTICIPANT)
    return Participant(_actor(fields, "actor"), _word(fields, "role", ROLES), _time(fields, "joined_at"))


def _members(value: Value, names: Sequence[str]) -> dict[str, Value]:
    """The members of these names, each at most once.

    Nothing at all in YAML is an empty mapping; in JSON an array may list the members in mur's order.
    """
    if value == Plain(""):
        return {}
    if isinstance(value, list) and len(value) <= len(names):
        return dict(zip(names, value, strict=False))
    if not isinstance(value, Object):
        raise MalformedRecord("the manifest has something else where an object belongs")
    known = [member for member in value.members if member[0] in names]
    if len(dict(known)) != len(known):
        raise MalformedRecord("the manifest has a member twice")
    return dict(known)


def _items(fields: dict[str, Value], name: str) -> Sequence[Value]:
    """The items of a list that may be missing; nothing at all in YAML is an empty list."""
    value = fields.get(name, [])
    if value == Plain(""):
        return []
    if not isinstance(value, list | tuple):
        raise MalformedRecord(f"{name} is no list")
    return value


def _text(fields: dict[str, Value], name: str) -> str:
    """A string; any scalar of YAML is one."""
    value = fields.get(name)
    text = value.text if isinstance(value, Plain) else value
    if not isinstance(text, str):
        raise MalformedRecord(f"{name} is missing or no string")
    return text


def _word(fields: dict[str, Value], name: str, known: Sequence[str]) -> str:
    """One of the known words; in JSON also as an object with nothing but its name."""
    value = fields.get(name)
    if isinstance(value, Object) and len(value.members) == 1 and value.members[0][1] is None:
        fields = {name: value.members[0][0]}
    word = _text(fields, name)
    if word not in known:
        raise MalformedRecord(f"{word[:40]!r} is no {name} that mur knows")
    return word


def _time(fields: dict[str, Value], name: str) -> Timestamp:
    return timestamps.parse(_text(fields, name))


def _u32(fields: dict[str, Value], name: str) -> int:
    value = fields.get(name)
    if isinstance(value, Plain):
        integer = None if value.text.startswith("-") else yamlscalars.read_integer(value.text)
        value = None if integer is None else Number(value.text, integer)
    number = strictjson.as_u32(value)
    if number is None:
        raise MalformedRecord(f"{name} is missing or no number from 0 to 4294967295")
    return number


def _actor(fields: dict[str, Value], name: str) -> Actor:
    """An actor; its kind is a word, but the rest of it has a type even in YAML."""
    value = fields.get(name)
    if not isinstance(value, Object):
        return actors.read_actor(_typed(value))
    members = tuple((key, _typed(item, is_word=key == "kind")) for key, item in value.members)
    return actors.read_actor(Object(members))


def _typed(value: Value, *, is_word: bool = False) -> Json:
    if isinstance(value, Plain):
        return value.text if is_word else yamlscalars.meaning(value.text)
    if isinstance(value, tuple):
        return [_typed(item, is_word=at == 0) for at, item in enumerate(value)]
    return cast(Json, value)


# --- what is exchanged --------------------------------------------------------------------------------


class Entry(NamedTuple):
    """A participant and how the manifest has it, with all that mur does not know."""

    actor: Actor
    joined_at: Timestamp
    node: Node

    @property
    def order(self) -> tuple[int, int, str]:
        """Where it stands in a united list: by time, then by actor."""
        return self.joined_at.secs, self.joined_at.nanos, actors.label(self.actor)


def content_digest(data: bytes) -> bytes:
    """The SHA-256 of what a `channel.yaml` says, however it is spelled (SEMANTICS §2.6).

    Raises `MalformedRecord` for what does not sync: no YAML within the bounds, anchors, aliases, tags.
    """
    return yamltree.digest(yamltree.read(data))


def entries(data: bytes) -> list[Entry] | None:
    """The participants in the order of the manifest; None if it is not merged: a newer mur wrote it,
    or it cannot be read.
    """
    try:
        root = yamltree.read(data)
        channel = _channel(_value(root))
        known = _nodes(root)
    except MalformedRecord:
        return None
    if channel.is_newer:
        return None
    found = zip(channel.participants, known, strict=True)
    return [Entry(participant.actor, participant.joined_at, node) for participant, node in found]


def with_entries(data: bytes, wanted: Sequence[Entry]) -> bytes:
    """The manifest with these participants, and all else as it was written, byte for byte.

    Raises `MalformedRecord` when that cannot be done without changing more than that.
    """
    root = yamltree.read(data)
    nodes = [entry.node for entry in wanted]
    if nodes == _nodes(root):
        return data
    result = _spliced(data.decode(), root, yamltree.Sequence(nodes, root.span)).encode()
    if yamltree.digest(yamltree.read(result)) != yamltree.digest(_intended(root, nodes)):
        raise MalformedRecord("the participants cannot be changed without changing more")
    return result


def _nodes(root: Node) -> list[Node]:
    found = _top(root).get("participants")
    return found.items if isinstance(found, yamltree.Sequence) else []


def _top(root: Node) -> Mapping:
    if not isinstance(root, Mapping):
        raise MalformedRecord("the manifest is not a mapping")
    return root


def _spliced(text: str, root: Node, wanted: Node) -> str:
    """The list takes the place of the old one, or stands at the end if there is none."""
    block = f"participants:{yamltree.print_node(wanted, 0)}"
    for key, value in _top(root).members:
        if key.text == "participants":
            return _parted(text[: key.span.start], block, text[value.span.end :], text[value.span.end - 1])
    end = root.span.end
    return f"{text[:end]}\n{block}{text[end:]}"


def _parted(before: str, block: str, after: str, last: str) -> str:
    """The block in place of one that ended with the character `last`. What ends with a literal block has its
    line break already; there must be one, and no more: an empty line may be part of such a block.
    """
    if block[-1] in BREAKS and last not in BREAKS:
        after = after.removeprefix("\r").removeprefix("\n")
    elif last in BREAKS and block[-1] not in BREAKS:
        after = "\n" + after
    return before + block + after


def _intended(root: Node, nodes: list[Node]) -> Mapping:
    rest = [member for member in _top(root).members if member[0].text != "participants"]
    key = Scalar("participants", plain=True, tagged=False, span=root.span)
    return Mapping([*rest, (key, yamltree.Sequence(nodes, root.span))], root.span)
