"""The floors of docs/ARCHITECTURE.md hold: import-linter reads the contracts in pyproject.toml."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "daemon/fleetsync"


def test_import_contracts_hold() -> None:
    """Imports only go down, rooms on one floor do not meet, and the pure floors stay pure."""
    command = [
        sys.executable,
        "-c",
        "from importlinter.cli import lint_imports_command as m; m()",
        "--no-cache",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 kept, 0 broken" in done.stdout


def test_every_room_has_a_floor() -> None:
    """The contract's floors name all rooms and nothing else, so none escapes it by being new."""
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
    floors = {room.strip(" ()") for floor in contract["layers"] for room in floor.split("|")}
    rooms = {path.stem for path in PACKAGE.glob("*.py") if path.stem != "__init__"}
    rooms |= {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert rooms <= floors
    assert contract["exhaustive"]


def test_daemon_is_no_package() -> None:
    """daemon/ is a source root: as a package it would overwrite python-daemon's files when installed."""
    assert sorted(path.name for path in PACKAGE.parent.iterdir() if path.name != "__pycache__") == [
        "fleetsync"
    ]
