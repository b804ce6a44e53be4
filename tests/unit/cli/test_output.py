"""How commands speak."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys

import pytest

from fleetsync import errors
from fleetsync.cli import exits, output
from fleetsync.errors import FleetsyncError


def test_elsewhere_than_on_a_terminal_a_table_is_its_rows_with_tabs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """No heads, no padding, no colour; unknown is a dash."""
    output.table(("A", "B"), [("ok", None), ("longer", 2)])
    assert capsys.readouterr().out == "ok\t-\nlonger\t2\n"


def test_on_a_terminal_a_table_has_heads_columns_and_colour() -> None:
    """The same rows, aligned."""
    script = "from fleetsync.cli import output; output.table(('A', 'B'), [('ok', 1), ('longer', 2)])"
    reader, terminal = pty.openpty()
    subprocess.run([sys.executable, "-c", script], stdout=terminal, check=True)
    os.close(terminal)
    shown = os.read(reader, 4096).decode().splitlines()
    os.close(reader)
    assert shown == ["\x1b[1mA       B\x1b[0m", "\x1b[32mok\x1b[0m      1", "longer  2"]


def test_documents_are_utf8_whatever_is_in_them(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """Umlauts are written as such; what UTF-8 cannot hold is written as JSON escapes it."""
    output.emit({"name": "Büro", "odd": "\udc80"})
    printed = capsysbinary.readouterr().out
    assert printed == '{"name": "Büro", "odd": "\\udc80"}\n'.encode()
    assert json.loads(printed)["odd"] == "\udc80"


def test_what_others_send_cannot_steer_the_terminal() -> None:
    """Escape sequences, line breaks and direction marks are replaced; ordinary text is not."""
    assert output.clean("a\x1b[2J\nb\u202ec") == "a\ufffd[2J\ufffdb\ufffdc"
    assert output.clean("Büro 漢字") == "Büro 漢字"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0.02, "20 ms"),
        (3.2, "3 s"),
        (119, "119 s"),
        (600, "10 min"),
        (7200, "2 h"),
        (200000, "2 d"),
    ],
)
def test_durations_are_said_as_people_do(seconds: float | None, text: str) -> None:
    """The largest unit of which there are at least two."""
    assert output.ago(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(None, "-"), (999, "999 B"), (3400, "3.4 kB"), (12e6, "12.0 MB")]
)
def test_sizes_are_said_as_people_do(count: int | None, text: str) -> None:
    """Powers of a thousand."""
    assert output.size_of(count) == text


# --- exit codes ------------------------------------------------------------------------------------


def family(kind: type[FleetsyncError]) -> list[type[FleetsyncError]]:
    """A class and all below it."""
    return [kind, *(c for child in kind.__subclasses__() for c in family(child))]


@pytest.mark.parametrize("kind", family(FleetsyncError))
def test_every_error_has_an_exit_code_of_the_contract(kind: type[FleetsyncError]) -> None:
    """0 to 5, and never 0."""
    if kind.__init__ is FleetsyncError.__init__:
        assert exits.exit_code(kind("x")) in range(1, 6)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.StorageFailed(), 1),
        (errors.Unreachable(), 1),
        (errors.NotFound(), 1),
        (errors.PairingFailed(), 1),
        (errors.UserError(), 2),
        (errors.BrokenConfig(), 2),
        (errors.NotConverged(), 3),
        (errors.DaemonNotRunning(), 4),
        (errors.SafetyStop(), 5),
        (errors.JournalDamaged(), 5),
    ],
)
def test_the_exit_codes_are_those_of_the_contract(error: FleetsyncError, code: int) -> None:
    """CLI.md: 1 failed, 2 usage, 3 not converged, 4 no daemon, 5 a safety rule."""
    assert exits.exit_code(error) == code
