"""Waiting on a condition with a deadline, instead of sleeping for luck; or on virtual time, for nothing."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import pytest

from tests.simulation.clock import Loop

on_virtual_time = pytest.mark.parametrize(
    "anyio_backend", [pytest.param(("asyncio", {"loop_factory": Loop}), id="virtual")]
)
"""A test whose seconds pass when nothing is left to do."""


async def eventually(condition: Callable[[], object], seconds: float = 5.0) -> None:
    """Return as soon as the condition holds; `TimeoutError` if it does not within the deadline."""
    with anyio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110 - the condition is anything, not an event
            await anyio.sleep(0.005)
