"""`fleetsync doctor` beside a real daemon: faults that only two devices can have between them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.system import hosts
from tests.system.fleet import Document, Fleet, Laptop, until
from tests.system.requirements import require

LATER_PROTOCOL = """
from fleetsync.wire import messages
messages.PROTOCOL_MIN = messages.PROTOCOL_MAX = 9
from fleetsync.cli import main
raise SystemExit(main())
"""


def _finding(laptop: Laptop, name: str) -> Document:
    [found] = [check for check in laptop.ask("doctor", code=1)["checks"] if check["name"] == name]
    return dict(found)


def test_a_peer_of_an_incompatible_version(fleet: Fleet) -> None:
    """Both versions are named, and the next step is the upgrade; the older device goes on by itself."""
    desk, travel = fleet.pair()
    travel.stop()
    travel.launcher = [sys.executable, "-c", LATER_PROTOCOL]
    travel.start()
    until(lambda: desk.status()["peers"][0]["error_code"] == "protocol-mismatch", "the mismatch is seen")
    found = _finding(desk, "peers")
    assert not found["ok"]
    assert "travel speaks protocol versions 9 to 9, this device 1 to 1" in found["detail"]
    assert found["next"] == "upgrade the older of the two"


def test_a_peer_whose_clock_is_off(fleet: Fleet) -> None:
    """An hour ahead: the peer is named with the difference, and the next step sets the clock."""
    require(None if shutil.which("faketime") else "faketime is not installed")
    desk, travel = fleet.pair()
    travel.stop()
    travel.launcher = ["faketime", "-f", "+3600s", *travel.launcher]
    travel.start()
    until(lambda: (desk.status()["peers"][0]["clock_offset_seconds"] or 0) > 3000, "the offset is measured")
    found = _finding(desk, "clock")
    assert not found["ok"]
    assert "travel +3" in found["detail"]
    assert "timedatectl" in found["next"]


def test_a_peer_that_is_on_without_its_daemon(fleet: Fleet) -> None:
    """Nothing listens at its address: told apart from a laptop that sleeps."""
    desk, travel = fleet.pair()
    travel.stop()
    until(lambda: desk.status()["peers"][0]["state"] in ("offline", "connecting"), "it is missed")
    found = _finding(desk, "reachability")
    assert not found["ok"]
    assert "travel: a machine at 127.0.0.1" in found["detail"]
    assert found["next"] == "run `fleetsync doctor` on travel"


# --- firewalls -----------------------------------------------------------------------------------

KNOCK = """
from fleetsync.cli.checks.knocking import knock
from fleetsync.records.addresses import parse_address
verdict = knock(parse_address("10.78.0.2:8473"))
print(verdict.detail, verdict.next_step, sep=chr(10))
"""


@contextmanager
def _two_on_a_cable() -> Iterator[tuple[str, str]]:
    """Two network namespaces that see each other directly, as in one office: 10.78.0.1 and 10.78.0.2."""
    names = near, far = (f"fs{os.getpid()}-near", f"fs{os.getpid()}-far")
    with ExitStack() as stack:
        for name in names:
            stack.callback(subprocess.run, ["ip", "netns", "del", name], check=False)
            _do("ip", "netns", "add", name)
        _do("ip", "link", "add", "eth0", "netns", near, "type", "veth", "peer", "name", "eth0", "netns", far)
        for number, name in enumerate(names, 1):
            _do("ip", "-n", name, "addr", "add", f"10.78.0.{number}/24", "dev", "eth0")
            _do("ip", "-n", name, "link", "set", "eth0", "up")
        yield near, far


def _do(*command: str, stdin: str | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, input=stdin, timeout=60, check=True)
    return done.stdout


def _firewall(namespace: str, hook: str, rule: str) -> None:
    chain = f"chain c {{\ntype filter hook {hook} priority 0;\n{rule}\n}}"
    command = ("ip", "netns", "exec", namespace, "nft", "-f", "-")
    _do(*command, stdin=f"table inet firewall {{\n{chain}\n}}\n")


def _knock_from(namespace: str) -> list[str]:
    told = _do("ip", "netns", "exec", namespace, sys.executable, "-c", KNOCK)
    return told.splitlines()


def test_a_firewall_that_drops_is_told_from_a_laptop_that_sleeps() -> None:
    """The machine answers below IP and not at its port: a firewall. It does not answer at all: asleep."""
    require(hosts.missing())
    with _two_on_a_cable() as (near, far):
        _firewall(far, "input", "tcp dport 8473 drop")
        detail, step = _knock_from(near)
        assert "firewall keeps the port shut" in detail
        assert "ufw allow 8473/tcp" in step
        _do("ip", "-n", far, "link", "set", "eth0", "down")
        _do("ip", "-n", near, "neigh", "flush", "all")
        detail, step = _knock_from(near)
        assert step == "None"
