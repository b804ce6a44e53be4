"""Questions to a store, asked of SQLite and of PostgreSQL: how long each takes and which index it used.

The index beside a question is what the database itself says. PostgreSQL runs with fsync off, as in the
tests. It knows nothing of what is stored or asked: `bench/stores.py` and `bench/experience.py` do.
"""

from __future__ import annotations

import re
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from fleetsync.stores.opening import open_database
from fleetsync.stores.sql import Database, Row
from tests.fakes.postgres import running_server

REPEATS = 40
MATCHES = 10_000
"""A question that matches at most so many is within the budget."""
SERVER = ("listen_addresses=''", "fsync=off", "shared_buffers=128MB", "max_wal_size=4GB")


class Question(NamedTuple):
    """One question: how many rows it matches, and how a store is asked."""

    name: str
    matches: int
    ask: Callable[[Any], object]


class Tables(NamedTuple):
    """The tables that questions are about: what their names begin with, what the indexes are called behind
    that (a pattern), and the tables that are only looked things up in.
    """

    prefix: str
    indexes: str
    aside: Sequence[str] = ()


class Watched:
    """A database that remembers the last question to these tables, to ask afterwards how it was answered."""

    def __init__(self, database: Database, tables: Tables) -> None:
        self.for_update = database.for_update
        self.write, self.migrating, self.close = database.write, database.migrating, database.close
        self._database = database
        self._tables = tables
        self._last: tuple[str, Sequence[Any]] = "", ()
        self._explain = "EXPLAIN " if database.for_update else "EXPLAIN QUERY PLAN "

    def read(self, statement: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """The rows, as ever."""
        if not any(table in statement for table in self._tables.aside):
            self._last = statement, list(parameters)
        return self._database.read(statement, parameters)

    def indexes(self) -> str:
        """Which indexes it used."""
        prefix, names, _ = self._tables
        plan = " ".join(
            str(row[-1]) for row in self._database.read(self._explain + self._last[0], self._last[1])
        )
        plan = re.sub(rf"sqlite_autoindex_({prefix}\w+?)_1\b", r"\1_pkey", plan)
        found = re.findall(rf"{prefix}(?:{names})", plan)
        return ", ".join(dict.fromkeys(name.removeprefix(prefix) for name in found)) or "none"


@contextmanager
def databases(directory: Path, file: str) -> Iterator[dict[str, Database]]:
    """Both; SQLite's is in this file."""
    with running_server(SERVER) as server, ExitStack() as stack:
        opened = {
            "SQLite": open_database("", directory / file),
            "PostgreSQL": open_database(server.url, directory),
        }
        for database in opened.values():
            stack.callback(database.close)
        yield opened


def compare(
    watched: Mapping[str, Watched], stores: Mapping[str, object], questions: Iterable[Question]
) -> dict[str, tuple[float, str]]:
    """Say a row per question; the slowest within the budget's matches, for each store."""
    slowest = dict.fromkeys(stores, (0.0, ""))
    say(f"{'p95 ms':38}{'matches':>9}" + "".join(f"{name:>11}  {'index':28}" for name in stores))
    for question in questions:
        row = f"{question.name:38}{question.matches:9,}"
        for name, store in stores.items():
            took = p95(store, question)
            row += f"{took:11.1f}  {watched[name].indexes():28}"
            if question.matches <= MATCHES:
                slowest[name] = max(slowest[name], (took, question.name))
        say(row.rstrip())
    return slowest


def p95(store: object, question: Question) -> float:
    """Milliseconds."""
    times = [seconds(lambda: question.ask(store)) * 1000 for _ in range(REPEATS)]
    return statistics.quantiles(times, n=20)[18]


def seconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def say(line: str) -> None:
    """A line for whoever waits."""
    print(line, file=sys.stderr, flush=True)
