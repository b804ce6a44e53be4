"""Two real daemons on throw-away homes: what `demo` plays on.

Everything goes through the installed command in processes of its own, as a person would do it.
Rule of the file: whatever happens, the processes end and the directories go.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from fleetsync.errors import DemoFailed, FleetsyncError

T = TypeVar("T")

START_SECONDS = 20.0
COMMAND_SECONDS = 60.0
STOP_SECONDS = 3.0
POLL_SECONDS = 0.002


def until(condition: Callable[[], T | None], what: str, seconds: float = COMMAND_SECONDS) -> T:
    """What the condition returns once it is neither None nor False. Raises `DemoFailed` when it is late."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = condition()
        if found is not None and found is not False:
            return found
        time.sleep(POLL_SECONDS)
    raise DemoFailed(f"after {seconds:.0f} s still not: {what}")


class Laptop:
    """One pretended laptop: a home, a state directory, and its daemon."""

    def __init__(self, name: str, root: Path, environ: Mapping[str, str]) -> None:
        self.name = name
        self.home = root / name / "mur"
        self._state = root / name / "state"
        self._log = root / name / "daemon.log"
        self._daemon: subprocess.Popen[bytes] | None = None
        self.environ = {
            **environ,
            "MUR_HOME": str(self.home),
            "FLEETSYNC_STATE_DIR": str(self._state),
            "FLEETSYNC_CONFIG": str(root / name / "config.toml"),
            "FLEETSYNC_LISTEN": "127.0.0.1:0",
        }
        self.environ.pop("NOTIFY_SOCKET", None)
        self.home.mkdir(parents=True)
        config = Path(self.environ["FLEETSYNC_CONFIG"])
        config.write_text(f'[device]\nname = "{name}"\n', encoding="utf-8")

    def start(self) -> None:
        """Start the daemon and wait until it says that it is ready."""
        with self._log.open("wb") as log:
            self._daemon = self._spawn("run", stderr=log)
        until(self._is_ready, f"{self.name}: the daemon is ready", START_SECONDS)

    def _is_ready(self) -> bool:
        if self._daemon is None or self._daemon.poll() is not None:
            raise DemoFailed(f"{self.name}: the daemon ended at once")
        return b"fleetsync ready:" in self._log.read_bytes()

    def log(self) -> str:
        """The last lines that the daemon wrote."""
        return "\n".join(self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])

    def ran(self) -> bool:
        """Whether the daemon was ever started."""
        return self._daemon is not None

    def stop(self) -> int | None:
        """End the daemon with SIGTERM; its exit code, None if it never ran or had to be killed."""
        if self._daemon is None:
            return None
        self._daemon.send_signal(signal.SIGTERM)
        try:
            return self._daemon.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._daemon.kill()
            self._daemon.wait()
            return None

    def ask(self, *arguments: str) -> dict[str, Any]:
        """The one document that a command prints; an error in it is raised, exit codes 0 and 3 are fine."""
        done = subprocess.run(
            self._command(*arguments, "--json"),
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        try:
            document: dict[str, Any] = json.loads(done.stdout)
        except ValueError:
            said = (done.stderr or done.stdout).decode(errors="replace").strip()
            raise DemoFailed(f"{self.name}: `fleetsync {' '.join(arguments)}`: {said}") from None
        if "error" in document:
            raise DemoFailed(
                f"{self.name}: `fleetsync {' '.join(arguments)}`: {document['error']['message']}"
            )
        return document

    @contextmanager
    def offer_code(self) -> Iterator[tuple[dict[str, Any], Callable[[], dict[str, Any]]]]:
        """`fleetsync pair`: the offered code, and a call that waits for what comes of it."""
        with self._spawn("pair", "--json", stdout=subprocess.PIPE) as offering:
            assert offering.stdout is not None
            stream = offering.stdout

            def next_document() -> dict[str, Any]:
                document: dict[str, Any] = json.loads(stream.readline() or b"{}")
                return document

            try:
                yield next_document(), next_document
            finally:
                offering.kill()

    def _spawn(self, *arguments: str, **streams: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self._command(*arguments), env=self.environ, stdin=subprocess.DEVNULL, **streams
        )

    def _command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "fleetsync", *arguments]


@contextmanager
def two_laptops() -> Iterator[tuple[Laptop, Laptop]]:
    """Two laptops with running daemons that do not know each other; nothing is left of them after."""
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fleetsync-demo-")))
        laptops = [Laptop(name, root, os.environ) for name in ("desk", "travel")]
        try:
            for laptop in laptops:
                stack.callback(laptop.stop)
                laptop.start()
            yield laptops[0], laptops[1]
        except FleetsyncError as error:
            logs = "\n".join(f"--- {laptop.name} ---\n{laptop.log()}" for laptop in laptops if laptop.ran())
            raise DemoFailed(f"{error.message}\n{logs}") from error
