"""A laptop that has nothing meets one that has a year: 200 skills, 100,000 events, 15.7 MB.

`python -m bench first_sync`. Time runs from the command that lets the two begin to the moment at which
every line is in its file, is counted in `stats.json`, and the two have proven that they are equal. Beside
it what the same bytes take without fleetsync: `cp -r`, and one loopback TLS connection into one file.
"""

from __future__ import annotations

import os
import random
import shutil
import socket
import statistics
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from bench.budgets import Figure
from bench.laptops import Pair, make_skill, pair, two_laptops, wait
from bench.lines import skill_log
from fleetsync.devices.identity import ensure_identity
from fleetsync.wire import tls

SKILLS, EVENTS = 200, 100_000
RUNS = 3
QUIET_SECONDS = 1.0
PORTION = 1 << 16


def measure() -> list[Figure]:
    """Both rows."""
    runs = [_run() for _ in range(RUNS)]
    seconds, ratios = [run[0] for run in runs], [run[1] for run in runs]
    sending, receiving = (statistics.median(run[side] for run in runs) for side in (2, 3))
    copy, stream = _floors()
    middle = statistics.median(seconds)
    return [
        Figure(
            "first sync, 200 skills, 100,000 events, 15.7 MB: time",
            middle,
            f"{RUNS} runs, {min(seconds):.1f} to {max(seconds):.1f} s; CPU {sending:.1f} s sending,"
            f" {receiving:.1f} s receiving; {middle / copy:.0f} × `cp -r` ({copy:.2f} s),"
            f" {middle / stream:.0f} × one TLS stream into one file ({stream:.2f} s)",
        ),
        Figure(
            "first sync, 200 skills, 100,000 events, 15.7 MB: share of the bytes",
            statistics.median(ratios),
            f"all bytes of both directions; {max(ratios):.1f} % at most",
        ),
    ]


def fill(home: Path, skills: int = SKILLS, events: int = EVENTS) -> int:
    """A home with that year in it; its bytes."""
    choice = random.Random(1)
    weights = [choice.paretovariate(1.2) for _ in range(skills)]
    counts = [max(1, int(events * weight / sum(weights))) for weight in weights]
    counts[0] += events - sum(counts)
    return sum(
        make_skill(home, f"skill-{number:03}", list(skill_log(choice, count)))
        for number, count in enumerate(counts)
    )


def _run() -> tuple[float, float, float, float]:
    """Seconds, percent of the bytes, CPU seconds of both sides."""
    with two_laptops(counted=True) as laptops:
        pair(laptops)
        return first_sync(laptops)


def first_sync(laptops: Pair) -> tuple[float, float, float, float]:
    """Let `travel`, which has nothing, meet `desk` after a year."""
    desk, travel = laptops.desk, laptops.travel
    travel.ask("peers", "pause", "desk")
    size = fill(desk.home)
    wait(lambda: desk.knows() == EVENTS + SKILLS, "all is indexed")
    time.sleep(QUIET_SECONDS)
    before, sent, received = laptops.bytes(), desk.cost().cpu, travel.cost().cpu
    begun = time.monotonic()
    travel.ask("peers", "resume", "desk")
    wait(lambda: _log_bytes(travel.home) >= _log_bytes(desk.home), "all bytes are there")
    wait(lambda: travel.converged() and travel.knows() == EVENTS + SKILLS, "all is proven")
    seconds = time.monotonic() - begun
    costs = desk.cost().cpu - sent, travel.cost().cpu - received
    _compare(desk.home, travel.home)
    return seconds, (laptops.bytes() - before) / size * 100, *costs


def _logs(home: Path) -> list[Path]:
    return [path.relative_to(home) for path in home.glob("skills/*/events.jsonl")]


def _log_bytes(home: Path) -> int:
    return sum(path.stat().st_size for path in home.glob("skills/*/events.jsonl"))


def _compare(home: Path, there: Path) -> None:
    """What has arrived is what was sent, and is counted."""
    for path in _logs(home):
        sent, received = ((root / path).read_bytes().split(b"\n") for root in (home, there))
        assert sorted(filter(None, sent)) == sorted(filter(None, received)), path
        assert (there / path).with_name("stats.json").exists(), path


def _floors() -> tuple[float, float]:
    """Seconds of `cp -r` and of one TLS stream into one file that is fsynced."""
    with tempfile.TemporaryDirectory(prefix="fleetsync-bench-") as folder:
        source = Path(folder, "home")
        fill(source)
        data = b"".join(path.read_bytes() for path in sorted(source.glob("skills/*/*")))
        copies = [_copy(source, Path(folder, f"copy-{n}")) for n in range(RUNS)]
        streams = [_stream(data, Path(folder)) for _ in range(RUNS)]
    return statistics.median(copies), statistics.median(streams)


def _copy(source: Path, target: Path) -> float:
    begun = time.monotonic()
    subprocess.run(["cp", "-r", source, target], check=True)
    seconds = time.monotonic() - begun
    shutil.rmtree(target)
    return seconds


def _stream(data: bytes, folder: Path) -> float:
    near, far = ensure_identity(folder / "near"), ensure_identity(folder / "far")
    with socket.create_server(("127.0.0.1", 0)) as server:
        serving = threading.Thread(
            target=_serve, args=(server, tls.server_context(near, [far.certificate]), data)
        )
        serving.start()
        begun = time.monotonic()
        context = tls.client_context(far, near.certificate)
        with (
            socket.create_connection(server.getsockname()) as raw,
            context.wrap_socket(raw) as stream,
            (folder / "received").open("wb") as file,
        ):
            while file.tell() < len(data):
                file.write(stream.recv(PORTION))
            os.fsync(file.fileno())
        seconds = time.monotonic() - begun
        serving.join()
    assert (folder / "received").stat().st_size == len(data)
    return seconds


def _serve(server: socket.socket, context: object, data: bytes) -> None:
    raw, _ = server.accept()
    with context.wrap_socket(raw, server_side=True) as stream:  # type: ignore[attr-defined]
        stream.sendall(data)
