"""The tests themselves: each says the truth it tests, and none is hidden by another of its name."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parents[1]
MODULES = sorted(TESTS.rglob("test_*.py"))


def _tests(module: Path) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """The test functions of a module, with the class or module they stand in."""
    for scope in ast.walk(ast.parse(module.read_text())):
        for node in getattr(scope, "body", []) if isinstance(scope, ast.Module | ast.ClassDef) else []:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                yield getattr(scope, "name", ""), node


def test_every_test_says_what_it_proves() -> None:
    """Each test has a docstring: the truth it tests, in words a reader can check."""
    silent = [
        f"{module.relative_to(TESTS)}::{test.name}"
        for module in MODULES
        for _, test in _tests(module)
        if not ast.get_docstring(test)
    ]
    assert silent == []
    assert len(MODULES) > 10


def test_no_test_hides_another() -> None:
    """Two tests of one name in one place would be one test."""
    hidden = []
    for module in MODULES:
        names = [(scope, test.name) for scope, test in _tests(module)]
        hidden += [f"{module.relative_to(TESTS)}::{name}" for name in set(names) if names.count(name) > 1]
    assert hidden == []


def test_every_folder_of_tests_is_a_package() -> None:
    """A module is found under its folder's name, so two of one name do not meet."""
    bare = {str(module.parent.relative_to(TESTS)) for module in MODULES} - {
        str(init.parent.relative_to(TESTS)) for init in TESTS.rglob("__init__.py")
    }
    assert bare == set()
