"""The control socket: who can reach it, what it answers, and what it withstands."""

from __future__ import annotations

import asyncio
import json
import socket
import stat
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from fleetsync.errors import MalformedMessage, NotFound, SafetyStop, StorageFailed
from fleetsync.web.control import MAX_BODY, control_app
from fleetsync.web.daemon import Paired
from fleetsync.web.listener import MAX_HEAD, Listener, bind_control
from tests.fakes.daemon import OFFICE, FakeDaemon


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the socket is."""
    return tmp_path / "state" / "control.sock"


@pytest.fixture
def bound(path: Path) -> Iterator[socket.socket]:
    """The socket, bound before there is an event loop, as the daemon does it."""
    with bind_control(path) as listening:
        yield listening


@pytest.fixture
async def daemon(path: Path, bound: socket.socket) -> AsyncIterator[FakeDaemon]:
    """A daemon served in this loop."""
    fake = FakeDaemon()
    listener = Listener(control_app(fake), bound, path)
    await listener.start()
    yield fake
    await listener.aclose()


async def exchange(path: Path, request: bytes) -> tuple[int, bytes]:
    """Send raw bytes; the status and the body of the answer (0 if there was none)."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(request)
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]) if head else 0, body


async def ask(path: Path, verb: str, target: str, order: object = None) -> tuple[int, dict[str, Any]]:
    """One request, one document."""
    body = b"" if order is None else json.dumps(order).encode()
    head = f"{verb} {target} HTTP/1.0\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    status, answer = await exchange(path, head + body)
    return status, json.loads(answer)


# --- who can reach it ------------------------------------------------------------------------------


def test_only_this_user_can_reach_the_socket(path: Path) -> None:
    """Mode 0600 in a directory with mode 0700, also if the directory was open before."""
    path.parent.mkdir(mode=0o755)
    bind_control(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_dead_daemons_socket_is_replaced_but_never_a_file(path: Path) -> None:
    """Whoever holds the state directory's lock may do so."""
    bind_control(path).close()
    bind_control(path).close()
    path.unlink()
    path.write_text("precious", encoding="utf-8")
    with pytest.raises(StorageFailed, match=r"control\.sock"):
        bind_control(path)
    assert path.read_text(encoding="utf-8") == "precious"


def test_a_directory_that_cannot_be_made_is_said_so(tmp_path: Path) -> None:
    """With the path and the reason."""
    (tmp_path / "file").touch()
    with pytest.raises(StorageFailed, match="file"):
        bind_control(tmp_path / "file" / "control.sock")


async def test_the_socket_is_gone_when_the_daemon_is(path: Path, bound: socket.socket) -> None:
    """A clean end leaves no socket behind, and ending twice is fine."""
    listener = Listener(control_app(FakeDaemon()), bound, path)
    await listener.start()
    await listener.aclose()
    await listener.aclose()
    assert not await anyio.Path(path).exists()


# --- what it answers -------------------------------------------------------------------------------


async def test_requests_become_calls_and_answers_documents(path: Path, daemon: FakeDaemon) -> None:
    """One route per call of `Daemon`."""
    assert (await ask(path, "GET", "/status"))[1]["home"]["state"] == "ok"
    assert len((await ask(path, "GET", "/peers"))[1]["peers"]) == 2
    renamed = await ask(path, "POST", "/peers/rename", {"peer": "office", "name": "desk"})
    assert renamed[1]["peer"]["name"] == "desk"
    await ask(path, "POST", "/stats/rebuild", {"skill": "deploy"})
    await ask(path, "POST", "/reload", {})
    await ask(path, "POST", "/stop", {})
    assert daemon.orders == [("desk", OFFICE), ("rebuild", "deploy"), ("reload",), ("stop",)]


async def test_a_finished_pairing_arrives_whole(path: Path, daemon: FakeDaemon) -> None:
    """Bytes travel as base64."""
    order = {"certificate": "AAEC", "name": "office", "addresses": ["h:1"], "records": ["/w==", ""]}
    status, answer = await ask(path, "POST", "/adopt", order)
    assert (status, answer["peer"]["name"]) == (200, "office")
    assert daemon.orders == [("adopt", Paired(b"\0\1\2", "office", ["h:1"], [b"\xff", b""]))]


async def test_a_path_that_is_no_text_arrives_as_it_is(path: Path, daemon: FakeDaemon) -> None:
    """A home may lie in a directory whose name is not UTF-8; `status` works there too."""
    daemon.alerts = [{"code": "x", "title": "x", "detail": "/home/\udcff/.mur is gone", "next": "x"}]
    _, document = await ask(path, "GET", "/status")
    assert document["alerts"] == daemon.alerts


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NotFound("x"), 404),
        (SafetyStop("x"), 409),
        (StorageFailed("x"), 503),
        (MalformedMessage("x"), 502),
        (ZeroDivisionError("x"), 500),
    ],
)
async def test_every_failure_is_a_document_with_its_status(
    error: Exception, status: int, path: Path, daemon: FakeDaemon, caplog: pytest.LogCaptureFixture
) -> None:
    """Code, message and next step; a bug too, and its traceback is in the log."""
    daemon.fail(error)
    answered, document = await ask(path, "GET", "/status")
    assert answered == status
    assert set(document["error"]) == {"code", "message", "next"}
    assert ("Traceback" in caplog.text) == isinstance(error, ZeroDivisionError)


