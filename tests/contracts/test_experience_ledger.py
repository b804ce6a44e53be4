"""The logs of a home with an index beside them keep the contract of `ExperienceStore`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fleetsync.experience_port import ExperienceStore
from fleetsync.stores.experience_ledger import ExperienceLedger
from fleetsync.stores.experience_log import ExperienceLog
from fleetsync.stores.experience_sql import SqlExperienceStore
from fleetsync.stores.sqlite import SqliteDatabase
from tests.contracts.experience import ExperienceStoreContract
from tests.contracts.test_experience_memory import NOW


class TestExperienceLedger(ExperienceStoreContract):
    """All of the contract."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[ExperienceStore]:
        home = tmp_path / "home"
        home.mkdir()
        index = SqlExperienceStore(SqliteDatabase(tmp_path / "experience.db"))
        ledger = ExperienceLedger(ExperienceLog(home), index, now=lambda: NOW)
        ledger.initialize()
        yield ledger
        ledger.close()
