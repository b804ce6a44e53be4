"""Knocking at addresses: what a connection meets, and what that says of the machine."""

from __future__ import annotations

import errno
import os
import socket
from contextlib import ExitStack

import pytest

from fleetsync.cli.checks import knocking
from fleetsync.cli.checks.knocking import knock, knock_everywhere
from fleetsync.records.addresses import Address

SOMEWHERE = Address("192.0.2.7", 8473)


def _raises(error: OSError) -> knocking.Connect:
    def connect(address: Address) -> None:
        raise error

    return connect


def _asleep(host: str) -> bool:
    return False


def _awake(host: str) -> bool:
    return True


def test_a_port_that_answers_needs_nothing() -> None:
    """TCP is enough: what is behind it, the daemon says."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        verdict = knock(Address(*listening.getsockname()))
    assert (verdict.rank, verdict.next_step) == (0, None)


def test_a_shut_port_is_a_machine_without_a_daemon() -> None:
    """Refused is an answer: the machine is on."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = Address(*listening.getsockname())
    assert "nothing listens" in knock(address).detail


def test_silence_is_a_firewall_only_where_the_machine_is_awake(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full backlog drops packets as a firewall does; what tells them apart is the neighbour table."""
    monkeypatch.setattr(knocking, "CONNECT_SECONDS", 0.2)
    with ExitStack() as opened:
        deaf = opened.enter_context(socket.socket())
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        address = Address(*deaf.getsockname())
        for _ in range(2):
            waiting = opened.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(address)
        silent, barred = knock(address, awake=_asleep), knock(address, awake=_awake)
    assert silent.next_step is None
    assert "firewall keeps the port shut" in barred.detail
    assert f"ufw allow {address.port}/tcp" in str(barred.next_step)


@pytest.mark.parametrize("number", [errno.EPERM, errno.EACCES])
def test_a_connection_that_this_machine_forbids_is_its_own_firewall(number: int) -> None:
    """The other machine was never asked."""
    verdict = knock(SOMEWHERE, _raises(OSError(number, os.strerror(number))), _asleep)
    assert "own firewall" in verdict.detail
    assert "8473" in str(verdict.next_step)


def test_no_route_is_a_network_that_is_elsewhere() -> None:
    """Nothing is wrong with a laptop that is in another place."""
    error = OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))
    assert knock(SOMEWHERE, _raises(error), _asleep).next_step is None


def test_of_all_addresses_the_one_that_says_most_counts() -> None:
    """Old addresses are rumours: one that answers makes the others uninteresting."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        with socket.create_server(("127.0.0.1", 0)) as other:
            shut = other.getsockname()[1]
        assert knock_everywhere([f"127.0.0.1:{shut}", f"127.0.0.1:{port}"]).rank == 0
        assert knock_everywhere([f"127.0.0.1:{shut}", "no address"]).rank == 1
    assert knock_everywhere([]).next_step is None


@pytest.mark.parametrize("text", ["a..b:8473", f"{'a' * 64}.example:8473"])
def test_what_is_no_name_of_a_host_is_an_address_that_does_not_answer(text: str) -> None:
    """A peer's roster may hold anything; no address of one device hides what was met at the others."""
    assert knock_everywhere([text]).rank == 6
