"""Lines such as mur writes over a year, the same ones for the same seed.

They must not compress better than real ones: times have nine random digits, durations a long tail,
failures say things with paths, hosts, ports and numbers in them, and several devices write.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from fleetsync.records import timestamps
from fleetsync.records.execution import Run, record_run

YEAR = 365 * 86_400 * 1_000_000_000  # ns
BEGIN = 1_764_000_000_000_000_000  # ns since 1970: November 2025

_ERRORS = (
    "dial tcp 10.{a}.{b}.{c}:{port}: connect: connection refused",
    "npm ERR! code E404\nnpm ERR! 404 '@corp/pkg-{word}@{a}.{b}.{c}' is not in this registry",
    "error[E0{n}]: mismatched types --> crates/{word}/src/lib.rs:{port}:{a}",
    "HTTP 503 from https://{word}.example/v1/jobs/{hex}",
    "assertion failed: left == {n}, right == {port} ({word})",
    "timed out after {n} ms waiting for {word}-{hex}",
    "open /srv/{word}/releases/{hex}/config.toml: permission denied",
)
_STEPS = ("build", "deploy", "lint", "migrate-db", "publish", "rollback", "smoke-test", "warm-cache")
_WORDS = ("atlas", "billing", "catalog", "edge-proxy", "ingest", "ledger", "notify", "search", "tokens")
_TRIGGERS = ("manual", "manual", "manual", "schedule", "agent", "agent")
_SHORT = ("retrieval", "retrieval", "retrieval", "dismissed", "superseded")


def skill_log(choice: random.Random, count: int) -> Iterator[bytes]:
    """The lines of one skill in time order, without line breaks; 157 bytes on average with them."""
    devices = ["cli", "cli", *(f"{choice.getrandbits(64):016x}" for _ in range(2))]
    for at in sorted(choice.randrange(YEAR) for _ in range(count)):
        yield line(choice, BEGIN + at, choice.choice(devices))


def line(choice: random.Random, at: int, device: str) -> bytes:
    """One line; `at` in ns since 1970."""
    ts = timestamps.at(at)
    if choice.random() < 0.12:
        kind = choice.choice(_SHORT)
        return f'{{"kind":"{kind}","ts":"{ts.canonical}","device_id":"{device}"}}'.encode()
    failed = choice.random() < 0.115
    run = Run(
        success=not failed,
        stderr=_stderr(choice) if failed else None,
        exit_code=choice.choice((1, 1, 1, 2, 101, 124, 137)) if failed else 0,
        duration_ms=int(choice.lognormvariate(8, 1.6)),
        failed_step=choice.choice(_STEPS) if failed else None,
        trigger=choice.choice(_TRIGGERS),
    )
    return record_run(run, ts, device)


def _stderr(choice: random.Random) -> str:
    return choice.choice(_ERRORS).format(
        a=choice.randrange(256),
        b=choice.randrange(256),
        c=choice.randrange(256),
        n=choice.randrange(100, 1000),
        port=choice.randrange(1024, 65536),
        hex=f"{choice.getrandbits(40):010x}",
        word=choice.choice(_WORDS),
    )
