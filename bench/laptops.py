"""Real daemons for the measurements: two paired laptops on loopback, and what they cost.

The daemons are the installed command in processes of its own (`cli/stage.py`, as in the demo). What a
process costs is read from the kernel: CPU from its clock, wake-ups and memory from /proc.
"""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from bench.proxy import CountingProxy, proxies
from fleetsync.cli import stage
from fleetsync.cli.control import Control
from fleetsync.cli.demo import Report
from fleetsync.cli.demo import pair as demo_pair
from fleetsync.records.addresses import Address, parse_address

NAMES = "desk", "travel"
START_SECONDS = 600.0
_READY = re.compile(r"fleetsync ready: .* listen=(\S+) home=.* items=(\d+)")


class Cost(NamedTuple):
    """What a process has used since it began."""

    cpu: float  # seconds
    wakeups: int  # voluntary context switches of all its threads
    rss: float  # MB, now


class Laptop(stage.Laptop):
    """A laptop whose daemon can be measured, started again and asked where it listens."""

    def __init__(self, name: str, root: Path, peers: dict[str, Address] | None = None) -> None:
        super().__init__(name, root, os.environ)
        with Path(self.environ["FLEETSYNC_CONFIG"]).open("a", encoding="utf-8") as config:
            config.write("[peers]\n")
            config.writelines(f'{peer} = ["{address}"]\n' for peer, address in (peers or {}).items())

    @property
    def control(self) -> Control:
        """The daemon's own socket: asking it there costs no process."""
        return Control(self._state)

    def start(self) -> None:
        """Start the daemon, however long its first scan takes."""
        with self._log.open("wb") as log:
            self._daemon = self._spawn("run", stderr=log)
        stage.until(self._is_ready, f"{self.name}: the daemon is ready", START_SECONDS)

    def _ready_line(self) -> re.Match[str]:
        found = _READY.search(self._log.read_text(encoding="utf-8"))
        assert found is not None, "asked before it was ready"
        return found

    @property
    def address(self) -> Address:
        """Where it listens."""
        return parse_address(self._ready_line()[1])

    @property
    def items(self) -> int:
        """How many members it said it had when it was ready."""
        return int(self._ready_line()[2])

    @property
    def pid(self) -> int:
        """The daemon's process."""
        assert self._daemon is not None
        return self._daemon.pid

    def cost(self) -> Cost:
        """What the daemon has used so far."""
        return Cost(_cpu(self.pid), sum(_wakeups(self.pid)), _rss(self.pid))

    def converged(self) -> bool:
        """Whether it says that it is equal to its one peer."""
        peers = self.control.get("/peers")["peers"]
        return (
            len(peers) == 1 and peers[0]["converged"] and peers[0]["items_local"] == peers[0]["items_remote"]
        )

    def knows(self) -> int:
        """How many members its set has now."""
        return int(self.control.get("/status")["home"]["items"])


def _cpu(pid: int) -> float:
    """Of the whole process, ended threads included: its clock, numbered as clock_getcpuclockid(3) does."""
    return time.clock_gettime(~pid << 3 | 2)


def _wakeups(pid: int) -> Iterator[int]:
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        yield int(_field(status, "voluntary_ctxt_switches"))


def _rss(pid: int) -> float:
    return int(_field(Path(f"/proc/{pid}/status"), "VmRSS")) * 1024 / 1e6


def _field(status: Path, name: str) -> str:
    found = re.search(rf"^{name}:\s+(\d+)", status.read_text(encoding="ascii"), re.MULTILINE)
    assert found is not None
    return found[1]


class Pair(NamedTuple):
    """Two laptops, and the proxies through which they reach each other."""

    desk: Laptop
    travel: Laptop
    between: list[CountingProxy]

    def bytes(self) -> int:
        """What has gone between them so far, both ways."""
        return sum(proxy.bytes for proxy in self.between)


@contextmanager
def two_laptops(*, counted: bool = False) -> Iterator[Pair]:
    """Two running daemons that do not know each other; with `counted` they talk through proxies only."""
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fleetsync-bench-")))
        made = stack.enter_context(proxies(2)) if counted else []
        towards = {name: address for name, (_, address) in zip(NAMES, made, strict=False)}
        desk, travel = (
            Laptop(name, root, {other: at for other, at in towards.items() if other != name})
            for name in NAMES
        )
        for laptop in (desk, travel):
            stack.callback(laptop.stop)
            laptop.start()
        between = [proxy for proxy, _ in made]
        for proxy, laptop in zip(between, (desk, travel), strict=False):
            proxy.upstream = laptop.address
        yield Pair(desk, travel, between)


def pair(laptops: Pair) -> None:
    """Pair them by a code, and wait until both have proven that they are equal."""
    demo_pair(Report(quiet=True), laptops.desk, laptops.travel)
    wait(lambda: all(each.converged() for each in laptops[:2]), "both have converged")


def wait(condition: Callable[[], object], what: str, seconds: float = 120.0, poll: float = 0.02) -> None:
    """Until the condition holds; asks rarely enough not to disturb what is measured."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"after {seconds:.0f} s still not: {what}")
        time.sleep(poll)


def make_skill(home: Path, skill: str, lines: list[bytes]) -> int:
    """A skill as mur leaves it there; the bytes it has."""
    folder = home / "skills" / skill
    folder.mkdir(parents=True)
    manifest = (
        f"name: {skill}\nversion: 1.0.0\npublisher: human:bench\ndescription: what {skill} does\n".encode()
    )
    log = b"".join(line + b"\n" for line in lines)
    (folder / "events.jsonl").write_bytes(log)
    (folder / "skill.yaml").write_bytes(manifest)
    return len(log) + len(manifest)
