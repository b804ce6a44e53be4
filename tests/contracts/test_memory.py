"""The in-memory reference keeps the contract of `Storage`."""

from __future__ import annotations

from pathlib import Path

from fleetsync.stores.memory import MemoryHome, MemoryStorage
from tests.contracts.storage import Site, StorageContract
from tests.fakes.fleet import FakeTime, device_id


class MemorySite(Site):
    """A home that is a dict."""

    def __init__(self, letter: str) -> None:
        self.device = device_id(letter)
        self.time = FakeTime()
        self.home = MemoryHome()
        self._runs = 0
        self.restart()

    def append(self, path: str, data: bytes) -> None:
        self.home.files[path] = self.home.files.get(path, b"") + data

    def put(self, path: str, data: bytes) -> None:
        self.home.files[path] = data

    def read(self, path: str) -> bytes:
        return self.home.files.get(path, b"")

    def restart(self) -> None:
        self._runs += 1
        epoch = self._runs.to_bytes(8, "big")
        self.storage = MemoryStorage(self.device, self.home, clock=self.time.wall, epoch=epoch)


class TestMemoryStorage(StorageContract):
    """All of the contract."""

    def make_site(self, directory: Path, letter: str) -> Site:
        return MemorySite(letter)
