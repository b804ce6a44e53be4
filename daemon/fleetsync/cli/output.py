"""How commands speak: documents for scripts, tables and sentences for people.

Rule of the file: with --json nothing but documents reaches stdout, one a line, written as UTF-8
whatever the locale says; colour and aligned columns appear only on a terminal, elsewhere a table is
its rows with tabs between the cells.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click

Document = Mapping[str, Any]

COLOURS = {
    "ok": "green",
    "connected": "green",
    "converged": "green",
    "offline": "yellow",
    "connecting": "yellow",
    "paused": "yellow",
    "partial": "yellow",
    "scanning": "yellow",
    "stale": "red",
    "refused": "red",
    "failed": "red",
    "unreachable": "red",
    "guarded": "red",
    "missing": "red",
    "degraded": "red",
}


def emit(document: Document) -> None:
    """Write one document as a line on stdout, and let it be seen at once."""
    emit_line(encode(document))


def encode(document: Document) -> bytes:
    """A document as the line that it is written as."""
    return json.dumps(document, ensure_ascii=False, allow_nan=False).encode("utf-8", "backslashreplace")


def emit_line(line: bytes) -> None:
    """Write one line that already is a document."""
    sys.stdout.flush()
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()


def say(text: str = "") -> None:
    """A line for people on stdout; colour is dropped where there is no terminal."""
    click.echo(text)


def remark(text: str) -> None:
    """A line for people on stderr: what is going on, warnings."""
    click.echo(text, err=True)


def complain(message: str, next_step: str) -> None:
    """What went wrong and what to do about it, on stderr."""
    remark(click.style("error: ", fg="red", bold=True) + clean_lines(message))
    remark(click.style("next:  ", bold=True) + clean_lines(next_step))


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Rows for people: aligned under bold heads on a terminal, else tab-separated without heads."""
    cells = [["-" if cell is None else clean(str(cell)) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        for row in cells:
            say("\t".join(row))
        return
    widths = [max(len(row[i]) for row in [list(heads), *cells]) for i in range(len(heads))]
    say(click.style("  ".join(h.ljust(w) for h, w in zip(heads, widths, strict=True)).rstrip(), bold=True))
    for row in cells:
        padded = (coloured(c) + " " * (w - len(c)) for c, w in zip(row, widths, strict=True))
        say("  ".join(padded).rstrip())


def clean(text: str) -> str:
    """The text without control characters: names and lines from other devices may carry any."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in text)


def escaped(document: str) -> str:
    """A JSON document, which means the same, without characters that act on a terminal."""
    if document.isprintable():
        return document
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1].replace("\x7f", "\\u007f") for c in document)


def clean_lines(text: str) -> str:
    """The same for text of several lines."""
    return "\n".join(clean(line) for line in text.splitlines())


def coloured(word: str) -> str:
    """The word in the colour of what it says, if it is one that has a colour."""
    plain = "NO_COLOR" in os.environ
    return click.style(word, fg=COLOURS[word]) if word in COLOURS and not plain else word


def ago(seconds: float | None) -> str:
    """A duration as people say it: `3 s`, `12 min`, `5 h`, `2 d`; `-` if unknown."""
    if seconds is None:
        return "-"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def size_of(count: int | None) -> str:
    """A number of bytes as people say it: `512 B`, `3.4 kB`, `12.0 MB`."""
    if count is None:
        return "-"
    if count < 1000:
        return f"{count} B"
    return f"{count / 1000:.1f} kB" if count < 1_000_000 else f"{count / 1_000_000:.1f} MB"


def short_id(device: str | None) -> str:
    """The first two groups of a device id: enough to type as a prefix."""
    return "-" if device is None else f"{device[:7]}-{device[7:14]}"
