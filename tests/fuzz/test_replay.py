"""The kept inputs of every fuzz target, replayed; and long inputs, against the clock."""

from __future__ import annotations

import time

import pytest

from tests.fuzz import corpus
from tests.fuzz.target import CORPUS
from tests.fuzz.targets import TARGETS

LONG = 32 << 10
"""Bytes: enough for a parser that compares each with each to be found out."""
SECONDS = 3.0
"""What a long input may take; the slowest takes a tenth of it on a quiet machine."""
LARGEST_CORPUS = 64 << 10

PUMPS = (
    b"[", b"{", b'{"a":', b'{"a":1}', b"[[],", b'"', b"\\", b"\\u0041", b"\\ud800", b"0", b"9", b"-", b"1,",
    b"1e", b".", b" ", b"\t", b"\n", b"\r\n", b"\0", b"\x80", b"\xff", b"\xc1", b"a", b"z", b"Z", b"=", b"#",
    b"# a\n", b"a: b\n", b"- ", b"- - ", b"? ", b"&a ", b"*a ", b"!a ", b"|\n ", b"'", b"''", b"a:\n ",
    b"{a: ", b"[a, ", b": ", b"---\n", b"%", b"\\\n", b"\xe2\x80\xa8", b"\x91", b"\x91\x91",
    b"\xdd\xff\xff\xff\xff", b"\x81\xa1a", b"\xc4\x00", b"\x00\x00\x01", b"\x80\x00\x01", b"\x01\x00\x02\x00",
    b"\x00\x00\x02\x01" + bytes(32), b'{"kind":"', b"skills/", b"../", b"models:\n  a:\n", b'"seq":1,',
    b'{"kind":"retrieval","ts":"2026-05-30T00:00:00Z","device_id":"a"}\n',
    b'{"seq":1,"ts":"2026-06-16T00:00:00Z","actor":{"kind":"system"},"kind":"note","payload":',
)  # fmt: skip
"""What parsers stumble over when it is repeated."""


@pytest.mark.parametrize("name", TARGETS)
def test_kept_inputs_break_nothing(name: str) -> None:
    """Everything that was once found, by a search or by whoever broke it, keeps every promise."""
    inputs = corpus.read(name)
    assert inputs, f"{corpus.path_of(name)} is missing: run `python -m tests.fuzz {name} --keep`"
    for data in inputs:
        TARGETS[name].check(data)


def test_nothing_else_is_kept() -> None:
    """The corpus has a small file for each target and no other."""
    assert {path.stem for path in CORPUS.iterdir()} == {*TARGETS}
    assert all(path.stat().st_size < LARGEST_CORPUS for path in CORPUS.iterdir())


@pytest.mark.parametrize("name", [name for name, target in TARGETS.items() if target.longest >= 4096])
def test_what_is_repeated_thousands_of_times_takes_no_time(name: str) -> None:
    """No parser's effort grows with the square of its input, whatever a peer repeats in it."""
    for pump in PUMPS:
        began = time.process_time()
        TARGETS[name].check(pump * (LONG // len(pump)))
        spent = time.process_time() - began
        assert spent < SECONDS, f"{pump!r} × {LONG // len(pump)} took {spent:.1f} s"
