"""What the wire costs: bytes on the TCP stream, both ways, counted by a proxy in the middle.

TLS records are included, IP and TCP headers are not. The figures of `HttpPeer.traffic`, which runs
report, must be the proxy's. Run with `python -m bench.wire_bytes`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

import anyio

from bench.proxy import CountingProxy
from fleetsync.ports import Group
from fleetsync.wire.client import HttpPeer
from fleetsync.wire.codec import batches
from fleetsync.wire.messages import Batch, Frame, Want
from tests.fakes.peer import line
from tests.fakes.wires import Wire, wire

SKILL_LOG = "skills/deploy-service/events.jsonl"


class Figure(NamedTuple):
    """One row of the table; budgets are None where the issue names none."""

    name: str
    bytes: int
    must: int | None
    good: int | None


async def measure() -> list[Figure]:
    """All figures, each checked against what the client counts by itself."""
    with tempfile.TemporaryDirectory() as directory:
        async with wire(Path(directory)) as w:
            proxy = CountingProxy(w.address)
            async with proxy.serving() as address, w.peer(None, address) as peer:
                return await _figures(w, proxy, peer)


async def _figures(w: Wire, proxy: CountingProxy, peer: HttpPeer) -> list[Figure]:
    async def cost(act: Callable[[], Awaitable[object]]) -> int:
        proxy_before, peer_before = proxy.bytes, peer.traffic.bytes_in + peer.traffic.bytes_out
        await act()
        counted = peer.traffic.bytes_in + peer.traffic.bytes_out - peer_before
        if counted != proxy.bytes - proxy_before:
            raise AssertionError(f"the client counts {counted}, the proxy {proxy.bytes - proxy_before}")
        return counted

    one_line = Batch([Group(SKILL_LOG, [line(1)])])
    figures = [
        Figure("first contact: TCP connection, handshake, hello", await cost(peer.hello), None, None),
        Figure("no-change exchange on a kept connection", await cost(peer.hello), 600, 400),
        Figure("one appended line, offered", await cost(lambda: peer.offer(one_line)), 1024, 600),
    ]
    async with peer.changes() as frames:
        await anext(frames)

        async def pushed() -> Frame:
            w.fake.publish(one_line)
            return await anext(frames)

        figures.append(Figure("one appended line, in the change stream", await cost(pushed), 1024, 600))
    return [*figures, await _first_sync(w, peer, cost)]


async def _first_sync(
    w: Wire, peer: HttpPeer, cost: Callable[[Callable[[], Awaitable[object]]], Awaitable[int]]
) -> Figure:
    groups = [
        Group(f"skills/skill-{skill}/events.jsonl", [line(skill * 500 + n) for n in range(500)])
        for skill in range(200)
    ]
    raw = sum(len(body) for group in groups for body in group.bodies)
    w.fake.served = list(batches(groups))

    async def fetch() -> None:
        async with peer.items(Want([bytes(32)])) as stream:
            assert sum([len(group.bodies) async for batch in stream for group in batch.groups]) == 100_000

    # No budget: made-up lines are more alike than real ones, so they compress better than a first sync.
    return Figure(f"100,000 made-up lines, {raw / 1e6:.1f} MB raw", await cost(fetch), None, None)


def main() -> None:
    """Print the table."""
    for figure in anyio.run(measure):
        print(f"{figure.bytes:>10,} B  {figure.name}" + (f"  (good {figure.good:,})" if figure.good else ""))


if __name__ == "__main__":
    main()
