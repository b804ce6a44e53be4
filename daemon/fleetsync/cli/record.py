"""`record`: append one execution event, as mur would, for programs that are not mur."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING

import click

from fleetsync.cli.command import command, pass_session
from fleetsync.cli.session import Session

if TYPE_CHECKING:
    from pathlib import Path

    from fleetsync.files import Folder

STDERR_CHARACTERS = 4 << 20  # what classification looks at; 500 characters of it are kept
ATTEMPTS = 5


@command("fleetsync record deploy --outcome failure --exit-code 1 --stderr-file build.log")
@click.argument("skill")
@click.option(
    "--outcome", type=click.Choice(["success", "failure"]), required=True, help="How the run ended."
)
@click.option("--duration-ms", type=click.IntRange(0, 2**64 - 1), metavar="N", help="How long it took.")
@click.option("--exit-code", type=click.IntRange(-(2**31), 2**31 - 1), metavar="N", help="Its exit code.")
@click.option(
    "--stderr-file",
    type=click.File(errors="replace"),
    metavar="F|-",
    help="What it printed on stderr; a failure is classed by it.",
)
@click.option("--step", metavar="S", help="The step that failed.")
@click.option(
    "--trigger",
    type=click.Choice(["manual", "schedule", "agent"]),
    default="manual",
    show_default=True,
    help="What started it.",
)
@click.option(
    "--env-class", type=click.Choice(["workflow", "env"]), help="Say what the failure was due to, overruling."
)
@click.option("--device-id", default="cli", show_default=True, metavar="D", help="The event's device_id.")
@pass_session
def record(
    session: Session,
    skill: str,
    outcome: str,
    duration_ms: int | None,
    exit_code: int | None,
    stderr_file: IO[str] | None,
    step: str | None,
    trigger: str,
    env_class: str | None,
    device_id: str,
) -> None:
    """Append one execution event to the log of SKILL, and print it; the audit gets a run.

    Works without the daemon; a running one sends it on at once.
    """
    import time

    from fleetsync import audit
    from fleetsync.cli import output
    from fleetsync.cli.reading import require_skill
    from fleetsync.records import timestamps
    from fleetsync.records.execution import Run, record_run

    require_skill(session.home_path(), skill)
    run = Run(
        success=outcome == "success",
        stderr=None if stderr_file is None else stderr_file.read(STDERR_CHARACTERS),
        exit_code=exit_code,
        duration_ms=duration_ms,
        failed_step=step,
        trigger=trigger,
        env_class_override=env_class,
    )
    now = time.time_ns()
    line = record_run(run, timestamps.at(now), device_id)
    append_line(session.home_path(), f"skills/{skill}/events.jsonl", line)
    audit.record_execution(
        run, skill, device_id, ended_at=now // 1000, opened=lambda: audit.open_store(session.settings())
    )
    if session.json:
        output.emit_line(line)
    else:
        output.say(output.clean(line.decode()))


def append_line(home: Path, path: str, line: bytes) -> None:
    """Append one line to a log in home as mur does: under flock on the log itself, in one write.

    Durable when it returns. Raises `LockBusy`, `StorageFailed`, and `FileChanged` if other programs
    keep replacing the log.
    """
    from fleetsync.errors import FileChanged
    from fleetsync.files import Folder

    with Folder.open(home) as root:
        folder, name = root.parent_of(path)
        with folder:
            for _ in range(ATTEMPTS):
                if _append_once(folder, name, line):
                    return
    raise FileChanged(f"{home / path} is being replaced by another program")


def _append_once(folder: Folder, name: str, line: bytes) -> bool:
    """False if the log was replaced before the lock was held: then nothing was written."""
    import os

    from fleetsync.files import ShortWrite, flocked, storage_errors, write_fully
    from fleetsync.replica.jsonl import batch_of

    log = folder.open_file(name, os.O_RDWR | os.O_CREAT | os.O_APPEND)
    try:
        with flocked(log, folder.at(name)):
            held, named = os.fstat(log), folder.status(name)
            if named is None or named.st_ino != held.st_ino:
                return False
            batch = batch_of([line], empty=held.st_size == 0)
            try:
                with storage_errors(folder.at(name)):
                    write_fully(log, batch, folder.at(name))
                    os.fsync(log)
            except ShortWrite as error:
                _take_back(folder, name, held.st_size, batch[: error.written])
                raise
    finally:
        os.close(log)
    return True


def _take_back(folder: Folder, name: str, offset: int, torn: bytes) -> None:
    """Blank what a full disk took of our line: one torn line would make mur drop the whole log."""
    import os

    from fleetsync.files import blank, read_span

    log = folder.open_file(name, os.O_RDWR)  # without O_APPEND, which would move every write to the end
    try:
        if torn and read_span(log, offset, len(torn)) == torn:
            blank(log, offset, len(torn))
    finally:
        os.close(log)
