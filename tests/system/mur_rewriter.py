"""A program that rewrites files as mur does: read, change one thing, write all of it anew, without a lock.

`python -m tests.system.mur_rewriter models|channel FILE NAME COUNT`. Every rewrite spells the file in its
own way and goes through a temporary with a fixed name, as mur's do; comments are lost by it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

Document = dict[str, Any]


class Spelling(yaml.SafeDumper):
    """Times stand plain, as mur writes them."""


Spelling.yaml_implicit_resolvers = {
    first: [(tag, rule) for tag, rule in rules if not tag.endswith(":timestamp")]
    for first, rules in yaml.SafeDumper.yaml_implicit_resolvers.items()
}


THINKING, PAUSE = 0.003, 0.05  # seconds between reading and writing, and between two rewrites


def change_models(document: Document, name: str, number: int) -> None:
    """A new entry every second time, a changed one in between, and always a role of this device's own."""
    entry = document["models"].setdefault(f"{name}-{number // 2}", {"provider": name})
    entry["model"] = f"{name} {number}"
    document["schema_version"] = 1
    document["roles"] = {"router": f"{name}-{number // 2}"}


def change_channel(document: Document, name: str, number: int) -> None:
    """One more participant."""
    actor = {"kind": "agent", "id": f"{name}-{number}"}
    joined = f"2026-06-01T00:{number // 60:02}:{number % 60:02}Z"
    document["v"] = 2
    document["participants"].append({"actor": actor, "role": "delegate", "joined_at": joined})
    document["updated_at"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


CHANGES: dict[str, Callable[[Document, str, int], None]] = {
    "models": change_models,
    "channel": change_channel,
}


def main() -> None:
    """Rewrite the file that often."""
    kind, path, name, count = sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    for number in range(count):
        document = yaml.load(path.read_bytes(), Loader=yaml.BaseLoader)
        CHANGES[kind](document, name, number)
        time.sleep(THINKING)
        temporary = path.with_name(f"{path.name}.tmp")
        temporary.write_text(yaml.dump(document, Dumper=Spelling, sort_keys=False, allow_unicode=True))
        temporary.rename(path)
        time.sleep(PAUSE)


if __name__ == "__main__":
    main()
