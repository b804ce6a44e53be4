"""One invocation: what the person asked for beside the command itself, and where things are.

`Session` is the click context object: frozen, replaced by each common option that is given. Where
home and the state directory are, and all settings, `config.py` decides (flag, environment, file,
default); it is imported when a command asks.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fleetsync.cli.control import Control
    from fleetsync.config import Flags, Settings


@dataclass(frozen=True)
class Session:
    """The options of one command line that are settings, and the environment they override."""

    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ), repr=False)
    json: bool = False
    home: str | None = None
    state_dir: str | None = None
    config: str | None = None
    listen: str | None = None
    log_level: str | None = None
    log_file: str | None = None

    def flags(self) -> Flags:
        """What was said on the command line."""
        from fleetsync.config import Flags

        return Flags(self.home, self.state_dir, self.config, self.listen, self.log_level, self.log_file)

    def settings(self) -> Settings:
        """All settings. Raises `BrokenConfig`."""
        from fleetsync.config import Settings

        return Settings.load(self.flags(), self.environ, sys.platform)

    def home_path(self) -> Path:
        """The tree being synced; the config file has no say in it."""
        from fleetsync.config import home_directory

        return home_directory(self.flags(), self.environ)

    def state_path(self) -> Path:
        """Where fleetsync's own files are; the config file has no say in it."""
        from fleetsync.config import state_directory

        return state_directory(self.flags(), self.environ, sys.platform)

    def control(self) -> Control:
        """The running daemon; it is first spoken to by a call."""
        from fleetsync.cli.control import Control

        return Control(self.state_path())
