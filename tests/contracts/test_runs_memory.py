"""The in-memory reference keeps the contract of `RunStore`."""

from __future__ import annotations

import pytest

from fleetsync.ports import RunStore
from fleetsync.stores.run_memory import MemoryRunStore
from tests.contracts.runs import RunStoreContract


class TestMemoryRunStore(RunStoreContract):
    """All of the contract."""

    @pytest.fixture
    def store(self) -> RunStore:
        store = MemoryRunStore()
        store.initialize()
        return store
