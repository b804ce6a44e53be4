"""Noticing sleep, set clocks and other networks."""

from __future__ import annotations

import socket
import sys

import anyio
import pytest

from fleetsync.sync import wake
from fleetsync.sync.wake import Change, Reading, changes

HOME, CAFE = frozenset({"192.168.1.7"}), frozenset({"10.0.0.3"})
BEFORE = Reading(1000.0, 100.0, 150.0, HOME)


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (Reading(1015.0, 115.0, 165.0, HOME), set()),
        (Reading(1016.5, 115.0, 165.0, HOME), set()),  # corrected by the time service
        (Reading(4600.0, 115.0, 3750.0, HOME), {Change.SLEPT}),
        (Reading(4600.0, 115.0, None, HOME), {Change.SLEPT}),  # no such clock here
        (Reading(1015.0, 115.0, 3750.0, HOME), {Change.SLEPT}),  # slept with a stopped wall clock
        (Reading(415.0, 115.0, 165.0, HOME), {Change.CLOCK_SET_BACK}),
        (Reading(1015.0, 115.0, 165.0, CAFE), {Change.NETWORK}),
        (Reading(1015.0, 115.0, 165.0, frozenset()), set()),  # offline: nobody to call
        (Reading(4600.0, 115.0, 3750.0, CAFE), {Change.SLEPT, Change.NETWORK}),
    ],
)
def test_two_readings_tell_what_happened(after, expected):
    """Clocks that no longer agree, and other addresses, have a reason each."""
    assert changes(BEFORE, after) == expected


async def test_a_hint_is_followed_at_once(monkeypatch):
    """When the system says that an address changed nobody waits for the next look."""
    monkeypatch.setattr(wake, "SETTLE_SECONDS", 0.0)
    readings = iter([BEFORE, Reading(1000.1, 100.1, 150.1, CAFE)])
    told = anyio.Event()

    async def tell(found):
        assert found == {Change.NETWORK}
        told.set()

    async def hint():
        if told.is_set():
            await anyio.sleep_forever()

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: wake.watch(tell, read=lambda: next(readings), hint=hint))
            await told.wait()
            tasks.cancel_scope.cancel()


async def test_this_machine_can_be_read():
    """A real reading compares with itself as nothing, and takes no time of the event loop."""
    first = wake.read_system()
    assert changes(first, wake.read_system()) == set()
    assert all(isinstance(address, str) for address in first.addresses)


@pytest.mark.skipif(sys.platform != "linux", reason="netlink is Linux's")
async def test_linux_hints_can_be_waited_for():
    """The netlink socket opens without privileges, is silent while nothing changes and closes twice."""
    hints = wake.AddressHints()
    assert isinstance(hints._socket, socket.socket)
    with anyio.move_on_after(0.05) as silence:
        await hints.wait()
    assert silence.cancelled_caught
    hints.close()
    hints.close()
