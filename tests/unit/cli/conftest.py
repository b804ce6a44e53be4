"""A person at a terminal: a home, a state directory, and a command to type."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from fleetsync.cli import invoke
from fleetsync.cli.session import Session
from tests.fakes.daemon import FakeDaemon, serving


class Said(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The only document on stdout."""
        found: dict[str, Any] = json.loads(self.out)
        return found

    @property
    def documents(self) -> list[dict[str, Any]]:
        """One document a line."""
        return [json.loads(line) for line in self.out.splitlines()]


class Person:
    """Types commands; what they print is captured."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.home = root / "mur"
        self.state_dir = root / "state"
        self._capsys = capsys
        self.home.mkdir()

    def types(self, *arguments: str) -> Said:
        """Run `fleetsync ARGUMENTS`."""
        environ = {
            "HOME": str(self.home.parent),
            "MUR_HOME": str(self.home),
            "FLEETSYNC_STATE_DIR": str(self.state_dir),
        }
        self._capsys.readouterr()
        code = invoke(list(arguments), Session(environ=environ))
        said = self._capsys.readouterr()
        return Said(code, said.out, said.err)

    def skill(self, name: str = "deploy", *lines: str) -> Path:
        """A skill with these lines in its log; its directory."""
        directory = self.home / "skills" / name
        directory.mkdir(parents=True)
        (directory / "skill.yaml").write_text(f"name: {name}\nversion: 1.0.0\n", encoding="utf-8")
        (directory / "events.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return directory


def event(second: int, device: str = "cli", outcome: str | None = "success", **more: object) -> str:
    """A line of mur's: an execution, or a retrieval if it has no outcome."""
    ts = f"2026-05-30T00:00:{second:02}Z"
    if outcome is None:
        return json.dumps({"kind": "retrieval", "ts": ts, "device_id": device, **more}, separators=(",", ":"))
    fields = {"kind": "execution", "ts": ts, "device_id": device, "outcome": outcome, **more}
    return json.dumps(fields, separators=(",", ":"))


@pytest.fixture
def person(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Person:
    """Somebody whose daemon does not run."""
    return Person(tmp_path, capsys)


@pytest.fixture
def daemon(person: Person) -> Iterator[FakeDaemon]:
    """Their daemon runs."""
    with serving(FakeDaemon(), person.state_dir) as running:
        yield running
