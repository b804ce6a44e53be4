"""The replica on a real disk keeps the contract of `Storage`."""

from __future__ import annotations

import os
from pathlib import Path

from fleetsync.replica.replica import Replica
from fleetsync.replica.surroundings import Surroundings
from tests.contracts.storage import Site, StorageContract
from tests.fakes.fleet import FakeTime, device_id

SKEW = 600_000_000


class DiskSite(Site):
    """A home in a directory."""

    def __init__(self, directory: Path, letter: str) -> None:
        self.device = device_id(letter)
        self.time = FakeTime()
        self._root = directory / letter
        self._home = self._root / "home"
        self._home.mkdir(parents=True)
        self.storage = self._opened()

    def append(self, path: str, data: bytes) -> None:
        target = self._home / path
        self._ensure_skill(target)
        with target.open("ab") as file:
            file.write(data)

    def put(self, path: str, data: bytes) -> None:
        target = self._home / path
        self._ensure_skill(target)
        fresh = target.with_name(".new.tmp")
        fresh.write_bytes(data)
        moment = int(self.time.wall() * 1e9)
        os.utime(fresh, ns=(moment, moment))
        fresh.replace(target)

    def _ensure_skill(self, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)

    def read(self, path: str) -> bytes:
        target = self._home / path
        return target.read_bytes() if target.exists() else b""

    def restart(self) -> None:
        self.storage.close()
        self.storage = self._opened()

    def _opened(self) -> Replica:
        around = Surroundings(lambda: int(self.time.wall() * 1e6), os.urandom)
        return Replica(self._home, self._root / "state", self.device, around, SKEW)


class TestReplica(StorageContract):
    """All of the contract."""

    def make_site(self, directory: Path, letter: str) -> Site:
        return DiskSite(directory, letter)
