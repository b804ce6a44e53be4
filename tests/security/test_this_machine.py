"""Another user of the same machine, and what this one shows of itself to whoever looks.

There is no page and no TCP port for people: the daemon is asked over `control.sock` alone, which no
browser reaches. What a foreign page could send to it is tried all the same. The other user is `nobody`;
becoming somebody else needs root, so without it those tests are skipped.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.fleet import Laptop, a_fleet, event, pair

NOBODY = 65534
OTHERS = stat.S_IRWXG | stat.S_IRWXO

needs_root = pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="becoming nobody needs root")
needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="/proc shows what others can see")


@pytest.fixture(scope="module")
def laptops() -> Iterator[tuple[Laptop, Laptop]]:
    """Two that are paired and have something to hide; the way to them is open to everybody."""
    with a_fleet() as fleet:
        fleet.root.chmod(0o755)
        desk, travel = fleet.pair()
        desk.root.chmod(0o755)
        desk.append([event("desk", 1)])
        yield desk, travel


def as_nobody(code: str, *arguments: str) -> str:
    """What a program of another user prints."""
    # What is imported comes first: the interpreter itself may lie where nobody else can read.
    prelude = f"import os, socket, sys; os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})\n"
    command = ["/usr/bin/env", sys.executable, "-I", "-c", prelude + code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# --- another user ----------------------------------------------------------------------------------------

READ_ALL = """
found = []
for top in sys.argv[1:]:
    for path, directories, files in os.walk(top):
        for name in files:
            try:
                open(os.path.join(path, name), "rb").read(1)
                found.append(os.path.join(path, name))
            except OSError:
                pass
print(found)
"""
CONNECT = """
for path in sys.argv[1:]:
    try:
        s = socket.socket(socket.AF_UNIX); s.connect(path); print("connected")
    except OSError as error:
        print(type(error).__name__)
"""
PEEK = """
seen = []
for name in ("environ", "mem", "maps", "cwd", "fd"):
    path = f"/proc/{sys.argv[1]}/{name}"
    try:
        seen.append((name, os.listdir(path) if name == "fd" else os.readlink(path) if name == "cwd" else
            open(path, "rb").read(1)))
    except OSError:
        pass
print(seen)
"""
KILL = "try: os.kill(int(sys.argv[1]), 15); print('killed')\nexcept PermissionError: print('no')"


@needs_root
def test_another_user_reads_nothing(laptops: tuple[Laptop, Laptop]) -> None:
    """Neither keys nor databases nor history nor what is staged can be opened by somebody else."""
    desk, _ = laptops
    assert (desk.state / "identity.key").exists()
    assert as_nobody(READ_ALL, str(desk.state), str(desk.home / ".fleetsync")) == "[]"


@needs_root
def test_another_user_cannot_ask_the_daemon(laptops: tuple[Laptop, Laptop]) -> None:
    """The control socket refuses by its directory, and by its own mode where that one has been opened."""
    desk, _ = laptops
    control = desk.state / "control.sock"
    assert as_nobody(CONNECT, str(control)) == "PermissionError"
    desk.state.chmod(0o755)
    try:
        assert as_nobody(CONNECT, str(control)) == "PermissionError"
    finally:
        desk.state.chmod(0o700)
    assert desk.status()["device"]


@needs_root
@needs_proc
def test_another_user_cannot_look_into_the_process(laptops: tuple[Laptop, Laptop]) -> None:
    """Its environment, memory and descriptors are its own, and it cannot be told to stop."""
    desk, _ = laptops
    assert desk.process is not None
    assert as_nobody(PEEK, str(desk.process.pid)) == "[]"
    assert as_nobody(KILL, str(desk.process.pid)) == "no"


def test_everything_of_the_state_is_private(laptops: tuple[Laptop, Laptop]) -> None:
    """Directories 0700, files and the socket 0600, whatever the umask of who started it."""
    for laptop in laptops:
        for path in (laptop.state, *laptop.state.rglob("*"), *(laptop.home / ".fleetsync").rglob("*")):
            assert path.lstat().st_mode & OTHERS == 0, path


@needs_proc
def test_nothing_secret_stands_in_command_lines_and_environments(
    laptops: tuple[Laptop, Laptop], tmp_path: Path
) -> None:
    """While a code is offered: neither the code nor the key is where `ps` shows it, nor in the log."""
    _, travel = laptops
    key = (travel.state / "identity.key").read_text().splitlines()[1]
    with travel.offering() as process:
        assert process.stdout is not None
        offer = json.loads(process.stdout.readline())
        shown = b""
        for each in Path("/proc").glob("[0-9]*"):
            for name in ("cmdline", "environ"):
                try:
                    shown += (each / name).read_bytes()
                except OSError:
                    continue
    assert offer["code"].encode() not in shown
    assert key.encode() not in shown
    for laptop in laptops:
        assert offer["code"] not in laptop.said()
        assert key not in laptop.said()
        assert "PRIVATE" not in laptop.said()


# --- a foreign page --------------------------------------------------------------------------------------


def listening(laptop: Laptop) -> set[str]:
    """The TCP ports on which the daemon of a laptop listens."""
    assert laptop.process is not None
    held = set()
    for fd in Path(f"/proc/{laptop.process.pid}/fd").iterdir():
        try:
            held.add(str(fd.readlink()))
        except OSError:
            continue
    ports = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in held:
                ports.add(str(int(fields[1].rpartition(":")[2], 16)))
    return ports


@needs_proc
def test_a_browser_finds_no_port_for_people(laptops: tuple[Laptop, Laptop]) -> None:
    """The one port that is open speaks to paired devices only: a page of another site has nothing to ask."""
    desk, _ = laptops
    assert listening(desk) == {desk.listen.rpartition(":")[2]}


class Control(http.client.HTTPConnection):
    """HTTP over the control socket, with any headers."""

    def __init__(self, path: Path) -> None:
        super().__init__("x", timeout=10)
        self._path = path

    def connect(self) -> None:
        """To the socket."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self._path))