@pytest.mark.parametrize(
    ("target", "order"),
    [
        ("/peers/pause", {}),
        ("/peers/pause", {"peer": 1}),
        ("/peers/pause", {"peer": "office", "now": True}),
        ("/sync", {"wait": "long"}),
        ("/restore", {"path": "../x"}),
        ("/adopt", {"certificate": "!", "name": "", "addresses": [], "records": []}),
        ("/peers/pause", []),
    ],
)
async def test_an_order_that_makes_no_sense_changes_nothing(
    target: str, order: object, path: Path, daemon: FakeDaemon
) -> None:
    """Refused with words, before the daemon is asked."""
    status, document = await ask(path, "POST", target, order)
    assert status in (400, 500)
    assert document["error"]["message"]
    assert daemon.orders == []


async def test_an_unknown_request_says_that_versions_differ(path: Path, daemon: FakeDaemon) -> None:
    """A newer command talks to an older daemon: a document, not a page."""
    status, document = await ask(path, "POST", "/teleport", {})
    assert status == 404
    assert "restart the daemon" in document["error"]["next"]
    assert (await ask(path, "POST", "/status"))[0] == 405


async def test_a_failure_half_way_is_the_last_line_of_the_stream(path: Path, daemon: FakeDaemon) -> None:
    """What was said before stays said."""
    daemon.progress = [{"id": OFFICE, "left": 1, "total": 1}]
    daemon.guard()
    body = b"{}"
    request = b"POST /sync HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    status, answer = await exchange(path, request)
    lines = [json.loads(line) for line in answer.splitlines()]
    assert status == 200
    assert "progress" in lines[0]
    assert lines[1]["error"]["code"] == "safety-stop"


async def test_a_stream_ends_with_the_command_that_reads_it(
    path: Path, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever interrupts `sync` stops the waiting."""
    stopped = asyncio.Event()

    async def endless(*_: object) -> AsyncIterator[dict[str, Any]]:
        try:
            while True:
                yield {"progress": {"id": OFFICE, "left": 1, "total": 1}}
                await asyncio.sleep(0.01)
        finally:
            stopped.set()

    monkeypatch.setattr(daemon, "sync", endless)
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(b"POST /sync HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
    await reader.readuntil(b"progress")
    writer.close()
    async with asyncio.timeout(5):
        await stopped.wait()


# --- what it withstands ----------------------------------------------------------------------------


async def test_a_body_over_the_limit_is_refused_before_it_is_kept(path: Path, daemon: FakeDaemon) -> None:
    """A mebibyte is more than any order needs."""
    body = b'{"peer":"' + b"x" * MAX_BODY + b'"}'
    request = b"POST /peers/pause HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    status, answer = await exchange(path, request)
    assert (status, json.loads(answer)["error"]["code"]) == (400, "usage")


async def test_a_head_over_the_limit_is_refused(path: Path, daemon: FakeDaemon) -> None:
    """Headers are bounded too."""
    request = b"GET /status HTTP/1.0\r\nX: " + b"x" * (2 * MAX_HEAD)
    assert (await exchange(path, request))[0] == 400


async def test_nonsense_and_silence_do_not_disturb_the_others(path: Path, daemon: FakeDaemon) -> None:
    """A connection that says nothing and one that talks rubbish, beside one that asks properly."""
    silent = socket.socket(socket.AF_UNIX)
    silent.connect(str(path))
    assert (await exchange(path, b"\x16\x03\x01 not http\r\n\r\n"))[0] == 400
    assert (await ask(path, "GET", "/status"))[0] == 200
    silent.close()


async def test_the_listener_leaves_no_connection_behind(path: Path, bound: socket.socket) -> None:
    """A request under way when the daemon stops is cut after its grace."""
    fake = FakeDaemon()
    reached = asyncio.Event()

    async def forever() -> dict[str, Any]:
        reached.set()
        await asyncio.Event().wait()
        return {}

    fake.status = forever
    listener = Listener(control_app(fake), bound, path)
    await listener.start()
    request = asyncio.ensure_future(exchange(path, b"GET /status HTTP/1.0\r\n\r\n"))
    await reached.wait()
    await listener.aclose(grace=0.01)
    async with asyncio.timeout(5):
        assert (await request)[0] in (0, 500)
