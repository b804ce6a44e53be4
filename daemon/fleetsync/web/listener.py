"""The control socket: binding it safely and serving an application on it.

Rule of the file: only this user can connect (mode 0600 in a directory with mode 0700), a dead
daemon's socket is replaced only by whoever holds the lock of the state directory, and a served
socket costs nothing while nobody asks. Knows nothing of what is served.
"""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from pathlib import Path

from starlette.types import ASGIApp
from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from fleetsync.errors import StorageFailed
from fleetsync.web.address import bindable

MAX_HEAD = 16 << 10
MAX_CONNECTIONS = 64


def bind_control(path: Path) -> socket.socket:
    """The listening socket at `path`: mode 0600 in a directory with mode 0700, made if absent.

    The caller holds the lock of the state directory: only then is a socket that is already there
    known to be a dead daemon's, and it is replaced. Blocks; changes the umask for a moment, so it
    is called before threads exist. Raises `StorageFailed`.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.parent.chmod(0o700)
        _clear_stale(path)
        return _bound(path)
    except OSError as error:
        raise StorageFailed(f"cannot listen on {path}: {error.strerror or error}") from error


def _clear_stale(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FileExistsError(f"{path} is in the way and is not a socket")
    path.unlink()


def _bound(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    umask = os.umask(0o177)
    try:
        with bindable(path) as address:
            listener.bind(address)
    except BaseException:
        listener.close()
        raise
    finally:
        os.umask(umask)
    listener.setblocking(False)
    return listener


class Listener:
    """An application on its socket, in the running event loop.

    uvicorn's protocol class on a server of our own: its own server loop wakes ten times a second
    and makes the socket 0666 (DEPENDENCIES). Use `start` … `aclose`.
    """

    def __init__(self, app: ASGIApp, listener: socket.socket, path: Path) -> None:
        self._app = app
        self._listener = listener
        self._path = path
        self._state = ServerState()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Serve from here on."""
        config = Config(
            self._app,
            http=H11Protocol,
            ws="none",
            lifespan="off",
            loop="none",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            date_header=False,
            server_header=False,
            limit_concurrency=MAX_CONNECTIONS,
            h11_max_incomplete_event_size=MAX_HEAD,
        )
        config.load()
        self._server = await asyncio.get_running_loop().create_unix_server(
            lambda: H11Protocol(config, self._state, {}), sock=self._listener, backlog=MAX_CONNECTIONS
        )

    async def aclose(self, grace: float = 0.5) -> None:
        """Stop listening, give requests under way `grace` seconds, then cut them; idempotent."""
        if self._server is None:
            return
        server, self._server = self._server, None
        await asyncio.to_thread(self._path.unlink, missing_ok=True)
        server.close()
        for connection in list(self._state.connections):
            connection.shutdown()
        if self._state.tasks:
            await asyncio.wait(self._state.tasks, timeout=grace)
        for task in list(self._state.tasks):
            task.cancel()
        for connection in list(self._state.connections):
            connection.transport.abort()
