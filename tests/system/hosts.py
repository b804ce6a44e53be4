"""Hosts in network namespaces: each on a link of its own to a router in the middle, which can be made bad.

Everything is done to the router: what it forwards (nft), how fast (tc tbf), in what size, and how late
(`slow_wire.py`, because `tc netem` is missing from many kernels). The hosts are as any laptop is. Rules
of the file: nothing outside the namespaces made here is touched; their names hold this process's id; they
go at the end, whatever happens. Needs root, iproute2 and nftables: `missing` says what is not there.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.system.fleet import Document, Fleet, Laptop, until

ROOT = Path(__file__).parents[2]
PORT = 8473
_numbers = itertools.count()


def missing() -> str | None:
    """What this machine lacks for it; None if nothing."""
    if sys.platform != "linux":
        return "network namespaces are Linux's"
    if os.geteuid() != 0:
        return "network namespaces need root"
    for program in ("ip", "tc", "nft"):
        if shutil.which(program) is None:
            return f"{program} is not installed (iproute2, nftables)"
    probe = subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False)
    return "a network namespace cannot be made here" if probe.returncode else None


def _do(*command: str, stdin: str | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, input=stdin, timeout=20, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.strip()}"
    return done.stdout


class Host:
    """One namespace with an interface, an address and a way out through the router."""

    def __init__(self, network: Network, name: str, number: int) -> None:
        self.namespace = f"{network.prefix}-{name}"
        self.link = f"to-{name}"
        self._net = f"10.77.{number}"
        self.address = f"{self._net}.2"
        self._network = network

    @property
    def inside(self) -> tuple[str, ...]:
        """What a program must be started by to run on this host."""
        return ("ip", "netns", "exec", self.namespace)

    def join(self) -> None:
        """Make the namespace, the link and the route."""
        router = self._network.router
        _do("ip", "netns", "add", self.namespace)
        far = ("peer", "name", self.link, "netns", router)
        _do("ip", "link", "add", "eth0", "netns", self.namespace, "type", "veth", *far)
        for namespace, link, address in (
            (self.namespace, "eth0", self.address),
            (router, self.link, f"{self._net}.1"),
        ):
            _do("ip", "-n", namespace, "addr", "add", f"{address}/24", "dev", link)
            _do("ip", "-n", namespace, "link", "set", link, "up")
        _do("ip", "-n", self.namespace, "link", "set", "lo", "up")
        _do("ip", "-n", self.namespace, "route", "add", "default", "via", f"{self._net}.1")

    def move(self, last: int) -> None:
        """Another address in the same net, as after a new lease: the old one is gone at once."""
        fresh = f"{self._net}.{last}"
        _do("ip", "-n", self.namespace, "addr", "del", f"{self.address}/24", "dev", "eth0")
        _do("ip", "-n", self.namespace, "addr", "add", f"{fresh}/24", "dev", "eth0")
        _do("ip", "-n", self.namespace, "route", "replace", "default", "via", f"{self._net}.1")
        self.address = fresh


class Network:
    """The router and its hosts; make it with `a_network`."""

    def __init__(self) -> None:
        self.prefix = f"fs{os.getpid()}-{next(_numbers)}"
        self.router = f"{self.prefix}-mid"
        self.hosts: list[Host] = []
        self._wires: list[subprocess.Popen[bytes]] = []

    def open(self) -> None:
        """The router alone."""
        _do("ip", "netns", "add", self.router)
        _do("ip", "-n", self.router, "link", "set", "lo", "up")
        self._set("net/ipv4/ip_forward", "1")
        self._set("net/netfilter/nf_conntrack_acct", "1")

    def host(self, name: str) -> Host:
        """One more host."""
        made = Host(self, name, len(self.hosts) + 1)
        self.hosts.append(made)
        made.join()
        return made

    def close(self) -> None:
        """Every namespace goes, and with it whatever is in it."""
        for wire in self._wires:
            wire.kill()
            wire.communicate()
        for namespace in (self.router, *(host.namespace for host in self.hosts)):
            subprocess.run(["ip", "netns", "del", namespace], capture_output=True, check=False)

    # --- what the router does -----------------------------------------------------------------------

    def rules(self, *rules: str) -> None:
        """Forward by these nft rules alone; without any, everything. `counter` in one is read by `hits`."""
        lines = "\n".join(rules)
        chain = f"chain forward {{ type filter hook forward priority 0; policy accept;\n{lines}\n}}"
        table = "table inet middlebox {}\nflush table inet middlebox\ndelete table inet middlebox\n"
        _do(
            *("ip", "netns", "exec", self.router, "nft", "-f", "-"),
            stdin=f"{table}table inet middlebox {{\n{chain}\n}}\n",
        )

    def hits(self) -> int:
        """How many packets the counters of the rules have counted: a rule that met none proves nothing."""
        listed = _do("ip", "netns", "exec", self.router, "nft", "list", "table", "inet", "middlebox")
        return sum(int(count) for count in re.findall(r"counter packets (\d+)", listed))

    def rate(self, kilobits: int) -> None:
        """So many kbit/s each way, with a queue of half a second, as a bad uplink has."""
        shape = ("rate", f"{kilobits}kbit", "burst", "3000", "latency", "500ms")
        for host in self.hosts:
            _do("tc", "-n", self.router, "qdisc", "replace", "dev", host.link, "root", "tbf", *shape)

    def mtu(self, size: int) -> None:
        """Packets of at most this size on the last host's link."""
        host = self.hosts[-1]
        _do("ip", "-n", host.namespace, "link", "set", "eth0", "mtu", str(size))
        _do("ip", "-n", self.router, "link", "set", host.link, "mtu", str(size))

    def late(self, seconds: float) -> None:
        """Every packet of the last host is this much late, each way."""
        host = self.hosts[-1]
        router, gateway = self.router, host.address.rpartition(".")[0] + ".1/24"
        _do("ip", "-n", router, "addr", "flush", "dev", host.link)
        ends = ("near", "type", "veth", "peer", "name", "wire")
        _do("ip", "-n", router, "link", "add", *ends)
        for link in ("near", "wire"):
            _do("ip", "-n", router, "link", "set", link, "up")
        _do("ip", "-n", router, "addr", "add", gateway, "dev", "near")
        command = [sys.executable, "-m", "tests.system.slow_wire", "wire", host.link, str(seconds)]
        self._wires.append(
            subprocess.Popen(["ip", "netns", "exec", router, *command], cwd=ROOT, stdout=subprocess.PIPE)
        )
        assert self._wires[-1].stdout is not None
        assert self._wires[-1].stdout.readline() == b"open\n"

    def _set(self, name: str, value: str) -> None:
        _do("ip", "netns", "exec", self.router, "sh", "-c", f"echo {value} > /proc/sys/{name}")


