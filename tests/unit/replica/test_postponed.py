"""What could not be written now, and when it is tried again."""

from __future__ import annotations

from contextlib import suppress

from fleetsync.replica.postponed import FIRST, MOST, Postponed

START = 1_700_000_000_000_000


class Clock:
    """A clock that is set by hand."""

    now = START

    def __call__(self) -> int:
        return self.now


def test_what_fails_again_waits_twice_as_long_up_to_a_limit() -> None:
    """A disk that stays full costs one try a minute."""
    clock = Clock()
    postponed = Postponed(clock)
    postponed.add("a")
    waits = []
    for _ in range(9):
        waits.append(postponed.due_in())
        with postponed.tried():
            postponed.add("a")
    assert waits[:3] == [1.0, 2.0, 4.0]
    assert waits[-1] == MOST / 1e6


def test_what_is_not_added_again_is_done() -> None:
    """Whether it was written or is not wanted any more."""
    postponed = Postponed(Clock())
    postponed.add("a")
    with postponed.tried():
        pass
    assert postponed.due_in() is None
    postponed.add("b")
    assert postponed.due_in() == FIRST / 1e6
    postponed.done("b")
    assert postponed.due_in() is None


def test_a_try_that_breaks_off_forgets_nothing() -> None:
    """What was not reached still waits, and longer than before."""
    postponed = Postponed(Clock())
    postponed.add("a")
    with suppress(OSError), postponed.tried():
        raise OSError
    assert postponed.due_in() == 2.0


def test_a_clock_that_is_set_back_puts_nothing_off() -> None:
    """It is due at once."""
    clock = Clock()
    postponed = Postponed(clock)
    postponed.add("a")
    clock.now -= 3_600_000_000
    assert postponed.due_in() == 0
