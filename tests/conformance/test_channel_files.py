"""A whole channel log: what is read, and what the next event is.

On purpose different: the reference numbers from the last line of the file, fleetsync from the
highest number in it, so that lines that another writer put out of order never lend their numbers
twice; and it begins with a line break, so that a log without a final one loses nothing.
"""

from __future__ import annotations

from fleetsync.records import channel_logs, channels
from tests.conformance.vectors import Row, each

NEXT = b'{"ts":"2026-06-16T00:00:00Z","actor":{"kind":"system"},"kind":"note","payload":{}}'


@each("channel_files")
def test_events(row: Row) -> None:
    """The reference's events in its order; a bad line takes nothing with it."""
    found = channel_logs.read_log(row["text"].encode())
    assert [event.canonical.decode() for event in found] == row["events"]


@each("channel_files")
def test_tolerant_reader(row: Row) -> None:
    """It sees at least the same events, each where it stands."""
    data = row["text"].encode()
    log = channel_logs.parse_log(data)
    seen = [placed.event.line for placed in log.events]
    for placed in log.events:
        assert data[placed.offset :].startswith(placed.event.line)
    assert all(event.line.strip() in seen for event in channel_logs.read_log(data))


@each("channel_files")
def test_next(row: Row) -> None:
    """The number of the next event, or the event that has its idempotency key already."""
    found = channel_logs.read_log(row["text"].encode())
    key = row["append_key"]
    same = next((e for e in found if key is not None and e.idempotency_key == key), None)
    assert row["appended"] == (same is None)
    if same is not None:
        assert same.seq == row["append_returns_seq"]
        return
    numbers = [event.seq for event in found if event.seq is not None]
    if not numbers or numbers[-1] == max(numbers):
        assert channels.next_seq(max(numbers, default=None)) == row["append_returns_seq"]


@each("channel_files")
def test_append_loses_nothing(row: Row) -> None:
    """Behind a line break the next event is read, and every event before it still is."""
    data = row["text"].encode()
    found = channel_logs.read_log(data)
    after = channel_logs.read_log(data + b"\n" + channels.with_seq(NEXT, 9) + b"\n")
    assert [event.line for event in after[:-1]] == [event.line for event in found]
    assert after[-1].seq == 9
