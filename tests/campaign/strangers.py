"""`python -m tests.campaign.strangers --connections 10000`: strangers at the port of a daemon that works.

While they knock, two honest devices go on: each wave is followed by a line from either side that must
arrive. Rule of the file: only loopback is touched; a stranger that hears one byte of HTTP, a daemon that
keeps a descriptor or grows without bound, and any traceback in its log are failures. Prints a table. The
short form is `tests/security/test_doors.py`.
"""

from __future__ import annotations

import argparse
import random
import resource
import socket
import ssl
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.fakes.devices import make_device
from tests.system.fleet import Fleet, Laptop, a_fleet, all_hold, event, until

HTTP = b"GET /v1/hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
PATIENCE = 5.0
"""Seconds that a stranger listens."""
SPARE = 192
"""Descriptors that strangers may hold at once: 64 unfinished handshakes, and bursts that are leaving."""
GROWTH = 64 << 20
"""Bytes that the daemon may grow by under any of it."""


# --- how a stranger knocks -------------------------------------------------------------------------------


def place(laptop: Laptop) -> tuple[str, int]:
    """Where its daemon listens."""
    host, _, port = laptop.listen.rpartition(":")
    return host, int(port)


def knock(laptop: Laptop) -> socket.socket:
    """A bare connection."""
    return socket.create_connection(place(laptop), timeout=PATIENCE)


def heard(connection: socket.socket) -> bytes:
    """All that comes until the other side closes, or until patience ends."""
    data = b""
    with suppress(OSError):
        while chunk := connection.recv(65536):
            data += chunk
    return data


def says(laptop: Laptop, data: bytes) -> bytes:
    """What is heard after saying this on a bare connection, and no more."""
    with knock(laptop) as connection, suppress(OSError):
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        return heard(connection)
    return b""


def shakes_hands(laptop: Laptop, context: ssl.SSLContext) -> bytes:
    """What is heard inside TLS after asking; empty if there is no inside."""
    with suppress(OSError), knock(laptop) as raw, context.wrap_socket(raw) as stream:
        stream.sendall(HTTP)
        return heard(stream)
    return b""


def believing(
    chain: Path | None = None, key: Path | None = None, newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
) -> ssl.SSLContext:
    """A caller that believes every certificate, and shows this chain."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = newest
    if chain is not None:
        context.load_cert_chain(chain, key)
    return context


def client_hello() -> bytes:
    """The first flight of a TLS 1.3 client."""
    arriving, leaving = ssl.MemoryBIO(), ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        believing().wrap_bio(arriving, leaving).do_handshake()
    return leaving.read()


def mutated(data: bytes, rng: random.Random) -> bytes:
    """The same with some bytes changed, cut out, doubled, or its lengths lied about."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 8)):
        at = rng.randrange(len(changed))
        match rng.randrange(5):
            case 0:
                changed[at] = rng.randrange(256)
            case 1:
                del changed[at : at + rng.randint(1, 20)]
            case 2:
                changed[at:at] = changed[at : at + rng.randint(1, 200)]
            case 3:
                changed[3:5] = rng.randrange(65536).to_bytes(2, "big")
            case _:
                changed[at:at] = rng.randbytes(rng.randint(1, 50))
        if not changed:
            return b"\x16"
    return bytes(changed)


# --- what a daemon may not do meanwhile --------------------------------------------------------------------


@dataclass(frozen=True)
class Cost:
    """What a daemon holds."""

    descriptors: int
    resident: int  # bytes


def cost_of(laptop: Laptop) -> Cost:
    """What the daemon of a laptop holds now; Linux tells."""
    assert laptop.process is not None
    proc = Path(f"/proc/{laptop.process.pid}")
    pages = int((proc / "statm").read_text().split()[1])
    return Cost(len(list((proc / "fd").iterdir())), pages * resource.getpagesize())


class Watch:
    """Two honest devices at work, held against what they held before."""

    def __init__(self, fleet: Fleet) -> None:
        self.desk, self.travel = fleet.pair()
        self.lines = self.desk.append([event("desk", 1)])
        all_hold((self.desk, self.travel), self.lines)
        self.before = cost_of(self.desk)
        self._number = 10

    def still_works(self) -> float:
        """A line from either side arrives on the other; the seconds that the slower one took."""
        slowest = 0.0
        for laptop in (self.desk, self.travel):
            self._number += 1
            began = time.monotonic()
            self.lines += laptop.append([event(laptop.name, self._number)])
            all_hold((self.desk, self.travel), self.lines)
            slowest = max(slowest, time.monotonic() - began)
        return slowest

    def is_unharmed(self) -> Cost:
        """Descriptors are given back, memory is not eaten up, and the log knows no accident."""
        until(
            lambda: cost_of(self.desk).descriptors <= self.before.descriptors + 8, "the descriptors are back"
        )
        now = cost_of(self.desk)
        assert now.resident < self.before.resident + GROWTH, (self.before, now)
        said = self.desk.said()
        assert "Traceback" not in said
        assert " ERROR " not in said
        return now


