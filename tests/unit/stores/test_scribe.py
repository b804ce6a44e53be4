"""`Spool` and `Scribe`: a store that fails stops nobody, and what it missed reaches it later."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import pytest

from fleetsync.errors import BrokenConfig, MalformedRecord, StorageFailed
from fleetsync.ports import RunStore
from fleetsync.records.audits import RunFilter, RunStart, RunStatus
from fleetsync.stores import scribe
from fleetsync.stores.recorder import RunRecorder
from fleetsync.stores.run_memory import MemoryRunStore
from fleetsync.stores.scribe import RETRY_SECONDS, Scribe, Spool

ALL = RunFilter(include_dry_run=True)


class Moody(MemoryRunStore):
    """A store whose disk can be full."""

    def __init__(self) -> None:
        super().__init__()
        self.trouble: Exception | None = None
        self.tries = 0

    def start_run(self, start: RunStart) -> None:
        """See `RunStore`."""
        self.tries += 1
        if self.trouble is not None:
            raise self.trouble
        super().start_run(start)


class Desk:
    """A spool, its store and its clock."""

    def __init__(self) -> None:
        self.store = Moody()
        self.now = 0.0
        self.opened = 0
        self.closed_door: Exception | None = None
        self.spool = Spool(self.open, monotonic=lambda: self.now)
        self.recorder = RunRecorder(self.spool.write, "me")

    def open(self) -> RunStore:
        """Count how often, and perhaps fail."""
        self.opened += 1
        if self.closed_door is not None:
            raise self.closed_door
        return self.store

    def record(self, run_id: str) -> None:
        """One run with one step."""
        with self.recorder.run("deploy", run_id=run_id) as run:
            run.step("one")

    def recorded(self) -> set[tuple[str, str, int]]:
        """(run, status, entries) of all runs."""
        runs = self.store.list_runs_filtered(ALL, 0, 500)
        return {(run.id, str(run.status), len(self.store.list_logs_by_run(run.id))) for run in runs}


@pytest.fixture
def desk() -> Desk:
    """An empty one."""
    return Desk()


def test_operations_are_done_at_once_and_in_order(desk: Desk) -> None:
    """Where nothing is wrong the store has a run as soon as the block is over; it is opened once."""
    desk.record("a")
    desk.record("b")
    assert desk.recorded() == {("a", "ok", 1), ("b", "ok", 1)}
    assert desk.opened == 1


def test_a_full_disk_is_told_once_and_made_up_for(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """One warning however much fails; when there is room again everything is written, in order."""
    caplog.set_level(logging.INFO)
    desk.store.trouble = StorageFailed("audit.db: database or disk is full")
    for number in range(5):
        desk.record(f"r{number}")
        desk.now += RETRY_SECONDS
    assert desk.recorded() == set()
    assert str(desk.spool.trouble) == "audit.db: database or disk is full"
    desk.store.trouble = None
    desk.record("late")
    assert desk.recorded() == {(name, "ok", 1) for name in ("r0", "r1", "r2", "r3", "r4", "late")}
    assert desk.spool.trouble is None
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_a_failing_store_is_not_asked_all_the_time(desk: Desk) -> None:
    """After a failure nothing is tried before `RETRY_SECONDS` are over: a dead database costs nothing."""
    desk.store.trouble = StorageFailed("gone")
    for number in range(20):
        desk.record(f"r{number}")
    assert desk.store.tries == 1
    assert desk.spool.retry() == RETRY_SECONDS
    desk.now += RETRY_SECONDS
    desk.store.trouble = None
    assert desk.spool.retry() is None
    assert len(desk.recorded()) == 20


@pytest.mark.parametrize("error", [StorageFailed("no connection"), BrokenConfig("psycopg is missing")])
def test_a_store_that_cannot_be_opened_is_opened_later(desk: Desk, error: Exception) -> None:
    """A database that is down when the daemon starts is a database that fails."""
    desk.closed_door = error
    desk.record("a")
    assert desk.spool.trouble is error
    desk.closed_door = None
    desk.now += RETRY_SECONDS
    desk.record("b")
    assert desk.recorded() == {("a", "ok", 1), ("b", "ok", 1)}


def test_what_was_done_without_an_answer_is_not_done_twice(desk: Desk) -> None:
    """The connection broke after the commit: the retry meets a duplicate, which is success."""
    real = desk.store.append_log
    calls = []

    def lose_the_answer(entry):
        real(entry)
        calls.append(entry)
        if len(calls) == 1:
            raise StorageFailed("connection lost at the very end")

    desk.store.append_log = lose_the_answer
    desk.record("a")
    desk.now += RETRY_SECONDS
    desk.record("b")
    assert desk.recorded() == {("a", "ok", 1), ("b", "ok", 1)}


def test_only_so_much_is_kept(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what waits the oldest goes first; ends whose start is lost are dropped, not half a run kept."""
    monkeypatch.setattr(scribe, "MOST", 8)
    desk.store.trouble = StorageFailed("gone")
    for number in range(10):
        desk.record(f"r{number}")
    desk.store.trouble = None
    desk.now += RETRY_SECONDS
    desk.record("last")
    assert desk.recorded() == {("r8", "ok", 1), ("r9", "ok", 1), ("last", "ok", 1)}


