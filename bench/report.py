"""The figures as a table, for the terminal and for docs/performance.md between its two markers.

Rule of the file: rows stand in the order of the budgets; what was not measured now keeps the row it has
in the document. Nobody edits that table by hand.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable
from pathlib import Path

from bench.budgets import BUDGETS, Budget, Figure, verdict

DOCUMENT = Path(__file__).parents[1] / "docs/performance.md"
BEGIN, END = "<!-- bench -->", "<!-- /bench -->"
_BETWEEN = re.compile(f"(?<={BEGIN}\n).*?(?={END})", re.DOTALL)
_HEAD = (
    "| budget | measured | must | good | | beside it | load | command |\n|---|---|---|---|---|---|---|---|\n"
)
_MET = {"good": "good", "must": "met", "missed": "**missed**"}


def command(each: Budget) -> str:
    """What measures this budget again."""
    return f"python -m bench {each.group}"


def row(each: Budget, figure: Figure) -> str:
    """One row of the table."""
    cells = (
        each.name,
        _amount(figure.value, each.unit),
        _amount(each.must, each.unit),
        _amount(each.good, each.unit),
        _MET[verdict(figure)],
        figure.beside,
        f"{os.getloadavg()[1]:.1f}",
        f"`{command(each)}`",
    )
    return f"| {' | '.join(cells)} |"


def _amount(value: float, unit: str) -> str:
    text = f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"
    return f"{text} {unit}".strip()


def machine() -> str:
    """One line about where and under what the figures were measured."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (
        f"{_processor()}, {cores} cores, {platform.system()} {platform.release()},"
        f" Python {platform.python_version()}. The load is the machine's average over the last five minutes"
        " of measuring, the daemons' own included: above 2, other programs worked on the same cores and disk."
    )


def _processor() -> str:
    try:
        found = re.search(
            r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(encoding="ascii"), re.MULTILINE
        )
    except OSError:
        found = None
    return found[1] if found else platform.machine()


def table(figures: Iterable[Figure]) -> str:
    """The rows of these figures, with their head."""
    by_name = {figure.name: figure for figure in figures}
    return _HEAD + "".join(f"{row(each, by_name[each.name])}\n" for each in BUDGETS if each.name in by_name)


def write(figures: Iterable[Figure], document: Path = DOCUMENT) -> None:
    """Put the figures into the document; rows of what was not measured stay as they are."""
    text = document.read_text(encoding="utf-8")
    present = "".join(_BETWEEN.findall(text))
    by_name = {figure.name: figure for figure in figures}
    rows = []
    for each in BUDGETS:
        old = re.search(rf"^\| {re.escape(each.name)} \|.*$", present, re.MULTILINE)
        if each.name in by_name:
            rows.append(row(each, by_name[each.name]))
        elif old is not None:
            rows.append(old[0])
    fresh = f"{machine()}\n\n{_HEAD}" + "".join(f"{each}\n" for each in rows)
    document.write_text(_BETWEEN.sub(lambda _: fresh, text), encoding="utf-8")
