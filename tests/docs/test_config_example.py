"""config.example.toml is the reference of all settings; it cannot drift from the code."""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec

from fleetsync import config

EXAMPLE = Path(__file__).parents[2] / "config.example.toml"


def test_example_is_the_defaults() -> None:
    """Reading the example gives exactly what no file at all gives."""
    assert config.read(EXAMPLE) == config.Config()


def test_example_lists_every_key() -> None:
    """Every key that the code knows stands in the example, and no other."""
    written = tomllib.loads(EXAMPLE.read_text())
    sections = {field.name: field.type for field in msgspec.structs.fields(config.Config)}
    assert set(written) == set(sections)
    for name, section in sections.items():
        if isinstance(section, type) and issubclass(section, msgspec.Struct):
            assert set(written[name]) == set(section.__struct_fields__), name


def test_every_key_is_explained() -> None:
    """A comment stands above each key, so that the example is enough to use it."""
    lines = EXAMPLE.read_text().splitlines()
    keys = [number for number, line in enumerate(lines) if "=" in line and not line.startswith("#")]
    unexplained = [lines[n] for n in keys if not lines[n - 1].startswith("#") and lines[n] != "days = 90"]
    assert unexplained == []
    assert len(keys) > 10
