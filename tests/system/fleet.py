"""A fleet for system tests: real daemons, started by the installed command, on throw-away homes.

Rules of the file: a daemon counts as started when it has said its ready line; whatever is waited for
is a condition with a deadline; every process ends with the test, and what the daemons said is printed
then (pytest shows it when the test has failed). Knows the command line and the files of a home; of
fleetsync's own code it uses the control client alone, to poll cheaply.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest

from fleetsync.cli.control import Control
from fleetsync.errors import DaemonNotRunning, FleetsyncError

T = TypeVar("T")
Document = dict[str, Any]

COMMAND = str(Path(sys.executable).with_name("fleetsync"))
SECONDS = 30.0
"""How long anything may take on a busy machine before the test gives up."""
READY = re.compile(
    r"^fleetsync ready: device=([a-z2-7]{52}) listen=(\S+) home=(.+) items=(\d+)\n", re.MULTILINE
)

SKILL = "skills/deploy"
LOG, MANIFEST, STATS = f"{SKILL}/events.jsonl", f"{SKILL}/skill.yaml", f"{SKILL}/stats.json"


def until(condition: Callable[[], T], what: str, seconds: float = SECONDS) -> T:
    """What the condition returns once it is true; a failed assertion that says `what` if it never is."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"after {seconds:.0f} s still not: {what}"
        time.sleep(0.02)
    return found


# --- what mur writes -----------------------------------------------------------------------------------


def event(author: str, number: int, *, kind: str = "execution") -> bytes:
    """The number-th execution of `author`, as mur writes it; every fifth one failed."""
    outcome = "failure" if number % 5 == 0 else "success"
    second, micros = divmod(number, 1_000_000)
    ts = f"2025-01-01T00:{second // 60:02}:{second % 60:02}.{micros:06}Z"
    return (
        f'{{"kind":"{kind}","ts":"{ts}","device_id":"{author}","outcome":"{outcome}",'
        f'"duration_ms":{number},"exit_code":0,"trigger":"manual"}}'
    ).encode()


def events(author: str, count: int, start: int = 0) -> list[bytes]:
    """`count` executions of `author`."""
    return [event(author, number) for number in range(start, start + count)]


def fold(lines: Iterable[bytes]) -> dict[str, int]:
    """What `stats.json` counts for these executions."""
    outcomes = [json.loads(line)["outcome"] for line in lines]
    wins = outcomes.count("success")
    return {"usage_count": len(outcomes), "success_count": wins, "failure_count": len(outcomes) - wins}


def manifest(description: str, **fields: str) -> bytes:
    """A `skill.yaml` with these further fields."""
    fields = {"name": "deploy", "version": "1.0.0", "publisher": "human:test", **fields}
    lines = [f"{key}: {value}\n" for key, value in fields.items()]
    return f"{''.join(lines)}description: {description}\n".encode()


# --- one laptop ----------------------------------------------------------------------------------------


