"""What a system test needs of the machine beyond Python: skipped with the reason where it is not there.

With FLEETSYNC_REQUIRE_MACHINE set, as in CI, what is not there is a failure: there everything must run.
"""

from __future__ import annotations

import os

import pytest


def require(missing: str | None) -> None:
    """Skip the test (or fail it, see above) if something is missing; None: nothing is."""
    if missing is not None:
        if "FLEETSYNC_REQUIRE_MACHINE" in os.environ:
            pytest.fail(missing)
        pytest.skip(missing)
