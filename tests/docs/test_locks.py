"""The two lock files against pyproject.toml and against each other (written by `make lock`)."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS = ("requirements.lock", "requirements-dev.lock")


class Pin(NamedTuple):
    """One package of a lock: its version and the hashes of all its files."""

    version: Version
    hashes: frozenset[str]


def _pins(name: str) -> dict[str, Pin]:
    text = (ROOT / name).read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return dict(_pin(line) for line in lines)


def _pin(line: str) -> tuple[str, Pin]:
    package, _, hashes = line.partition(" --hash=")
    requirement = Requirement(package)
    (pinned,) = requirement.specifier
    assert pinned.operator == "==", line
    files = frozenset(hashes.replace("--hash=", "").split())
    return canonicalize_name(requirement.name), Pin(Version(pinned.version), files)


def _group(name: str) -> Iterator[str]:
    """The requirements of a dependency group, with the groups it includes."""
    for entry in PROJECT["dependency-groups"][name]:
        if isinstance(entry, dict):
            yield from _group(entry["include-group"])
        else:
            yield entry


DIRECT = PROJECT["project"]["dependencies"]
EXTRAS = [line for lines in PROJECT["project"].get("optional-dependencies", {}).values() for line in lines]


@pytest.mark.parametrize(
    ("lock", "wanted"), [(LOCKS[0], DIRECT), (LOCKS[1], [*DIRECT, *EXTRAS, *_group("dev")])]
)
def test_every_dependency_is_locked_within_its_range(lock: str, wanted: list[str]) -> None:
    """Each requirement of pyproject.toml has one pin, and the pin satisfies it."""
    pins = _pins(lock)
    for line in wanted:
        requirement = Requirement(line)
        pin = pins[canonicalize_name(requirement.name)]
        assert pin.version in requirement.specifier, f"{line}: {pin.version} (run `make lock`)"


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_has_hashes(lock: str) -> None:
    """Nothing is installed that is not known by its SHA-256."""
    for name, pin in _pins(lock).items():
        assert pin.hashes, name
        assert all(re.fullmatch("sha256:[0-9a-f]{64}", text) for text in pin.hashes), name


def test_both_locks_agree() -> None:
    """What a person installs is what the tests ran with: same versions, same files."""
    runtime, everything = _pins(LOCKS[0]), _pins(LOCKS[1])
    assert {name: everything.get(name) for name in runtime} == runtime


@pytest.mark.parametrize("lock", LOCKS)
def test_locks_name_no_place(lock: str) -> None:
    """A lock says what, not from where: no index, host or path of the machine that wrote it."""
    text = (ROOT / lock).read_text()
    assert not re.search(
        r"://|^\s*-|--(extra-)?index|--find-links|[ =@]/|file:", text.replace("    --hash=", "")
    ), lock


def test_every_dependency_has_its_reason() -> None:
    """docs/decisions.md has a line for every direct dependency, and none for what is gone."""
    table = (ROOT / "docs/decisions.md").read_text().partition("## Dependencies")[2].partition("\n## ")[0]
    explained = {canonicalize_name(name) for name in re.findall(r"^\| `([\w.-]+)` ", table, re.MULTILINE)}
    wanted = {
        canonicalize_name(Requirement(line).name)
        for line in [*DIRECT, *EXTRAS, *_group("dev"), *_group("fuzz")]
    }
    assert explained == wanted
