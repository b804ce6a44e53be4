"""A real PostgreSQL for tests and benchmarks: its own directory, a Unix socket, no TCP, gone at the end.

PostgreSQL refuses to run as root, so for root it runs as the user `postgres`. It is as fast and as
forgetful as can be (no fsync): what is tested is our SQL, not its disk. Where there is none, tests are
skipped, unless FLEETSYNC_REQUIRE_POSTGRES is set: then that is a failure.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

PLACES = ("/usr/lib/postgresql/*/bin", "/opt/homebrew/opt/postgresql*/bin", "/usr/local/opt/postgresql*/bin")
SETTINGS = (
    "listen_addresses=''",
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "shared_buffers=16MB",
    "max_connections=20",
)


class PostgresServer:
    """One server; `url` names its first database."""

    def __init__(self, programs: Path, directory: Path, settings: Sequence[str]) -> None:
        self._programs = programs
        self._directory = directory
        self._settings = [*settings, f"unix_socket_directories={directory}"]
        self._owner = _owner()
        if self._owner is not None:
            os.chown(directory, self._owner.pw_uid, self._owner.pw_gid)
        # Sorted as a dictionary is, unless a column says otherwise: stores must say otherwise.
        sorting = ("-E", "UTF8", "--locale=C", "--locale-provider=icu", "--icu-locale=en")
        self._run(
            "initdb", "-D", f"{directory}/data", "-A", "trust", "-U", "fleetsync", "--no-sync", *sorting
        )

    @property
    def url(self) -> str:
        """The database that every server has."""
        return self._url("postgres")

    def start(self) -> None:
        """Begin to take connections."""
        options = " ".join(f"-c {setting}" for setting in self._settings)
        self._control("-o", options, "-l", f"{self._directory}/log", "start")

    def stop(self, mode: str = "fast") -> None:
        """Break all connections and end; "immediate" is a crash, which forgets what fsync would keep."""
        self._control("-m", mode, "stop")

    def create_database(self) -> str:
        """The URL of a new, empty database."""
        name = f"t{secrets.token_hex(6)}"
        self._run("createdb", "-h", str(self._directory), "-U", "fleetsync", name)
        return self._url(name)

    def drop_database(self, url: str) -> None:
        """Remove it, whoever is connected."""
        name = url.partition("?")[0].rpartition("/")[2]
        self._run("dropdb", "-f", "-h", str(self._directory), "-U", "fleetsync", name)

    def _url(self, name: str) -> str:
        return f"postgresql:///{name}?host={self._directory}&user=fleetsync"

    def _control(self, *arguments: str) -> None:
        self._run("pg_ctl", "-D", f"{self._directory}/data", "-w", *arguments)

    def _run(self, program: str, *arguments: str) -> None:
        owner = self._owner
        subprocess.run(
            [str(self._programs / program), *arguments],
            check=True,
            cwd=self._directory,
            env={"PATH": str(self._programs), "LC_ALL": "C", "HOME": str(self._directory)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL if program == "initdb" else None,  # warnings about locales
            user=owner.pw_uid if owner else None,
            group=owner.pw_gid if owner else None,
            extra_groups=[] if owner else None,
        )


def _owner() -> pwd.struct_passwd | None:
    """Who the server runs as, None for whoever runs the tests."""
    return pwd.getpwnam("postgres") if os.geteuid() == 0 else None


def find_programs() -> Path | None:
    """Where initdb and pg_ctl are, the newest version first."""
    found = [path for place in PLACES for path in Path("/").glob(place[1:]) if (path / "initdb").exists()]
    on_path = shutil.which("initdb")
    found += [Path(on_path).resolve().parent] if on_path else []
    return max(found, key=lambda path: [int(part) for part in path.parts if part.isdigit()], default=None)


@contextmanager
def running_server(settings: Sequence[str] = SETTINGS) -> Iterator[PostgresServer]:
    """A server in a directory with a short name: a socket's path holds about a hundred bytes."""
    programs = find_programs()
    if programs is None:
        raise FileNotFoundError("no PostgreSQL: install Debian's `postgresql` or Homebrew's")
    with tempfile.TemporaryDirectory(prefix="pg", dir="/var/tmp", ignore_cleanup_errors=True) as directory:
        server = PostgresServer(programs, Path(directory), settings)
        server.start()
        try:
            yield server
        finally:
            server.stop("immediate")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One server for all tests of this process."""
    if find_programs() is None and "FLEETSYNC_REQUIRE_POSTGRES" not in os.environ:
        pytest.skip("PostgreSQL is not installed")
    with running_server() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of an empty database, gone after the test."""
    url = postgres_server.create_database()
    yield url
    postgres_server.drop_database(url)
