"""A TCP proxy that counts what it forwards: every byte of the TCP stream, IP and TCP headers not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import anyio
from anyio.abc import ByteStream, SocketAttribute, SocketStream
from anyio.from_thread import start_blocking_portal

from fleetsync.records.addresses import Address


class CountingProxy:
    """One listener that leads to `upstream`, which may be told later."""

    def __init__(self, upstream: Address | None = None) -> None:
        self.upstream = upstream
        self.bytes = 0

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Address]:
        """The address that leads to the upstream."""
        async with (
            await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(listener.serve, self._forward)
            yield Address(*listener.extra(SocketAttribute.local_address)[:2])
            tasks.cancel_scope.cancel()

    async def _forward(self, near: SocketStream) -> None:
        async with near:
            if self.upstream is None:
                return
            try:
                far = await anyio.connect_tcp(*self.upstream)
            except OSError:
                return
            async with far, anyio.create_task_group() as pipes:
                pipes.start_soon(self._pipe, near, far, pipes.cancel_scope)
                pipes.start_soon(self._pipe, far, near, pipes.cancel_scope)

    async def _pipe(self, source: ByteStream, target: ByteStream, scope: anyio.CancelScope) -> None:
        try:
            async for data in source:
                self.bytes += len(data)
                await target.send(data)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass
        scope.cancel()


@contextmanager
def proxies(count: int) -> Iterator[list[tuple[CountingProxy, Address]]]:
    """That many proxies running in a thread, each with its address."""
    made = [CountingProxy() for _ in range(count)]
    with start_blocking_portal() as portal:
        served = [portal.wrap_async_context_manager(proxy.serving()) for proxy in made]
        addresses = [each.__enter__() for each in served]
        try:
            yield list(zip(made, addresses, strict=True))
        finally:
            for each in served:
                each.__exit__(None, None, None)
