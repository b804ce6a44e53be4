"""`python -m tests.model`: the search with greater bounds, and what each known bug comes to.

Prints, of each search, its bounds, the states and steps seen, how deep they lie, and the trace if a rule is
broken; then the shortest trace of each known bug. Ends with 1 if a rule is broken or a bug is not found.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

from tests.model.explorer import Found, Model, explore
from tests.model.known_bugs import BUGS
from tests.model.lines import Bounds as LineBounds
from tests.model.lines import LineModel
from tests.model.machine import modelled_disk
from tests.model.registers import Bounds as RegisterBounds
from tests.model.registers import RegisterModel

LONG_LINES = (
    LineBounds(devices=3, lines=2, crashes=1, power=True, slow=2),
    LineBounds(devices=3, lines=3, crashes=0),
    LineBounds(devices=2, lines=3, crashes=1, power=True),
    LineBounds(devices=2, lines=2, crashes=3, power=True),
    LineBounds(devices=3, lines=2, crashes=2, power=True),
)
LONG_REGISTERS = (
    RegisterBounds(devices=3, deeds=2),
    RegisterBounds(devices=2, deeds=3, begun=False),
    RegisterBounds(devices=2, deeds=3),
    RegisterBounds(devices=3, deeds=3, ties=False, down=False, races=False),
)


def _told(name: str, search: Callable[[], Found]) -> Found:
    began = time.monotonic()
    found = search()
    print(f"{name}\n  {found}; {time.monotonic() - began:.0f} s", flush=True)
    return found


def _searches(most: int) -> bool:
    models: list[tuple[str, Model]] = [(f"lines: {b}", LineModel(b)) for b in LONG_LINES]
    models += [(f"registers: {b}", RegisterModel(b)) for b in LONG_REGISTERS]
    with modelled_disk():
        found = [_told(name, lambda model=model: explore(model, most=most)) for name, model in models]  # type: ignore[misc]
    states, steps = sum(each.states for each in found), sum(each.steps for each in found)
    print(
        f"{states:,} states and {steps:,} steps in {len(found)} searches, depth {max(f.depth for f in found)}"
    )
    return all(each.trace is None for each in found)


def _bugs() -> bool:
    good = True
    for bug in BUGS:
        with bug.put_back():
            found = _told(f"known bug: {bug.name}", lambda bug=bug: explore(bug.model()))  # type: ignore[misc]
        good = good and found.trace is not None and bug.ends in found.trace[-1]
    return good


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.model", description=__doc__)
    parser.add_argument("--most", type=int, default=3_000_000, help="states at most, of each search")
    parser.add_argument("--bugs", action="store_true", help="only the known bugs")
    options = parser.parse_args()
    good = options.bugs or _searches(options.most)
    return 0 if _bugs() and good else 1


if __name__ == "__main__":
    sys.exit(main())