class Laptop:
    """A home, a state directory, and the daemon that belongs to them."""

    def __init__(self, root: Path, name: str, listen: str = "127.0.0.1:0", config: str = "") -> None:
        self.name = name
        self.root = root / name
        self.home = self.root / "mur"
        self.state = self.root / "state"
        self.log = self.root / "daemon.log"
        self.config = self.root / "config.toml"
        self.listen = listen
        self.inside: tuple[str, ...] = ()
        """What every program of this laptop is started by: a namespace, for one."""
        self.extra: dict[str, str] = {}
        """What its programs find in their environment besides."""
        self.device = ""
        self.launcher = [COMMAND]
        self.said_before = 0
        """Where in the log the words of the daemon that runs now begin."""
        self.process: subprocess.Popen[bytes] | None = None
        self.root.mkdir()
        self.home.mkdir()
        self.log.touch()
        self.configure(config)

    def configure(self, config: str = "") -> None:
        """Write the config file: the name, and these further lines."""
        self.config.write_text(f'device.name = "{self.name}"\n{config}')

    @property
    def environ(self) -> dict[str, str]:
        """The environment of everything that runs on this laptop."""
        kept = {
            key: value for key, value in os.environ.items() if key not in ("NOTIFY_SOCKET", "JOURNAL_STREAM")
        }
        return {
            **kept,
            "MUR_HOME": str(self.home),
            "FLEETSYNC_STATE_DIR": str(self.state),
            "FLEETSYNC_CONFIG": str(self.config),
            "FLEETSYNC_LISTEN": self.listen,
            **self.extra,
        }

    # --- the daemon ------------------------------------------------------------------------------------

    def spawn(self, **options: Any) -> subprocess.Popen[bytes]:
        """Begin to start the daemon by `launcher`; `options` are those of `Popen`."""
        self.said_before = len(self.said())
        command = [*self.inside, *self.launcher, "run"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, env=self.environ, stdin=subprocess.DEVNULL, stderr=log, **options
            )
        return self.process

    def start(self, **options: Any) -> Laptop:
        """Start the daemon and wait for its ready line. Another start gets the same port."""
        self.spawn(**options)
        return self.ready()

    def ready(self) -> Laptop:
        """Wait for the ready line of the daemon that was spawned last."""
        found = until(self._ready_line, f"{self.name} is ready")
        assert found is not None
        self.device, self.listen = found[1], found[2]
        return self

    @property
    def is_ready(self) -> bool:
        """Whether the daemon that runs now has said its ready line."""
        return self._ready_line() is not None

    def _ready_line(self) -> re.Match[str] | None:
        assert self.process is not None
        found = READY.search(self.said(), self.said_before)
        assert found or self.process.poll() is None, f"{self.name} ended with {self.process.returncode}"
        return found

    def stop(self) -> int:
        """End the daemon with SIGTERM; its exit code."""
        return self._end(signal.SIGTERM)

    def kill(self) -> int:
        """End the daemon as a crash of the machine would."""
        return self._end(signal.SIGKILL)

    def _end(self, number: int) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(SECONDS)
        self.process = None
        return code

    def close(self) -> None:
        """Whatever still runs ends now."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def said(self) -> str:
        """All that its daemons have logged."""
        return self.log.read_text(errors="replace")

    # --- commands --------------------------------------------------------------------------------------

    def run(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run one command to its end."""
        options = {"capture_output": True, "timeout": 60, **options}
        if "input" not in options:
            options["stdin"] = subprocess.DEVNULL
        return subprocess.run(self.command(*arguments), env=self.environ, text=True, check=False, **options)

    def command(self, *arguments: str) -> list[str]:
        """A command line of the installed command."""
        return [*self.inside, COMMAND, *arguments]

    def documents(self, *arguments: str, code: int = 0, **options: Any) -> list[Document]:
        """The documents that a command prints, one a line; it must end with `code`."""
        done = self.run(*arguments, "--json", **options)
        assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}{done.stderr}"
        return [json.loads(line) for line in done.stdout.splitlines()]

    def ask(self, *arguments: str, code: int = 0, **options: Any) -> Document:
        """The one document that a command prints; it must end with `code`."""
        [document] = self.documents(*arguments, code=code, **options)
        return document

    @contextmanager
    def offering(self, prelude: str = "") -> Iterator[subprocess.Popen[str]]:
        """`pair --json` while it offers a code; `prelude` is Python that its process runs first."""
        command = self.command("pair", "--json")
        if prelude:
            code = f"{prelude}; from fleetsync.cli import main; main(['pair', '--json'])"
            command = [*self.inside, sys.executable, "-c", code]
        pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "text": True}
        with subprocess.Popen(command, env=self.environ, **pipes) as process:
            try:
                yield process
            finally:
                process.kill()

    def status(self) -> Document:
        """The `status` document without a process of its own, for polling."""
        return Control(self.state).get("/status")

    def standing(self) -> str:
        """The status as text, or why there is none."""
        try:
            return json.dumps(self.status(), indent=1)
        except FleetsyncError as error:
            return str(error)

    def peer(self, other: Laptop) -> Document:
        """How this laptop sees another one; empty if it is no peer or the daemon is not there."""
        try:
            peers = self.status()["peers"]
        except DaemonNotRunning:
            return {}
        return next((peer for peer in peers if peer["id"] == other.device), {})

    def is_connected(self, other: Laptop) -> bool:
        """Whether it has a connection with another one, and has converged with it."""
        seen = self.peer(other)
        return seen.get("state") == "connected" and seen["converged"] is True

    def has_moved(self, fingerprint: str) -> bool:
        """Whether its set is another than this one."""
        return bool(self.status()["home"]["fingerprint"] != fingerprint)

    # --- home ------------------------------------------------------------------------------------------

    def write(self, path: str, data: bytes) -> bytes:
        """A file of home, whole, by temporary and rename; directories are made."""
        target = self.home / path
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = target.with_name(f".{target.name}.mur-tmp")
        fresh.write_bytes(data)
        fresh.rename(target)
        return data

    def read(self, path: str) -> bytes:
        """A file of home; empty if there is none."""
        try:
            return (self.home / path).read_bytes()
        except FileNotFoundError:
            return b""

    def append(self, lines: Sequence[bytes], path: str = LOG) -> list[bytes]:
        """Append as mur does: under flock on the log, one write a line."""
        (self.home / path).parent.mkdir(parents=True, exist_ok=True)
        with (self.home / path).open("ab", buffering=0) as log:
            for line in lines:
                fcntl.flock(log, fcntl.LOCK_EX)
                log.write(line + b"\n")
                fcntl.flock(log, fcntl.LOCK_UN)
        return list(lines)

    def pour(self, lines: Sequence[bytes], path: str = LOG) -> list[bytes]:
        """Append many lines with one write."""
        (self.home / path).parent.mkdir(parents=True, exist_ok=True)
        with (self.home / path).open("ab") as log:
            log.write(b"".join(line + b"\n" for line in lines))
        return list(lines)

    def lines(self, path: str = LOG) -> list[bytes]:
        """The lines of a log as they stand, without empty ones."""
        return [line for line in self.read(path).replace(b" \n", b"\n").split(b"\n") if line.strip()]

    def has_lines(self, count: int, path: str = LOG) -> bool:
        """Whether the log has so many lines, or more."""
        return len(self.lines(path)) >= count

    def has(self, path: str, value: bytes) -> bool:
        """Whether a file is this, byte for byte."""
        return self.read(path) == value

    def mentions(self, text: bytes, path: str = LOG) -> bool:
        """Whether a file has this in it."""
        return text in self.read(path)

    def holds(self, lines: Iterable[bytes], path: str = LOG) -> bool:
        """Whether the log has exactly these lines, each once."""
        return sorted(self.lines(path)) == sorted(lines)

    def skill(self, name: str = "deploy") -> Laptop:
        """A live skill on this laptop."""
        self.write(f"skills/{name}/skill.yaml", manifest(f"of {self.name}", name=name))
        return self

    def counted(self, path: str = STATS) -> dict[str, int]:
        """The counters in a `stats.json`; all zero if there is none."""
        stored = json.loads(self.read(path) or b"{}")
        return {key: stored.get(key, 0) for key in ("usage_count", "success_count", "failure_count")}


