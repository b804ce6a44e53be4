"""`python -m tests.simulation --seed 17 --verbose` tells a story again, `--seeds 0:20000 --jobs 2` many."""

from __future__ import annotations

import sys

from tests.simulation.replay import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
