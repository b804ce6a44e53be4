"""`demo`: how it reports, and that nothing is left when it fails. The play itself is a system test."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

from fleetsync.cli.demo import Report
from fleetsync.cli.stage import Laptop, two_laptops, until
from fleetsync.errors import DemoFailed


def test_the_report_is_verified_only_if_every_act_went_well(capsys: pytest.CaptureFixture[str]) -> None:
    """No acts at all verify nothing."""
    report = Report(quiet=True)
    assert not report.document()["verified"]
    report.act("one", True, "well")
    assert report.document()["verified"]
    report.act("two", False, "not")
    assert not report.document()["verified"]
    assert capsys.readouterr().out == ""


def test_waiting_ends_with_the_condition_or_with_what_was_waited_for() -> None:
    """Neither None nor False is an answer; anything else is, at once."""
    answers = iter([None, False, 0])
    assert until(lambda: next(answers), "an answer") == 0
    with pytest.raises(DemoFailed, match="the moon"):
        until(lambda: None, "the moon", seconds=0.01)


def test_a_daemon_that_ends_at_once_fails_the_demo_with_its_own_words(tmp_path: Path) -> None:
    """The log says why, and nobody waits for the deadline."""
    laptop = Laptop("desk", tmp_path, {**os.environ})
    (tmp_path / "desk" / "config.toml").write_text("[device]\nlisten = 'nonsense'\n", encoding="utf-8")
    laptop.environ["FLEETSYNC_LISTEN"] = "nonsense"
    with pytest.raises(DemoFailed, match="desk: the daemon ended at once"):
        laptop.start()
    assert "HOST:PORT" in laptop.log()


def test_whatever_happens_the_directories_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here the very first daemon cannot start."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(DemoFailed), two_laptops():
        raise AssertionError("there is nothing to play on")
    assert list(tmp_path.iterdir()) == []
