"""Programs that rewrite `models.yaml` and `channel.yaml` in a loop beside the daemon, on both sides."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from tests.fakes.samples import manifest
from tests.system.fleet import Fleet, Laptop, all_equal, until

HERE = Path(__file__).parent
MODELS, CHANNEL = "models.yaml", "channels/fleet-dev/channel.yaml"


def rewrite(kind: str, laptop: Laptop, path: str, count: int) -> subprocess.Popen[bytes]:
    """A program that rewrites a file of this laptop, begun."""
    command = [sys.executable, "-m", "tests.system.mur_rewriter", kind, str(laptop.home / path)]
    return subprocess.Popen([*command, laptop.name, str(count)], cwd=HERE.parents[1])


def document(laptop: Laptop, path: str) -> dict[str, Any]:
    """The file as it says; empty if there is none."""
    found: dict[str, Any] | None = yaml.load(laptop.read(path), Loader=yaml.BaseLoader)
    return found or {}


def models(laptop: Laptop) -> dict[str, str]:
    """What each entry says that it is."""
    return {name: entry["model"] for name, entry in document(laptop, MODELS).get("models", {}).items()}


def agents(laptop: Laptop) -> set[str]:
    """Who takes part in the channel."""
    return {each["actor"]["id"] for each in document(laptop, CHANNEL)["participants"]}


def test_both_sides_rewrite_models_in_a_loop(fleet: Fleet) -> None:
    """Every entry that either program made is on both laptops, as it was written last; the roles of each
    are its own.
    """
    desk, travel = fleet.pair()
    for laptop in (desk, travel):
        laptop.write(MODELS, b"schema_version: 1\nmodels: {}\nroles: {}\n")
    count = 80
    writers = [rewrite("models", laptop, MODELS, count) for laptop in (desk, travel)]
    assert [writer.wait(120) for writer in writers] == [0, 0]
    expected = {
        f"{name}-{n}": f"{name} {2 * n + 1}" for name in ("desk", "travel") for n in range(count // 2)
    }
    for laptop in (desk, travel):
        until(partial(_is, models, laptop, expected), f"{laptop.name} has all entries")
        assert document(laptop, MODELS)["roles"] == {"router": f"{laptop.name}-{count // 2 - 1}"}
    all_equal(desk, travel)


def test_both_sides_rewrite_a_channel_in_a_loop(fleet: Fleet) -> None:
    """Everybody who joined on either laptop takes part on both."""
    desk, travel = fleet.pair()
    desk.write(CHANNEL, manifest())
    until(partial(travel.has, CHANNEL, manifest()), "the channel has arrived")
    count = 40
    writers = [rewrite("channel", laptop, CHANNEL, count) for laptop in (desk, travel)]
    assert [writer.wait(120) for writer in writers] == [0, 0]
    expected = {"mur"} | {f"{name}-{n}" for name in ("desk", "travel") for n in range(count)}
    for laptop in (desk, travel):
        until(partial(_is, agents, laptop, expected), f"{laptop.name} has all participants")
    all_equal(desk, travel)


def test_entries_have_a_history_and_a_state(fleet: Fleet) -> None:
    """By their paths: what was replaced can be restored, and a secret that is not here is named by `status`
    and `doctor`.
    """
    desk, travel = fleet.pair()
    for model in ("one", "two"):
        desk.write(MODELS, f"models:\n  open:ai:\n    model: {model}\n    secret: env:NO_SUCH\n".encode())
        until(partial(_is, models, travel, {"open:ai": model}), f"{model} has arrived")
    path = f"{MODELS}/open%3Aai"
    assert [entry["path"] for entry in travel.ask("history", MODELS)["entries"]] == [path]
    assert travel.ask("restore", path)["path"] == path
    until(partial(_is, models, desk, {"open:ai": "one"}), "it is restored")
    [alert] = travel.status()["alerts"]
    assert (alert["code"], path in alert["detail"]) == ("degraded", True)
    assert travel.status()["home"]["state"] == "degraded"
    checks = {check["name"]: check for check in travel.ask("doctor", code=1)["checks"]}
    assert any("env:NO_SUCH" in check["detail"] and not check["ok"] for check in checks.values())


def _is(read: Any, laptop: Laptop, expected: object) -> bool:
    return bool(read(laptop) == expected)
