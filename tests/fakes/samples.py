"""Files of home as mur writes them: a channel, its events, an agent's profile; and writing them."""

from __future__ import annotations

from fleetsync import datasets
from fleetsync.datasets import Dataset
from tests.fakes.laptops import Laptop
from tests.faults.scenarios import MANIFEST

CHANNEL = b"""v: 2
id: fleet-dev
title: 'fleet: dev'
goal:
  statement: ''
  acceptance_criteria: []
state: working
owner:
  kind: human
  name: me
participants:
- actor:
    kind: agent
    id: %s
  role: router
  joined_at: %s
created_at: 2026-05-30T00:00:00Z
updated_at: %s
"""
PROFILE = b"""schema: 1
name: qa
description: %s
identity:
  pubkey: z%s
"""
EVENTS = "channels/fleet-dev/events.jsonl"
YAML = "channels/fleet-dev/channel.yaml"


def event(seq: int, text: str, kind: str = "message", extra: str = "") -> bytes:
    """A channel event as mur writes it."""
    return (
        f'{{"seq":{seq},"ts":"2026-06-16T00:00:{seq:02}Z","actor":{{"kind":"agent","id":"qa"}},'
        f'"kind":"{kind}","payload":{text}{extra}}}'
    ).encode()


def manifest(
    agent: str = "mur", joined: str = "2026-05-30T00:00:00Z", updated: str = "2026-05-30T00:00:00Z"
) -> bytes:
    """A channel manifest with one participant."""
    return CHANNEL % (agent.encode(), joined.encode(), updated.encode())


def row_of(file: str) -> Dataset:
    """The row whose items stand in this file."""
    row = datasets.find_file(file)
    assert row is not None
    return row


def write(laptop: Laptop, path: str, data: bytes) -> None:
    """A program writes a file whole, with the manifest that its directory needs."""
    target = laptop.path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    for name in row_of(path).manifest[:1]:
        beside = target.with_name(name)
        if not beside.exists():
            beside.write_bytes(manifest() if name == "channel.yaml" else MANIFEST)
    target.write_bytes(data)
    laptop.replica.scan(None)
