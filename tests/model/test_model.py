"""The protocol, searched through to its bounds; and the search, which finds the bugs it was made for."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator

import pytest

from tests.model.explorer import explore
from tests.model.known_bugs import BUGS, Bug
from tests.model.lines import Bounds as LineBounds
from tests.model.lines import LineModel
from tests.model.machine import modelled_disk
from tests.model.registers import Bounds as RegisterBounds
from tests.model.registers import RegisterModel


def test_lines_and_counters_keep_every_rule_through_any_crash() -> None:
    """Three devices, two lines, one of them written in three calls, a kill or a power loss at any step,
    any order: logs are only appended to, converge, stay readable, and are counted exactly once.
    """
    with modelled_disk():
        found = explore(LineModel(LineBounds(devices=3, lines=2, crashes=1, power=True)))
    assert found.trace is None, str(found)
    assert found.complete
    assert found.states > 70_000


def test_versions_deletions_and_floors_keep_every_rule_in_any_order() -> None:
    """Three devices and any two deeds of a person, at any moment, watched or not: what stands in home is a
    function of the set, nothing written is lost, no deletion reaches what its author had not seen.
    """
    found = explore(RegisterModel(RegisterBounds(devices=3, deeds=2, ties=False)))
    assert found.trace is None, str(found)
    assert found.complete
    assert found.states > 10_000


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_every_known_bug_is_found(bug: Bug) -> None:
    """Put back into the product it leads to a trace that breaks the rule it was made for; without it the
    same search finds nothing.
    """
    with bug.put_back():
        found = explore(bug.model())
    assert found.trace is not None
    assert bug.ends in found.trace[-1], str(found)
    with modelled_disk():
        assert explore(bug.model()).trace is None


class Counting:
    """A model to try the search on: two counters that go up to three; both at two is wrong."""

    def beginnings(self) -> Iterable[tuple[str, tuple[int, int]]]:
        yield "nothing", (0, 0)

    def key(self, state: tuple[int, int]) -> Hashable:
        return tuple(sorted(state))

    def steps(self, state: tuple[int, int]) -> Iterator[tuple[str, tuple[int, int]]]:
        one, other = state
        if max(state) < 3:
            yield "first", (one + 1, other)
            yield "second", (one, other + 1)

    def wrong(self, state: tuple[int, int], *, final: bool) -> str | None:
        return "both at two" if state == (2, 2) else None


def test_a_trace_is_a_shortest_way_and_readable() -> None:
    """One step a line, from the beginning to the rule that is broken."""
    found = explore(Counting())
    assert found.trace is not None
    assert len(found.trace) == 6
    assert str(found).splitlines()[1:] == [f"  {n}. {step}" for n, step in enumerate(found.trace)]
    assert found.trace[-1] == "both at two"


def test_states_that_cannot_be_told_apart_are_one() -> None:
    """The order of the counters means nothing, so ten pairs are left of sixteen; a limit is told."""
    found = explore(Counting(), most=4)
    assert (found.complete, found.trace) == (False, None)
    model = Counting()
    model.wrong = lambda state, *, final: None
    assert explore(model).states == 9
