"""Every call shows which instance of a device makes it (docs/protocol.md, "HTTP binding")."""

from __future__ import annotations

import pytest

from fleetsync.errors import ClonedDevice, MalformedMessage
from fleetsync.records.addresses import Address
from fleetsync.records.names import DeviceId
from fleetsync.wire.client import HttpPeer
from fleetsync.wire.listener import Listener
from fleetsync.wire.server import application
from tests.fakes.devices import make_device
from tests.fakes.peer import FakePeer


async def call(directory, instance, shown):
    """One hello from a device with that instance."""
    server, caller = make_device(directory, "server"), make_device(directory, "caller")
    listener = Listener(application(lambda _: FakePeer(server.device), shown=shown), server)
    await listener.start(Address("127.0.0.1", 0))
    listener.trust({caller.device: caller.certificate})
    peer = HttpPeer(server.certificate, caller, lambda: listener.addresses, instance=instance)
    try:
        await peer.hello()
    finally:
        await peer.aclose()
        await listener.aclose()
    return caller.device


async def test_the_host_hears_of_the_instance_that_calls(tmp_path):
    """Sixteen digits on every request."""
    heard: list[tuple[DeviceId, bytes]] = []
    caller = await call(tmp_path, b"12345678", lambda *each: heard.append(each))
    assert heard == [(caller, b"12345678")]


async def test_a_caller_may_show_no_instance(tmp_path):
    """Devices of an earlier version do not."""
    heard: list[tuple[DeviceId, bytes]] = []
    await call(tmp_path, b"", lambda *each: heard.append(each))
    assert heard == []


async def test_an_instance_of_another_length_is_malformed(tmp_path):
    """It is input like any other."""
    with pytest.raises(MalformedMessage, match="16 hexadecimal digits"):
        await call(tmp_path, b"1234", lambda *_: None)


async def test_a_refused_instance_learns_why(tmp_path):
    """The clone itself can tell its person."""

    def refuse(device: DeviceId, instance: bytes) -> None:
        raise ClonedDevice("two machines use this key")

    with pytest.raises(ClonedDevice, match="two machines"):
        await call(tmp_path, b"12345678", refuse)
