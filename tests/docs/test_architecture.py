"""docs/ARCHITECTURE.md shows the house as it is, and what docstrings say of the documents is there."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "daemon/fleetsync"
TEXT = (ROOT / "docs/ARCHITECTURE.md").read_text(encoding="utf-8")
NAMED = [name for name in re.findall(r"`([^`\n]+)`", TEXT) if "<" not in name]


@cache
def tree(path: Path) -> ast.Module:
    """A module as read."""
    return ast.parse(path.read_text(encoding="utf-8"))


def modules() -> list[Path]:
    """Every module of the program."""
    return sorted(PACKAGE.rglob("*.py"))


@cache
def definitions() -> frozenset[str]:
    """Every function as `name` and `module.name`, every class, and every method as `Class.name`."""
    found: set[str] = set()
    for path in modules():
        for node in tree(path).body:
            if isinstance(node, ast.ClassDef):
                found |= {node.name, *(f"{node.name}.{name}" for name in functions(node.body))}
            else:
                found |= set(functions([node]))
                found |= {f"{path.stem}.{name}" for name in functions([node])}
    return frozenset(found)


def functions(body: list[ast.stmt]) -> Iterator[str]:
    """The functions among these statements."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name


def floors() -> list[tuple[int, set[str]]]:
    """The picture, from the top: the number of each floor and its rooms, as import-linter calls them."""
    picture = re.search(r"^```house\n[^\n]*\n(.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL)
    assert picture is not None
    rows = [re.fullmatch(r" *(\d+) {2,}(\S+(?: \S+)*?)(?: {2,}.*)?", row) for row in picture[1].splitlines()]
    assert all(rows)
    return [
        (int(row[1]), {room.removesuffix("/").removesuffix(".py") for room in row[2].split()})
        for row in rows
        if row
    ]


# --- the picture ------------------------------------------------------------------------------------


def test_the_floors_are_those_of_the_import_contract():
    """The same rooms on the same floors in the same order, so the picture is what `make check` proves."""
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
    layers = [{room.strip(" ()") for room in layer.split("|")} for layer in contract["layers"]]
    assert [rooms for _, rooms in floors()] == layers
    numbers = [number for number, _ in floors()]
    assert numbers == sorted(numbers, reverse=True)
    assert set(numbers) == set(range(max(numbers) + 1))


def test_every_module_is_in_a_room_of_the_picture():
    """A module outside the picture would be one that no newcomer is told of."""
    rooms = set().union(*(rooms for _, rooms in floors()))
    homeless = [
        str(path.relative_to(PACKAGE))
        for path in modules()
        if path != PACKAGE / "__init__.py"
        and path.relative_to(PACKAGE).parts[0].removesuffix(".py") not in rooms
    ]
    assert homeless == []


# --- what is named ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted({n for n in NAMED if re.fullmatch(r"[\w./]+(\.py|/)(::\w+)?", n)}))
def test_every_path_named_exists(name):
    """Modules and rooms by their place in the package, tests by their place in the project."""
    path, _, test = name.partition("::")
    base = ROOT if path.startswith("tests/") else PACKAGE
    assert (base / path).exists(), name
    if test:
        tests = {
            node.name
            for node in ast.walk(tree(base / path))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        }
        assert test in tests, name


@pytest.mark.parametrize("name", sorted({n for n in NAMED if n.startswith("tests/") and n.count("/") == 1}))
def test_every_folder_of_tests_named_exists(name):
    """And no folder is left out."""
    assert (ROOT / name).is_dir()
    there = {f"tests/{path.parent.name}" for path in (ROOT / "tests").glob("*/__init__.py")}
    assert there <= set(NAMED)


@pytest.mark.parametrize(
    "name", sorted({n for n in NAMED if re.fullmatch(r"[A-Za-z]\w*\.[a-z_]\w+", n)} - {"errors.py"})
)
def test_every_function_named_exists(name):
    """`Class.method` and `module.function` of the walk and the recipes are defined somewhere."""
    if name.endswith((".py", ".md", ".json", ".lock", ".sock", ".yaml")):
        return
    assert name in definitions(), name


def test_every_rule_has_a_module_and_a_test():
    """Each row of the rules names at least one module that holds it and one test that proves it."""
    rules = TEXT.partition("## Rules that never break\n")[2].partition("\n## ")[0]
    rows = [row.strip("|").split(" | ") for row in rules.splitlines() if row.startswith("| ")][1:]
    assert len(rows) == 11
    for _, held, tested in rows:
        assert re.search(r"`[\w/]+\.py`", held)
        assert re.search(r"`tests/[\w/]+\.py(::\w+)?`", tested)


# --- what docstrings say of the documents ---------------------------------------------------------------

REFERENCE = re.compile(r"docs/(\w+\.md)(?:,?\s+\"([^\"]+)\")?|\"([^\"]+)\" of\s+docs/(\w+\.md)")


def references() -> list[tuple[str, str, str]]:
    """(module, document, section or nothing) of each mention in the text of a module."""
    found = []
    for path in modules():
        for after, section, before, document in REFERENCE.findall(path.read_text(encoding="utf-8")):
            found.append((str(path.relative_to(PACKAGE)), after or document, section or before))
    return found


@pytest.mark.parametrize(("module", "document", "section"), references())
def test_every_document_and_section_mentioned_exists(module, document, section):
    """A section is a heading, or a paragraph that begins with its name in bold."""
    path = ROOT / "docs" / document
    assert path.exists(), module
    if section:
        text = path.read_text(encoding="utf-8")
        pattern = rf"^#+ {re.escape(section)}$|^\*\*{re.escape(section)}\.\*\*"
        assert re.search(pattern, text, flags=re.MULTILINE), f"{module}: {document} has no {section!r}"


def test_mentions_are_found():
    """The search sees both ways in which docstrings name a section."""
    assert ("records/stats.py", "formats.md", "stats.json") in references()
    assert ("service/systemd.py", "decisions.md", "Known traps") in references()
