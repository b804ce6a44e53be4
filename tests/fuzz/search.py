"""One target's search, in a process of its own: `python -m tests.fuzz.search TARGET [libFuzzer options]`.

Needs atheris, as nothing else here does; `make fuzz` installs it. The product is instrumented as it is
imported, so atheris comes before it.
"""

from __future__ import annotations

import sys

import atheris


def main(arguments: list[str]) -> None:
    """Search until libFuzzer ends the process."""
    with atheris.instrument_imports(include=["fleetsync"]):
        from tests.fuzz.targets import TARGETS
    check = TARGETS[arguments[0]].check
    atheris.Setup([sys.argv[0], *arguments[1:]], check)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
