"""Every pinned conversation with an earlier version can be had again, from either end."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleetsync.records.names import DeviceId
from fleetsync.sync.exchange import Ending
from fleetsync.sync.local import LocalDevice
from fleetsync.sync.push import Outbox
from fleetsync.sync.responder import Responder
from fleetsync.sync.session import Session
from fleetsync.wire import codec
from fleetsync.wire.messages import Want
from tests.contracts.test_replica import DiskSite
from tests.fakes.fleet import FakeCaller, device_id, make_local
from tests.upgrade.tape import Player, Tape, read_tape, spelt

TAPES = sorted((Path(__file__).parent / "tapes").glob("*.jsonl"))
CALLER, EARLIER = device_id("d"), device_id("e")


@pytest.fixture(params=TAPES, ids=[path.stem for path in TAPES])
def tape(request: pytest.FixtureRequest) -> Tape:
    """Each pinned one."""
    return read_tape(request.param)


def upgraded(tmp_path: Path, tape: Tape, side: str, name: DeviceId) -> LocalDevice:
    """A device of today that has what a device of then had before the conversation."""
    site = DiskSite(tmp_path, "z")
    for groups in tape.groups(side):
        verdicts = site.storage.apply(groups, EARLIER)
        assert not [verdict for verdict in verdicts if verdict.outcome == "refused"]
    return make_local(name, site.storage, site.time)


@pytest.fixture
def caller(tmp_path: Path, tape: Tape) -> LocalDevice:
    """Today's device in the place of the one that called."""
    return upgraded(tmp_path, tape, "caller", CALLER)


@pytest.fixture
def callee(tmp_path: Path, tape: Tape) -> LocalDevice:
    """Today's device in the place of the one that was called."""
    return upgraded(tmp_path, tape, "callee", tape.device)


def test_there_are_tapes() -> None:
    """Without one the tests below would test nothing."""
    assert TAPES


async def test_todays_device_calls_an_earlier_one(caller: LocalDevice, tape: Tape) -> None:
    """It asks nothing that the earlier one was not asked by its own kind, and both end equal."""
    earlier = Player(tape)
    exchange = await Session(caller, earlier).run()
    assert exchange.ending is Ending.CONVERGED, exchange.error
    assert (await caller.desk.head()).fingerprint == tape.end
    assert earlier.left() == []


async def test_an_earlier_device_calls_todays(callee: LocalDevice, tape: Tape) -> None:
    """It gets the answers that its own kind gave: the same comparison, the same items, nothing refused."""
    outbox = Outbox(callee.desk, CALLER, callee.monotonic)
    today = Responder(callee, FakeCaller(CALLER, outbox, callee.monotonic))
    for call in tape.calls:
        if call.name == "hello":
            answer = codec.encode(await today.hello())
            assert answer[:1] == call.answers[0][:1]
        elif call.name == "reconcile":
            assert await today.reconcile(call.body) == call.answers[0]
        elif call.name == "items":
            async with today.items(codec.decode(call.body, Want)) as batches:
                given = [item async for batch in batches for item in spelt(batch)]
            pinned = [item for payload in call.answers for item in spelt(codec.decode_batch(payload))]
            assert sorted(given) == sorted(pinned)
        else:
            receipt = await today.offer(codec.decode_batch(call.body))
            assert receipt.exceptions == codec.decode_receipt(call.answers[0]).exceptions
    assert (await callee.desk.head()).fingerprint == tape.end