@contextmanager
def a_network() -> Iterator[Network]:
    """A router without hosts yet; nothing of it is left after."""
    with ExitStack() as stack:
        network = Network()
        stack.callback(network.close)
        network.open()
        yield network


# --- laptops on hosts ------------------------------------------------------------------------------------


class Travellers:
    """Two laptops on two hosts, with a live skill on the first; their daemons do not run yet."""

    def __init__(self, fleet: Fleet, network: Network, config: str = "") -> None:
        self.network = network
        self.at: dict[Laptop, Host] = {}
        for name in ("desk", "travel"):
            laptop = fleet.laptop(name, listen=f"[::]:{PORT}", config=config)
            self.at[laptop] = network.host(name)
            laptop.inside = self.at[laptop].inside
        self.desk, self.travel = self.at
        self.desk.skill()

    def pair(self, seconds: float = 60.0) -> None:
        """Start both, and pair them by a code that travel takes; each pairing may need several codes."""
        for laptop in self.at:
            laptop.start()
        until(self._paired, "they are paired", seconds)

    def _paired(self) -> bool:
        with self.desk.offering() as process:
            assert process.stdout is not None
            offer: Document = json.loads(process.stdout.readline())
            where = f"{self.at[self.desk].address}:{offer['port']}"
            self.travel.run("pair", offer["code"], "--at", where, "--yes", timeout=90)
        return bool(self.desk.peer(self.travel) and self.travel.peer(self.desk))

    def equal(self) -> bool:
        """Whether both sets are equal and both say that they have converged with the other."""
        desk, travel = (laptop.status() for laptop in self.at)
        converged = self.desk.peer(self.travel).get("converged") and self.travel.peer(self.desk).get(
            "converged"
        )
        return bool(desk["home"]["fingerprint"] == travel["home"]["fingerprint"] and converged)


def seconds_until(condition: Callable[[], object], what: str, limit: float) -> float:
    """How long it took until the condition held; fails after `limit`."""
    began = time.monotonic()
    until(condition, what, limit)
    return time.monotonic() - began
