"""The audit in a real PostgreSQL: connections break and come back, and daemons share a database."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fleetsync.errors import BrokenConfig, StorageFailed
from fleetsync.ports import RunStore
from fleetsync.records.audits import RunFilter, RunStatus
from fleetsync.stores.opening import open_database, open_run_store
from fleetsync.stores.recorder import RunRecorder
from fleetsync.stores.scribe import RETRY_SECONDS, Spool
from tests.contracts.runs import ALL, begin, end, note
from tests.fakes.postgres import PostgresServer

NOWHERE = Path("/nonexistent")


@pytest.fixture
def store(postgres_url: str) -> Iterator[RunStore]:
    """An empty store."""
    opened = open_run_store(postgres_url, NOWHERE)
    yield opened
    opened.close()


def break_connections(postgres_url: str) -> None:
    """As a restarted server or a router does: every other connection to that database ends."""
    other = open_database(postgres_url, NOWHERE)
    other.read("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
    other.close()


def test_a_broken_connection_is_made_again(store: RunStore, postgres_url: str) -> None:
    """The next call succeeds, whether it reads or writes."""
    begin(store, "a")
    break_connections(postgres_url)
    assert store.get_run("a").id == "a"
    break_connections(postgres_url)
    end(store, "a")
    assert store.count_runs_filtered(ALL) == 1


def test_a_restarted_server_loses_no_entry(postgres_server: PostgresServer, postgres_url: str) -> None:
    """While it is away runs go on; when it is back all of them are there, in order."""
    now = [0.0]
    spool = Spool(lambda: open_run_store(postgres_url, NOWHERE), monotonic=lambda: now[0])
    recorder = RunRecorder(spool.write, "me")
    with recorder.run("deploy", run_id="a") as run:
        run.step("before")
        postgres_server.stop()
        try:
            run.step("meanwhile")
            assert spool.trouble is not None
            with run.child("build", run_id="b") as child:
                child.step("inside")
        finally:
            postgres_server.start()
        now[0] += RETRY_SECONDS
        run.step("after")
    spool.close()
    with_open = open_run_store(postgres_url, NOWHERE)
    names = [entry.payload["name"] for entry in with_open.list_logs_by_run("a")]
    assert names == ["before", "meanwhile", "after"]
    assert [run.status for run in with_open.list_children_by_parent("a")] == [RunStatus.OK]
    assert with_open.count_runs_filtered(RunFilter(status=RunStatus.OK)) == 2
    with_open.close()


def test_a_server_that_is_not_there_is_said_without_the_password() -> None:
    """`StorageFailed` names database and host and nothing that is secret."""
    with pytest.raises(StorageFailed, match="audit on /nonexistent") as caught:
        open_run_store("postgresql:///audit?host=/nonexistent&user=me&password=geheim", NOWHERE)
    assert "geheim" not in f"{caught.value} {caught.value.next}"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:geheim@host/audit?nonsense=1",
        "postgresql://me:geheim%zz@host/audit",
        "postgresql://me:geheim geheim@host/audit",
        "postgresql://me:geheim@[host/audit",
        'postgresql://me:gehe"im geheim@host/audit',
    ],
)
def test_a_url_that_cannot_be_read_is_said(url: str) -> None:
    """Without repeating it: it may hold a password, whole or in part."""
    with pytest.raises(StorageFailed, match=r"\[store\] url") as caught:
        open_run_store(url, NOWHERE)
    assert "gehe" not in str(caught.value)
    assert caught.value.__suppress_context__, "nor in a traceback"


def test_a_password_with_a_slash_is_not_taken_for_the_name_of_the_database() -> None:
    """Unescaped, the rest of it stands where the database would; errors name what stands there."""
    with pytest.raises(StorageFailed) as caught:
        open_run_store("postgresql://localhost:1/geheim@host/audit", NOWHERE)
    assert "geheim" not in str(caught.value)


def test_without_psycopg_the_settings_are_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """A URL without the extra is a broken configuration that names the extra."""
    monkeypatch.setitem(sys.modules, "fleetsync.stores.postgres", None)
    with pytest.raises(BrokenConfig) as caught:
        open_database("postgresql:///audit", NOWHERE)
    assert caught.value.next == "install mur-fleetsync[postgres]"


def test_psycopg_is_imported_only_for_a_url(tmp_path: Path) -> None:
    """An idle daemon with a file stays small."""
    program = (
        "import sys, pathlib, fleetsync.audit, fleetsync.stores.opening as o;"
        "o.open_run_store('', pathlib.Path(sys.argv[1])).close();"
        "sys.exit('psycopg' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False).returncode == 0


def test_two_daemons_on_one_database(postgres_url: str) -> None:
    """Both write runs of the same kinds, finish each other's and purge at once: the counts stay right."""
    stores = [open_run_store(postgres_url, NOWHERE) for _ in range(2)]
    for number in range(60):
        begin(stores[0], f"old-{number}", 0, skill_id=f"s{number % 3}", caller_id=f"c{number % 2}")

    def work(which: int) -> int:
        store = stores[which]
        purged = 0
        for number in range(60):
            begin(store, f"{which}-{number}", 10, skill_id=f"s{number % 3}", caller_id=f"c{number % 2}")
            note(store, f"{which}-{number}", 0)
            end(store, f"{which}-{number}", "ok" if number % 2 else "error")
            if number == 30:
                purged += store.purge_older_than(5)
        return purged

    with ThreadPoolExecutor(2) as pool:
        assert sum(pool.map(work, (0, 1))) == 60
    one = stores[0]
    assert one.count_runs_filtered(ALL) == 120
    for wanted in (RunFilter(skill_id="s1"), RunFilter(caller_id="c0"), RunFilter(status=RunStatus.ERROR)):
        assert one.count_runs_filtered(wanted) == len(one.list_runs_filtered(wanted, 0, 500))
    for store in stores:
        store.close()


def test_finishing_one_run_from_two_sides_counts_it_once(postgres_url: str) -> None:
    """The row is held from reading its status to changing it."""
    stores = [open_run_store(postgres_url, NOWHERE) for _ in range(2)]
    for number in range(30):
        begin(stores[0], f"r{number}")
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda store, n=number: end(store, f"r{n}", "error"), stores))
    assert stores[0].count_runs_filtered(RunFilter(status=RunStatus.ERROR)) == 30
    assert stores[0].count_runs_filtered(ALL) == 30
    for store in stores:
        store.close()
