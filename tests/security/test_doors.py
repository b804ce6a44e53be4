"""Strangers at the port of a daemon, while two paired devices go on.

The long form is `python -m tests.campaign.strangers`.
"""

from __future__ import annotations

import asyncio
import gc
import random
import socket
import sys
from asyncio.sslproto import SSLProtocol
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleetsync.records.addresses import Address
from fleetsync.wire.listener import Limits, Listener
from tests.campaign.strangers import WAVES, Watch, client_hello, mutated
from tests.fakes.devices import make_device
from tests.system.fleet import a_fleet

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc tells what a daemon holds")

CONNECTIONS = {"scans": 80, "mutations": 80, "floods": 300, "dribbles": 20}


@pytest.fixture(scope="module")
def watch() -> Iterator[Watch]:
    """One pair of devices for all waves: what one of them leaves behind, the next one finds."""
    with a_fleet() as fleet:
        yield Watch(fleet)


@pytest.mark.parametrize("wave", WAVES)
def test_strangers_change_nothing(watch: Watch, wave: str) -> None:
    """Whatever they send, and however many they are: no byte of HTTP for them, lines still arrive, what they
    held is given back, and the log knows of no accident.
    """
    WAVES[wave][0](watch, CONNECTIONS.get(wave, 1))
    watch.still_works()
    watch.is_unharmed()


def test_a_mutation_is_a_mutation() -> None:
    """The greeting that is played with is a good one, and what becomes of it is another."""
    greeting = client_hello()
    assert greeting[:3] == b"\x16\x03\x01"
    assert mutated(greeting, random.Random(1)) != greeting


def _encrypting() -> int:
    """How many beginnings of encrypted connections are in memory."""
    return sum(isinstance(each, SSLProtocol) for each in gc.get_objects())


async def _settled(listener: Listener, most: int) -> None:
    deadline = asyncio.get_running_loop().time() + 10
    while _encrypting() > most:
        assert asyncio.get_running_loop().time() < deadline, f"{_encrypting()} are left of it"
        await asyncio.sleep(0.05)


@pytest.mark.blocking
async def test_a_stranger_leaves_nothing_in_memory(tmp_path: Path) -> None:
    """A handshake that failed is gone at once, without the collector, and of a burst only so many are kept,
    however fast they come.
    """
    own = make_device(tmp_path)
    listener = Listener(lambda *_: None, own, Limits(unfinished=8))  # type: ignore[arg-type]
    await listener.start(Address("127.0.0.1", 0))
    greeting = client_hello()
    gc.collect()
    gc.disable()
    try:
        for words in (b"", greeting[:50], b"GET / HTTP/1.1\r\n\r\n"):
            for _ in range(20):
                with socket.create_connection(listener.addresses[0]) as connection:
                    connection.sendall(words)
                    await asyncio.sleep(0.002)
        await _settled(listener, 0)
        held = [socket.create_connection(listener.addresses[0]) for _ in range(100)]
        await asyncio.sleep(0.1)
        await _settled(listener, 8)
        for connection in held:
            connection.close()
    finally:
        gc.enable()
        await listener.aclose()
