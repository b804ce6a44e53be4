"""Reading single values out of mur's YAML without believing it.

Only the event API of PyYAML is used, bounded in size, depth and number of events: loaders recurse,
cut nanoseconds and change types. Values come back as the text that was written. Nothing is ever
emitted from here: manifests travel as bytes.
"""

from __future__ import annotations

import yaml

from fleetsync.errors import MalformedRecord
from fleetsync.records import timestamps

MAX_BYTES = 1 << 20
MAX_DEPTH = 32
MAX_EVENTS = 200_000

_LOADER: type[yaml.CBaseLoader] | type[yaml.BaseLoader] = getattr(yaml, "CBaseLoader", yaml.BaseLoader)


def top_scalars(data: bytes) -> dict[str, str]:
    """The scalars directly under the top-level mapping, as text.

    Raises `MalformedRecord` for what is not one YAML mapping within the bounds, for aliases, tags
    on collections and duplicate keys.
    """
    if len(data) > MAX_BYTES:
        raise MalformedRecord("the manifest is larger than 1 MiB")
    reader = _TopLevel()
    try:
        for count, event in enumerate(yaml.parse(data, Loader=_LOADER)):
            if count > MAX_EVENTS:
                raise MalformedRecord("the manifest has too many nodes")
            reader.take(event)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise MalformedRecord(f"not YAML: {str(error).splitlines()[0]}") from None
    return reader.scalars


def updated_at(data: bytes) -> int | None:
    """The manifest's `updated_at` in µs, or None where it has none that can be read."""
    try:
        text = top_scalars(data).get("updated_at")
        return None if text is None else timestamps.parse(text).micros
    except MalformedRecord:
        return None


class _TopLevel:
    """Collects key → value while counting depth; only depth 1 is of interest."""

    def __init__(self) -> None:
        self.scalars: dict[str, str] = {}
        self._depth = 0
        self._documents = 0
        self._key: str | None = None

    def take(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.AliasEvent):
            raise MalformedRecord("the manifest uses an alias")
        if isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                raise MalformedRecord("the manifest holds several documents")
        elif isinstance(event, yaml.CollectionStartEvent):
            self._open(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._depth -= 1
        elif isinstance(event, yaml.ScalarEvent) and self._depth == 1:
            self._scalar(event.value)

    def _open(self, event: yaml.CollectionStartEvent) -> None:
        if event.tag:
            raise MalformedRecord("the manifest uses a tag")
        self._depth += 1
        if self._depth == 1 and not isinstance(event, yaml.MappingStartEvent):
            raise MalformedRecord("the manifest is not a mapping")
        if self._depth > MAX_DEPTH:
            raise MalformedRecord("the manifest is nested too deeply")
        if self._depth == 2:
            self._key = None

    def _scalar(self, value: str) -> None:
        if self._key is None:
            self._key = value
            return
        if self._key in self.scalars:
            raise MalformedRecord(f"the manifest has the key {self._key[:40]!r} twice")
        self.scalars[self._key] = value
        self._key = None
