"""How soon things happen, in seconds: what a person may set under `[sync]` (DESIGN §9)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tempo:
    """Intervals, all in seconds."""

    push: float = 0.25  # a file that keeps changing is read and sent this often
    sweep: float = 60.0  # between two looks at all of home
    exchange: float = 300.0  # between two exchanges with a peer when nothing happens
    stale: float = 86_400.0  # a peer that has not converged for so long is an alert

    @property
    def lag(self) -> float:
        """An unsent item older than this means: not converged (SEMANTICS §6.1)."""
        return 2 * self.push
