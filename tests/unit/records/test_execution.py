"""Recording a run: what is written can be read back, whatever the run printed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetsync.errors import MalformedRecord
from fleetsync.records import skills, timestamps
from fleetsync.records.execution import ENV_MARKERS, MAX_ERROR_CHARACTERS, Run, classify_failure, record_run

NOW = timestamps.parse("2026-05-30T00:00:00.123456789Z")
ANY_TEXT = st.text(st.characters() | st.characters(categories=["Cs"]), max_size=700)


@given(ANY_TEXT, ANY_TEXT, ANY_TEXT)
def test_whatever_is_printed_the_line_is_readable(stderr: str, step: str, device: str) -> None:
    """One line, certain to be read by mur, with at most 500 characters of output."""
    line = record_run(Run(success=False, stderr=stderr, failed_step=step), NOW, device)
    assert skills.readable_by_mur(line)
    error = skills.parse_event(line).error
    assert error is not None
    assert len(error) == min(len(stderr), MAX_ERROR_CHARACTERS)


def test_half_a_surrogate_becomes_a_question_mark() -> None:
    """Output that is no UTF-8 reaches Python as half surrogates, which no log can hold."""
    event = skills.parse_event(record_run(Run(success=False, stderr="a\udcffb"), NOW, "cli"))
    assert event.error == "a?b"


def test_success_has_no_error_and_no_class() -> None:
    """What a successful run printed, and an override, do not matter."""
    run = Run(success=True, stderr="timeout", env_class_override="env", trigger="schedule")
    event = skills.parse_event(record_run(run, NOW, "cli"))
    assert (event.outcome, event.error, event.env_class, event.confidence) == ("success", None, None, None)
    assert (event.trigger, event.ts, event.device_id) == ("schedule", NOW, "cli")


def test_the_class_looks_at_all_of_the_output() -> None:
    """A marker behind the cut still counts."""
    event = skills.parse_event(record_run(Run(success=False, stderr="x" * 600 + " timeout"), NOW, "cli"))
    assert (event.env_class, event.confidence) == ("env", 0.6)


@pytest.mark.parametrize("marker", ENV_MARKERS)
def test_every_marker_speaks_for_the_environment(marker: str) -> None:
    """In any case of letters."""
    assert classify_failure(f"error: {marker.upper()}!").name == "env"


@pytest.mark.parametrize("run", [Run(success=True, duration_ms=-1), Run(success=True, exit_code=2**31)])
def test_numbers_that_mur_cannot_read_are_refused(run: Run) -> None:
    """They would make the whole log unreadable."""
    with pytest.raises(MalformedRecord):
        record_run(run, NOW, "cli")
