"""What holds for every test: no blocked event loop, no touch of the real home, repeatable examples.

Async tests run on asyncio through anyio's plugin (auto mode, so no marker is needed). While one runs,
a call in fleetsync that would block the loop raises `BlockingError`; `@pytest.mark.blocking` takes the
guard away for a test that blocks on purpose. `HYPOTHESIS_PROFILE=search` looks for new examples;
without it every run tries the same ones.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Iterator

import pytest
from blockbuster import BlockBuster
from hypothesis import HealthCheck, settings

from tests.fakes.postgres import postgres_server, postgres_url

__all__ = ["postgres_server", "postgres_url"]  # fixtures

# No deadline: on two cores beside other tests the time of one example says nothing.
settings.register_profile("ci", derandomize=True, deadline=None, print_blob=True, database=None)
settings.register_profile(
    "search", deadline=None, max_examples=2000, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

SETTINGS_VARIABLES = (
    "MUR_HOME",
    "FLEETSYNC_STATE_DIR",
    "FLEETSYNC_CONFIG",
    "FLEETSYNC_LISTEN",
    "XDG_CONFIG_HOME",
    "XDG_STATE_HOME",
)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The daemon runs on asyncio alone: uvicorn's protocol class knows nothing else."""
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
def _private_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Whatever asks for the user's home, here or in a child process, finds an empty one."""
    with pytest.MonkeyPatch.context() as patch:
        for name in SETTINGS_VARIABLES:
            patch.delenv(name, raising=False)
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(autouse=True)
def _loop_never_blocks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Inside an async test, blocking calls made by fleetsync's own code raise `BlockingError`."""
    is_async = inspect.iscoroutinefunction(getattr(request.node, "obj", None))
    if not is_async or request.node.get_closest_marker("blocking"):
        yield
        return
    guard = BlockBuster(scanned_modules=["fleetsync"])
    # A module that is imported lazily is read from disk once; the interpreter offers no other way.
    for function in guard.functions.values():
        function.can_block_in("<frozen importlib._bootstrap>", "_find_and_load")
    guard.activate()
    try:
        yield
    finally:
        guard.deactivate()


def pytest_report_header() -> str:
    """Which interpreter and which examples: the two things a failure elsewhere depends on."""
    profile = settings.get_current_profile_name()
    return f"fleetsync: python {sys.version.split()[0]}, hypothesis profile {profile}"