# --- the waves -------------------------------------------------------------------------------------------


def scans(watch: Watch, count: int) -> None:
    """Connect and close, by a goodbye or a reset, with nothing said or half a greeting."""
    greeting = client_hello()
    for number in range(count):
        with knock(watch.desk) as connection:
            connection.sendall((b"", b"\x16", greeting[: len(greeting) // 2], b"\0")[number % 4])
            if number % 2:
                reset = b"\1\0\0\0\0\0\0\0"  # linger for no time: the close is a reset
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)


def babble(watch: Watch, _: int) -> None:
    """Other protocols, noise, and the end of what nobody began: never a byte of HTTP."""
    alert = b"\x15\x03\x03\x00\x02\x02\x28"
    for words in (
        HTTP,
        b"SSH-2.0-x\r\n",
        b"\x05\x01\x00",
        b"\0" * 70_000,
        b"\xff" * 70_000,
        alert,
        b"PRI * HTTP/2.0",
    ):
        assert b"HTTP" not in says(watch.desk, words)


def mutations(watch: Watch, count: int) -> None:
    """Greetings that are almost right."""
    rng, greeting = random.Random(17), client_hello()
    for _ in range(count):
        assert b"HTTP" not in says(watch.desk, mutated(greeting, rng))


def certificates(watch: Watch, _: int) -> None:
    """No certificate, one's own, a chain of a hundred kilobytes, an older TLS, another protocol by name."""
    with tempfile.TemporaryDirectory() as directory:
        own = make_device(Path(directory), "travel")
        endless = Path(directory, "endless.crt")
        endless.write_bytes(own.certificate_path.read_bytes() * 250)
        callers = [
            believing(),
            believing(own.certificate_path, own.key_path),
            believing(endless, own.key_path),
            believing(newest=ssl.TLSVersion.TLSv1_2),
        ]
        callers.append(believing(own.certificate_path, own.key_path))
        callers[-1].set_alpn_protocols(["h2", "x" * 255])
        for caller in callers:
            assert shakes_hands(watch.desk, caller) == b""


@contextmanager
def crowd(watch: Watch, count: int, first_words: Callable[[int], bytes]) -> Iterator[list[socket.socket]]:
    """So many connections held open at once, each having said something."""
    with ExitStack() as stack:
        held = []
        for number in range(count):
            with suppress(OSError):
                connection = stack.enter_context(knock(watch.desk))
                connection.sendall(first_words(number))
                held.append(connection)
        yield held


def floods(watch: Watch, count: int) -> None:
    """Thousands of connections at once: those beyond a few give way, and honest devices do not notice."""
    greeting = client_hello()
    with crowd(watch, count, lambda number: greeting[: number % len(greeting)]):
        held = cost_of(watch.desk)
        assert held.descriptors <= watch.before.descriptors + SPARE, held
        assert held.resident < watch.before.resident + GROWTH, held
        watch.still_works()


def dribbles(watch: Watch, count: int) -> None:
    """A byte a second of a good greeting, on so many connections: cut off when the time for it is over."""
    greeting = client_hello()
    with crowd(watch, count, lambda _: greeting[:1]) as held:
        for at in range(1, 14):
            time.sleep(1)
            for connection in held:
                with suppress(OSError):
                    connection.sendall(greeting[at : at + 1])
        assert all(b"HTTP" not in heard(connection) for connection in held)
        watch.still_works()


WAVES: dict[str, tuple[Callable[[Watch, int], None], float]] = {
    "scans": (scans, 0.2),
    "babble": (babble, 0),
    "mutations": (mutations, 0.2),
    "certificates": (certificates, 0),
    "floods": (floods, 1),
    "dribbles": (dribbles, 0.005),
}
"""Each wave, and its part of the connections."""


def main() -> int:
    """All waves, and what they cost."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaign.strangers")
    parser.add_argument("--connections", type=int, default=10_000)
    wanted = parser.parse_args().connections
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted + 500, hard), hard))
    with a_fleet() as fleet:
        watch = Watch(fleet)
        sys.stdout.write(f"{'wave':<14}{'connections':>12}{'seconds':>9}{'a line':>9}{'fds':>6}{'MiB':>6}\n")
        for name, (wave, share) in WAVES.items():
            began, count = time.monotonic(), max(1, int(wanted * share))
            wave(watch, count)
            spent, line, cost = time.monotonic() - began, watch.still_works(), watch.is_unharmed()
            held = f"{cost.descriptors:>6}{cost.resident >> 20:>6}"
            sys.stdout.write(f"{name:<14}{count:>12,}{spent:>9.1f}{line:>9.2f}{held}\n")
            sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
