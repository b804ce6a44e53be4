"""`demo`: the whole of fleetsync in ten seconds, on two real daemons with throw-away homes.

Each act does something that a person does, waits until it has arrived on the other side, and checks
what it claims. The exit code is 0 only if every check held.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any

import click

from fleetsync.cli import exits
from fleetsync.cli.command import command, pass_session
from fleetsync.cli.session import Session

if TYPE_CHECKING:
    from pathlib import Path

    from fleetsync.cli.stage import Laptop

SKILL = "skills/deploy"
LOG, MANIFEST, STATS = f"{SKILL}/events.jsonl", f"{SKILL}/skill.yaml", f"{SKILL}/stats.json"
PROBES = 10
QUIET_SECONDS = 0.3  # longer than the pause between two pushes of a log that keeps changing


@dataclass
class Report:
    """What was done and measured; becomes the document of `demo --json`."""

    quiet: bool
    acts: list[dict[str, Any]] = field(default_factory=list)
    measured: dict[str, Any] = field(default_factory=dict)

    def act(self, title: str, ok: bool, detail: str) -> None:
        """One act is over: say how it went."""
        from fleetsync.cli import output

        self.acts.append({"name": title, "ok": ok, "detail": detail})
        if not self.quiet:
            output.say(f"{output.coloured('ok') if ok else output.coloured('failed')}  {title}: {detail}")

    def document(self) -> dict[str, Any]:
        """Everything, with `verified` true only if every act went well."""
        verified = bool(self.acts) and all(act["ok"] for act in self.acts)
        return {"verified": verified, "acts": self.acts, **self.measured}


@command("fleetsync demo")
@click.option(
    "--events",
    type=click.IntRange(1, 5000),
    default=200,
    show_default=True,
    help="Lines that each side appends.",
)
@pass_session
def demo(session: Session, events: int) -> int:
    """Run two real daemons on this machine: pair, append on both sides, conflict, converge, report.

    Touches nothing of yours: both have throw-away homes and listen on the loopback only.
    """
    from fleetsync.cli import output
    from fleetsync.cli.stage import two_laptops

    report = Report(quiet=session.json)
    begun = time.monotonic()
    with two_laptops() as (desk, travel):
        report.act("two daemons", True, f"started in {time.monotonic() - begun:.1f} s")
        pair(report, desk, travel)
        first_skill(report, desk, travel)
        append_at_once(report, desk, travel, events)
        one_line_at_a_time(report, desk, travel)
        counters(report, desk, travel)
        conflict(report, desk, travel)
        nothing_new(report, desk, travel)
    document = report.document()
    if session.json:
        output.emit(document)
    else:
        output.say()
        output.say("everything is equal on both" if document["verified"] else "not everything went well")
    return exits.DONE if document["verified"] else exits.FAILED


# --- the acts ------------------------------------------------------------------------------------


def pair(report: Report, desk: Laptop, travel: Laptop) -> None:
    """A code on one, the same code typed on the other."""
    from fleetsync.errors import DemoFailed

    begun = time.monotonic()
    with desk.offer_code() as (offer, outcome):
        if "code" not in offer:
            raise DemoFailed(f"desk offered no code: {offer.get('error', offer)}")
        taken = travel.ask("pair", offer["code"], "--at", _address(offer), "--yes")
        offered = outcome()
    if "paired" not in offered:
        raise DemoFailed(f"desk was not paired: {offered.get('error', offered)}")
    words = taken["paired"]["words"], offered["paired"]["words"]
    took = time.monotonic() - begun
    report.act("paired", words[0] == words[1], f"{' '.join(words[0])}, on both, in {took:.1f} s")


def _address(offer: dict[str, Any]) -> str:
    host, port = offer["host"], offer["port"]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def first_skill(report: Report, desk: Laptop, travel: Laptop) -> None:
    """A new skill on one appears on the other."""
    from fleetsync.cli.stage import until

    begun = time.monotonic()
    _write_manifest(desk.home, "first")
    until(lambda: _same(desk.home, travel.home, MANIFEST), "the skill is on both")
    report.act("a new skill", True, f"skill.yaml is on both after {_ms(time.monotonic() - begun)}")


def append_at_once(report: Report, desk: Laptop, travel: Laptop, events: int) -> None:
    """Both write into the same log at full speed, at the same time."""
    from fleetsync.cli.stage import until

    with ThreadPoolExecutor(2) as writers:
        jobs = [writers.submit(_append, laptop, events) for laptop in (desk, travel)]
        written = {line for job in jobs for line in job.result()}
    begun = time.monotonic()
    until(lambda: set(_log(desk.home)) == written == set(_log(travel.home)), "all lines are on both")
    took = time.monotonic() - begun
    counts = [len(_log(laptop.home)) for laptop in (desk, travel)]
    report.measured["events"] = len(written)
    report.measured["converged_after_seconds"] = round(took, 3)
    detail = f"{events} lines each; all {len(written)} on both {_ms(took)} after the last was written"
    report.act("appending on both at once", counts == [len(written)] * 2, detail)


def one_line_at_a_time(report: Report, desk: Laptop, travel: Laptop) -> None:
    """From the append on one side to the line in the other side's file."""
    from fleetsync.cli.stage import until

    times = []
    for _ in range(PROBES):
        time.sleep(QUIET_SECONDS)
        (line,) = _append(desk, 1)
        begun = time.monotonic()
        until(partial(_holds, travel.home, line), "the line is there")
        times.append((time.monotonic() - begun) * 1000)
    middle, late = median(times), quantiles(times, n=20)[-1]
    report.measured["latency_ms"] = {"median": round(middle, 1), "p95": round(late, 1)}
    report.act("one line", True, f"visible after {middle:.0f} ms (median of {PROBES}), p95 {late:.0f} ms")


