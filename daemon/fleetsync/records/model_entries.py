"""One entry of `models.yaml`: what it may be to travel, and whether it is of use on this device.

An entry is a YAML mapping, as text. One whose secret is a command never travels, for it would be code
from elsewhere; nor does one with anchors, aliases, tags or merge keys. What mur could not read must
not be put into its file, so that is checked more strictly than mur does. Nothing here looks up a
secret: whether one resolves is asked of the caller. Implements docs/formats.md, "Models".
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

from fleetsync.errors import MalformedRecord
from fleetsync.records import timestamps, yamltree
from fleetsync.records.strictjson import Json, Number
from fleetsync.records.yamlscalars import meaning
from fleetsync.records.yamltree import Mapping, Node, Scalar, Sequence

MAX_NAME = 128
"""The longest name of an entry, bytes of UTF-8."""


def check_entry(name: str, value: bytes) -> None:
    """The predicate of membership (SEMANTICS §1.3): raises `MalformedRecord` for what no correct peer
    accepts as an entry: a name that cannot be one, no mapping, a key twice, a secret that is a command.
    """
    if not 0 < len(name.encode(errors="replace")) <= MAX_NAME or not name.isprintable() or name == "<<":
        raise MalformedRecord(f"{name[:40]!r} is no name for a model")
    check_node(yamltree.read(value))


def digest(value: bytes) -> bytes:
    """The SHA-256 of what an entry says, however it is spelled; raises `MalformedRecord`."""
    return yamltree.digest(yamltree.read(value))


def readable_by_mur(value: bytes) -> bool:
    """Whether mur certainly reads this entry; in doubt False. One that it cannot read makes it drop the
    whole file (SEMANTICS §4.3).
    """
    try:
        fields = {key.text: node for key, node in check_node(yamltree.read(value)).members}
    except MalformedRecord:
        return False
    return all(_READERS[name](node) for name, node in fields.items() if name in _READERS)


def check_node(node: Node) -> Mapping:
    """The entry that a node is; raises `MalformedRecord` as `check_entry` does."""
    if not isinstance(node, Mapping):
        raise MalformedRecord("an entry that is no mapping")
    yamltree.digest(node)  # no key twice, no tags
    _check_merge_keys(node)
    if _scheme(node) == "cmd":
        raise MalformedRecord("its secret is a command, which would be code from elsewhere")
    return node


def _check_merge_keys(node: Node) -> None:
    if isinstance(node, Mapping):
        if any(key.plain and key.text == "<<" for key, _ in node.members):
            raise MalformedRecord("the YAML uses a merge key")
        for _, value in node.members:
            _check_merge_keys(value)
    elif isinstance(node, Sequence):
        for item in node.items:
            _check_merge_keys(item)


# --- secrets ------------------------------------------------------------------------------------------


class Level(Enum):
    """How bad it is that an entry's secret is what it is."""

    REFUSED = "refused"  # never stored, sent or written
    FLAGGED = "flagged"  # written, and a person should look
    DEGRADED = "degraded"  # written, and of no use here yet


class SecretProblem(NamedTuple):
    """What is wrong with a secret; `detail` is for people and never shows a command."""

    level: Level
    detail: str


def secret_problem(value: bytes, resolves: Callable[[str], bool]) -> SecretProblem | None:
    """What is wrong with the secret of an entry on this device; None if it has none or it will do.

    `resolves` says of an `env:` or `keychain:` reference whether there is such a thing here.
    """
    node = yamltree.read(value)
    reference = _secret(node)
    scheme = _scheme(node)
    if reference is None:
        return None
    if scheme == "cmd":
        return SecretProblem(Level.REFUSED, "the secret is a command, which would be code from elsewhere")
    if not _is_reference(reference):
        return SecretProblem(Level.DEGRADED, "the secret is no reference of a kind that mur knows")
    if scheme == "file":
        return SecretProblem(Level.FLAGGED, f"{reference} is a path on the device where it was entered")
    if not resolves(reference):
        return SecretProblem(Level.DEGRADED, f"{reference} does not resolve on this device")
    return None


def _secret(node: Node) -> str | None:
    secret = node.get("secret") if isinstance(node, Mapping) else None
    if not isinstance(secret, Scalar) or (secret.plain and meaning(secret.text) is None):
        return None
    return secret.text


def _scheme(node: Node) -> str:
    """`cmd` for all that a lenient reader might take for it; as written otherwise."""
    scheme = (_secret(node) or "").partition(":")[0]
    return "cmd" if scheme.strip().lower() == "cmd" else scheme


def _is_reference(text: str) -> bool:
    scheme, colon, rest = text.partition(":")
    return colon == ":" and (scheme in ("env", "file") or (scheme == "keychain" and "/" in rest))


# --- what mur reads -----------------------------------------------------------------------------------


def _value(node: Node) -> Json:
    """What mur sees where it wants a number, a truth value or nothing; a string for anything else."""
    return meaning(node.text) if isinstance(node, Scalar) and node.plain else ""


def _is_text(node: Node) -> bool:
    return isinstance(node, Scalar)


def _is_texts(node: Node) -> bool:
    return isinstance(node, Sequence) and all(map(_is_text, node.items))


def _is_secret(node: Node) -> bool:
    return isinstance(node, Scalar) and _is_reference(node.text)


def _is_word(*words: str) -> Callable[[Node], bool]:
    return lambda node: isinstance(node, Scalar) and node.text in words


def _is_tier(node: Node) -> bool:
    return isinstance(node, Scalar) and node.text.lower() in ("local", "frontier")


def _is_number(node: Node) -> bool:
    return isinstance(_value(node), Number)


def _is_count(node: Node) -> bool:
    value = _value(node)
    return isinstance(value, Number) and isinstance(value.value, int) and 0 <= value.value < 2**64


def _is_truth(node: Node) -> bool:
    return isinstance(_value(node), bool)


def _is_time(node: Node) -> bool:
    try:
        return isinstance(node, Scalar) and timestamps.parse(node.text).canonical == node.text
    except MalformedRecord:
        return False


def _or_nothing(reader: Callable[[Node], bool]) -> Callable[[Node], bool]:
    return lambda node: _value(node) is None or reader(node)


_READERS: dict[str, Callable[[Node], bool]] = {
    "provider": _is_text,
    "vendor": _is_text,
    "model": _is_text,
    "base_url": _is_text,
    "secret": _or_nothing(_is_secret),
    "capabilities": _is_texts,
    "tier": _or_nothing(_is_tier),
    "cost_per_1k_tokens": _or_nothing(_is_number),
    "input_cost_per_1k": _or_nothing(_is_number),
    "output_cost_per_1k": _or_nothing(_is_number),
    "context_window": _or_nothing(_is_count),
    "priced_at": _or_nothing(_is_time),
    "billing": _or_nothing(_is_word("subscription", "usage_billed", "local")),
    "catalog_verified": _or_nothing(_is_truth),
}
"""What a field may hold; any other, `params` too, may hold anything."""
