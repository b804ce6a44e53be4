"""The experience index in a real PostgreSQL keeps both contracts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fleetsync.experience_port import ExperienceStore
from fleetsync.stores.experience_sql import SqlExperienceStore
from fleetsync.stores.opening import open_database
from tests.contracts.experience import ExperienceIndexContract, UpstreamContract
from tests.contracts.test_experience_memory import NOW


class TestPostgresExperienceStore(ExperienceIndexContract):
    """All of the contract."""

    @pytest.fixture
    def store(self, postgres_url: str, tmp_path: Path) -> Iterator[ExperienceStore]:
        store = SqlExperienceStore(open_database(postgres_url, tmp_path), now=lambda: NOW)
        store.initialize()
        yield store
        store.close()


class TestPostgresAsUpstream(UpstreamContract):
    """All of the reference's."""

    @pytest.fixture
    def store(self, postgres_url: str, tmp_path: Path) -> Iterator[ExperienceStore]:
        store = SqlExperienceStore(open_database(postgres_url, tmp_path), upstream=True)
        store.initialize()
        yield store
        store.close()
