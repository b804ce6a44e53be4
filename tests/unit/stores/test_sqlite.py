"""The audit in a file: private, shared between processes, and honest about a full or broken disk."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from fleetsync.errors import StorageFailed
from fleetsync.records.audits import RunFilter, RunStatus
from fleetsync.stores.opening import AUDIT_FILE, open_run_store
from fleetsync.stores.recorder import RunRecorder
from fleetsync.stores.run_sql import SqlRunStore
from fleetsync.stores.scribe import RETRY_SECONDS, Spool
from fleetsync.stores.sqlite import SqliteDatabase
from tests.contracts.runs import ALL, begin, end, ids, note

BIG = "x" * 20_000


def test_the_file_and_its_companions_are_private(tmp_path: Path) -> None:
    """0600: inputs and outputs are nobody else's business."""
    store = open_run_store("", tmp_path)
    begin(store, "a")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    store.close()
    assert modes == {AUDIT_FILE: 0o600, f"{AUDIT_FILE}-wal": 0o600, f"{AUDIT_FILE}-shm": 0o600}


def test_what_one_process_writes_the_other_reads(tmp_path: Path) -> None:
    """As the daemon and the commands do; both may write."""
    one, other = open_run_store("", tmp_path), open_run_store("", tmp_path)
    begin(one, "a")
    end(other, "a")
    begin(other, "b", 1)
    assert ids(one.list_runs_filtered(ALL, 0, 50)) == ["b", "a"]
    assert one.count_runs_filtered(ALL) == 2
    one.close()
    other.close()


def test_runs_survive_a_restart(tmp_path: Path) -> None:
    """They are in the file when the call has returned."""
    store = open_run_store("", tmp_path)
    begin(store, "a", inputs={"x": 1})
    note(store, "a", 0)
    store.close()
    again = open_run_store("", tmp_path)
    assert (again.get_run("a").inputs, len(again.list_logs_by_run("a"))) == ({"x": 1}, 1)
    again.close()


def test_a_full_disk_stops_nobody_and_loses_nothing(tmp_path: Path) -> None:
    """What the disk does not take is `StorageFailed`, whole; the spool writes it when there is room."""
    database = SqliteDatabase(tmp_path / AUDIT_FILE)
    store = SqlRunStore(database)
    store.initialize()
    pages = database.read("PRAGMA page_count")[0][0]
    now = [0.0]
    spool = Spool(lambda: store, monotonic=lambda: now[0])
    recorder = RunRecorder(spool.write, "me")
    database.read(f"PRAGMA max_page_count = {pages + 2}")
    with recorder.run("deploy", run_id="a", inputs=BIG) as run:
        run.step(BIG)
    assert "full" in str(spool.trouble)
    assert store.count_runs_filtered(ALL) == len(store.list_runs_filtered(ALL, 0, 50)) == 0
    database.read("PRAGMA max_page_count = 100000")
    now[0] += RETRY_SECONDS
    spool.retry()
    assert (store.get_run("a").inputs, len(store.list_logs_by_run("a"))) == (BIG, 1)
    spool.close()


@pytest.mark.parametrize("content", [b"this is no database at all, but long enough to be read as one" * 20])
def test_a_file_that_is_no_database_is_named(tmp_path: Path, content: bytes) -> None:
    """`StorageFailed` with the path; the file is left as it is."""
    (tmp_path / AUDIT_FILE).write_bytes(content)
    with pytest.raises(StorageFailed, match=r"audit\.db"):
        open_run_store("", tmp_path)
    assert (tmp_path / AUDIT_FILE).read_bytes() == content


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The same for a state directory that is gone."""
    with pytest.raises(StorageFailed, match="gone"):
        open_run_store("", tmp_path / "gone")


def test_the_rarest_condition_chooses_the_index(tmp_path: Path) -> None:
    """Few runs of a skill among many errors are found by the skill, few errors of a big skill by status."""
    database = SqliteDatabase(tmp_path / AUDIT_FILE)
    store = SqlRunStore(database)
    store.initialize()
    for number in range(40):
        begin(store, f"r{number}", number, skill_id="rare" if number == 7 else "big")
        end(store, f"r{number}", "timeout" if number in (7, 8) else "error")
    plans: list[str] = []
    read = database.read

    def explained(statement, parameters=()):
        if "FROM audit_runs" in statement:
            plans.append(str(read("EXPLAIN QUERY PLAN " + statement, parameters)))
        return read(statement, parameters)

    database.read = explained
    for skill, status, index in (
        ("rare", RunStatus.ERROR, "audit_runs_by_skill"),
        ("big", RunStatus.TIMEOUT, "audit_runs_by_status"),
    ):
        store.list_runs_filtered(RunFilter(skill_id=skill, status=status), 0, 50)
        assert index in plans[-1]
    store.close()
