"""`RunRecorder`: a run is closed whatever happens, and its sequences only grow."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anyio
import pytest

from fleetsync.records.audits import Run, RunFilter, RunStart, RunStatus
from fleetsync.stores.opening import open_run_store
from fleetsync.stores.recorder import Operation, RunRecorder, mark_crashed, new_run_id, purging
from fleetsync.stores.run_memory import MemoryRunStore

ALL = RunFilter(include_dry_run=True)


class Desk:
    """A recorder, its store and its clocks."""

    def __init__(self) -> None:
        self.store = MemoryRunStore()
        self.now = 1_000_000
        self.recorder = RunRecorder(
            self.write,
            "me",
            clock=lambda: self.now,
            monotonic=lambda: self.now / 1e6,
            new_id=iter(f"run-{n}" for n in range(99)).__next__,
        )

    def write(self, operation: Operation) -> None:
        """At once."""
        operation(self.store)

    @property
    def run(self) -> Run:
        """The run that began first."""
        return self.store.get_run("run-0")

    def sequences(self) -> list[int]:
        """Those of its log."""
        return [entry.sequence for entry in self.store.list_logs_by_run("run-0")]


@pytest.fixture
def desk() -> Desk:
    """An empty one."""
    return Desk()


def test_a_run_records_what_it_did_and_used(desk: Desk) -> None:
    """Start, log, totals, output and end, by the clocks it was given."""
    with desk.recorder.run("deploy", channel_id="room", inputs={"to": "staging"}) as run:
        desk.now += 2_500_000
        run.step("build", files=3)
        run.tool_call("ssh", host="x")
        run.tool_result("ssh", code=0)
        run.spend(input_tokens=5, output_tokens=2)
        run.spend(input_tokens=1, thinking_tokens=4)
        run.output = {"released": True}
    found = desk.run
    assert (found.skill_id, found.caller_id, found.channel_id) == ("deploy", "me", "room")
    assert (found.status, found.error, found.output) == ("ok", None, {"released": True})
    assert (found.started_at, found.finished_at, found.runtime_seconds) == (1_000_000, 3_500_000, 2.5)
    assert (found.tool_calls_count, found.total_input_tokens) == (1, 6)
    assert (found.total_output_tokens, found.total_thinking_tokens) == (2, 4)
    log = desk.store.list_logs_by_run("run-0")
    assert [(entry.event_type, entry.payload) for entry in log] == [
        ("step", {"name": "build", "files": 3}),
        ("tool_call", {"tool": "ssh", "host": "x"}),
        ("tool_result", {"tool": "ssh", "code": 0}),
    ]


@pytest.mark.parametrize(
    ("raised", "status", "error"),
    [
        (ValueError("no such host"), "error", "ValueError: no such host"),
        (TimeoutError(), "timeout", "TimeoutError"),
        (KeyboardInterrupt(), "error", "cancelled (KeyboardInterrupt)"),
        (SystemExit(3), "error", "cancelled (SystemExit: 3)"),
        (ValueError("a\0\ud800"), "error", "ValueError: a\ufffd\ufffd"),
    ],
)
def test_whatever_leaves_a_run_closes_it(desk: Desk, raised: BaseException, status: str, error: str) -> None:
    """The exception is recorded in words and goes on as itself; it says more than `end` did."""

    def work() -> None:
        with desk.recorder.run("deploy") as run:
            run.end(RunStatus.OK)
            raise raised

    with pytest.raises(type(raised)) as caught:
        work()
    assert caught.value is raised
    assert (desk.run.status, desk.run.error) == (status, error)


async def test_a_cancelled_task_closes_its_run(desk: Desk) -> None:
    """Cancellation in the middle of a wait is an end like any other."""
    with anyio.move_on_after(0.01):
        with desk.recorder.run("deploy"):
            await anyio.sleep_forever()
    assert desk.run.status is RunStatus.ERROR
    assert "cancelled" in (desk.run.error or "")


async def test_tasks_at_once_have_runs_of_their_own(desk: Desk) -> None:
    """Nothing of one run is found in another."""

    async def work(name: str) -> None:
        with desk.recorder.run(name) as run:
            run.step("one")
            await asyncio.sleep(0)
            run.step("two")

    async with anyio.create_task_group() as tasks:
        for name in "abc":
            tasks.start_soon(work, name)
    runs = desk.store.list_runs_filtered(ALL, 0, 50)
    assert [len(desk.store.list_logs_by_run(run.id)) for run in runs] == [2, 2, 2]


def test_said_ends_are_kept(desk: Desk) -> None:
    """A run that ends well by Python may say that it did not."""
    with desk.recorder.run("deploy") as run:
        run.end(RunStatus.BUDGET_EXCEEDED, "100,000 tokens")
    assert (desk.run.status, desk.run.error) == ("budget_exceeded", "100,000 tokens")


def test_after_the_end_nothing_is_added(desk: Desk) -> None:
    """A log does not grow behind the end of its run."""
    with desk.recorder.run("deploy") as run:
        run.step("one")
    run.step("two")
    run.close(ValueError())
    assert (desk.sequences(), desk.run.status) == ([0], RunStatus.OK)


def test_children_know_their_parent(desk: Desk) -> None:
    """However deep."""
    with desk.recorder.run("a") as a, a.child("b") as b, b.child("c") as c:
        pass
    assert [run.id for run in desk.store.walk_parent_chain(c.id)] == [a.id, b.id, c.id]


def test_threads_share_a_sequence(desk: Desk) -> None:
    """Each entry has its own number, and they are written in that order."""
    order: list[int] = []
    append = desk.store.append_log
    desk.store.append_log = lambda entry: (order.append(entry.sequence), append(entry))[1]  # type: ignore[func-returns-value]
    with desk.recorder.run("deploy") as run, ThreadPoolExecutor(4) as pool:
        list(pool.map(run.step, [f"step {n}" for n in range(200)]))
    assert order == desk.sequences() == list(range(200))


def test_what_is_no_json_does_not_stop_a_run(desk: Desk) -> None:
    """Payloads, inputs and output are told as nearly as JSON can."""
    with desk.recorder.run("deploy", inputs=float("nan")) as run:
        run.step("odd", value=Path("x"))
        run.output = {1}
    assert desk.store.list_logs_by_run("run-0")[0].payload["value"] == "PosixPath('x')"
    assert desk.run.output == "{1}"


def test_run_ids_sort_by_time() -> None:
    """A million at once would still differ; later milliseconds come later."""
    ids = [new_run_id() for _ in range(2000)]
    assert len(set(ids)) == 2000
    assert [identity[:12] for identity in ids] == sorted(identity[:12] for identity in ids)
    assert {len(identity) for identity in ids} == {32}


KILLED = """
import os, signal, sys
from pathlib import Path
from fleetsync.stores.opening import open_run_store
from fleetsync.stores.recorder import RunRecorder
store = open_run_store("", Path(sys.argv[1]))
with RunRecorder(lambda operation: operation(store), "me").run("deploy", run_id="killed") as run:
    run.step("one")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_leaves_a_running_run_that_is_marked_once(tmp_path: Path) -> None:
    """The run stays `running`; the next start says so by an entry, and the one after that does not."""
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    store = open_run_store("", tmp_path)
    now = store.get_run("killed").started_at + 1
    skills = frozenset({"deploy"})
    assert [mark_crashed(store, "me", skills, now=now + n) for n in range(2)] == [1, 0]
    assert store.get_run("killed").status is RunStatus.RUNNING
    log = store.list_logs_by_run("killed")
    assert [(entry.sequence, entry.event_type) for entry in log] == [(0, "step"), (1, "error")]
    assert log[1].payload["reason"] == "crashed"
    store.close()


