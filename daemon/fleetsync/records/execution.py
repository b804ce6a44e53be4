"""The event that one run of a skill leaves behind, made as mur makes it.

A failed run is classed by what it printed: markers of a broken environment (network, credentials,
missing programs) or, without any, a fault of the workflow itself. The person may overrule that.
Clock and device are arguments. Implements docs/formats.md, "Recording a run".
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import msgspec

from fleetsync.errors import MalformedRecord
from fleetsync.records import skills
from fleetsync.records.skills import SkillEvent
from fleetsync.records.timestamps import Timestamp

MAX_ERROR_CHARACTERS = 500
"""How much of what a failed run printed is kept; characters, not bytes."""

ENV_MARKERS = (
    # the network
    "connection refused",
    "connection reset",
    "could not resolve",
    "network is unreachable",
    "temporary failure in name resolution",
    "timed out",
    "timeout",
    # who one is, and what one may do
    "401",
    "403",
    "429",
    "certificate",
    "credential",
    "forbidden",
    "permission denied",
    "rate limit",
    "tls",
    "unauthorized",
    # what is there
    "command not found",
    "disk full",
    "no space left",
    "no such file or directory",
    "not found in path",
)
"""Any of these anywhere in the lower-cased text speaks for the environment (mur's own list)."""


class EnvClass(NamedTuple):
    """What a failure was due to, and how sure that is (0 … 1)."""

    name: str
    confidence: float


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One finished run of a skill. `stderr` is what the failing step printed."""

    success: bool
    stderr: str | None = None
    exit_code: int | None = None
    duration_ms: int | None = None
    failed_step: str | None = None
    trigger: Literal["manual", "schedule", "agent"] | str = "manual"
    env_class_override: str | None = None


def classify_failure(stderr: str) -> EnvClass:
    """What a failed run's output speaks for: no marker, one marker, several different ones."""
    lowered = stderr.lower()
    hits = sum(marker in lowered for marker in ENV_MARKERS)
    if hits == 0:
        return EnvClass("workflow", 0.6)
    return EnvClass("env", 0.6 if hits == 1 else 0.9)


def event_of(run: Run, ts: Timestamp, device_id: str) -> SkillEvent:
    """The execution event of a run; texts that UTF-8 cannot hold lose those characters."""
    env_class, confidence = _blame(run)
    stderr = None if run.success else run.stderr
    return SkillEvent(
        kind="execution",
        ts=ts,
        device_id=_sayable(device_id),
        outcome="success" if run.success else "failure",
        error=None if stderr is None else _sayable(stderr[:MAX_ERROR_CHARACTERS]),
        step=None if run.failed_step is None else _sayable(run.failed_step),
        duration_ms=run.duration_ms,
        exit_code=run.exit_code,
        env_class=None if env_class is None else _sayable(env_class),
        confidence=confidence,
        trigger=_sayable(run.trigger),
    )


def record_run(run: Run, ts: Timestamp, device_id: str) -> bytes:
    """The line to append for a run, without a line break.

    Raises `MalformedRecord` for numbers that mur could not read back.
    """
    line = event_of(run, ts, device_id).canonical
    if not skills.readable_by_mur(line):
        raise MalformedRecord(f"duration {run.duration_ms} or exit code {run.exit_code} is out of range")
    return line


def _blame(run: Run) -> tuple[str | None, float | None]:
    if run.success:
        return None, None
    if run.env_class_override is not None:
        return run.env_class_override, 1.0
    return classify_failure(run.stderr or "")


def _sayable(text: str) -> str:
    return text.encode(errors="replace").decode()
