"""A pytest plugin: the cases of a parametrized test are one test by one name, no example is made smaller, and
a test that computes without end is ended soon.

mutmut hands test ids back to pytest as arguments, where ids made of recorded lines do not survive. Of a
mutant only whether it is noticed matters, not by how small an example. Many mutants loop for ever, most of
them in the fastest test, which is asked first; mutmut would wait until all tests together are overdue.
"""

from __future__ import annotations

import dataclasses
import json
import resource
import time
from collections.abc import Generator
from math import ceil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

PROFILE = "mutation"
settings.register_profile(
    PROFILE,
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=30,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)

USUAL = Path("mutmut-stats.json")
"""Where mutmut keeps how long each test, or its last case, takes over the sound program; not there before."""

usual_seconds = pytest.StashKey[dict[str, float]]()


def pytest_configure(config: pytest.Config) -> None:
    """How long each test usually takes."""
    known = json.loads(USUAL.read_text(encoding="utf-8"))["duration_by_test"] if USUAL.exists() else {}
    config.stash[usual_seconds] = known


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """After two seconds of computing and six times the usual the process ends: a time-out to mutmut."""
    usual = item.config.stash[usual_seconds].get(item.nodeid)
    if usual is None:
        return (yield)
    soft, hard = resource.getrlimit(resource.RLIMIT_CPU)
    allowed = ceil(time.process_time() + 2 + 6 * usual)
    resource.setrlimit(resource.RLIMIT_CPU, (min(allowed, hard) if hard > 0 else allowed, hard))
    try:
        return (yield)
    finally:
        resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Ids without what stands in brackets, before mutmut lists which tests there are."""
    for item in items:
        item._id = dataclasses.replace(item._id, params=None)
