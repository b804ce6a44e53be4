"""Talking to the daemon: it is there, it is not, or it misbehaves."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleetsync.cli.control import Control
from fleetsync.errors import DaemonNotRunning, FleetsyncError, SafetyStop
from fleetsync.web.address import bindable
from tests.fakes.daemon import FakeDaemon, serving


@pytest.fixture
def served(tmp_path: Path) -> Iterator[FakeDaemon]:
    """A daemon of the state directory `tmp_path`."""
    with serving(FakeDaemon(), tmp_path) as daemon:
        yield daemon


def answering(path: Path, answer: bytes) -> threading.Thread:
    """Something that listens there and gives this answer to the first who asks."""
    listener = socket.socket(socket.AF_UNIX)
    with bindable(path) as address:
        listener.bind(address)
    listener.listen()

    def serve() -> None:
        with listener, listener.accept()[0] as connection:
            connection.recv(65536)
            connection.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


def test_no_socket_and_a_dead_daemons_socket_are_found_out_at_once(tmp_path: Path) -> None:
    """Well within a second, without waiting for anything."""
    began = time.monotonic()
    with pytest.raises(DaemonNotRunning):
        Control(tmp_path / "nowhere").get("/status")
    with serving(FakeDaemon(), tmp_path):
        (tmp_path / "control.sock").rename(tmp_path / "kept")
    (tmp_path / "kept").rename(tmp_path / "control.sock")
    with pytest.raises(DaemonNotRunning):
        Control(tmp_path).get("/status")
    assert time.monotonic() - began < 1


def test_a_daemon_that_hangs_is_given_up_after_the_time_allowed(tmp_path: Path) -> None:
    """It accepts and never answers, as a stopped process does."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "control.sock"))
        listener.listen()
        with pytest.raises(DaemonNotRunning, match="has not answered"):
            Control(tmp_path).post("/sync", seconds=0.05)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b'HTTP/1.1 200 OK\r\n\r\n{"half":',
        b"HTTP/1.1 503 Busy\r\n\r\nService Unavailable",
        b"HTTP/1.1 200 OK\r\n\r\n[]",
        b"SSH-2.0-OpenSSH\r\n",
    ],
)
def test_an_answer_that_is_cut_or_nonsense_is_said_to_be_no_daemon(answer: bytes, tmp_path: Path) -> None:
    """Never half a document, never a traceback."""
    thread = answering(tmp_path / "control.sock", answer)
    with pytest.raises(DaemonNotRunning):
        Control(tmp_path).get("/status")
    thread.join(5)


def test_an_error_of_the_daemon_is_raised_as_what_it_is(tmp_path: Path, served: FakeDaemon) -> None:
    """The same class, message and next step as over there."""
    served.guard()
    with pytest.raises(SafetyStop, match="half of home is gone") as raised:
        Control(tmp_path).get("/status")
    assert raised.value.next == "look at home"


def test_an_error_that_this_version_does_not_know_keeps_its_code(tmp_path: Path) -> None:
    """Scripts may match what a newer daemon says."""
    body = b'{"error": {"code": "new-thing", "message": "m", "next": "n"}}'
    thread = answering(tmp_path / "control.sock", b"HTTP/1.1 500 X\r\n\r\n" + body)
    with pytest.raises(FleetsyncError, match="m") as raised:
        Control(tmp_path).get("/status")
    assert raised.value.document() == {"code": "new-thing", "message": "m", "next": "n"}
    thread.join(5)


def test_a_socket_under_a_very_long_path_is_reached(tmp_path: Path) -> None:
    """The kernel's limit of some 100 bytes is no limit on where a state directory may be."""
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    with serving(FakeDaemon(), deep):
        assert Control(deep).get("/status")["home"]["state"] == "ok"


def test_a_stream_is_read_as_it_comes(tmp_path: Path, served: FakeDaemon) -> None:
    """The first document is there before the last one is made."""
    served.progress = [{"id": "x", "left": n, "total": 2} for n in (2, 1)]
    stream = Control(tmp_path).stream("/sync", {"peer": None, "wait": None}, 5)
    assert next(stream) == {"progress": {"id": "x", "left": 2, "total": 2}}
    assert [*stream][-1] == {"peers": served.outcomes}
