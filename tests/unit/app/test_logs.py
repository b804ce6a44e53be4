"""app/logs.py: whatever is said becomes a line."""

from __future__ import annotations

import json
import logging

from fleetsync.app.logs import JsonLines


def test_a_name_that_is_no_text_is_logged_with_escapes() -> None:
    """A file's name is bytes: one that is not UTF-8 costs no line of the log."""
    record = logging.LogRecord("x", logging.INFO, "x", 1, "%s is gone", ("skills/\udcff",), None)
    assert json.loads(JsonLines().format(record))["message"] == "skills/\\udcff is gone"
