"""THE table of budgets, and what a measurement says about them.

Rule of the file: a budget is a row here under its own words, with the numbers that must hold and
those that are good; a figure never says by itself whether it is met. Knows nothing of how anything
is measured or shown.
"""

from __future__ import annotations

from typing import NamedTuple


class Budget(NamedTuple):
    """What one quantity may be at most; `unit` is that of all three numbers."""

    name: str
    group: str
    unit: str
    must: float
    good: float


BUDGETS: tuple[Budget, ...] = (
    Budget("append → line visible in the peer's file, median", "latency", "ms", 150, 30),
    Budget("append → line visible in the peer's file, p95", "latency", "ms", 400, 100),
    Budget("a log written every second for a minute: worst staleness", "latency", "ms", 2000, 300),
    Budget("bytes on the wire for one appended line, kept connection, all included", "wire", "B", 1000, 600),
    Budget("no-change exchange, round trips", "wire", "", 1, 1),
    Budget("no-change exchange, bytes", "wire", "B", 600, 400),
    Budget("first sync, 200 skills, 100,000 events, 15.7 MB: time", "first_sync", "s", 6, 2),
    Budget("first sync, 200 skills, 100,000 events, 15.7 MB: share of the bytes", "first_sync", "%", 35, 20),
    Budget("reconcile at N = 1,000,000, d = 0: CPU per side", "reconcile", "ms", 0.5, 0.2),
    Budget("reconcile at N = 1,000,000, d = 1: CPU per side", "reconcile", "ms", 2, 1),
    Budget("reconcile at N = 1,000,000, d = 100 scattered: CPU per side", "reconcile", "ms", 60, 30),
    Budget("start with 1,000,000 indexed, unchanged events → ready", "start", "s", 3, 1),
    Budget("idle: CPU per minute", "idle", "ms", 60, 20),
    Budget("idle: wake-ups per second", "idle", "", 2, 0.5),
    Budget("idle: RSS at 100,000 events", "idle", "MB", 75, 60),
)


class Figure(NamedTuple):
    """A measured value of a budget, in its unit.

    `beside` is what it can be held against: the spread, or a floor measured in the same run.
    """

    name: str
    value: float
    beside: str = ""


def budget(name: str) -> Budget:
    """The budget of that name; raises `LookupError`."""
    for each in BUDGETS:
        if each.name == name:
            return each
    raise LookupError(name)


def verdict(figure: Figure) -> str:
    """How the figure stands to its budget: `good`, `must` or `missed`."""
    allowed = budget(figure.name)
    if figure.value <= allowed.good:
        return "good"
    return "must" if figure.value <= allowed.must else "missed"