@pytest.mark.parametrize(
    ("method", "path", "body", "statuses"),
    [
        ("POST", "/peers/remove", b"peer=travel", {400}),
        ("POST", "/peers/remove", b'{"peer":"travel","extra":1}', {400}),
        ("POST", "/peers/remove", b'{"peer":' * 50_000, {400}),
        ("POST", "/restore", b'{"path":"../../etc/passwd"}', {400, 500}),
        ("POST", "/restore", b'{"path":"skills/deploy/skill.yaml","version":1e999}', {400}),
        ("POST", "/adopt", b'{"certificate":"AAAA","name":"x","addresses":[],"records":[]}', {400, 500}),
        ("POST", "/sync", b'{"wait":1e400}', {400}),
        ("POST", "/guard", b"\xff\xfe", {400}),
        ("GET", "/../../etc/passwd", b"", {404}),
        ("GET", "/status/", b"", {404}),
        ("OPTIONS", "/peers/remove", b"", {404, 405}),
        ("POST", "/peers/remove", b" " * (2 << 20), {400}),
    ],
)
def test_requests_that_no_command_makes(
    laptops: tuple[Laptop, Laptop], method: str, path: str, body: bytes, statuses: set[int]
) -> None:
    """What a page could send if it ever reached the socket: refused in words, and nothing has changed."""
    desk, travel = laptops
    control = Control(desk.state / "control.sock")
    headers = {"Host": "evil.example", "Origin": "https://evil.example", "Content-Type": "text/plain"}
    try:
        control.request(method, path, body, headers)
        answer = control.getresponse()
        document = json.loads(answer.read())
        assert answer.status in statuses, document
        assert "stumbled" not in document["error"]["message"]
    except BrokenPipeError:
        assert len(body) > 1 << 20
    finally:
        control.close()
    assert [peer["name"] for peer in desk.ask("peers")["peers"]] == [travel.name]


def test_pairing_again_is_no_harm(laptops: tuple[Laptop, Laptop]) -> None:
    """Two that know each other may pair once more; they are peers once."""
    desk, travel = laptops
    pair(desk, travel)
    assert len(desk.ask("peers")["peers"]) == len(travel.ask("peers")["peers"]) == 1
