"""`fleetsync.audit`: what programs that run skills import."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from fleetsync import audit
from fleetsync.config import Flags, Settings
from fleetsync.errors import BrokenConfig
from fleetsync.records.execution import Run as Execution
from fleetsync.stores.run_memory import MemoryRunStore


def settings(tmp_path: Path, text: str = "") -> Settings:
    """Those of somebody whose state is in a directory that is not there yet."""
    config = tmp_path / "config.toml"
    config.write_text(text, encoding="utf-8")
    flags = Flags(state_dir=str(tmp_path / "state"), config=str(config))
    return Settings.load(flags, {"HOME": str(tmp_path)}, sys.platform)


def test_runs_are_recorded_where_the_settings_say(tmp_path: Path) -> None:
    """In the state directory by default, made private if it is not there."""
    mine = settings(tmp_path)
    with audit.recording("runner", mine) as recorder, recorder.run("deploy", inputs={"to": "staging"}) as run:
        run.tool_call("ssh")
    with closing(audit.open_store(mine)) as store:
        found = store.get_run(run.id)
        assert (found.caller_id, found.status, found.inputs) == ("runner", "ok", {"to": "staging"})
        assert len(store.list_logs_by_run(run.id)) == 1
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700


def test_runs_are_recorded_in_a_postgres_if_there_is_a_url(tmp_path: Path, postgres_url: str) -> None:
    """And nothing in the state directory."""
    mine = settings(tmp_path, f'[store]\nurl = "{postgres_url}"\n')
    with audit.recording("runner", mine) as recorder, recorder.run("deploy") as run:
        pass
    with closing(audit.open_store(mine)) as store:
        assert store.get_run(run.id).status is audit.RunStatus.OK
    assert not (tmp_path / "state").exists()


def test_recording_never_fails(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Where no store can be made the skill runs all the same, and the log says why it is not recorded."""
    mine = settings(tmp_path)
    (tmp_path / "state").write_text("a file where a directory should be", encoding="utf-8")
    with audit.recording("runner", mine) as recorder, recorder.run("deploy") as run:
        run.step("done")
    assert "runs are not recorded" in caplog.text


@pytest.mark.parametrize("url", ["mysql://x/y", "audit.db", "postgresql"])
def test_only_a_postgres_url_is_a_url(tmp_path: Path, url: str) -> None:
    """The settings name file, line and key."""
    with pytest.raises(BrokenConfig, match=r"config\.toml, line 2, store\.url"):
        settings(tmp_path, f'[store]\nurl = "{url}"\n')


def test_the_example_of_the_module_works(tmp_path: Path) -> None:
    """It is what people copy."""
    example = re.search(r"\n\n((?:    .*\n|\n)+)", audit.__doc__ or "")
    assert example is not None
    program = "\n".join(line[4:] for line in example[1].splitlines())
    environ = {**os.environ, "HOME": str(tmp_path), "FLEETSYNC_STATE_DIR": str(tmp_path / "state")}
    subprocess.run([sys.executable, "-W", "error", "-c", program], env=environ, check=True)
    flags = Flags(state_dir=str(tmp_path / "state"))
    with closing(audit.open_store(Settings.load(flags, {"HOME": str(tmp_path)}, sys.platform))) as store:
        (run,) = store.list_runs_by_caller("my-runner", 5)
    assert (run.output, run.tool_calls_count, run.total_input_tokens) == ({"released": "1.4.2"}, 1, 1200)


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (Execution(success=True, duration_ms=1500), ("ok", None, 1.5, 8_500_000)),
        (
            Execution(success=False, stderr="no\0" + "x" * 999),
            ("error", "no\ufffdxxx", 0.0, 10_000_000),
        ),
        (Execution(success=False, exit_code=3), ("error", "exit code 3", 0.0, 10_000_000)),
        (Execution(success=True, duration_ms=2**64 - 1), ("ok", None, (2**64 - 1) / 1000, 0)),
    ],
)
def test_a_run_that_is_over_can_be_recorded(run: Execution, expected: tuple[object, ...]) -> None:
    """With its end, how long it took and what it printed last, if it failed."""
    store = MemoryRunStore()
    audit.record_execution(run, "deploy", "cli", ended_at=10_000_000, opened=lambda: store)
    (found,) = store.list_runs_by_skill("deploy", 5)
    error = None if found.error is None else found.error[:11]
    status, words, seconds, start = expected
    assert (found.status, found.runtime_seconds, found.started_at) == (status, seconds, start)
    assert (error or "").startswith(str(words)) if words else error is None