def test_only_runs_of_this_caller_and_these_skills_are_marked(desk: Desk) -> None:
    """Others may still be at work in processes of their own."""
    for caller, skill, number in (("me", "a", 1), ("me", "b", 2), ("you", "a", 3)):
        start = RunStart(id=f"r{number}", skill_id=skill, caller_id=caller, started_at=0)
        desk.store.start_run(start)
    with desk.recorder.run("a", run_id="ended"):
        pass
    assert mark_crashed(desk.store, "me", frozenset({"a"}), now=5_000_000) == 1
    assert [len(desk.store.list_logs_by_run(run)) for run in ("r1", "r2", "r3", "ended")] == [1, 0, 0, 0]


def test_a_run_that_is_forgotten_is_closed(desk: Desk) -> None:
    """A block that never ends because its generator was dropped ends with the generator."""

    def work() -> Iterator[None]:
        with desk.recorder.run("deploy"):
            yield

    halfway = work()
    next(halfway)
    del halfway
    assert desk.run.error == "cancelled (GeneratorExit)"


def test_many_crashed_runs_are_all_marked(desk: Desk) -> None:
    """More than a page of a listing holds."""
    for number in range(600):
        start = RunStart(id=f"r{number}", skill_id="a", caller_id="me", started_at=0)
        desk.store.start_run(start)
    assert mark_crashed(desk.store, "me", frozenset({"a"}), now=1) == 600


def test_purging_is_by_age_and_by_number(desk: Desk) -> None:
    """What began before the time goes, and all but the newest."""
    for number in range(10):
        desk.now = number
        with desk.recorder.run("a"):
            pass
    purging(3, 9)(desk.store)
    assert desk.store.count_runs_filtered(ALL) == 7
    purging(3, 2)(desk.store)
    assert [run.started_at for run in desk.store.list_runs_filtered(ALL, 0, 9)] == [9, 8]
