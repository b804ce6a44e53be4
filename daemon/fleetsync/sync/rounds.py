"""Exchanges as runs: what the engine did, for the audit.

A round (what the schedule or a person began with several peers at once) is a run, every exchange in it
a child; an exchange that a link began by itself stands at top level. The steps, refusals and the end of
an exchange are its log. A peer that is away is tried once a minute: of a row of such attempts only the
first is recorded, unless a round asked for it. Rule of the file: it only writes down, and nothing here
waits or fails. Implements docs/stores.md, "Exchanges".
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar

from fleetsync.errors import Unresponsive
from fleetsync.records.audits import Json, RunStatus
from fleetsync.records.names import DeviceId
from fleetsync.stores.recorder import OpenRun, Operation, RunRecorder
from fleetsync.sync.exchange import Declined, Ending, Exchange, Step

ROUND, EXCHANGE = "fleetsync/round", "fleetsync/exchange"
"""The skills under which rounds and exchanges are recorded."""
SKILLS = frozenset({ROUND, EXCHANGE})

MAX_LISTED = 100
"""Refused or held items of one exchange written one by one; of the others only the number."""

_STEPS = {"hello": "greet", "offer": "push"}
"""What a step is called in the audit, where a session calls it otherwise."""

Over = Callable[[str, Mapping[str, str], float], None]
Conclude = Callable[[Exchange], None]
"""To be told how the exchange went."""


class _Round:
    """A round that begins with its first exchange: without one there is nothing to record."""

    def __init__(self, recorder: RunRecorder, why: str, stack: ExitStack) -> None:
        self._recorder = recorder
        self._why = why
        self._stack = stack
        self._run: OpenRun | None = None
        self.endings: dict[DeviceId, Ending] = {}

    def begun(self) -> OpenRun:
        """Its run."""
        if self._run is None:
            run = self._recorder.run(ROUND, inputs={"why": self._why})
            self._run = self._stack.enter_context(run)
        return self._run

    def count(self, peer: DeviceId, ending: Ending) -> None:
        """One of its exchanges is over."""
        run = self.begun()
        self.endings[peer] = ending
        behind = sum(ending is not Ending.CONVERGED for ending in self.endings.values())
        run.output = {"peers": len(self.endings), "converged": len(self.endings) - behind}
        if behind:
            run.end(RunStatus.ERROR, f"{behind} of {len(self.endings)} peers did not converge")


class Rounds:
    """The runs of one engine, written by `recorder`, whose caller is this device."""

    def __init__(
        self,
        recorder: RunRecorder,
        over: Over = lambda _run, _endings, _seconds: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`over` is told of every round: its run, how it ended with each peer, and its seconds."""
        self._recorder = recorder
        self._over = over
        self._monotonic = monotonic
        self._away: set[DeviceId] = set()
        self._round: ContextVar[_Round | None] = ContextVar("round", default=None)

    @contextmanager
    def round(self, why: str) -> Iterator[None]:
        """What tasks begun in this block exchange belongs together; `why` it was begun."""
        began = self._monotonic()
        with ExitStack() as stack:
            current = _Round(self._recorder, why, stack)
            token = self._round.set(current)
            try:
                yield
            finally:
                self._round.reset(token)
                if current.endings:
                    endings = {str(peer): str(ending) for peer, ending in current.endings.items()}
                    self._over(current.begun().id, endings, self._monotonic() - began)

    @contextmanager
    def exchange(self, peer: DeviceId) -> Iterator[Conclude]:
        """An exchange with that peer; the block says how it ended before it ends itself."""
        current = self._round.get()
        if current is None and peer in self._away:
            with self._unless_still_away(peer) as conclude:
                yield conclude
            return
        with self._recorder.run(
            EXCHANGE, channel_id=peer, parent_run_id=current.begun().id if current else None
        ) as run:

            def conclude(exchange: Exchange) -> None:
                describe(run, exchange)
                self._note_away(exchange)
                if current is not None:
                    current.count(exchange.peer, exchange.ending)

            yield conclude

    @contextmanager
    def _unless_still_away(self, peer: DeviceId) -> Iterator[Conclude]:
        """Write only if the peer could be reached at last."""
        held: list[Operation] = []
        recorder = self._recorder.writing_to(held.append)
        with recorder.run(EXCHANGE, channel_id=peer) as run:

            def conclude(exchange: Exchange) -> None:
                describe(run, exchange)
                self._note_away(exchange)

            yield conclude
        if peer not in self._away:
            for operation in held:
                self._recorder.write(operation)

    def _note_away(self, exchange: Exchange) -> None:
        if exchange.ending is Ending.UNREACHABLE:
            self._away.add(exchange.peer)
        else:
            self._away.discard(exchange.peer)


def describe(run: OpenRun, exchange: Exchange) -> None:
    """Write what an exchange did into its run, and how it ended."""
    for step in exchange.steps:
        run.step(_STEPS.get(step.name, step.name), **_facts(step))
    _list(run, "refused", exchange.refused)
    _list(run, "held", exchange.held)
    if exchange.error is not None:
        run.error(exchange.error.code, detail=exchange.error.message)
    run.output = {
        "outcome": str(exchange.ending),
        "received": exchange.received,
        "sent": exchange.sent,
        "bytes_in": exchange.traffic.bytes_in,
        "bytes_out": exchange.traffic.bytes_out,
        "round_trips": exchange.traffic.round_trips,
    }
    run.end(*verdict(exchange))


def _list(run: OpenRun, reason: str, items: Sequence[Declined]) -> None:
    for item in items[:MAX_LISTED]:
        run.error(reason, path=item.path, by=item.by, detail=item.reason)
    if len(items) > MAX_LISTED:
        run.error(reason, detail=f"and {len(items) - MAX_LISTED} more")


def verdict(exchange: Exchange) -> tuple[RunStatus, str | None]:
    """The status of an exchange's run, and the error if it is one."""
    if exchange.ending is Ending.CONVERGED:
        return RunStatus.OK, None
    if isinstance(exchange.error, Unresponsive):
        return RunStatus.TIMEOUT, exchange.error.message
    if exchange.error is not None:
        return RunStatus.ERROR, exchange.error.message
    return RunStatus.ERROR, f"{exchange.ending}: {len(exchange.refused)} items were refused"


def _facts(step: Step) -> dict[str, Json]:
    return {
        "count": step.count,
        "bytes_in": step.bytes_in,
        "bytes_out": step.bytes_out,
        "seconds": round(step.seconds, 6),
    }
