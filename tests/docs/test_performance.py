"""docs/performance.md: every budget is there, with how it is measured, and what it was."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from bench import report
from bench.budgets import BUDGETS, Budget, Figure, budget, verdict

TEXT = report.DOCUMENT.read_text(encoding="utf-8")


def _measured() -> str:
    """What stands between the two markers."""
    return TEXT.split(report.BEGIN)[1].split(report.END)[0]


@pytest.mark.parametrize("each", BUDGETS, ids=lambda each: each.name)
def test_every_budget_has_a_row_with_its_command(each: Budget):
    """Each budget was measured: its row has a figure, both limits, how it stands and the command."""
    found = re.search(rf"^\| {re.escape(each.name)} \|(.*)\|$", _measured(), re.MULTILINE)
    assert found is not None
    cells = [cell.strip() for cell in found[1].split("|")]
    assert all(cells)
    assert cells[3] in {"good", "met", "**missed**"}
    assert cells[-1] == f"`{report.command(each)}`"


def test_every_command_exists():
    """Each group of budgets is a module with a `measure`."""
    for group in {each.group for each in BUDGETS}:
        assert callable(importlib.import_module(f"bench.{group}").measure)


def test_the_promise_is_the_table_of_budgets():
    """The numbers promised above the measured table are those the measurements are held against."""
    promised = re.sub(r"[^0-9.%]+", " ", TEXT.split(report.BEGIN)[0]).split()
    for each in BUDGETS:
        for limit in (each.must, each.good):
            texts = {f"{limit:g}", f"{limit / 1000:g}", f"{limit:g}%"}
            assert texts & set(promised), (each.name, limit)


def test_a_figure_is_judged_by_its_budget():
    """At the limit it is still met; above the larger one it is missed."""
    name = BUDGETS[0].name
    good, must = budget(name).good, budget(name).must
    assert [verdict(Figure(name, value)) for value in (good, good + 1, must, must + 1)] == [
        "good",
        "must",
        "must",
        "missed",
    ]


def test_measuring_one_group_keeps_the_rows_of_the_others(tmp_path: Path):
    """Only the rows of what was measured change, and nothing outside the markers does."""
    document = tmp_path / "performance.md"
    document.write_text(
        f"before\n| {BUDGETS[2].name} | 1 | 2 |\n{report.BEGIN}\nnothing yet\n{report.END}\nafter\n",
        encoding="utf-8",
    )
    first, second = BUDGETS[0].name, BUDGETS[1].name
    report.write([Figure(second, 2.0)], document)
    report.write([Figure(first, 1.0, "beside")], document)
    text = document.read_text(encoding="utf-8")
    assert text.startswith("before\n")
    assert text.count(BUDGETS[2].name) == 1
    assert text.endswith("after\n")
    assert text.index(f"| {first} | 1 ms |") < text.index(f"| {second} | 2 ms |")
    assert "nothing yet" not in text
