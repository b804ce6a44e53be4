"""systemd/ and launchd/ hold what the code renders, and the managers' own tools accept it."""

from __future__ import annotations

import os
import plistlib
import shutil
import subprocess
from pathlib import Path

import pytest

from fleetsync.service import launchd, systemd
from fleetsync.service.manager import Launch

ROOT = Path(__file__).parents[2]
TYPICAL_AGENT = (
    Launch(Path("/Users/YOU/.local/bin/fleetsync")),
    Path("/Users/YOU/Library/Logs/fleetsync.log"),
)


def test_unit_copy_is_what_the_code_renders() -> None:
    """systemd/fleetsync.service is the rendered unit for a command in ~/.local/bin."""
    rendered = systemd.render(Launch(Path("~/.local/bin/fleetsync")))
    assert (ROOT / "systemd" / systemd.UNIT).read_text() == rendered


def test_agent_copy_is_what_the_code_renders() -> None:
    """launchd/run.mur.fleetsync.plist is the rendered agent, and plistlib reads it back."""
    copy = (ROOT / "launchd" / launchd.PLIST).read_bytes()
    assert copy == launchd.render(*TYPICAL_AGENT)
    assert plistlib.loads(copy)["Label"] == launchd.LABEL


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="this machine has no systemd")
def test_systemd_has_nothing_to_say_about_the_unit(tmp_path: Path) -> None:
    """`systemd-analyze --user verify` is silent; its exit code is 0 even for keys it does not know."""
    command = tmp_path / "50% odd" / "fleetsync"
    command.parent.mkdir()
    command.symlink_to("/bin/true")
    unit = tmp_path / systemd.UNIT
    unit.write_text(systemd.render(Launch(command, {"MUR_HOME": str(tmp_path / "a b%c")})))
    environ = os.environ | {"XDG_RUNTIME_DIR": str(tmp_path)}
    done = subprocess.run(
        ["systemd-analyze", "--user", "verify", unit],
        capture_output=True,
        text=True,
        check=False,
        env=environ,
    )
    assert (done.returncode, done.stderr) == (0, "")
