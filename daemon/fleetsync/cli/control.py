"""Talking to the running daemon: requests over the control socket, answers as documents.

HTTP/1.0 by hand: a request head, then the answer up to the end of the connection. `http.client`
would cost 20 ms of imports, half of what a command may take to start. Rule of the file: a daemon
that is not there is known at once or within a second (`DaemonNotRunning`), and a refusal comes back
as the error that the daemon raised.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO

from fleetsync.errors import DaemonNotRunning, FleetsyncError
from fleetsync.web.address import SOCKET_NAME, bindable

Answer = dict[str, Any]

CONNECT_SECONDS = 1.0
ANSWER_SECONDS = 30.0
MAX_LINE = 64 << 20  # a status or dry-run document of a very large home still is one line


class Control:
    """The daemon of one state directory. Every call is one connection."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / SOCKET_NAME

    def get(self, path: str) -> Answer:
        """The document at that path of `web/control.py`."""
        return self._one(_request("GET", path, None), ANSWER_SECONDS)

    def post(self, path: str, order: object = None, seconds: float = ANSWER_SECONDS) -> Answer:
        """The daemon's answer to an order; waits at most `seconds` for it."""
        return self._one(_request("POST", path, order or {}), seconds)

    def stream(self, path: str, order: object, seconds: float) -> Iterator[Answer]:
        """The documents of a streamed answer; at most `seconds` may pass between two of them."""
        with closing(self._connect()) as connection:
            yield from _documents(connection, _request("POST", path, order), seconds)

    def running(self) -> bool:
        """Whether a daemon listens."""
        try:
            self._connect().close()
        except DaemonNotRunning:
            return False
        return True

    def _one(self, request: bytes, seconds: float) -> Answer:
        with closing(self._connect()) as connection:
            answers = list(_documents(connection, request, seconds))
        if len(answers) != 1:
            raise DaemonNotRunning("the daemon went away in the middle of an answer")
        return answers[0]

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(CONNECT_SECONDS)
        try:
            with bindable(self._path) as address:
                connection.connect(address)
        except OSError as error:
            connection.close()
            raise _not_running(self._path, error) from None
        except BaseException:
            connection.close()
            raise
        return connection


def _not_running(path: Path, error: OSError) -> DaemonNotRunning:
    if isinstance(error, PermissionError):
        return DaemonNotRunning(
            f"{path} belongs to someone else", next_step="run the command as the user whose daemon it is"
        )
    if isinstance(error, BlockingIOError | TimeoutError):
        return DaemonNotRunning(f"the daemon at {path} does not answer", next_step="run `fleetsync doctor`")
    return DaemonNotRunning(f"no daemon is running (nothing listens at {path})")


def _request(verb: str, path: str, order: object) -> bytes:
    body = b"" if order is None else json.dumps(order).encode()
    head = f"{verb} {path} HTTP/1.0\r\nHost: fleetsync\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode("ascii") + body


def _documents(connection: socket.socket, request: bytes, seconds: float) -> Iterator[Answer]:
    """Send the request; the documents of its answer, one a line. Raises what the daemon refused with."""
    connection.settimeout(seconds)
    try:
        connection.sendall(request)
        with connection.makefile("rb") as answer:
            _skip_head(answer)
            while line := answer.readline(MAX_LINE):
                yield _document(line)
    except TimeoutError:
        raise DaemonNotRunning(
            f"the daemon has not answered for {seconds:.0f} s", next_step="run `fleetsync doctor`"
        ) from None
    except OSError as error:
        raise DaemonNotRunning(f"the daemon went away: {error.strerror or error}") from None


def _skip_head(answer: BinaryIO) -> None:
    """Read past status and headers: every answer, good or bad, says what it is in its document."""
    if not answer.readline(MAX_LINE).startswith(b"HTTP/"):
        raise DaemonNotRunning("the daemon went away before it answered")
    while answer.readline(MAX_LINE) not in (b"\r\n", b""):
        pass


def _document(line: bytes) -> Answer:
    try:
        document = json.loads(line)
    except ValueError:
        raise DaemonNotRunning(f"the daemon answered {line[:60]!r}", next_step="restart it") from None
    if not isinstance(document, dict):
        raise DaemonNotRunning(f"the daemon answered {line[:60]!r}", next_step="restart it")
    if "error" in document and isinstance(document["error"], dict):
        raise _raised(document["error"])
    return document


def _raised(error: dict[str, str]) -> FleetsyncError:
    """The error that the daemon raised, of the same class where this version knows its code."""
    code = error.get("code", "error")
    kind = next((k for k in _family(FleetsyncError) if k.code == code), FleetsyncError)
    raised = kind(error.get("message", ""), next_step=error.get("next"))
    if kind.code != code:
        raised.code = code  # type: ignore[misc]  # a newer daemon's error keeps its name for scripts
    return raised


def _family(kind: type[FleetsyncError]) -> Iterator[type[FleetsyncError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _family(child)
