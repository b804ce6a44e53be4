"""Whether a reference to a secret leads to one on this device. The secret itself is never read.

Knows the two places that mur's references name: the environment, here the daemon's own, and the
system's keychain, which is asked through the system's own program and never unlocked. Where there is no
such program nothing in a keychain resolves. Answers are kept for a minute.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping

KEPT = 60.0
"""Seconds for which an answer is good."""
_PATIENCE = 3.0


class References:
    """Asked from a worker thread: a keychain may take a while. `monotonic` is in seconds."""

    def __init__(
        self,
        environment: Mapping[str, str],
        in_keychain: Callable[[str, str], bool],
        monotonic: Callable[[], float],
    ) -> None:
        self._environment = environment
        self._in_keychain = in_keychain
        self._monotonic = monotonic
        self._answers: dict[str, tuple[float, bool]] = {}

    def resolves(self, reference: str) -> bool:
        """Whether `env:NAME` or `keychain:service/account` leads to something here."""
        scheme, _, rest = reference.partition(":")
        if scheme == "env":
            return bool(self._environment.get(rest))
        if scheme != "keychain":
            return False
        until, answer = self._answers.get(reference, (0.0, False))
        if self._monotonic() >= until:
            service, _, account = rest.partition("/")
            answer = self._in_keychain(service, account)
            self._answers[reference] = (self._monotonic() + KEPT, answer)
        return answer


def in_keychain(service: str, account: str) -> bool:
    """Whether the keychain of this system has such an item."""
    if not (service + account).isprintable():
        return False
    if sys.platform == "darwin":
        return _says(["security", "find-generic-password", "-s", service, "-a", account])
    return _says(["secret-tool", "search", "--", "service", service, "username", account], "attribute.")


def _says(command: list[str], word: str = "") -> bool:
    """Whether it ends well and says so; what it prints of secrets goes nowhere."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=_PATIENCE,
            env={**os.environ, "LC_ALL": "C"},
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0 and word.encode() in done.stderr
