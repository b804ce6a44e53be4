"""Shapes: how a type of the experience ledger stands in JSON, derived from its annotations.

A shape reads strictly (what the reference refuses is `MalformedRecord`), writes exactly as the
reference writes (every field, in order, `None` as null), and makes *canonical text*: equal for two
spellings of one content, whatever the order of keys, absent or null, digits of a float. Canonical
text keeps members that no type names and values of other types, so that what is unknown still counts.
It refuses to know any particular type. Implements docs/experience.md, "Shapes" and "Canonical content".
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from functools import cached_property, lru_cache
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import msgspec

from fleetsync.errors import MalformedRecord
from fleetsync.records import strictjson
from fleetsync.records.experience_json import canonical_json, member, refuse
from fleetsync.records.experience_scalars import Anything, Choice, Real, Shape, Text, Truth
from fleetsync.records.strictjson import Json, Object, print_string

# --- values made of values -------------------------------------------------------------------------


class Maybe:
    """A value or null."""

    def __init__(self, inner: Shape) -> None:
        self.inner = inner

    def read(self, value: Json) -> Any:
        """See `Shape.read`."""
        return None if value is None else self.inner.read(value)

    def write(self, value: Any) -> str:
        """See `Shape.write`."""
        return "null" if value is None else self.inner.write(value)

    def canonical(self, value: Json) -> str:
        """See `Shape.canonical`."""
        return "null" if value is None else _canonical_or_free(self.inner, value)


class Sequence:
    """A list; a tuple in Python."""

    def __init__(self, inner: Shape) -> None:
        self.inner = inner

    def read(self, value: Json) -> tuple[Any, ...]:
        """See `Shape.read`."""
        return tuple(map(self.inner.read, value)) if isinstance(value, list) else refuse("a list", value)

    def write(self, value: Any) -> str:
        """See `Shape.write`."""
        if not isinstance(value, list | tuple):
            return refuse("a list", value)
        return f"[{','.join(map(self.inner.write, value))}]"

    def canonical(self, value: Json) -> str:
        """See `Shape.canonical`."""
        if not isinstance(value, list):
            return refuse("a list", value)
        return f"[{','.join(_canonical_or_free(self.inner, each) for each in value)}]"


class Table:
    """A map from strings; of two equal keys the last counts."""

    def __init__(self, keys: Shape, inner: Shape) -> None:
        self.keys = keys
        self.inner = inner

    def read(self, value: Json) -> dict[Any, Any]:
        """See `Shape.read`."""
        if not isinstance(value, Object):
            return refuse("an object", value)
        return {self.keys.read(key): self.inner.read(each) for key, each in value.members}

    def write(self, value: Any) -> str:
        """See `Shape.write`."""
        if not isinstance(value, Mapping):
            return refuse("an object", value)
        return "{" + ",".join(f"{self.keys.write(k)}:{self.inner.write(v)}" for k, v in value.items()) + "}"

    def canonical(self, value: Json) -> str:
        """See `Shape.canonical`."""
        if not isinstance(value, Object):
            return refuse("an object", value)
        members = sorted(dict(value.members).items())
        return (
            "{" + ",".join(f"{print_string(k)}:{_canonical_or_free(self.inner, v)}" for k, v in members) + "}"
        )


class _Field(msgspec.Struct, frozen=True):
    attribute: str
    name: str
    shape: Shape
    absent: str | None
    """The canonical text of a field that is not there; None: it must be."""
    default: Any


class Fields:
    """A struct: named fields in a fixed order. Other members are ignored by `read`, not by `canonical`."""

    def __init__(self, kind: type[msgspec.Struct]) -> None:
        self.kind = kind

    def read(self, value: Json) -> Any:
        """See `Shape.read`; a field that is there twice is refused."""
        members = self._members(value)
        return self.kind(**{field.attribute: self._read(field, members) for field in self._fields})

    def write(self, value: Any) -> str:
        """See `Shape.write`."""
        return "{" + ",".join(self.written(value)) + "}"

    def written(self, value: Any) -> list[str]:
        """`"name":value` for each field."""
        if type(value) is not self.kind:
            return refuse(f"a {self.kind.__name__}", value)
        return [f'"{field.name}":{self._write(field, value)}' for field in self._fields]

    def canonical(self, value: Json) -> str:
        """See `Shape.canonical`."""
        return "{" + ",".join(self.canonical_members(value, ())) + "}"

    def canonical_members(self, value: Json, known: tuple[str, ...]) -> list[str]:
        """The canonical text of each member; `known` are members that the caller sees to."""
        members = self._members(value)
        parts = [f'"{field.name}":{self._canonical(field, members)}' for field in self._fields]
        extra = sorted(members.keys() - {field.name for field in self._fields} - set(known))
        return parts + [f"{print_string(name)}:{canonical_json(members[name])}" for name in extra]

    def _members(self, value: Json) -> dict[str, Json]:
        if not isinstance(value, Object):
            return refuse("an object", value)
        members = dict(value.members)
        if len(members) != len(value.members):
            names = [name for name, _ in value.members]
            twice = [field.name for field in self._fields if names.count(field.name) > 1]
            if twice:
                raise MalformedRecord(f"{twice[0]} is there twice")
        return members

    def _read(self, field: _Field, members: dict[str, Json]) -> Any:
        if field.name not in members and field.absent is not None:
            return field.default
        if field.name not in members:
            raise MalformedRecord(f"{field.name} is missing")
        try:
            return field.shape.read(members[field.name])
        except MalformedRecord as error:
            raise MalformedRecord(f"{field.name}: {error.message}") from None

    def _write(self, field: _Field, value: Any) -> str:
        try:
            return field.shape.write(getattr(value, field.attribute))
        except MalformedRecord as error:
            raise MalformedRecord(f"{field.name}: {error.message}") from None

    @staticmethod
    def _canonical(field: _Field, members: dict[str, Json]) -> str:
        if field.name not in members:
            return field.absent or "absent"
        return _canonical_or_free(field.shape, members[field.name])

    @cached_property
    def _fields(self) -> list[_Field]:
        hints = get_type_hints(self.kind, include_extras=True)
        names = zip(self.kind.__struct_fields__, self.kind.__struct_encode_fields__, strict=True)
        defaults = {field.name: field.default for field in msgspec.structs.fields(self.kind)}
        return [_field(attribute, name, hints[attribute], defaults[attribute]) for attribute, name in names]


class Flat:
    """One of several structs, told apart by a member `type` among their fields."""

    def __init__(self, **kinds: type[msgspec.Struct]) -> None:
        self.kinds = kinds

    def read(self, value: Json) -> Any:
        """See `Shape.read`."""
        return fields_of(self._kind(value)).read(value)

    def write(self, value: Any) -> str:
        """See `Shape.write`."""
        tag = _tag_of(self.kinds, value)
        return f'{{"type":"{tag}",' + ",".join(fields_of(self.kinds[tag]).written(value)) + "}"

    def canonical(self, value: Json) -> str:
        """See `Shape.canonical`."""
        kind = self._kind(value)
        tag = next(name for name, each in self.kinds.items() if each is kind)
        parts = fields_of(kind).canonical_members(value, ("type",))
        return f'{{"type":"{tag}",' + ",".join(parts) + "}"

    def _kind(self, value: Json) -> type[msgspec.Struct]:
        return _kind_of(self.kinds, value)


class Wrapped:
    """One of several structs inside `{"type": <its name>, <content>: {…}}`."""

    def __init__(self, content: str, **kinds: type[msgspec.Struct]) -> None:
        self.content = content
        self.kinds = kinds

    def read(self, value: Json) -> Any:
        """See `Shape.read`."""
        return fields_of(_kind_of(self.kinds, value)).read(self._content(value))

    def write(self, value: Any) -> str:
        """See `Shape.write`."""
        tag = _tag_of(self.kinds, value)
        return f'{{"type":"{tag}","{self.content}":{fields_of(self.kinds[tag]).write(value)}}}'

    def canonical(self, value: Json) -> str:
        """See `Shape.canonical`."""
        kind = _kind_of(self.kinds, value)
        inner = fields_of(kind).canonical(self._content(value))
        members = dict(value.members) if isinstance(value, Object) else {}
        extra = sorted(members.keys() - {"type", self.content})
        tail = "".join(f",{print_string(name)}:{canonical_json(members[name])}" for name in extra)
        tag = next(name for name, each in self.kinds.items() if each is kind)
        return f'{{"type":"{tag}","{self.content}":{inner}{tail}}}'

    def _content(self, value: Json) -> Json:
        found = member(value, self.content)
        return found if isinstance(found, Object) else refuse(f"an object as {self.content}", found)


# --- from annotations to shapes ----------------------------------------------------------------------

ABSENT_TAKES_DEFAULT = "absent takes default"
"""Marks a field that may be absent (never null) when read, and then has the default of its class."""

_SCALARS: dict[Any, Shape] = {str: Text(), bool: Truth(), float: Real(), Any: Anything()}


@lru_cache(maxsize=256)
def fields_of(kind: type[msgspec.Struct]) -> Fields:
    """The shape of a struct."""
    return Fields(kind)


def shape_of(annotation: Any) -> Shape:
    """The shape that an annotation stands for; a shape inside `Annotated` is taken as it is."""
    if get_origin(annotation) is Annotated:
        inner, *marks = get_args(annotation)
        return next((mark for mark in marks if not isinstance(mark, str)), None) or shape_of(inner)
    if annotation in _SCALARS:
        return _SCALARS[annotation]
    arguments = get_args(annotation)
    if get_origin(annotation) in (Union, UnionType) and NoneType in arguments:
        return Maybe(shape_of(next(each for each in arguments if each is not NoneType)))
    if get_origin(annotation) is tuple:
        return Sequence(shape_of(arguments[0]))
    if get_origin(annotation) is dict:
        return Table(shape_of(arguments[0]), shape_of(arguments[1]))
    return Choice(annotation) if issubclass(annotation, StrEnum) else fields_of(annotation)


def _field(attribute: str, name: str, annotation: Any, default: Any) -> _Field:
    shape = shape_of(annotation)
    marks = get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()
    if ABSENT_TAKES_DEFAULT in marks:
        return _Field(
            attribute, name, shape, shape.canonical(strictjson.parse(shape.write(default).encode())), default
        )
    optional = isinstance(shape, Maybe) or annotation is Any  # free JSON may be null, so it may be absent
    return _Field(attribute, name, shape, "null" if optional else None, None)


def _canonical_or_free(shape: Shape, value: Json) -> str:
    """What has another shape than expected (a newer version wrote it) still has a canonical text."""
    try:
        return shape.canonical(value)
    except MalformedRecord:
        return canonical_json(value)


def _kind_of(kinds: dict[str, type[msgspec.Struct]], value: Json) -> type[msgspec.Struct]:
    tag = member(value, "type")
    if not isinstance(tag, str) or tag not in kinds:
        return refuse(f"one of {', '.join(kinds)} as type", tag)
    return kinds[tag]


def _tag_of(kinds: dict[str, type[msgspec.Struct]], value: Any) -> str:
    tag = next((name for name, kind in kinds.items() if type(value) is kind), None)
    return refuse(f"one of {', '.join(kinds)}", value) if tag is None else tag