def counters(report: Report, desk: Laptop, travel: Laptop) -> None:
    """Each side has counted the other's lines exactly once, and none of its own (mur does that)."""
    from fleetsync.cli.stage import until

    def counted() -> dict[str, tuple[int, int]] | None:
        found = {a.name: (_stored_uses(a), _authored(a, b)) for a, b in ((desk, travel), (travel, desk))}
        return found if all(have == want for have, want in found.values()) else None

    found = until(counted, "each side has counted the other's lines exactly once", 10)
    detail = ", ".join(f"{name} counts {have} of {want}" for name, (have, want) in found.items())
    report.act("counted once", True, detail)


def conflict(report: Report, desk: Laptop, travel: Laptop) -> None:
    """Both change the same skill.yaml while apart: one wins on both, the other is kept in history."""
    from fleetsync.cli.stage import until

    _pause("pause", desk, travel)
    versions = {_edit(laptop, f"from {laptop.name}") for laptop in (desk, travel)}
    _pause("resume", desk, travel)
    desk.ask("sync", "--wait", "20")
    until(lambda: _same(desk.home, travel.home, MANIFEST), "the same skill.yaml on both")
    winner = (desk.home / MANIFEST).read_bytes()
    kept = until(lambda: _losers(desk, travel), "the loser is in history")
    report.measured["conflict"] = {"winner": winner.decode().split("description: ")[-1].strip(), "kept": kept}
    report.act("a conflict", winner in versions, f"one version won on both, the other is kept: {kept}")


def nothing_new(report: Report, desk: Laptop, travel: Laptop) -> None:
    """The last word: both prove that they are equal, and what it costs to find out."""
    (exchange,) = desk.ask("sync", "--wait", "20")["peers"]
    here, there = desk.ask("status")["home"], travel.ask("status")["home"]
    equal = here["fingerprint"] == there["fingerprint"] and here["items"] == there["items"]
    report.measured["items"] = here["items"]
    report.measured["exchange"] = {k: exchange[k] for k in ("round_trips", "bytes_in", "bytes_out")}
    size = exchange["bytes_in"] + exchange["bytes_out"]
    cost = f"{exchange['round_trips']} round trips and {size} bytes"
    proven = equal and exchange["outcome"] == "converged"
    report.act("in sync", proven, f"{here['items']} items, fingerprints equal: {equal}; proven in {cost}")


# --- what mur would do -----------------------------------------------------------------------------


def _write_manifest(home: Path, description: str) -> bytes:
    manifest = home / MANIFEST
    manifest.parent.mkdir(parents=True, exist_ok=True)
    text = f"name: deploy\nversion: 1.0.0\npublisher: human:demo\ndescription: {description}\n".encode()
    fresh = manifest.with_name(".skill.yaml.tmp")
    fresh.write_bytes(text)
    fresh.replace(manifest)
    return text


def _edit(laptop: Laptop, description: str) -> bytes:
    """Change the manifest, and wait until the daemon has seen it."""
    from fleetsync.cli.stage import until

    before = laptop.ask("status")["home"]["fingerprint"]
    text = _write_manifest(laptop.home, description)
    until(lambda: laptop.ask("status")["home"]["fingerprint"] != before, "the daemon has seen the change")
    return text


def _append(laptop: Laptop, count: int) -> list[bytes]:
    """That many executions, one append each."""
    from fleetsync.cli.record import append_line
    from fleetsync.records import timestamps
    from fleetsync.records.execution import Run, record_run

    lines = []
    for number in range(count):
        run = Run(success=number % 4 != 0, duration_ms=number, stderr="connection refused")
        line = record_run(run, timestamps.at(time.time_ns()), laptop.name)
        append_line(laptop.home, LOG, line)
        lines.append(line)
    return lines


# --- what can be seen from outside -----------------------------------------------------------------


def _log(home: Path) -> list[bytes]:
    return [line for line in (home / LOG).read_bytes().split(b"\n") if line]


def _holds(home: Path, line: bytes) -> bool:
    return line in (home / LOG).read_bytes()


def _same(one: Path, other: Path, path: str) -> bool:
    return (other / path).exists() and (one / path).read_bytes() == (other / path).read_bytes()


def _authored(here: Laptop, author: Laptop) -> int:
    mark = f'"device_id":"{author.name}"'.encode()
    return sum(mark in line for line in _log(here.home))


def _stored_uses(laptop: Laptop) -> int:
    stored = laptop.ask("stats", "deploy")["stored"]
    return int(stored["usage_count"]) if stored else 0


def _pause(act: str, *laptops: Laptop) -> None:
    for laptop in laptops:
        for peer in laptop.ask("peers")["peers"]:
            laptop.ask("peers", act, peer["id"])


def _losers(*laptops: Laptop) -> str | None:
    """Where the version that lost is kept, in words."""
    for laptop in laptops:
        entries = laptop.ask("history", MANIFEST)["entries"]
        lost = [entry for entry in entries if entry["kind"] == "lost-conflict"]
        if lost:
            return f"version {lost[0]['version']} in {laptop.name}'s history"
    return None


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"
