"""Look for inputs that break a promise: `python -m tests.fuzz [TARGET …] --seconds N [--keep]`.

Each target is searched in a process of its own for so many seconds, beginning with its seeds and its kept
inputs. What broke is printed as Python bytes, ready to be put under a remark into `corpus/`; with
`--keep` the inputs that reach most with least replace what the search kept before. Needs atheris.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from tests.fuzz import corpus
from tests.fuzz.targets import TARGETS

SLOWEST = 10
"""Seconds that one input may take: none of these parsers has any excuse for a tenth of it."""
MEMORY = 1024
"""MiB that the process may have, atheris included."""
KEPT, KEPT_BYTES = 40, 512
"""Inputs of a target that are kept at most, and how long each may be."""


class Found(NamedTuple):
    """What a search came to."""

    target: str
    seconds: float
    executions: int
    coverage: int  # edges of the product
    inputs: int
    broken: bytes | None
    said: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Search; the exit code is 1 if anything broke."""
    options = _options(arguments)
    failures = 0
    print(
        f"{'target':<18}{'seconds':>8}{'executions':>12}{'per s':>8}{'edges':>7}{'inputs':>8}  finding",
        flush=True,
    )
    total = 0
    for name in options.targets or TARGETS:
        found = search(name, options.seconds, keep=options.keep)
        total += found.executions
        rate = found.executions / max(found.seconds, 1)
        print(
            f"{name:<18}{found.seconds:>8.0f}{found.executions:>12,}{rate:>8.0f}{found.coverage:>7}"
            f"{found.inputs:>8}  {'BROKEN' if found.broken is not None else '-'}",
            flush=True,
        )
        if found.broken is not None:
            failures += 1
            print(f"{found.said}\n{found.broken!r}", flush=True)
    print(f"{total:,} executions, {failures} findings")
    return 1 if failures else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", choices=[[], *TARGETS], help="default: all")
    parser.add_argument("--seconds", type=int, default=10, help="for each target")
    parser.add_argument("--keep", action="store_true", help="write the smallest good inputs into corpus/")
    return parser.parse_args(arguments)


def search(name: str, seconds: int, *, keep: bool) -> Found:
    """Search one target for so many seconds."""
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(prefix="fleetsync-fuzz-", dir=memory) as directory:
        inputs, broken = Path(directory, "inputs"), Path(directory, "broken")
        inputs.mkdir()
        broken.mkdir()
        for data in (*TARGETS[name].seeds, *corpus.read(name)):
            (inputs / sha256(data).hexdigest()[:16]).write_bytes(data)
        began = time.monotonic()
        said = _run(name, directory, f"-max_total_time={seconds}", f"-artifact_prefix={broken}/", str(inputs))
        spent = time.monotonic() - began
        finding = next((path.read_bytes() for path in sorted(broken.iterdir())), None)
        if keep:
            _keep(name, inputs)
        return Found(
            name,
            spent,
            _number(r"stat::number_of_executed_units: (\d+)", said) or _number(r"#(\d+)\s", said),
            _number(r"cov: (\d+)", said),
            len(list(inputs.iterdir())),
            finding,
            _cause(said),
        )


def _run(name: str, directory: str, *options: str) -> str:
    """All that the search said; what it leaves behind (libFuzzer ends a process hard) lies in `directory`."""
    common = [
        f"-max_len={TARGETS[name].longest}",
        f"-timeout={SLOWEST}",
        f"-rss_limit_mb={MEMORY}",
        "-print_final_stats=1",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.search", name, *common, *options],
        capture_output=True,
        check=False,
        env={**os.environ, "TMPDIR": directory, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    said = (done.stdout + done.stderr).decode(errors="replace")
    if "INITED" not in said:
        raise SystemExit(f"the search of {name} could not begin (is atheris installed?):\n{said[-2000:]}")
    return said


def _keep(name: str, inputs: Path) -> None:
    """Of what the search ended with: the smallest inputs that reach a line by a way no smaller one takes."""
    known: set[Arc] = set()
    kept: list[bytes] = []
    for data in sorted((path.read_bytes() for path in inputs.iterdir()), key=lambda each: (len(each), each)):
        new = _reached(name, data) - known if len(data) <= KEPT_BYTES and len(kept) < KEPT else set()
        if new:
            known |= new
            kept.append(data)
    corpus.keep(name, kept)


Arc = tuple[str, int, int]
"""A step in the product: the file, and from which of its lines to which."""


def _reached(name: str, data: bytes) -> set[Arc]:
    found: set[Arc] = set()

    def follow(frame: FrameType, event: str, _: Any) -> Any:
        if f"{os.sep}fleetsync{os.sep}" not in frame.f_code.co_filename:
            return None
        before = frame.f_lineno

        def step(frame: FrameType, event: str, _: Any) -> Any:
            nonlocal before
            if event == "line":
                found.add((frame.f_code.co_filename, before, frame.f_lineno))
                before = frame.f_lineno
            return step

        return step

    sys.settrace(follow)
    try:
        TARGETS[name].check(data)
    except Exception:  # noqa: BLE001 - what breaks is told by the search
        return set()
    finally:
        sys.settrace(None)
    return found


def _number(pattern: str, said: str) -> int:
    found = re.findall(pattern, said)
    return int(found[-1]) if found else 0


def _cause(said: str) -> str:
    """The traceback, or what libFuzzer says of time and memory."""
    begins = said.find("Uncaught Python exception")
    return said[begins : begins + 3000] if begins >= 0 else said[-1500:]


if __name__ == "__main__":
    sys.exit(main())
