"""Several laptops edit one `models.yaml` each, at random: they converge, entry by entry."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleetsync.records import model_entries, models
from tests.fakes.laptops import SECOND, Laptop, meet

FILE = "models.yaml"
NAMES = ["a", "b:/c", "d.e", "ü"]
HEADS = {
    "a": b"# of a\nschema_version: 1\n",
    "b": b"\n# of b\n\n",
    "c": b"extra: {x: 1}  # of c\n",
}
TAILS = {"a": b"roles:\n  router: a  # mine\n", "b": b"# the end of b\n", "c": b"roles: {}\n# c\n"}
EDITS = st.tuples(st.sampled_from(NAMES), st.sampled_from([None, "one", "two", "three"]))


def begun(laptop: Laptop, letter: str) -> None:
    """A file with text around the entries that belongs to nobody else."""
    laptop.path(FILE).write_bytes(HEADS[letter] + b"models: {}\n" + TAILS[letter])
    laptop.replica.scan(None)


def edit(laptop: Laptop, name: str, model: str | None) -> None:
    """A person changes, makes or takes out one entry, and nobody is surprised by it."""
    before = laptop.path(FILE).read_bytes()
    value = None if model is None else f"provider: p  # by {laptop.device[0]}\nmodel: {model}\n".encode()
    if value is None and name not in models.entries(before):
        return
    laptop.path(FILE).write_bytes(models.splice(before, name, value))
    laptop.replica.scan([FILE])
    laptop.now += 6 * SECOND
    laptop.replica.settle()


def restart(laptop: Laptop, _name: str, _model: str | None) -> None:
    """The daemon stops and starts."""
    laptop.reopen()


def steps(letters: str) -> st.SearchStrategy[list[tuple[str, Callable[..., None], tuple[str, str | None]]]]:
    """What happens on which laptop; None for a meeting of all."""
    act = st.sampled_from([edit, edit, edit, restart])
    return st.lists(st.tuples(st.sampled_from([*letters, "meet"]), act, EDITS), max_size=12)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(["ab", "abc"]).flatmap(lambda letters: st.tuples(st.just(letters), steps(letters))))
def test_random_edits_converge_and_all_other_text_survives(
    story: tuple[str, list[tuple[str, Callable[..., None], tuple[str, str | None]]]],
) -> None:
    """In the end all files say the same under `models`, the sets are equal, and what is around the entries
    is what its owner wrote.
    """
    letters, happenings = story
    with tempfile.TemporaryDirectory() as folder:
        laptops = {letter: Laptop(Path(folder), letter) for letter in letters}
        for letter, laptop in laptops.items():
            begun(laptop, letter)
        for letter, act, (name, model) in happenings:
            if letter == "meet":
                meet(*laptops.values())
                for laptop in laptops.values():
                    laptop.now += 10 * SECOND
            else:
                act(laptops[letter], name, model)
        meet(*laptops.values())
        found = {letter: laptop.path(FILE).read_bytes() for letter, laptop in laptops.items()}
        for laptop in laptops.values():
            laptop.replica.close()
    says = [
        {name: model_entries.digest(value) for name, value in models.entries(data).items()}
        for data in found.values()
    ]
    assert all(each == says[0] for each in says)
    for letter, data in found.items():
        assert data.startswith(HEADS[letter] + b"models:")
        assert data.endswith(TAILS[letter])
