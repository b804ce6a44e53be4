"""A pytest plugin: the cases of a parametrized test are one test by one name, and no example is made smaller.

mutmut hands test ids back to pytest as arguments, where ids made of recorded lines do not survive. Of a
mutant only whether it is noticed matters, not by how small an example.
"""

from __future__ import annotations

import dataclasses

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


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Ids without what stands in brackets."""
    for item in items:
        item._id = dataclasses.replace(item._id, params=None)
