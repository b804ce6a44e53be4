"""Asks `seal` for keys, signatures and their verification, in a short child process.

A daemon that has imported `cryptography` weighs 10 MB more for the rest of its life, so the work
happens elsewhere and only MessagePack crosses the pipes. Rule of the file: every call blocks (some
100 ms, most of it the start of Python) and belongs off the event loop; it knows nothing of rosters.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, TypeVar

import msgspec

from fleetsync.devices.roster import Claim, Sign
from fleetsync.errors import NotarySilent
from fleetsync.records import ed25519
from fleetsync.records.signatures import Signed

PATIENCE = 60.0
"""Seconds that a child may take; 2,000 signatures take one, on a slow disk Python takes some."""


FEW = 48
"""Signatures on channel lines that are verified here: they take as long as the start of a child."""


class Credentials(msgspec.Struct, frozen=True, array_like=True):
    """A private key and its certificate, both PEM."""

    key: bytes
    certificate: bytes


class SigningOrder(msgspec.Struct, frozen=True, array_like=True):
    """Messages to sign with a private key (PEM)."""

    key: bytes
    messages: list[bytes]


T = TypeVar("T")


def new_credentials(key: bytes | None) -> Credentials:
    """A certificate for this private key (PEM), or for a fresh one; raises `NotarySilent`."""
    return _ask("create", key, Credentials)


def verify_many(claims: Sequence[Claim]) -> list[bool]:
    """Which claims hold, in order; no claims cost no process. Raises `NotarySilent`."""
    return _ask("verify", list(claims), list[bool]) if claims else []


def check(claims: Sequence[Signed]) -> list[bool]:
    """Which claims hold by plain Ed25519, in order; what no child answers is found out here, more slowly."""
    if len(claims) > FEW:
        with suppress(NotarySilent):
            return _ask("check", list(claims), list[bool])
    return ed25519.check(claims)


def signer(key: bytes) -> Sign:
    """What signs with this private key (PEM), one process per signature; raises `NotarySilent`."""
    return lambda message: _ask("sign", SigningOrder(key, [message]), list[bytes])[0]


def _ask(task: str, question: Any, answer: type[T]) -> T:
    # -P: the child must not take modules from the directory that it happens to start in.
    command = [sys.executable, "-P", "-m", "fleetsync.devices.seal", task]
    try:
        child = subprocess.run(
            command, input=msgspec.msgpack.encode(question), capture_output=True, timeout=PATIENCE, check=True
        )
        return msgspec.msgpack.decode(child.stdout, type=answer)
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip().splitlines()
        raise NotarySilent(f"`seal {task}` failed: {said[-1] if said else error.returncode}") from error
    except (OSError, subprocess.TimeoutExpired, msgspec.MsgspecError) as error:
        raise NotarySilent(f"`seal {task}` failed: {error}") from error