# --- several ---------------------------------------------------------------------------------------------


def pair(offerer: Laptop, joiner: Laptop) -> tuple[Document, Document]:
    """Pair two running laptops by code; what each of the two commands printed in the end."""
    with offerer.offering() as process:
        assert process.stdout is not None
        offer = json.loads(process.stdout.readline())
        taken = joiner.ask("pair", offer["code"], "--at", address_of(offer), "--yes")
        return json.loads(process.stdout.readline()), taken


def address_of(offer: Document) -> str:
    """`HOST:PORT` of an offered code."""
    host = f"[{offer['host']}]" if ":" in offer["host"] else offer["host"]
    return f"{host}:{offer['port']}"


def all_hold(laptops: Iterable[Laptop], lines: Sequence[bytes], path: str = LOG) -> None:
    """Wait until every one of them has exactly these lines in the log, each once."""
    for laptop in laptops:
        until(partial(laptop.has_lines, len(lines), path), f"{laptop.name} has all lines")
        assert laptop.holds(lines, path), f"{laptop.name} has others, or some twice"


def all_counted(laptop: Laptop, remote: Sequence[bytes], path: str = STATS) -> None:
    """Wait until a laptop has counted exactly these lines of its peers."""
    expected = fold(remote)
    until(
        lambda: laptop.counted(path)["usage_count"] >= expected["usage_count"], f"{laptop.name} has counted"
    )
    assert laptop.counted(path) == expected


def all_equal(*laptops: Laptop) -> None:
    """Wait until all sets are equal, and each says that it has converged with somebody."""

    def equal() -> bool:
        documents = [laptop.status() for laptop in laptops]
        prints = {document["home"]["fingerprint"] for document in documents}
        return len(prints) == 1 and all(any(p["converged"] for p in d["peers"]) for d in documents)

    until(equal, f"{', '.join(laptop.name for laptop in laptops)} are equal")


def connected(*pairs: tuple[Laptop, Laptop]) -> None:
    """Wait until each pair has a connection and has converged, seen from both ends."""
    for one, other in (*pairs, *((other, one) for one, other in pairs)):
        until(partial(one.is_connected, other), f"{one.name} is connected with {other.name}")


class Fleet:
    """The laptops of one test; nothing is left of them after."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.laptops: list[Laptop] = []

    def laptop(self, name: str, listen: str = "127.0.0.1:0", config: str = "") -> Laptop:
        """A laptop whose daemon does not run yet."""
        self.laptops.append(Laptop(self.root, name, listen, config))
        return self.laptops[-1]

    def pair(self, config: str = "") -> tuple[Laptop, Laptop]:
        """Two running, paired, connected laptops with a live skill."""
        one, other = self.laptop("desk", config=config).start(), self.laptop("travel", config=config).start()
        pair(one, other)
        one.skill()
        until(lambda: other.read(MANIFEST), "the skill has arrived")
        connected((one, other))
        return one, other

    def close(self) -> None:
        """End everything; print how it stood and what was said."""
        for laptop in self.laptops:
            sys.stdout.write(f"--- {laptop.name} ---\n{laptop.said()[-4000:]}\n{laptop.standing()}\n")
        for laptop in self.laptops:
            laptop.close()


@contextmanager
def a_fleet() -> Iterator[Fleet]:
    """A fleet in a directory of its own, which goes with it."""
    with ExitStack() as stack:
        root = Path(tempfile.mkdtemp(prefix="fleetsync-test-"))
        stack.callback(shutil.rmtree, root, ignore_errors=True)
        fleet = Fleet(root)
        stack.callback(fleet.close)
        yield fleet


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    """A fleet without laptops yet."""
    with a_fleet() as made:
        yield made
