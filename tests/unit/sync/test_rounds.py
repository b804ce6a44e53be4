"""Exchanges as runs: rounds with their children, steps, refusals, and every way to end."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from fleetsync.errors import FleetsyncError, NotTrusted, Unreachable, Unresponsive
from fleetsync.ports import HELD, Head
from fleetsync.records.audits import Run, RunFilter, RunLog
from fleetsync.records.names import DeviceId
from fleetsync.stores.recorder import Operation, RunRecorder
from fleetsync.stores.run_memory import MemoryRunStore
from fleetsync.sync.exchange import Declined, Ending, Exchange, Heads, Step, Traffic
from fleetsync.sync.rounds import EXCHANGE, MAX_LISTED, ROUND, Rounds
from tests.fakes.fleet import device_id

ME, PEER, OTHER = device_id("m"), device_id("p"), device_id("q")
HEAD = Head(b"e" * 8, 1, 1, b"f" * 16)


class Notes:
    """A store with what `Rounds` wrote into it."""

    def __init__(self) -> None:
        self.store = MemoryRunStore()
        self.rounds = Rounds(RunRecorder(self.write, ME))

    def write(self, operation: Operation) -> None:
        """At once."""
        operation(self.store)

    def exchange(self, ending: Ending, peer: DeviceId = PEER, **facts: Any) -> None:
        """One that ended so."""
        with self.rounds.exchange(peer) as conclude:
            conclude(Exchange(peer, ending, **facts))

    def runs(self, skill: str = EXCHANGE) -> list[Run]:
        """Those of a skill, oldest first."""
        return self.store.list_runs_filtered(RunFilter(skill_id=skill), 0, 500)[::-1]

    def log(self, run: Run) -> list[RunLog]:
        """What happened in it."""
        return self.store.list_logs_by_run(run.id)


@pytest.fixture
def notes() -> Notes:
    """Empty ones."""
    return Notes()


def test_an_exchange_is_a_run_with_its_steps(notes: Notes) -> None:
    """This device is the caller, the peer the channel; steps carry counts, bytes and times."""
    notes.exchange(
        Ending.CONVERGED,
        received=2,
        sent=1,
        traffic=Traffic(300, 200, 3),
        steps=(Step("hello", 1, 0.25, 100, 50), Step("fetch", 2, 0.5, 200, 90), Step("offer", 1, 0.125)),
        opening=Heads(HEAD, HEAD),
    )
    (run,) = notes.runs()
    assert (run.caller_id, run.channel_id, run.status, run.error) == (ME, PEER, "ok", None)
    assert run.parent_run_id is None
    assert run.output == {
        "outcome": "converged",
        "received": 2,
        "sent": 1,
        "bytes_in": 300,
        "bytes_out": 200,
        "round_trips": 3,
    }
    assert [entry.payload for entry in notes.log(run)] == [
        {"name": "greet", "count": 1, "bytes_in": 100, "bytes_out": 50, "seconds": 0.25},
        {"name": "fetch", "count": 2, "bytes_in": 200, "bytes_out": 90, "seconds": 0.5},
        {"name": "push", "count": 1, "bytes_in": 0, "bytes_out": 0, "seconds": 0.125},
    ]


@pytest.mark.parametrize(
    ("ending", "error", "status"),
    [
        (Ending.CONVERGED, None, "ok"),
        (Ending.PARTIAL, None, "error"),
        (Ending.FAILED, NotTrusted("go away"), "error"),
        (Ending.FAILED, Unresponsive("no answer in 30 s"), "timeout"),
        (Ending.UNREACHABLE, Unreachable("nobody there"), "error"),
    ],
)
def test_every_ending_has_its_status(
    notes: Notes, ending: Ending, error: FleetsyncError | None, status: str
) -> None:
    """And a failure its words, in the run and in the log."""
    notes.exchange(ending, error=error)
    (run,) = notes.runs()
    assert run.status == status
    if error is not None:
        assert run.error == error.message
        assert notes.log(run)[-1].payload == {"reason": error.code, "detail": error.message}


def test_refusals_are_errors_with_their_reason(notes: Notes) -> None:
    """Who refused what, why; of very many only the first, and how many more."""
    refused = tuple(Declined(f"skills/s{n}/events.jsonl", OTHER, "too old") for n in range(MAX_LISTED + 7))
    notes.exchange(Ending.PARTIAL, refused=refused)
    (run,) = notes.runs()
    log = notes.log(run)
    assert {entry.event_type for entry in log} == {"error"}
    assert log[0].payload == {
        "reason": "refused",
        "path": "skills/s0/events.jsonl",
        "by": OTHER,
        "detail": "too old",
    }
    assert (len(log), log[-1].payload["detail"]) == (MAX_LISTED + 1, "and 7 more")
    assert run.error == f"partial: {MAX_LISTED + 7} items were refused"


def test_held_items_are_errors_with_their_reason(notes: Notes) -> None:
    """They do not keep an exchange from being converged."""
    notes.exchange(Ending.CONVERGED, held=(Declined("skills/a/skill.yaml", ME, HELD),))
    (run,) = notes.runs()
    assert (run.status, notes.log(run)[0].event_type) == ("ok", "error")
    assert notes.log(run)[0].payload == {
        "reason": "held",
        "path": "skills/a/skill.yaml",
        "by": ME,
        "detail": HELD,
    }


async def test_a_round_holds_what_its_tasks_exchange(notes: Notes) -> None:
    """A child per peer; another exchange at the same time is not part of it."""
    outside = anyio.Event()

    async def alone() -> None:
        await outside.wait()
        notes.exchange(Ending.CONVERGED, device_id("z"))

    async def one(peer: DeviceId, ending: Ending) -> None:
        await anyio.lowlevel.checkpoint()
        notes.exchange(ending, peer)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(alone)
        with notes.rounds.round("schedule"):
            async with anyio.create_task_group() as inner:
                inner.start_soon(one, PEER, Ending.CONVERGED)
                inner.start_soon(one, OTHER, Ending.PARTIAL)
                outside.set()
    (whole,) = notes.runs(ROUND)
    children = notes.store.list_children_by_parent(whole.id)
    assert {child.channel_id for child in children} == {PEER, OTHER}
    assert (whole.inputs, whole.output) == ({"why": "schedule"}, {"peers": 2, "converged": 1})
    assert (whole.status, whole.error) == ("error", "1 of 2 peers did not converge")
    assert len(notes.runs()) == 3


def test_a_round_without_exchanges_is_none(notes: Notes) -> None:
    """Nobody to exchange with is nothing to record; a round in which all is well is ok."""
    with notes.rounds.round("schedule"):
        pass
    assert notes.runs(ROUND) == []
    with notes.rounds.round("schedule"):
        notes.exchange(Ending.CONVERGED)
    assert [run.status for run in notes.runs(ROUND)] == ["ok"]


def test_a_peer_that_is_away_is_recorded_once(notes: Notes) -> None:
    """It is tried every minute; the first try is recorded, and the first that reaches it again."""
    for _ in range(3):
        notes.exchange(Ending.UNREACHABLE)
        notes.exchange(Ending.CONVERGED, OTHER)
    notes.exchange(Ending.CONVERGED, steps=(Step("hello", 1, 0.1),))
    notes.exchange(Ending.UNREACHABLE)
    found = [run for run in notes.runs() if run.channel_id == PEER]
    assert [run.output["outcome"] for run in found] == ["unreachable", "converged", "unreachable"]
    assert len(notes.log(found[1])) == 1


def test_a_round_records_those_who_are_away_too(notes: Notes) -> None:
    """Somebody asked for it."""
    notes.exchange(Ending.UNREACHABLE)
    with notes.rounds.round("request"):
        notes.exchange(Ending.UNREACHABLE)
    assert len(notes.runs()) == 2


async def test_a_cancelled_exchange_is_closed(notes: Notes) -> None:
    """A dropped connection or the end of the daemon leaves no run open, nor its round."""
    with anyio.move_on_after(0.01), notes.rounds.round("schedule"), notes.rounds.exchange(PEER):
        await anyio.sleep_forever()
    assert [run.status for run in (*notes.runs(), *notes.runs(ROUND))] == ["error", "error"]
    assert all("cancelled" in (run.error or "") for run in notes.runs())


def test_an_exchange_that_breaks_is_closed(notes: Notes) -> None:
    """A bug is recorded in words and goes on as itself."""
    with suppress(ZeroDivisionError), notes.rounds.exchange(PEER):
        raise ZeroDivisionError("oops")
    assert notes.runs()[0].error == "ZeroDivisionError: oops"


def test_an_exchange_is_running_while_it_runs(notes: Notes) -> None:
    """So that a killed daemon leaves a trace of what it was doing."""
    with notes.rounds.round("schedule"), notes.rounds.exchange(PEER):
        assert [run.status for run in (*notes.runs(), *notes.runs(ROUND))] == ["running", "running"]
