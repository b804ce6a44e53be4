"""`make bench`: every budget of the project measured on this machine, as a table.

`python -m bench` measures all groups and writes the table into docs/performance.md; `python -m bench GROUP…`
only those, and only their rows. Takes about ten minutes and wants the machine for itself.
"""

from __future__ import annotations

import importlib
import sys

from bench import report
from bench.budgets import BUDGETS, Figure, verdict

GROUPS = tuple(dict.fromkeys(each.group for each in BUDGETS))


def main(groups: list[str]) -> int:
    """Measure, print and write; 1 if a budget is missed."""
    unknown = set(groups) - set(GROUPS)
    if unknown:
        print(f"no such group: {', '.join(sorted(unknown))}; there are {', '.join(GROUPS)}", file=sys.stderr)
        return 2
    figures: list[Figure] = []
    for group in groups or GROUPS:
        print(f"measuring {group} …", file=sys.stderr, flush=True)
        measured = importlib.import_module(f"bench.{group}").measure()
        print(report.table(measured), flush=True)
        report.write(measured)
        figures += measured
    return int(any(verdict(figure) == "missed" for figure in figures))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
