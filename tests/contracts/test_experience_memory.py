"""The in-memory reference keeps both contracts of the experience ledger."""

from __future__ import annotations

import pytest

from fleetsync.experience_port import ExperienceStore
from fleetsync.stores.experience_memory import MemoryExperienceStore
from tests.contracts.experience import ExperienceIndexContract, UpstreamContract

NOW = 1_780_099_200_000_000_000  # 2026-05-30T00:00:00Z


class TestMemoryExperienceStore(ExperienceIndexContract):
    """All of the contract."""

    @pytest.fixture
    def store(self) -> ExperienceStore:
        return MemoryExperienceStore(now=lambda: NOW)


class TestMemoryAsUpstream(UpstreamContract):
    """All of the reference's."""

    @pytest.fixture
    def store(self) -> ExperienceStore:
        return MemoryExperienceStore(upstream=True)