@pytest.mark.parametrize("error", [MalformedRecord("no"), ZeroDivisionError()])
def test_an_operation_that_will_never_work_is_dropped(
    desk: Desk, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """A refusal or a bug costs that entry, not the ones behind it; it is logged."""

    def wrong(_: RunStore) -> None:
        raise error

    desk.spool.write(wrong)
    desk.record("a")
    assert desk.recorded() == {("a", "ok", 1)}
    assert len(caplog.records) == 1


def test_close_writes_what_waits(desk: Desk) -> None:
    """One more try, whatever the clock says; closing twice is fine."""
    desk.store.trouble = StorageFailed("gone")
    desk.record("a")
    desk.store.trouble = None
    desk.spool.close()
    desk.spool.close()
    assert desk.recorded() == {("a", "ok", 1)}


def scribing(opened: Callable[[], RunStore]) -> tuple[Scribe, RunRecorder]:
    """A running scribe and who writes to it."""
    writer = Scribe(opened)
    writer.start()
    return writer, RunRecorder(writer.write, "me")


async def test_a_scribe_writes_for_the_event_loop() -> None:
    """The loop only hands over (blocking calls would fail this test); at the end all is there."""
    store = Moody()
    writer, recorder = scribing(lambda: store)
    with recorder.run("deploy", run_id="a") as run:
        run.step("one")
    await _in_thread(writer.close)
    assert store.get_run("a").status is RunStatus.OK


async def _in_thread(work: Callable[[], None]) -> None:
    import anyio.to_thread

    await anyio.to_thread.run_sync(work)


def test_a_store_that_hangs_keeps_nobody() -> None:
    """Neither who writes nor who closes waits for it longer than they said."""
    hanging, let_go = threading.Event(), threading.Event()

    def hang() -> RunStore:
        hanging.set()
        let_go.wait(30)
        return MemoryRunStore()

    writer, recorder = scribing(hang)
    with recorder.run("deploy"):
        pass
    assert hanging.wait(5)
    writer.close(patience=0.01)
    let_go.set()
    writer.close(patience=5)


def test_a_scribe_tries_again_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits is written when the store is well, though nobody writes anything more."""
    monkeypatch.setattr(scribe, "RETRY_SECONDS", 0.01)
    store, written = Moody(), threading.Event()
    store.trouble = StorageFailed("gone")
    real = store.finish_run
    store.finish_run = lambda run_id, stats: (real(run_id, stats), written.set())[0]  # type: ignore[func-returns-value]
    writer, recorder = scribing(lambda: store)
    with recorder.run("deploy"):
        pass
    while store.tries < 3:
        threading.Event().wait(0.005)
    store.trouble = None
    assert written.wait(5)
    writer.close()


def test_a_scribe_that_never_started_can_be_closed() -> None:
    """As after a failed start of the daemon."""
    Scribe(MemoryRunStore).close()
