"""Last writer wins between two manifests, as mur decides it.

A pure function with three reasons, kept as recorded. A tie goes to "local", so two devices can
disagree: fleetsync itself decides by the total order of `merge/register.py`, which needs no "local",
and uses this where mur's own answer is wanted.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Protocol, TypeVar


class Reason(StrEnum):
    """Why one manifest won."""

    FORCE_LOCAL = "force_local"
    REMOTE_NEWER = "remote_newer"
    LOCAL_NEWER_OR_EQUAL = "local_newer_or_equal"


class _Instant(Protocol):
    def __lt__(self, other: Any, /) -> bool: ...


class Dated(Protocol):
    """A manifest, as far as this decision looks at it."""

    @property
    def updated_at(self) -> _Instant:
        """When it was last changed; 1970 where it does not say."""


M = TypeVar("M", bound=Dated)


def resolve_manifest_lww(local: M, remote: M, force_local: bool) -> tuple[M, Reason]:
    """The winner and the reason: the remote one only if it is strictly newer and nothing is forced."""
    if force_local:
        return local, Reason.FORCE_LOCAL
    if local.updated_at < remote.updated_at:
        return remote, Reason.REMOTE_NEWER
    return local, Reason.LOCAL_NEWER_OR_EQUAL
