"""Who wrote a channel event or takes part in a channel: a human, an agent, or the system itself.

Read as mur reads it, out of an object or out of the array form that its reader also takes; written
as mur writes it. An actor is only a claim: whose key must have signed it is said by `writer_of`,
whether it did is decided in `records/signatures.py`. Implements docs/formats.md, "Channels".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import msgspec

from fleetsync.errors import MalformedRecord
from fleetsync.records.names import legal_name
from fleetsync.records.strictjson import Json, Object, print_string

ROUTER = "mur"
"""The agent that writes, and signs, what humans and the system say."""

NOBODY = "you"
"""The name of a human whose environment does not tell one."""


class Human(msgspec.Struct, frozen=True, tag_field="kind", tag="human"):
    """A person."""

    name: str


class Agent(msgspec.Struct, frozen=True, tag_field="kind", tag="agent"):
    """An agent; nothing says that its id is a legal agent name."""

    id: str


class System(msgspec.Struct, frozen=True, tag_field="kind", tag="system"):
    """mur itself."""


Actor: TypeAlias = Human | Agent | System


class UnknownActor(MalformedRecord):
    """This kind of actor is one that mur, as we know it, does not have."""


def local_human(environment: Mapping[str, str]) -> Human:
    """The person at this device, named as mur would name them from the same environment."""
    name = environment.get("USER", environment.get("USERNAME", ""))
    return Human(name or NOBODY)


def writer_of(actor: Actor) -> str | None:
    """The agent whose key signs what this actor says; None for an agent that no directory can have."""
    if not isinstance(actor, Agent):
        return ROUTER
    return actor.id if legal_name("agent", actor.id) else None


def label(actor: Actor) -> str:
    """The actor as people and ordering see it: `agent:qa`, `human:me`, `system`."""
    if isinstance(actor, System):
        return "system"
    return f"human:{actor.name}" if isinstance(actor, Human) else f"agent:{actor.id}"


def members(actor: Actor) -> list[tuple[str, str]]:
    """What mur writes of an actor, in its order: `kind` first."""
    if isinstance(actor, System):
        return [("kind", "system")]
    if isinstance(actor, Human):
        return [("kind", "human"), ("name", actor.name)]
    return [("kind", "agent"), ("id", actor.id)]


def print_members(found: list[tuple[str, str]]) -> str:
    """Members whose values are strings, as a compact JSON object."""
    return "{" + ",".join(f'"{name}":{print_string(text)}' for name, text in found) + "}"


def read_actor(value: Json) -> Actor:
    """The actor that mur reads from this value.

    Raises `UnknownActor` for one of a kind that it does not know, otherwise `MalformedRecord`.
    """
    if isinstance(value, Object):
        return _actor(_only(value, "kind"), value)
    if isinstance(value, list) and value:
        return _actor_of_array(value[0], value[1:])
    raise MalformedRecord("an actor is missing or no object")


def _actor(kind: Json, value: Object) -> Actor:
    if kind == "human":
        return Human(_text(_only(value, "name")))
    if kind == "agent":
        return Agent(_text(_only(value, "id")))
    if kind == "system":
        return System()
    raise _unknown(kind)


def _actor_of_array(kind: Json, rest: list[Json]) -> Actor:
    if kind == "system" and not rest:
        return System()
    if kind in ("human", "agent") and len(rest) == 1:
        return Human(_text(rest[0])) if kind == "human" else Agent(_text(rest[0]))
    raise MalformedRecord("an array that is no actor")


def _unknown(kind: Json) -> MalformedRecord:
    if isinstance(kind, str):
        return UnknownActor(f"{kind[:40]!r} is no kind of actor that mur knows")
    return MalformedRecord("an actor's kind is not named")


def _text(value: Json) -> str:
    if not isinstance(value, str):
        raise MalformedRecord("an actor's name is missing or no string")
    return value


def _only(value: Object, wanted: str) -> Json:
    found = [member for name, member in value.members if name == wanted]
    if len(found) > 1:
        raise MalformedRecord(f"an actor has {wanted} twice")
    return found[0] if found else None
