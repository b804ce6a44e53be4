"""Whether a reference to a secret leads to one here."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from fleetsync.app.references import KEPT, References, in_keychain


class Asked:
    """A keychain with one item; notes what it was asked for."""

    def __init__(self) -> None:
        self.questions: list[tuple[str, str]] = []
        self.now = 100.0

    def __call__(self, service: str, account: str) -> bool:
        self.questions.append((service, account))
        return (service, account) == ("openai", "me/work")

    def resolver(self, environment: dict[str, str] | None = None) -> References:
        return References(environment or {}, self, lambda: self.now)


def test_a_variable_resolves_if_it_has_a_value() -> None:
    """Set and not empty."""
    resolves = Asked().resolver({"KEY": "x", "EMPTY": ""}).resolves
    assert [resolves(f"env:{name}") for name in ("KEY", "EMPTY", "NONE")] == [True, False, False]


def test_the_keychain_is_asked_once_a_minute_for_each_item() -> None:
    """By service and account, which may hold slashes."""
    keychain = Asked()
    resolves = keychain.resolver().resolves
    assert resolves("keychain:openai/me/work") is True
    assert resolves("keychain:openai/other") is False
    assert resolves("keychain:openai/other") is False
    assert keychain.questions == [("openai", "me/work"), ("openai", "other")]
    keychain.now += KEPT
    assert resolves("keychain:openai/other") is False
    assert len(keychain.questions) == 3


def test_nothing_else_resolves() -> None:
    """A path belongs to the device where it was entered; a command is never run."""
    resolves = Asked().resolver({"KEY": "x"}).resolves
    assert not any(resolves(reference) for reference in ("file:/etc/passwd", "cmd:true", "KEY", ""))


def program(folder: Path, body: str) -> None:
    """A `secret-tool` that does this."""
    tool = folder / "secret-tool"
    tool.write_text(f"#!/bin/sh\n{body}\n")
    tool.chmod(0o755)


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory whose programs are found first, on a system that is no Mac."""
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/usr/bin{os.pathsep}/bin")
    return tmp_path


def test_the_systems_own_program_is_asked(tools: Path) -> None:
    """By name, behind a `--`: no name is an option; what it prints of secrets goes nowhere."""
    program(tools, f'echo "$@" > {tools}/asked; echo secret; echo attribute.service = s >&2')
    assert in_keychain("-s", "a b")
    assert (tools / "asked").read_text() == "search -- service -s username a b\n"


@pytest.mark.parametrize("body", ["exit 1", "exit 0", "echo attribute.x >&2; exit 3"])
def test_a_program_that_finds_nothing_or_fails_says_no(body: str, tools: Path) -> None:
    """Only an item that was found counts."""
    program(tools, body)
    assert not in_keychain("s", "a")


def test_without_such_a_program_nothing_resolves(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither does a name that cannot be one."""
    monkeypatch.setenv("PATH", str(tools))
    assert not in_keychain("s", "a")
    assert not in_keychain("s\0", "a")
