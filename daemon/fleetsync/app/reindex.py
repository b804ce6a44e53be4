"""mur's list of channels follows what was written for peers: `mur internals reindex`, once per batch.

mur folds into its index only what it appends itself; lines and channels that appear on disk are not in
its lists until it looks at all of them again. That is asked for when writing has been quiet for a while,
in a child process. Rule of the file: it is mur's convenience, never ours: whatever goes wrong is told and
changes nothing. Implements docs/formats.md, "Channels".
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import anyio
import anyio.to_thread

from fleetsync.config import Channels
from fleetsync.ports import Alert

logger = logging.getLogger(__name__)

ARGUMENTS = ("internals", "reindex")
QUIET = 2.0
"""Seconds without another line after which a batch is over."""
AT_LATEST = 30.0
"""Seconds after which it is over although lines keep coming."""
PATIENCE = 300.0
"""Seconds that mur may take."""
_ROOT = "channels/"


class Reindex:
    """Runs the command for one home; create it inside the event loop. `settings` are those of now."""

    def __init__(self, home: Path, settings: Callable[[], Channels]) -> None:
        self.alert: Alert | None = None
        """What a person should know; None while all is well."""
        self._home = home
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._written = anyio.Event()

    def note(self, path: str) -> None:
        """A file of home was written; called from any thread."""
        if path.startswith(_ROOT) and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._note)

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            await self._written.wait()
            await self._batch_over()
            settings = self._settings()
            command = await anyio.to_thread.run_sync(shutil.which, settings.mur) if settings.reindex else None
            self.alert = None if command is None else await self._reindex(command)

    def _note(self) -> None:
        self._written.set()

    async def _batch_over(self) -> None:
        with anyio.move_on_after(AT_LATEST):
            quiet = False
            while not quiet:
                self._written = anyio.Event()
                with anyio.move_on_after(QUIET) as waiting:
                    await self._written.wait()
                quiet = waiting.cancelled_caught

    async def _reindex(self, command: str) -> Alert | None:
        shown = " ".join((Path(command).name, *ARGUMENTS))
        trouble = await self._trouble_with(command)
        if trouble is None:
            logger.debug("%s is done", shown)
            return None
        logger.warning("%s: %s", shown, trouble)
        return Alert(
            "reindex-failed",
            "mur's list of channels may be out of date.",
            f"`{shown}` {trouble}; channels themselves are complete",
            f"run `{shown}`, or set `[channels] reindex = false`",
        )

    async def _trouble_with(self, command: str) -> str | None:
        environ = {**os.environ, "MUR_HOME": str(self._home)}
        try:
            with anyio.fail_after(PATIENCE):
                done = await anyio.run_process(
                    [command, *ARGUMENTS], stdin=subprocess.DEVNULL, env=environ, check=False
                )
        except TimeoutError:
            return f"was not done after {PATIENCE:.0f} s"
        except OSError as error:
            return f"failed: {error}"
        if done.returncode == 0:
            return None
        said = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
        return f"failed: {said[-1][:200] if said else f'exit code {done.returncode}'}"
