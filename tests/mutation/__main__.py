"""`python -m tests.mutation AREA [--in DIRECTORY] [MUTANT …]`: break an area and tell what no test noticed.

mutmut finds modules below `src/` and writes beside them, so the work is done in a copy; what it found
stays there with `--in`, and is gone on with. The words of errors are left alone: people read them.
A mutant that loops for ever is noticed once a single test has computed for two seconds and six times what it
usually takes; one that waits for ever, after six seconds and six times what all its tests take.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.mutation.areas import AREAS, Area
from tests.mutation.whole_tests import PROFILE

ROOT = Path(__file__).parents[2]
MUTMUT = (sys.executable, "-c", "from mutmut.__main__ import cli; cli()")
CONFIGURATION = """
[tool.mutmut]
source_paths = ["src"]
only_mutate = {modules}
do_not_mutate_patterns = ['^\\s*raise \\w+\\(f?"']
pytest_add_cli_args_test_selection = {tests}
pytest_add_cli_args = {options}
timeout_constant = 1.0
timeout_multiplier = 6.0
"""


def lay_out(place: Path, area: Area) -> None:
    """A copy of the project with the package below `src/`, and what mutmut is to know."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "daemon/fleetsync", place / "src/fleetsync", dirs_exist_ok=True, ignore=ignored)
    shutil.copytree(ROOT / "tests", place / "tests", dirs_exist_ok=True, ignore=ignored)
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (place / "pyproject.toml").write_text(project + configuration(area), encoding="utf-8")
    (place / "mutants/mutmut-stats.json").unlink(missing_ok=True)  # today's tests may reach other functions


def configuration(area: Area) -> str:
    """The part of pyproject.toml that is mutmut's."""
    options = ["-p", "no:cacheprovider", "-p", "tests.mutation.whole_tests"]
    return CONFIGURATION.format(
        modules=[f"src/fleetsync/{glob}" for glob in area.modules],
        tests=list(area.tests),
        options=[*(f"--deselect={test}" for test in area.without), *options],
    )


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("area", choices=AREAS)
    parser.add_argument("mutants", nargs="*", help="names or globs; all if there are none")
    parser.add_argument("--in", dest="place", type=Path, help="where to work, and to go on the next time")
    options = parser.parse_intermixed_args()
    with tempfile.TemporaryDirectory() as passing:
        place = options.place or Path(passing)
        lay_out(place, AREAS[options.area])
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "HYPOTHESIS_PROFILE": PROFILE}
        run = (*MUTMUT, "run", "--max-children", "1", *options.mutants)
        done = subprocess.run(run, cwd=place, env=environment, check=False).returncode
        subprocess.run((*MUTMUT, "results"), cwd=place, env=environment, check=False)
    return done


if __name__ == "__main__":
    sys.exit(main())
