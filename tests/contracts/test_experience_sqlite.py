"""The experience index in a SQLite file keeps both contracts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fleetsync.experience_port import ExperienceStore
from fleetsync.stores.experience_sql import SqlExperienceStore
from fleetsync.stores.sqlite import SqliteDatabase
from tests.contracts.experience import ExperienceIndexContract, UpstreamContract
from tests.contracts.test_experience_memory import NOW


class TestSqliteExperienceStore(ExperienceIndexContract):
    """All of the contract."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[ExperienceStore]:
        store = SqlExperienceStore(SqliteDatabase(tmp_path / "experience.db"), now=lambda: NOW)
        store.initialize()
        yield store
        store.close()


class TestSqliteAsUpstream(UpstreamContract):
    """All of the reference's."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[ExperienceStore]:
        store = SqlExperienceStore(SqliteDatabase(tmp_path / "experience.db"), upstream=True)
        store.initialize()
        yield store
        store.close()
