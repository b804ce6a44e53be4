"""What the daemon says, one line an event: to stderr, or to a file that it rotates itself.

Under journald a line begins with `<N>`, its syslog priority, and carries no time, for journald adds
both; launchd's own log files never rotate, so there a file is named in the settings. JSON lines are
for those who collect logs.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from logging.handlers import RotatingFileHandler

import msgspec

from fleetsync.config import Log
from fleetsync.errors import StorageFailed

_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}
_FILE_BYTES, _FILES = 5 << 20, 3
_QUIET = ("apscheduler", "httpx", "httpcore", "uvicorn", "watchdog", "asyncio")
"""Libraries whose own voice is heard only when something is wrong."""


def configure(log: Log, environ: Mapping[str, str]) -> None:
    """Let everything be logged as the settings say; may be called again with others.

    Raises `StorageFailed` for a file that cannot be opened; nothing has changed then.
    """
    handler = _handler(log)
    handler.setFormatter(_formatter(log, under_journald="JOURNAL_STREAM" in environ and not log.file))
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(log.level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.DEBUG if log.level == "debug" else logging.WARNING)


def _handler(log: Log) -> logging.Handler:
    if log.file:
        try:
            return RotatingFileHandler(log.file, maxBytes=_FILE_BYTES, backupCount=_FILES, encoding="utf-8")
        except OSError as error:
            raise StorageFailed(f"[log] file {log.file}: {error.strerror}") from error
    return logging.StreamHandler(sys.stderr)


def _formatter(log: Log, *, under_journald: bool) -> logging.Formatter:
    if log.format == "json":
        return JsonLines()
    if under_journald:
        return JournalLines("%(message)s")
    return OneLine("%(asctime)s %(levelname)-7s %(message)s", "%Y-%m-%dT%H:%M:%S%z")


class OneLine(logging.Formatter):
    """One event is one line, whatever a message or an exception holds; nothing in it acts on a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line = super().format(record).replace("\n", " | ")
        return line if line.isprintable() else "".join(c if c.isprintable() else _spelt(c) for c in line)


def _spelt(character: str) -> str:
    return character.encode("unicode_escape").decode()


class JournalLines(OneLine):
    """With the syslog priority in front, as journald reads it."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        return f"<{_PRIORITIES.get(record.levelno, 6)}>{super().format(record)}"


def _text(said: str) -> str:
    """The same with escapes for what of a file's name is no text."""
    return said.encode("utf-8", "backslashreplace").decode()


class JsonLines(logging.Formatter):
    """A JSON object a line: `time`, `level`, `logger`, `message` and, if there is one, `error`."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        event = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            event["error"] = self.formatException(record.exc_info)
        return msgspec.json.encode({key: _text(value) for key, value in event.items()}).decode()
