"""The run audit in a real PostgreSQL keeps the contract of `RunStore`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fleetsync.ports import RunStore
from fleetsync.stores.opening import open_run_store
from tests.contracts.runs import RunStoreContract


class TestPostgresRunStore(RunStoreContract):
    """All of the contract."""

    @pytest.fixture
    def store(self, postgres_url: str, tmp_path: Path) -> Iterator[RunStore]:
        store = open_run_store(postgres_url, tmp_path)
        yield store
        store.close()
